//! The thin shells: each puts one core into one timely operator.
//!
//! A shell moves packets in and out, keeps capabilities, and decides nothing. All edges carry
//! `Packets` and all times are epochs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;
use timely::scheduling::activate::SyncActivator;

use super::arrival::Inbox;
use super::compute::Compute;
use super::credit::Credit;
use super::group::{Grouped, Groups, Local, PreGroups};
use super::guard::Gate;
use super::outcome::{Failure, Shared};
use super::packet::{Packet, Packets, route};
use super::publish::Publish;
use super::report::Report;
use super::source::{Outlet, Progress, SourceTask};
use super::spread::Spread;
use super::step::plain;
use super::tide::Tide;
use super::withheld::Guard;
use crate::plan::NodeId;
use crate::types::Epoch;

/// A stream of packets in a worker's dataflow.
pub type Edge<'scope> = Stream<'scope, u64, Packets>;

/// The streams that come out of a source.
pub struct SourceEdges<'scope> {
    /// Rows, by the node they leave from.
    pub rows: BTreeMap<NodeId, Edge<'scope>>,
    /// Reports, for every worker.
    pub reports: Edge<'scope>,
    /// Dead letters, addressed to their table.
    pub letters: Edge<'scope>,
}

/// Where the rows of a dead-letter table go.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// The home worker of its destination.
    pub target: usize,
    /// Its place in that destination.
    pub lane: usize,
}

/// What timely keeps for one output of the source.
struct Port {
    output: Output<u64, Packets>,
    capability: Option<Capability<u64>>,
}

impl Port {
    fn send(&mut self, packets: Vec<Packet>) {
        let capability = self
            .capability
            .as_ref()
            .expect("the source is not finished");
        self.output
            .activate()
            .give(capability, &mut Packets::from(packets));
    }
}

struct Ports {
    rows: BTreeMap<NodeId, Port>,
    reports: Port,
    letters: Port,
    letters_to: Option<Address>,
    peers: usize,
    me: usize,
    credit: Credit,
}

impl Ports {
    fn all(&mut self) -> impl Iterator<Item = &mut Port> {
        self.rows
            .values_mut()
            .chain([&mut self.reports, &mut self.letters])
    }
}

impl Ports {
    fn spend(&self, rows: &RecordBatch) {
        let capability = self.reports.capability.as_ref();
        let epoch = capability.expect("the source is not finished").time();
        self.credit
            .spend(Epoch(*epoch), rows.get_array_memory_size());
    }
}

impl Outlet for Ports {
    fn rows(&mut self, node: NodeId, rows: RecordBatch) {
        self.spend(&rows);
        let packet = Packet::rows(self.me, rows);
        self.rows
            .get_mut(&node)
            .expect("one port per edge")
            .send(vec![packet]);
    }

    fn letters(&mut self, rows: RecordBatch) {
        let Address { target, lane } = self.letters_to.expect("only sources with dead letters");
        self.spend(&rows);
        self.letters.send(vec![Packet::Rows {
            target,
            lane,
            batch: rows,
        }]);
    }

    fn close(&mut self, report: Report, next: Option<Epoch>) {
        let for_each = (0..self.peers).map(|target| Packet::Report {
            target,
            report: report.clone(),
        });
        self.reports.send(for_each.collect());
        for port in self.all() {
            match (next, &mut port.capability) {
                (Some(next), Some(capability)) => capability.downgrade(&next.0),
                (_, capability) => *capability = None,
            }
        }
    }
}

/// What the shell of a source needs besides its core.
pub struct SourceShell {
    /// The nodes by which its rows leave.
    pub edges: Vec<NodeId>,
    /// Where its dead letters go.
    pub letters_to: Option<Address>,
    /// What may be on its way.
    pub credit: Credit,
    /// What the threads of the run share.
    pub shared: Arc<Shared>,
    /// Takes the operator's activator: whoever fills the inbox wakes the worker with it.
    pub waker: Box<dyn FnOnce(SyncActivator)>,
}

