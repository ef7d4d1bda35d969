//! The thin shells of arrangements and of the operators that read them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use super::codec::{Codec, CodecError};
use super::index::{Kept, NullKeys, RESTORED, spread};
use super::join::Join;
use super::over::Over;
use super::reader::Reader;
use super::rows::{Batch, RowSpine, Trace};
use super::sorted::{Arrived, AsArrived, Sorter, Waiting};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::packet::{Packet, Packets, route};
use crate::dataflow::report::Positions;
use crate::dataflow::shell::{self, Edge, frontier};
use crate::dataflow::state::{Held, State, StateError};
use crate::dataflow::withheld::Guard;
use crate::types::Epoch;

/// The rows of a stream by key, for any number of readers.
#[derive(Clone)]
pub struct Index<'scope> {
    arranged: Arranged<'scope, Trace>,
    codec: Arc<Codec>,
}

impl Index<'_> {
    /// What its rows are made by.
    pub fn codec(&self) -> Arc<Codec> {
        Arc::clone(&self.codec)
    }
}

/// What an arrangement is made with.
pub struct IndexParts<'a, 'scope> {
    /// As `explain` and the metrics call it.
    pub name: &'a str,
    /// Makes bytes of its rows.
    pub codec: Codec,
    /// What becomes of rows with a NULL in their key.
    pub nulls: NullKeys,
    /// The door.
    pub state: &'a State,
    /// Says when a snapshot is cut.
    pub reports: Edge<'scope>,
    /// The sources that it hangs on.
    pub positions: Positions,
    /// What the threads of the run share.
    pub shared: &'a Arc<Shared>,
}

/// Arranges rows by key.
pub fn index<'scope>(
    input: Edge<'scope>,
    parts: IndexParts<'_, 'scope>,
) -> Result<Index<'scope>, StateError> {
    let IndexParts {
        name,
        codec,
        nulls,
        state,
        reports,
        positions,
        shared,
    } = parts;
    let codec = Arc::new(codec);
    let held = state.hold(name, Kept::default())?;
    let restored = held.borrow_mut().take_restored();
    let peers = input.scope().peers();
    let rows = spread(name, Arc::clone(&codec), peers, nulls);
    let rows = shell::spread(input, rows, Arc::clone(shared));
    let rows = arrive(rows, &format!("{name}, rows"), restored);
    let arranged = arrange_core::<_, _, AsArrived, Waiting, Sorter, RowSpine>(rows, Pipeline, name);
    held.borrow_mut().watch(arranged.trace.clone());
    keep(
        &arranged,
        reports,
        &format!("{name}, kept"),
        held,
        positions,
        shared,
    );
    Ok(Index { arranged, codec })
}

/// What has come to the owner, as an arrangement takes it; before it, what was restored.
fn arrive<'scope>(
    input: Edge<'scope>,
    name: &str,
    restored: Vec<Arrived>,
) -> Stream<'scope, u64, Vec<Arrived>> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, route());
    let (mut output, stream) = builder.new_output::<Vec<Arrived>>();
    builder.build(move |mut capabilities| {
        let capability = capabilities.pop().expect("one output");
        debug_assert_eq!(*capability.time(), RESTORED);
        let mut first = Some((capability, restored));
        move |_: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            if let Some((capability, mut restored)) = first.take()
                && !restored.is_empty()
            {
                output.give(&capability, &mut restored);
            }
            input.for_each(|capability, packets| {
                let mut arrived = Vec::new();
                for packet in packets.packets.drain(..) {
                    if let Packet::Rows { batch, .. } = packet {
                        arrived.push((*capability.time(), batch));
                    }
                }
                output.give(&capability, &mut arrived);
            });
        }
    });
    stream
}

/// Cuts snapshots of an arrangement, and lets the past of it go.
fn keep<'scope>(
    arranged: &Arranged<'scope, Trace>,
    reports: Edge<'scope>,
    name: &str,
    held: Held<Kept>,
    mut positions: Positions,
    shared: &Arc<Shared>,
) {
    let (shared, of) = (Arc::clone(shared), name.to_owned());
    let mut builder = OperatorBuilder::new(name.to_owned(), reports.scope());
    let mut batches = builder.new_input(arranged.stream.clone(), Pipeline);
    let mut reports = builder.new_input(reports, route());
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            batches.for_each(|_, batches| batches.clear());
            reports.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    if let Packet::Report { report, .. } = packet {
                        positions.hear(Epoch(*capability.time()), report);
                    }
                }
            });
            let frontier = frontier(frontiers);
            let complete = |epoch: &Epoch| frontier.is_none_or(|frontier| *epoch < frontier);
            let epochs: Vec<Epoch> = positions.pending().take_while(complete).collect();
            for epoch in epochs {
                if positions.complete(epoch) {
                    held.borrow_mut().until(Some(epoch));
                    if let Err(error) = held.cut(epoch) {
                        fail(&shared, &of, &*error);
                    }
                    held.borrow_mut().until(None);
                }
                held.borrow_mut().compact(epoch);
            }
        }
    });
}

