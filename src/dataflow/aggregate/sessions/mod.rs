//! Aggregates over sessions: rows of a partition that follow each other within a gap.
//!
//! ```text
//!   row of partition k ──▶ the sessions of k that it touches ──▶ none: a new one
//!                                                               one: it grows
//!                                                               several: they become one
//!   each session: one slot of the accumulators per group of it
//! ```
//!
//! Which rows make a session does not depend on their order: two rows of a partition are together
//! when a chain of rows, each less than the gap from the next, leads from one to the other. When
//! sessions become one, so do the states of their groups.
//!
//! A session closes when the watermark reaches its end and the allowed lateness after it. No row
//! that is not late can touch it any more: such a row is not before the watermark less the
//! lateness, which is the end at least, and an end is not inside its session.
//!
//! With `Emit::Changes` the rows of a session are taken back and asserted again when it grows: its
//! end is one of their columns. At no time do two sessions of a partition share a start or an end,
//! so (keys, start) and (keys, end) are keys of the accumulated rows.
//!
//! Slots are used once. When most of them are of sessions that are gone, what is left is merged
//! into new accumulators.

mod changes;
mod intervals;
mod partials;
mod plan;
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};

use super::buckets::{is_closed, micros};
use super::changing::Step;
use super::error::AggregateError;
use super::plan::Plan;
use super::slots::Slots;
use super::table::CHUNK;
use crate::dataflow::state::OpenWindows;
use crate::plan::Emit;
use crate::types::{EventTime, Watermark};
use changes::Shown;
use intervals::Intervals;
use plan::SessionPlan;

pub use partials::SessionPartials;

/// The sessions of a worker's keys.
pub struct Sessions {
    plan: Arc<SessionPlan>,
    intervals: Intervals<Members>,
    slots: Slots,
    /// Slots below it were given out.
    given: usize,
    /// Slots that a session has.
    live: usize,
    /// What was shown; `None` where sessions come out when they close.
    shown: Option<Shown>,
}

/// The groups of a session.
enum Members {
    /// It is one itself.
    One(u32),
    /// By what their keys have beyond the partition's.
    Many(BTreeMap<Arc<[u8]>, u32>),
}

/// A group of a session.
#[derive(Clone)]
pub struct Row {
    key: Arc<[u8]>,
    member: Arc<[u8]>,
    start: i64,
    end: i64,
    slot: u32,
}

/// Slots that become others.
type Merges = Vec<(u32, u32)>;

/// Rows, or states, that are to be put into sessions.
struct Arriving<'a> {
    keys: &'a BinaryArray,
    hashes: &'a [u64],
    members: &'a BinaryArray,
    starts: &'a [i64],
    ends: &'a [i64],
}

impl Sessions {
    /// None yet; `None` if the windows of the plan are no sessions.
    pub(super) fn new(plan: &Arc<Plan>) -> Option<Self> {
        let shown = match plan.emit {
            Emit::Changes => Some(Shown::default()),
            Emit::OnClose => None,
        };
        let plan = Arc::new(SessionPlan::new(plan)?);
        Some(Self {
            slots: Slots::new(&plan.aggregate),
            plan,
            intervals: Intervals::default(),
            given: 0,
            live: 0,
            shown,
        })
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        let plan = Arc::clone(&self.plan);
        let columns = plan.aggregate.columns(input)?;
        let keys = plan.keys(&columns, input.num_rows())?;
        let arriving = Arriving {
            keys: &keys.keys,
            hashes: &keys.hashes,
            members: &keys.members,
            starts: micros(input.column(plan.window.start)),
            ends: micros(input.column(plan.window.end)),
        };
        let (slots, merges) = self.place(&arriving)?;
        let columns = plan.aggregate.aggregated(&columns, None)?;
        self.slots
            .update(&plan.aggregate, Step::Give, &columns, &slots)?;
        self.merge_slots(merges)
    }

    /// Event time has reached `watermark`: sessions that are complete are freed. With
    /// `Emit::OnClose` their rows are returned, by end, start and key.
    pub fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, AggregateError> {
        let window = self.plan.window;
        let over = self.intervals.over(|end| is_closed(window, end, watermark));
        let mut rows: Vec<Row> = Vec::new();
        for id in over {
            let session = self.intervals.remove(id);
            session.value.each(&session, &mut rows);
        }
        self.live -= rows.len();
        let out = match &mut self.shown {
            Some(shown) => shown.forget(&rows).map(|()| Vec::new()),
            None => self.rows(&rows),
        };
        self.compact()?;
        out
    }

