//! The shell around everything that keeps a row per group: aggregates, and the last row per key.
//!
//! ```text
//!   one worker     rows ──────────────────────────────▶ Grouped ──▶ changes, closed windows
//!   several        rows ──▶ Local ──▶ exchange by key ─▶ Grouped
//!   of changing    rows ──▶ Spread ─▶ exchange by key ─▶ Grouped
//! ```
//!
//! Whole epochs, in order: rows of the epoch that the frontier stands at may be applied at once,
//! because everything before it is complete; later ones are stashed. When the frontier passes an
//! epoch, its changes come out, then event time moves to the epoch's watermark and closes what
//! it closes, still in that epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::UInt64Type;
use timely::dataflow::operators::Capability;

use super::outcome::{Failure, Shared};
use super::packet::Packet;
use super::report::{Positions, Report};
use super::roles::with_counts;
use super::spread::by_target;
use super::state::{Held, Stateful};
use super::withheld::Guard;
use crate::types::{Epoch, Watermark};

/// What went wrong with a group: it ends the run.
pub type GroupError = Box<dyn std::error::Error + Send + Sync>;

/// Rows with a count each: +1 asserted, -1 retracted.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The rows.
    pub rows: RecordBatch,
    /// Their counts.
    pub counts: Int64Array,
}

/// A pure core that keeps a row per group.
pub trait Groups: Stateful {
    /// Takes in rows of the operator's input.
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError>;
    /// Takes in what another worker's `PreGroups` gave; who has none is sent rows.
    fn merge(&mut self, _: &RecordBatch) -> Result<(), GroupError> {
        Err("its rows are sent as they are".into())
    }
    /// The epoch is complete: what changed since the last one.
    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        Ok(Vec::new())
    }
    /// Event time is at `watermark`: frees what it closes and gives the rows that are due.
    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError>;
    /// Event time has got to `reached`, and is not said to end: forgets what is over for that, and
    /// gives what that changes, with counts.
    fn forget(&mut self, _reached: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(Vec::new())
    }
    /// What to say of groups that show no row because it cannot be computed, if the input ends
    /// now (see `withheld`).
    fn left_over(&self) -> Result<Option<Failure>, GroupError> {
        Ok(None)
    }
}

/// A pure core that groups rows where they were read, before the exchange.
pub trait PreGroups {
    /// Takes in rows of the operator's input.
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError>;
    /// How many groups it holds.
    fn groups(&self) -> usize;
    /// Gives everything away. The first column is the hash of the group's key, which is the same
    /// on every worker.
    fn drain(&mut self) -> Result<Vec<RecordBatch>, GroupError>;
}

/// How rows come to a `Grouped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// As the operator's input.
    Rows,
    /// As partial states.
    Partials,
}

/// The stateful operator on one worker.
pub struct Grouped<G> {
    name: String,
    groups: Held<G>,
    incoming: Incoming,
    positions: Positions,
    stash: BTreeMap<Epoch, Stashed>,
    guard: Guard,
    shared: Arc<Shared>,
}

struct Stashed {
    rows: Vec<RecordBatch>,
    capability: Capability<u64>,
}

