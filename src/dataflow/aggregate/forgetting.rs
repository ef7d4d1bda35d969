//! `state.ttl`: groups that have had no record for so long, as event time counts, are forgotten.
//!
//! ```text
//!   rows of the turn that event time is in ─────────────────────────────▶ the groups
//!   rows of later turns ──▶ a table per turn ──when event time gets there──▶ the groups
//!                                                   │ before that: those that are over leave
//! ```
//!
//! Turn by turn, and all rows of a turn together: first the groups leave whose last record is more
//! than eight turns back, then the rows of the turn come. A partition that is ahead of the others
//! waits, so it does not matter which was read first. What is held and shown is then a function of
//! the rows, of their turns and of how far event time is: not of epochs, workers or restarts.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;

use super::aggregates::Aggregates;
use super::buckets::{Bucket, micros};
use super::changing::Step;
use super::error::AggregateError;
use super::table::chunks;
use super::tables::{Tables, each_given, each_partial};
use crate::dataflow::roles::with_counts;
use crate::dataflow::turns::{TurnClock, Turns};
use crate::types::Watermark;

/// When each group was given a record last.
pub(super) struct Ages {
    clock: TurnClock,
    /// By group: a turn.
    last: Vec<i64>,
    /// None of them is before this one.
    oldest: i64,
}

impl Ages {
    /// No groups yet.
    pub fn new(turns: Turns) -> Self {
        Self {
            clock: TurnClock::new(turns),
            last: Vec::new(),
            oldest: i64::MAX,
        }
    }

    /// Of so many groups, some were given records of a turn.
    fn touch(&mut self, groups: impl Iterator<Item = u32>, count: usize, turn: i64) {
        self.last.resize(count, i64::MIN);
        for group in groups {
            let last = &mut self.last[group as usize];
            *last = turn.max(*last);
            self.oldest = self.oldest.min(turn);
        }
    }

    /// The groups that are over when `turn` begins, ascending.
    fn over(&mut self, turn: i64) -> Vec<u32> {
        let kept = turn.saturating_sub(Turns::KEPT);
        if self.oldest >= kept {
            return Vec::new();
        }
        let groups = (0..).zip(&self.last);
        let over = groups.filter(|(_, last)| **last < kept);
        let over: Vec<u32> = over.map(|(group, _)| group).collect();
        self.last.retain(|last| *last >= kept);
        self.oldest = self.last.iter().copied().min().unwrap_or(i64::MAX);
        over
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.last.capacity() * size_of::<i64>()
    }
}

const FORGETS: &str = "only asked of what forgets";

/// What a snapshot says of a group's rows in the second column of a bucket: they are counted in
/// the group that is shown, or they wait for their turn.
const SHOWN: i64 = 1;

impl Aggregates {
    /// Takes rows that say their turns.
    pub(super) fn update_by_turn(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        let clock = self.clock();
        each_given(&self.plan, input, |turn, given| {
            let (tables, bucket) = place(turn, clock, &mut self.tables, &mut self.news);
            tables
                .at(&self.plan, bucket)
                .take(&self.plan, Step::Give, given)
        })
    }

    /// Takes partial states by turn.
    pub(super) fn merge_by_turn(&mut self, partials: &RecordBatch) -> Result<(), AggregateError> {
        let clock = self.clock();
        each_partial(&self.plan, partials, |turn, states| {
            let (tables, bucket) = place(turn, clock, &mut self.tables, &mut self.news);
            tables.at(&self.plan, bucket).merge(&self.plan, states)
        })
    }

    fn clock(&self) -> TurnClock {
        self.ages.as_ref().expect(FORGETS).clock
    }

    /// The rows that were given are about to be shown: they are of the turn that event time is in.
    pub(super) fn touch_given(&mut self) {
        let table = self.tables.by_bucket.get(&Bucket::ALL);
        if let (Some(ages), Some(table)) = (&mut self.ages, table)
            && let Some(now) = ages.clock.now()
        {
            ages.touch(table.touched(), table.len(), now);
        }
    }

    /// Event time has got to `reached`, and is not said to end: what leaves and what comes for
    /// that, with counts.
    pub fn forget(&mut self, reached: Watermark) -> Result<Vec<RecordBatch>, AggregateError> {
        let Some(ages) = &mut self.ages else {
            return Ok(Vec::new());
        };
        let waiting = self.news.by_bucket.keys().map(|bucket| bucket.start);
        let mut changes = Vec::new();
        for turn in ages.clock.advance(reached, waiting) {
            self.begin_turn(turn, &mut changes)?;
        }
        Ok(changes)
    }