    /// The rows of groups, in their order.
    fn rows(&self, rows: &[Row]) -> Result<Vec<RecordBatch>, AggregateError> {
        let parts = rows.chunks(CHUNK).map(|rows| {
            let slots: Vec<u32> = rows.iter().map(|row| row.slot).collect();
            let results = self.slots.peek(&self.plan.aggregate, &slots)?;
            self.plan.output(rows, &results)
        });
        parts.collect()
    }

    /// How many groups are held.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.live
    }

    /// Memory held, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.bytes() + self.intervals.bytes()
    }

    /// The sessions that are held.
    #[must_use]
    pub fn open_windows(&self) -> Option<OpenWindows> {
        Some(OpenWindows {
            count: self.intervals.len(),
            next_end: EventTime(self.intervals.next_end()?),
            lateness_us: self.plan.window.lateness_us,
        })
    }

    /// Puts rows into sessions: the slot of each, and which slots become one.
    fn place(&mut self, arriving: &Arriving<'_>) -> Result<(Vec<u32>, Merges), AggregateError> {
        let mut slots = Vec::with_capacity(arriving.starts.len());
        let (mut merges, mut found) = (Vec::new(), Vec::new());
        for row in 0..arriving.starts.len() {
            let key = (arriving.keys.value(row), arriving.hashes[row]);
            let (mut start, mut end) = (arriving.starts[row], arriving.ends[row]);
            self.intervals.overlapping(key, (start, end), &mut found);
            if let Some(shown) = &mut self.shown {
                found
                    .iter()
                    .for_each(|id| shown.touch(*id, self.intervals.get_mut(*id)));
            }
            let id = match found.as_slice() {
                [] => {
                    let members = Members::new(self.plan.single, &mut self.given, &mut self.live);
                    let id = self.intervals.insert(key, (start, end), members);
                    if let Some(shown) = &mut self.shown {
                        shown.begin(id);
                    }
                    id
                }
                [first, others @ ..] => {
                    for other in others {
                        let other = self.intervals.remove(*other);
                        (start, end) = (start.min(other.start), end.max(other.end));
                        let first = &mut self.intervals.get_mut(*first).value;
                        first.join(other.value, &mut merges);
                    }
                    self.intervals.stretch(*first, start, end);
                    *first
                }
            };
            let members = &mut self.intervals.get_mut(id).value;
            let member = arriving.members.value(row);
            slots.push(members.slot(member, &mut self.given, &mut self.live));
        }
        if let Some(shown) = &mut self.shown {
            // Before anything is added to them.
            shown.peek(&self.plan.aggregate, &self.slots)?;
        }
        self.slots.resize(self.given);
        Ok((slots, merges))
    }

    /// Merges slots into others, which may go on into further ones.
    fn merge_slots(&mut self, merges: Merges) -> Result<(), AggregateError> {
        if merges.is_empty() {
            return Ok(());
        }
        self.live -= merges.len();
        let mut ends: BTreeMap<u32, u32> = BTreeMap::new();
        for (from, to) in merges.into_iter().rev() {
            let end = ends.get(&to).copied().unwrap_or(to);
            ends.insert(from, end);
        }
        let from: Vec<u32> = ends.keys().copied().collect();
        let to: Vec<u32> = ends.into_values().collect();
        let states = self.states_of(&from)?;
        self.slots
            .merge(&self.plan.aggregate, Step::Give, &states, &to)
    }

    /// The states of some slots, which ascend.
    fn states_of(&self, slots: &[u32]) -> Result<Vec<ArrayRef>, AggregateError> {
        /// Reading so many slots too many is cheaper than beginning anew.
        const APART: u32 = 32;
        let plan = &self.plan.aggregate;
        let near = |a: &u32, b: &u32| b - a <= APART;
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        for cluster in slots.chunk_by(near) {
            let (first, last) = (cluster[0], cluster[cluster.len() - 1]);
            let states = self.slots.states(plan, first as usize..last as usize + 1)?;
            if (last - first) as usize + 1 == cluster.len() {
                parts.push(states);
                continue;
            }
            let picks = UInt32Array::from_iter_values(cluster.iter().map(|slot| slot - first));
            let picked = states.iter().map(|state| take(state, &picks, None));
            parts.push(picked.collect::<Result<_, _>>()?);
        }
        if let [_] = parts[..] {
            return Ok(parts.pop().expect("there is one"));
        }
        let columns = parts.first().map_or(0, Vec::len);
        let columns = (0..columns).map(|column| {
            let parts: Vec<&dyn Array> = parts.iter().map(|part| &*part[column]).collect();
            Ok(concat(&parts)?)
        });
        columns.collect()
    }

    /// Frees the slots of sessions that are gone, where that is most of them.
    fn compact(&mut self) -> Result<(), AggregateError> {
        /// Fewer are not worth it.
        const FEW: usize = 1024;
        if self.live == 0 {
            self.slots.clear();
            self.given = 0;
            return Ok(());
        }
        if self.given - self.live <= self.live.max(FEW) {
            return Ok(());
        }
        let mut old: Vec<u32> = Vec::with_capacity(self.live);
        for session in self.intervals.iter() {
            session.value.slots(&mut old);
        }
        old.sort_unstable();
        let mut slots = Slots::new(&self.plan.aggregate);
        slots.resize(old.len());
        let mut moved = vec![u32::MAX; self.given];
        for (from, old) in (0..).step_by(CHUNK).zip(old.chunks(CHUNK)) {
            let new: Vec<u32> = (from..).take(old.len()).collect();
            let states = self.states_of(old)?;
            slots.merge(&self.plan.aggregate, Step::Give, &states, &new)?;
            for (old, new) in old.iter().zip(new) {
                moved[*old as usize] = new;
            }
        }
        for session in self.intervals.iter_mut() {
            session.value.moved(&moved);
        }
        if let Some(shown) = &mut self.shown {
            shown.moved(&moved);
        }
        (self.slots, self.given) = (slots, old.len());
        Ok(())
    }
}