impl<G: Groups> Grouped<G> {
    /// An operator over `groups`, whose event time is that of the sources in `positions`.
    pub fn new(
        name: String,
        groups: Held<G>,
        incoming: Incoming,
        positions: Positions,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            name,
            groups,
            incoming,
            positions,
            stash: BTreeMap::new(),
            guard: Guard::default(),
            shared,
        }
    }

    /// A packet of an epoch.
    pub fn take(&mut self, epoch: Epoch, packet: Packet, hold: impl FnOnce() -> Capability<u64>) {
        let stashed = self.stash.entry(epoch).or_insert_with(|| Stashed {
            rows: Vec::new(),
            capability: hold(),
        });
        match packet {
            Packet::Rows { batch, .. } => stashed.rows.push(batch),
            Packet::Report { report, .. } => self.hear(epoch, report),
        }
    }

    fn hear(&mut self, epoch: Epoch, report: Report) {
        self.positions.hear(epoch, report);
    }

    /// Everything before `frontier` is complete (`None`: everything). What comes out goes to
    /// `emit`, with the capability of its epoch.
    pub fn advance(
        &mut self,
        frontier: Option<Epoch>,
        emit: &mut impl FnMut(&Capability<u64>, RecordBatch),
    ) {
        self.run(frontier, emit);
        if self.guard.is_set() {
            let left = self.left_over();
            self.guard.advance(frontier, left, &self.shared);
        }
    }

    fn run(
        &mut self,
        frontier: Option<Epoch>,
        emit: &mut impl FnMut(&Capability<u64>, RecordBatch),
    ) {
        while let Some(mut entry) = self.stash.first_entry() {
            let epoch = *entry.key();
            let rows = std::mem::take(&mut entry.get_mut().rows);
            let complete = frontier.is_none_or(|frontier| epoch < frontier);
            if !complete && Some(epoch) != frontier {
                // It is ahead of an epoch that is still open.
                entry.get_mut().rows = rows;
                return;
            }
            if let Err(error) = self.apply(&rows) {
                return self.fail(&*error);
            }
            if !complete {
                return;
            }
            let Stashed { capability, .. } = self.stash.remove(&epoch).expect("it is the first");
            if let Err(error) = self.seal(epoch, &mut |rows| emit(&capability, rows)) {
                // The capability goes only after the failure is known to all.
                return self.fail(&*error);
            }
            if self.left_over().is_some() {
                self.guard.set(|| capability);
            }
        }
    }

    fn apply(&mut self, batches: &[RecordBatch]) -> Result<(), GroupError> {
        let mut groups = self.groups.borrow_mut();
        for rows in batches {
            match self.incoming {
                Incoming::Rows => groups.update(rows)?,
                Incoming::Partials => groups.merge(rows)?,
            }
        }
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch, emit: &mut impl FnMut(RecordBatch)) -> Result<(), GroupError> {
        let mut groups = self.groups.borrow_mut();
        for changes in groups.changes()? {
            emit(with_counts(&changes.rows, &changes.counts));
        }
        let cut = self.positions.complete(epoch);
        for rows in groups.close(self.positions.watermark())? {
            emit(rows);
        }
        for rows in groups.forget(self.positions.furthest())? {
            emit(rows);
        }
        drop(groups);
        if cut { self.groups.cut(epoch) } else { Ok(()) }
    }

    fn left_over(&mut self) -> Option<Failure> {
        let left = self.groups.borrow().left_over();
        let left = left.unwrap_or_else(|error| {
            self.fail(&*error);
            None
        });
        left.map(|failure| self.shared.cannot_compute_row(&self.name, failure))
    }

    fn fail(&mut self, error: &(dyn std::error::Error + 'static)) {
        let failure = self.shared.cannot_compute(&self.name, error);
        self.shared.fail(failure);
        self.stash.clear();
    }
}

/// Pre-aggregates on the worker that read the rows, then sends each group to its owner.
pub struct Local<G> {
    name: String,
    groups: G,
    open: Option<Capability<u64>>,
    limit: usize,
    peers: usize,
    shared: Arc<Shared>,
}

impl<G: PreGroups> Local<G> {
    /// At most `limit` groups are held before they are sent on.
    pub fn new(name: String, groups: G, limit: usize, peers: usize, shared: Arc<Shared>) -> Self {
        Self {
            name,
            groups,
            open: None,
            limit,
            peers,
            shared,
        }
    }

    /// Rows of an epoch.
    pub fn take(
        &mut self,
        epoch: u64,
        rows: &RecordBatch,
        hold: impl FnOnce() -> Capability<u64>,
        emit: &mut impl FnMut(&Capability<u64>, Packet),
    ) {
        if self.open.as_ref().is_some_and(|open| *open.time() != epoch) {
            self.flush(emit);
        }
        self.open.get_or_insert_with(hold);
        if let Err(error) = self.groups.update(rows) {
            return self.fail(&error);
        }
        if self.groups.groups() >= self.limit {
            self.flush(emit);
        }
    }

    /// Everything before `frontier` is complete.
    pub fn advance(
        &mut self,
        frontier: Option<u64>,
        emit: &mut impl FnMut(&Capability<u64>, Packet),
    ) {
        let open = self.open.as_ref().map(|open| *open.time());
        if open.is_some_and(|open| frontier.is_none_or(|frontier| open < frontier)) {
            self.flush(emit);
        }
    }

    fn flush(&mut self, emit: &mut impl FnMut(&Capability<u64>, Packet)) {
        let Some(capability) = self.open.take() else {
            return;
        };
        let sent = self.groups.drain().and_then(|partials| {
            for partial in partials {
                let hashes = partial.column(0).as_primitive::<UInt64Type>();
                for (target, batch) in by_target(hashes, &partial, self.peers)? {
                    emit(&capability, Packet::rows(target, batch));
                }
            }
            Ok(())
        });
        if let Err(error) = sent {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &GroupError) {
        self.shared
            .fail(self.shared.cannot_compute(&self.name, &**error));
    }
}
