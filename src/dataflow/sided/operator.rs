//! The shell of joins by event time: whole epochs, in order, of two inputs and of reports.
//!
//! As in `group`: rows of the epoch that the frontier stands at are applied at once, because
//! everything before it is complete; later ones are stashed. When the frontier passes an epoch,
//! event time moves to its watermark and lets go what it lets go, still in that epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::dataflow::changing::CodecError;
use crate::dataflow::outcome::Shared;
use crate::dataflow::packet::{Packet, Packets, route};
use crate::dataflow::report::Positions;
use crate::dataflow::shell::{Edge, frontier};
use crate::dataflow::state::{Held, Stateful};
use crate::types::{Epoch, Watermark};

/// A join of two append streams whose rows the watermark lets go.
pub trait Sided: Stateful {
    /// Takes in rows of one side (0 is the left), which are not behind what that side promised.
    fn update(
        &mut self,
        side: usize,
        rows: &RecordBatch,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError>;

    /// Every row of the epoch is in, and event time is at `watermark`.
    fn close(
        &mut self,
        watermark: Watermark,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError>;
}

/// A join on one worker.
pub struct Joined<J> {
    name: String,
    state: Held<J>,
    positions: Positions,
    stash: BTreeMap<Epoch, Stashed>,
    shared: Arc<Shared>,
}

/// What an epoch brought of each side.
struct Stashed {
    rows: [Vec<RecordBatch>; 2],
    capability: Capability<u64>,
}

impl<J: Sided> Joined<J> {
    /// An operator over `state`, whose event time is that of the sources in `positions`.
    pub fn new(name: String, state: Held<J>, positions: Positions, shared: Arc<Shared>) -> Self {
        Self {
            name,
            state,
            positions,
            stash: BTreeMap::new(),
            shared,
        }
    }

    /// A packet of an epoch: rows of a side, or a report.
    fn take(
        &mut self,
        epoch: Epoch,
        side: usize,
        packet: Packet,
        hold: impl FnOnce() -> Capability<u64>,
    ) {
        let stashed = self.stash.entry(epoch).or_insert_with(|| Stashed {
            rows: Default::default(),
            capability: hold(),
        });
        match packet {
            Packet::Rows { batch, .. } => stashed.rows[side].push(batch),
            Packet::Report { report, .. } => self.positions.hear(epoch, report),
        }
    }

    /// Everything before `frontier` is complete (`None`: everything).
    fn advance(
        &mut self,
        frontier: Option<Epoch>,
        emit: &mut dyn FnMut(&Capability<u64>, RecordBatch),
    ) {
        while let Some((&epoch, stashed)) = self.stash.first_key_value() {
            let complete = frontier.is_none_or(|frontier| epoch < frontier);
            if !complete && Some(epoch) != frontier {
                // It is ahead of an epoch that is still open.
                return;
            }
            let capability = stashed.capability.clone();
            let mut emit = |rows| emit(&capability, rows);
            if let Err(error) = self.apply(epoch, complete, &mut emit) {
                // The capability goes only after the failure is known to all.
                let failure = self.shared.cannot_compute(&self.name, &*error);
                self.shared.fail(failure);
                return self.stash.clear();
            }
            if !complete {
                return;
            }
            self.stash.remove(&epoch);
        }
    }

    fn apply(
        &mut self,
        epoch: Epoch,
        complete: bool,
        emit: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let stashed = self.stash.get_mut(&epoch).expect("it is being applied");
        let rows = std::mem::take(&mut stashed.rows);
        let mut state = self.state.borrow_mut();
        for (side, batches) in rows.iter().enumerate() {
            for batch in batches {
                state.update(side, batch, emit)?;
            }
        }
        if !complete {
            return Ok(());
        }
        let cut = self.positions.complete(epoch);
        state.close(self.positions.watermark(), emit)?;
        drop(state);
        if cut { self.state.cut(epoch) } else { Ok(()) }
    }
}

/// Joins at the owner of the keys. The rows are routed already where there is more than one
/// worker.
pub fn joined<'scope, J: Sided + 'static>(
    sides: [Edge<'scope>; 2],
    reports: Edge<'scope>,
    name: &str,
    mut core: Joined<J>,
) -> Edge<'scope> {
    let scope = reports.scope();
    let me = scope.index();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let [left, right] = sides;
    // A report comes by itself; it has no side.
    let mut inputs = [left, right, reports].map(|input| builder.new_input(input, route()));
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            for (at, input) in inputs.iter_mut().enumerate() {
                input.for_each(|capability, packets| {
                    for packet in packets.packets.drain(..) {
                        let epoch = Epoch(*capability.time());
                        core.take(epoch, at, packet, || capability.retain(0));
                    }
                });
            }
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