impl Members {
    fn new(single: bool, given: &mut usize, live: &mut usize) -> Self {
        match single {
            true => Self::One(next(given, live)),
            false => Self::Many(BTreeMap::new()),
        }
    }

    /// The slot of a group, which is made if it is new.
    fn slot(&mut self, member: &[u8], given: &mut usize, live: &mut usize) -> u32 {
        match self {
            Self::One(slot) => *slot,
            Self::Many(slots) => match slots.get(member) {
                Some(slot) => *slot,
                None => {
                    let slot = next(given, live);
                    slots.insert(Arc::from(member), slot);
                    slot
                }
            },
        }
    }

    /// Takes the groups of a session that has become this one.
    fn join(&mut self, other: Self, merges: &mut Merges) {
        match (self, other) {
            (Self::One(ours), Self::One(theirs)) => merges.push((theirs, *ours)),
            (Self::Many(ours), Self::Many(theirs)) => {
                for (member, theirs) in theirs {
                    match ours.get(&member) {
                        Some(ours) => merges.push((theirs, *ours)),
                        None => drop(ours.insert(member, theirs)),
                    }
                }
            }
            (Self::One(_), Self::Many(_)) | (Self::Many(_), Self::One(_)) => {
                panic!("sessions of one plan have one group each, or many")
            }
        }
    }

    fn slots(&self, out: &mut Vec<u32>) {
        match self {
            Self::One(slot) => out.push(*slot),
            Self::Many(slots) => out.extend(slots.values()),
        }
    }

    fn moved(&mut self, to: &[u32]) {
        match self {
            Self::One(slot) => *slot = to[*slot as usize],
            Self::Many(slots) => slots
                .values_mut()
                .for_each(|slot| *slot = to[*slot as usize]),
        }
    }

    /// The groups of a session, in the order of their keys.
    fn each<T>(&self, of: &intervals::Session<T>, out: &mut Vec<Row>) {
        let row = |member: Arc<[u8]>, slot: u32| Row {
            key: Arc::clone(&of.key),
            member,
            start: of.start,
            end: of.end,
            slot,
        };
        match self {
            Self::One(slot) => out.push(row(Arc::default(), *slot)),
            Self::Many(slots) => {
                let rows = slots.iter();
                out.extend(rows.map(|(member, slot)| row(Arc::clone(member), *slot)));
            }
        }
    }
}

fn next(given: &mut usize, live: &mut usize) -> u32 {
    let slot = u32::try_from(*given).expect("slots are numbered by u32");
    *given += 1;
    *live += 1;
    slot
}