/// A source.
pub fn source<'scope, I: Inbox + 'static>(
    scope: Scope<'scope, u64>,
    name: &str,
    task: SourceTask<I>,
    shell: SourceShell,
) -> SourceEdges<'scope> {
    let SourceShell {
        edges,
        letters_to,
        credit,
        shared,
        waker,
    } = shell;
    let mut builder = OperatorBuilder::new(format!("source {name}"), scope);
    let (mut outputs, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..edges.len() + 2 {
        let (output, stream) = builder.new_output::<Packets>();
        outputs.push(output);
        streams.push(stream);
    }
    let info = builder.operator_info();
    let activator = scope.activator_for(Rc::clone(&info.address));
    waker(scope.worker().sync_activator_for(info.address.to_vec()));
    let follows = scope.activator_for(Rc::clone(&info.address));
    task.wake_with(move || follows.activate());
    let (peers, me) = (scope.peers(), scope.index());
    let nodes = edges.clone();
    builder.build(move |capabilities| {
        let mut task = task;
        let mut ports = outputs
            .into_iter()
            .zip(capabilities)
            .map(|(output, mut capability)| {
                capability.downgrade(&task.open().0);
                Port {
                    output,
                    capability: Some(capability),
                }
            });
        let rows = nodes
            .iter()
            .copied()
            .zip(ports.by_ref().take(nodes.len()))
            .collect();
        let mut next = || ports.next().expect("one output per port");
        let (reports, letters) = (next(), next());
        let mut ports = Ports {
            rows,
            reports,
            letters,
            letters_to,
            peers,
            me,
            credit,
        };
        let mut finished = false;
        activator.activate();
        move |_: &[MutableAntichain<u64>]| {
            if !finished {
                finished = run_source(&mut task, &mut ports, &shared, &activator);
            }
        }
    });
    let mut streams = streams.into_iter();
    let rows = edges.into_iter().zip(streams.by_ref()).collect();
    let mut next = || streams.next().expect("one stream per port");
    SourceEdges {
        rows,
        reports: next(),
        letters: next(),
    }
}

/// One activation. Returns whether the source is finished.
fn run_source<I: Inbox>(
    task: &mut SourceTask<I>,
    ports: &mut Ports,
    shared: &Shared,
    activator: &Activator,
) -> bool {
    let credit = ports.credit.is_left();
    match task.step(credit, ports) {
        Progress::Worked => activator.activate(),
        Progress::Waiting(duration) => activator.activate_after(duration),
        Progress::Finished => {
            if !shared.has_failed() {
                ports.all().for_each(|port| port.capability = None);
            }
            return true;
        }
    }
    false
}

/// A stateless operator behind state.
pub fn compute<'scope>(
    input: Edge<'scope>,
    name: &str,
    mut core: Compute,
    shared: Arc<Shared>,
) -> Edge<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (mut output, stream) = builder.new_output::<Packets>();
    let name = name.to_owned();
    let mut guard = Guard::default();
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                let epoch = Epoch(*capability.time());
                for packet in packets.packets.drain(..) {
                    let Packet::Rows { target, batch, .. } = packet else {
                        continue;
                    };
                    match core.run(epoch, &batch) {
                        Ok(batch) if batch.num_rows() == 0 => {}
                        Ok(batch) => {
                            let packet = Packet::rows(target, batch);
                            output.give(&capability, &mut Packets::from(vec![packet]));
                        }
                        Err(failure) => shared.fail(shared.cannot_compute_row(&name, failure)),
                    }
                }
                if core.left_over().is_some() {
                    guard.set(|| capability.retain(0));
                }
            });
            if guard.is_set() {
                guard.advance(frontier(frontiers), core.left_over(), &shared);
            }
        }
    });
    stream
}

/// Sends every batch to one worker, under one lane; or `only` those that are meant for a target.
pub fn address<'scope>(
    input: Edge<'scope>,
    name: &str,
    to: Address,
    only: Option<usize>,
) -> Edge<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |_: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                let meant = packets.packets.drain(..);
                let meant = meant.filter(|it| only.is_none_or(|only| it.target() == only));
                let addressed = meant.map(|packet| match packet {
                    Packet::Rows { batch, .. } => Packet::Rows {
                        target: to.target,
                        lane: to.lane,
                        batch,
                    },
                    Packet::Report { report, .. } => Packet::Report {
                        target: to.target,
                        report,
                    },
                });
                output.give(
                    &capability,
                    &mut Packets::from(addressed.collect::<Vec<_>>()),
                );
            });
        }
    });
    stream
}

/// The rows that the sink of an INSERT can hold, on their way there.
pub(super) fn gated<'scope>(input: Edge<'scope>, gate: Gate, shared: &Arc<Shared>) -> Edge<'scope> {
    if gate.is_open() {
        return input;
    }
    let shared = Arc::clone(shared);
    let mut builder = OperatorBuilder::new("gate".to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |_: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                let passed = packets.packets.drain(..).map(|packet| match packet {
                    Packet::Rows {
                        target,
                        lane,
                        batch,
                    } => gate.pass(batch).map(|batch| Packet::Rows {
                        target,
                        lane,
                        batch,
                    }),
                    Packet::Report { .. } => Ok(packet),
                });
                match passed.collect::<Result<Vec<_>, _>>() {
                    Ok(passed) => output.give(&capability, &mut Packets::from(passed)),
                    Err(error) => {
                        let failure = Failure::new("cannot look at the rows for a sink");
                        shared.fail(failure.because(plain(&error)));
                    }
                }
            });
        }
    });
    stream
}