    /// What is over leaves, and then the rows of a turn come.
    fn begin_turn(
        &mut self,
        turn: i64,
        changes: &mut Vec<RecordBatch>,
    ) -> Result<(), AggregateError> {
        let ages = self.ages.as_mut().expect(FORGETS);
        let table = self.tables.at(&self.plan, Bucket::ALL);
        let mut parts = Vec::new();
        let over = ages.over(turn);
        if !over.is_empty() {
            parts = table.take_back(&self.plan, &over)?;
        }
        if let Some(rows) = self.news.by_bucket.remove(&Bucket::of_turn(turn)) {
            table.merge_table(&self.plan, &rows)?;
            self.news.recycle(rows);
            ages.touch(table.touched(), table.len(), turn);
            parts.extend(table.changes(&self.plan)?);
        }
        for part in parts {
            let rows = part.diffs.len();
            let rows = self.plan.output_batch(part.columns, Bucket::ALL, rows)?;
            changes.push(with_counts(&rows, &part.diffs));
        }
        Ok(())
    }

    /// The state where groups are forgotten: that of the groups by the turns of their last
    /// records, and that of the rows that wait for their turns.
    pub(super) fn state_by_turn(
        &self,
    ) -> impl Iterator<Item = Result<RecordBatch, AggregateError>> + '_ {
        let groups = self.tables.by_bucket.get(&Bucket::ALL).into_iter();
        let shown = groups.flat_map(|table| chunks(table.len()));
        let shown = shown.map(|groups| self.shown(groups));
        shown.chain(self.news.states(&self.plan))
    }

    fn shown(&self, groups: Range<usize>) -> Result<RecordBatch, AggregateError> {
        let ages = self.ages.as_ref().expect(FORGETS);
        let last = Int64Array::from(ages.last[groups.clone()].to_vec());
        let table = &self.tables.by_bucket[&Bucket::ALL];
        let (routes, keys, states) = table.partial(&self.plan, groups)?;
        let is_shown = Int64Array::from_value(SHOWN, last.len());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(routes), Arc::new(last)];
        columns.extend([Arc::new(is_shown) as ArrayRef, Arc::new(keys)]);
        columns.extend(states);
        Ok(RecordBatch::try_new(
            Arc::clone(&self.plan.partial),
            columns,
        )?)
    }

    /// Takes a batch of `state_by_turn`.
    pub(super) fn load_by_turn(&mut self, state: &RecordBatch) -> Result<(), AggregateError> {
        let shown = micros(state.column(2)).iter();
        let shown: BooleanArray = shown.map(|shown| Some(*shown == SHOWN)).collect();
        let waiting = filter_record_batch(state, &arrow::compute::not(&shown)?)?;
        self.news.merge(&self.plan, &waiting)?;
        let ages = self.ages.as_mut().expect(FORGETS);
        let table = self.tables.at(&self.plan, Bucket::ALL);
        let groups = filter_record_batch(state, &shown)?;
        each_partial(&self.plan, &groups, |last, states| {
            table.merge(&self.plan, states)?;
            let groups = table.numbers().iter().copied();
            ages.touch(groups, table.len(), last.start);
            Ok(())
        })?;
        table.was_shown(&self.plan)
    }
}

/// Where rows of a turn go: to the groups, or to those that wait for that turn.
fn place<'t>(
    turn: Bucket,
    clock: TurnClock,
    shown: &'t mut Tables,
    waiting: &'t mut Tables,
) -> (&'t mut Tables, Bucket) {
    match clock.is_to_come(turn.start) {
        true => (waiting, turn),
        false => (shown, Bucket::ALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; 0] = [];

    #[test]
    fn a_group_is_over_when_eight_turns_have_passed_without_a_record() {
        let mut ages = Ages::new(Turns::of_ttl(80));
        ages.touch([0, 1].into_iter(), 2, 10);
        ages.touch([1, 2].into_iter(), 3, 12);

        assert_eq!(ages.over(18), NONE);
        assert_eq!(ages.over(19), [0]);
        assert_eq!(ages.over(19), NONE);
        assert_eq!(ages.over(21), [0, 1]);
        assert_eq!(ages.over(100), NONE);
    }
}