/// An operator that reads arrangements, epoch by epoch.
trait Epochs {
    /// The arrangement that input `input` brings news of.
    fn reader(&mut self, input: usize) -> &mut Reader;
    /// The first epoch that something changed in.
    fn first(&self) -> Option<u64>;
    /// What comes of `epoch`.
    fn apply(&mut self, epoch: u64, emit: &mut dyn FnMut(RecordBatch)) -> Result<(), CodecError>;
    /// All epochs up to `epoch` are done with.
    fn done(&mut self, epoch: u64);
    /// What to say if the input ends now.
    fn left_over(&self) -> Option<Failure>;
}

struct Joining {
    join: Join,
    readers: [Reader; 2],
}

impl Epochs for Joining {
    fn reader(&mut self, input: usize) -> &mut Reader {
        &mut self.readers[input]
    }

    fn first(&self) -> Option<u64> {
        self.readers.iter().filter_map(Reader::first).min()
    }

    fn apply(
        &mut self,
        epoch: u64,
        mut emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let [left, right] = &mut self.readers;
        self.join.apply(epoch, left, right, &mut emit)
    }

    fn done(&mut self, epoch: u64) {
        self.readers
            .iter_mut()
            .for_each(|reader| reader.done(epoch));
    }

    fn left_over(&self) -> Option<Failure> {
        self.join.left_over()
    }
}

struct Ranking {
    over: Over,
    reader: Reader,
}

impl Epochs for Ranking {
    fn reader(&mut self, _: usize) -> &mut Reader {
        &mut self.reader
    }

    fn first(&self) -> Option<u64> {
        self.reader.first()
    }

    fn apply(
        &mut self,
        epoch: u64,
        mut emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        self.over.apply(epoch, &mut self.reader, &mut emit)
    }

    fn done(&mut self, epoch: u64) {
        self.reader.done(epoch);
    }

    fn left_over(&self) -> Option<Failure> {
        self.over.left_over()
    }
}

/// Joins two arrangements.
pub fn join<'scope>(
    left: &Index<'scope>,
    right: &Index<'scope>,
    name: &str,
    join: Join,
    shared: &Arc<Shared>,
) -> Edge<'scope> {
    let readers = [left, right].map(|side| Reader::new(side.arranged.trace.clone()));
    let streams = [left, right].map(|side| side.arranged.stream.clone());
    epochs(streams.into(), name, Joining { join, readers }, shared)
}

/// Functions over the partitions of an arrangement.
pub fn over<'scope>(
    input: &Index<'scope>,
    name: &str,
    over: Over,
    shared: &Arc<Shared>,
) -> Edge<'scope> {
    let reader = Reader::new(input.arranged.trace.clone());
    let streams = vec![input.arranged.stream.clone()];
    epochs(streams, name, Ranking { over, reader }, shared)
}

/// Runs an operator on whole epochs, in their order.
fn epochs<'scope>(
    inputs: Vec<Stream<'scope, u64, Vec<Batch>>>,
    name: &str,
    mut core: impl Epochs + 'static,
    shared: &Arc<Shared>,
) -> Edge<'scope> {
    let (shared, of) = (Arc::clone(shared), name.to_owned());
    let scope = inputs[0].scope();
    let me = scope.index();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let inputs = inputs
        .into_iter()
        .map(|input| builder.new_input(input, Pipeline));
    let mut inputs: Vec<_> = inputs.collect();
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        // The earliest epoch of what has been taken and not yet worked out.
        let mut held: Option<Capability<u64>> = None;
        let mut guard = Guard::default();
        move |frontiers: &[MutableAntichain<u64>]| {
            for (at, input) in inputs.iter_mut().enumerate() {
                input.for_each(|capability, batches| {
                    let is_earlier = |held: &Capability<u64>| capability.time() < held.time();
                    if held.as_ref().is_none_or(is_earlier) {
                        held = Some(capability.retain(0));
                    }
                    batches.iter().for_each(|batch| core.reader(at).take(batch));
                    batches.clear();
                });
            }
            let frontier = frontier(frontiers);
            let complete = |epoch: &u64| frontier.is_none_or(|frontier| *epoch < frontier.0);
            let mut output = output.activate();
            while let Some(epoch) = core.first().filter(complete) {
                let capability = held
                    .as_ref()
                    .expect("what was taken is held")
                    .delayed(&epoch);
                let mut emit = |batch: RecordBatch| {
                    let packet = Packet::rows(me, batch);
                    output.give(&capability, &mut Packets::from(vec![packet]));
                };
                if let Err(error) = core.apply(epoch, &mut emit) {
                    fail(&shared, &of, &*error);
                }
                if core.left_over().is_some() {
                    guard.set(|| capability.clone());
                }
                core.done(epoch);
            }
            match core.first() {
                Some(epoch) => held.iter_mut().for_each(|held| held.downgrade(&epoch)),
                None => held = None,
            }
            if let Some(before) = frontier.and_then(|frontier| frontier.0.checked_sub(1)) {
                core.done(before);
            }
            if guard.is_set() {
                guard.advance(frontier, core.left_over(), &shared);
            }
        }
    });
    stream
}

fn fail(shared: &Shared, name: &str, error: &(dyn std::error::Error + 'static)) {
    shared.fail(shared.cannot_compute(name, error));
}