/// Keeps a worker's tide: hears every source, and says what is complete.
pub fn tide(reports: Edge<'_>, tide: Tide) {
    let mut builder = OperatorBuilder::new("tide".to_owned(), reports.scope());
    let mut reports = builder.new_input(reports, route());
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            reports.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    if let Packet::Report { report, .. } = packet {
                        tide.hear(Epoch(*capability.time()), report);
                    }
                }
            });
            tide.advance(frontier(frontiers));
        }
    });
}

/// Groups on one worker before the exchange.
pub fn local<'scope, G: PreGroups + 'static>(
    input: Edge<'scope>,
    name: &str,
    mut core: Local<G>,
) -> Edge<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            let mut emit = |capability: &Capability<u64>, packet: Packet| {
                output.give(capability, &mut Packets::from(vec![packet]));
            };
            input.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    if let Packet::Rows { batch, .. } = packet {
                        let time = *capability.time();
                        core.take(time, &batch, || capability.retain(0), &mut emit);
                    }
                }
            });
            core.advance(frontiers[0].frontier().first().copied(), &mut emit);
        }
    });
    stream
}

/// Cuts rows by the owners of their keys.
pub fn spread<'scope>(input: Edge<'scope>, core: Spread, shared: Arc<Shared>) -> Edge<'scope> {
    let name = format!("{}, before the exchange", core.name());
    let mut builder = OperatorBuilder::new(name, input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |_: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    let Packet::Rows { batch, .. } = packet else {
                        continue;
                    };
                    match core.run(&batch) {
                        Ok(packets) if packets.is_empty() => {}
                        Ok(packets) => output.give(&capability, &mut Packets::from(packets)),
                        Err(error) => {
                            shared.fail(shared.cannot_compute(core.name(), &*error));
                        }
                    }
                }
            });
        }
    });
    stream
}

/// Groups at their owner. `rows` is routed already where there is more than one worker.
pub fn grouped<'scope, G: Groups + 'static>(
    rows: Edge<'scope>,
    reports: Edge<'scope>,
    name: &str,
    mut core: Grouped<G>,
) -> Edge<'scope> {
    let me = rows.scope().index();
    let mut builder = OperatorBuilder::new(name.to_owned(), rows.scope());
    let mut rows = builder.new_input(rows, route());
    let mut reports = builder.new_input(reports, route());
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            rows.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    core.take(Epoch(*capability.time()), packet, || capability.retain(0));
                }
            });
            reports.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    core.take(Epoch(*capability.time()), packet, || capability.retain(0));
                }
            });
            let mut output = output.activate();
            let mut emit = |capability: &Capability<u64>, batch: RecordBatch| {
                let packet = Packet::rows(me, batch);
                output.give(capability, &mut Packets::from(vec![packet]));
            };
            core.advance(frontier(frontiers), &mut emit);
        }
    });
    stream
}

/// A destination's publisher; on workers that are not its home there is no core, and nothing
/// comes. The stream that it yields carries nothing: its frontier says what is committed.
pub fn publish<'scope>(
    input: Edge<'scope>,
    name: &str,
    core: impl FnOnce(SyncActivator) -> Option<Publish>,
) -> Edge<'scope> {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut input = builder.new_input(input, route());
    let (_, stream) = builder.new_output::<Packets>();
    let address = builder.operator_info().address;
    let core = core(scope.worker().sync_activator_for(address.to_vec()));
    let core = Rc::new(RefCell::new(core));
    builder.build_reschedule(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut core = core.borrow_mut();
            input.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    let Some(core) = core.as_mut() else { continue };
                    let epoch = Epoch(*capability.time());
                    match packet {
                        Packet::Rows { lane, batch, .. } => {
                            core.rows(epoch, lane, batch, || capability.retain(0));
                        }
                        Packet::Report { report, .. } => core.hear(epoch, report),
                    }
                }
            });
            // Incomplete as long as something is not committed: the operator stays alive for it.
            core.as_mut()
                .is_some_and(|core| !core.advance(frontier(frontiers)))
        }
    });
    stream
}

/// The earliest epoch that may still come by any input.
pub fn frontier(frontiers: &[MutableAntichain<u64>]) -> Option<Epoch> {
    let firsts = frontiers
        .iter()
        .filter_map(|input| input.frontier().first().copied());
    firsts.min().map(Epoch)
}
