//! The groups of one bucket, with what is in the making for each, and what changed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, UInt32Array, UInt64Array,
    make_comparator,
};
use arrow::compute::{SortOptions, filter, interleave, take};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

use super::changing::Step;
use super::error::AggregateError;
use super::groups::Groups;
use super::keys::{NO_KEY, hashes, routes};
use super::plan::Plan;
use super::slots::Slots;

/// Groups and their accumulators.
pub(super) struct Table {
    groups: Groups,
    slots: Slots,
    rows: Rows,
    tracked: Option<Tracked>,
    /// The group of each row of a batch; kept for its memory.
    numbers: Vec<u32>,
}

/// What a table showed before the epoch that is being applied.
#[derive(Default)]
struct Tracked {
    /// Groups below it had a row.
    existing: usize,
    /// By group: whether it is in `touched`.
    seen: Vec<bool>,
    /// Groups that had a row and were given more.
    touched: Vec<u32>,
    /// The results they had, in the order of `touched`: by batch, how many groups, and their
    /// aggregates.
    before: Vec<(usize, Vec<ArrayRef>)>,
    hidden: Hidden,
}

/// Groups that show no row.
#[derive(Default)]
struct Hidden {
    /// A result does not fit its type.
    failing: BTreeMap<u32, String>,
    /// All their rows were taken back.
    gone: BTreeSet<u32>,
}

impl Hidden {
    fn has(&self, group: u32) -> bool {
        self.failing.contains_key(&group) || self.gone.contains(&group)
    }

    /// From now on, of `groups`, these rows fail and these groups are gone.
    fn replace(&mut self, groups: &[u32], failed: BTreeMap<usize, String>, gone: BTreeSet<u32>) {
        if !self.failing.is_empty() || !self.gone.is_empty() {
            for group in groups {
                self.failing.remove(group);
                self.gone.remove(group);
            }
        }
        let failed = failed.into_iter().map(|(row, why)| (groups[row], why));
        self.failing.extend(failed);
        self.gone.extend(gone);
    }
}

/// Rows of a batch for a table.
pub(super) struct Given<'a> {
    /// Of all rows of the batch.
    pub keys: &'a BinaryArray,
    /// Of these.
    pub hashes: &'a [u64],
    /// Which rows are meant; `None` is all.
    pub rows: Option<&'a [u32]>,
    /// What accumulators take, of the rows that are meant alone.
    pub columns: &'a [Option<ArrayRef>],
}

/// Groups of another table for a table.
pub(super) struct States<'a> {
    pub keys: &'a BinaryArray,
    pub hashes: &'a [u64],
    /// The columns of all accumulators' states.
    pub columns: &'a [ArrayRef],
}

/// A group that shows no row, and how many there are.
pub(super) struct Failing<'t> {
    pub key: Vec<ArrayRef>,
    pub why: &'t str,
    pub groups: usize,
}

/// Hashes to exchange by, keys, and the columns of states.
type Partial = (UInt64Array, BinaryArray, Vec<ArrayRef>);

/// Whether a table remembers what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracking {
    /// It does: `changes` will be asked for.
    On,
    /// It does not.
    Off,
}

/// What becomes of rows that have one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rows {
    /// They are one group.
    #[default]
    Grouped,
    /// Each is a group of its own: partial states only, which meet where they are merged.
    Apart,
}

/// Rows to retract, then rows to assert: key columns and aggregates.
pub(super) struct TableChanges {
    pub columns: Vec<ArrayRef>,
    pub diffs: Int64Array,
}

impl Table {
    pub fn new(plan: &Plan, tracking: Tracking) -> Self {
        Self {
            groups: Groups::default(),
            slots: Slots::new(plan),
            rows: Rows::Grouped,
            tracked: (tracking == Tracking::On).then(Tracked::default),
            numbers: Vec::new(),
        }
    }

    /// The same for other rows; there are none yet.
    pub fn of(mut self, rows: Rows) -> Self {
        assert!(self.len() == 0, "only an empty table changes what it holds");
        self.rows = rows;
        self
    }

    /// The group without a key is there from the beginning, over no rows.
    pub fn begin(&mut self, plan: &Plan) -> Result<(), AggregateError> {
        let keys = BinaryArray::from_iter_values([NO_KEY]);
        self.number(plan, &keys, &hashes(&keys), None)
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// How many of them have rows.
    pub fn living(&self) -> usize {
        let gone = self.tracked.as_ref().map(|tracked| &tracked.hidden.gone);
        self.len() - gone.map_or(0, BTreeSet::len)
    }

    pub fn bytes(&self) -> usize {
        let tracked = self.tracked.as_ref().map_or(0, Tracked::bytes);
        self.groups.bytes() + self.slots.bytes() + tracked
    }

    /// Takes rows, or takes them back.
    pub fn take(
        &mut self,
        plan: &Plan,
        step: Step,
        given: Given<'_>,
    ) -> Result<(), AggregateError> {
        self.number(plan, given.keys, given.hashes, given.rows)?;
        self.slots.update(plan, step, given.columns, &self.numbers)
    }

    /// Takes what is in the making for groups.
    pub fn merge(&mut self, plan: &Plan, states: States<'_>) -> Result<(), AggregateError> {
        self.number(plan, states.keys, states.hashes, None)?;
        let columns = states.columns;
        self.slots.merge(plan, Step::Give, columns, &self.numbers)
    }

    /// Takes all that another table has.
    pub fn merge_table(&mut self, plan: &Plan, other: &Self) -> Result<(), AggregateError> {
        self.apply_table(plan, Step::Give, other)
    }

    /// Takes all that another table has, or takes it back.
    pub fn apply_table(
        &mut self,
        plan: &Plan,
        step: Step,
        other: &Self,
    ) -> Result<(), AggregateError> {
        for range in chunks(other.len()) {
            let states = other.slots.states(plan, range.clone())?;
            let keys = other.groups.keys(range);
            self.number(plan, &keys, &hashes(&keys), None)?;
            self.slots.merge(plan, step, &states, &self.numbers)?;
        }
        Ok(())
    }

    /// Takes all that it has once more.
    pub fn double(&mut self, plan: &Plan) -> Result<(), AggregateError> {
        for range in chunks(self.len()) {
            let states = self.slots.states(plan, range.clone())?;
            let groups: Vec<u32> = numbers(range).collect();
            self.slots.merge(plan, Step::Give, &states, &groups)?;
        }
        Ok(())
    }

    /// Hash to exchange by, key, and states of those of some groups that have rows.
    pub fn partial(&self, plan: &Plan, groups: Range<usize>) -> Result<Partial, AggregateError> {
        let gone = self.tracked.as_ref().map(|tracked| &tracked.hidden.gone);
        self.partial_without(plan, groups, gone.unwrap_or(&BTreeSet::new()))
    }

    fn partial_without(
        &self,
        plan: &Plan,
        groups: Range<usize>,
        gone: &BTreeSet<u32>,
    ) -> Result<Partial, AggregateError> {
        let keys = self.groups.keys(groups.clone());
        let routes = routes(&keys);
        let states = self.slots.states(plan, groups.clone())?;
        if gone.is_empty() {
            return Ok((routes, keys, states));
        }
        let living = numbers(groups).map(|group| Some(!gone.contains(&group)));
        let living: BooleanArray = living.collect();
        let states = states.iter().map(|state| filter(state, &living));
        Ok((
            filter(&routes, &living)?.as_primitive().clone(),
            filter(&keys, &living)?.as_binary().clone(),
            states.collect::<Result<_, _>>()?,
        ))
    }

    /// From now on, everything that is here counts as shown.
    pub fn forget_changes(&mut self) {
        if let Some(tracked) = &mut self.tracked {
            for &group in &tracked.touched {
                tracked.seen[group as usize] = false;
            }
            tracked.touched.clear();
            tracked.before.clear();
            tracked.existing = self.groups.len();
            tracked.seen.resize(tracked.existing, false);
        }
    }

    /// What changed since the last call, in parts. A group whose row is what it was is left out,
    /// and so is the row of one that has a result beyond its type: which rows a group shows on
    /// its way depends on epochs, so only the last may be an error (see `failing`).
    pub fn changes(&mut self, plan: &Plan) -> Result<Vec<TableChanges>, AggregateError> {
        let mut tracked = self
            .tracked
            .take()
            .expect("the table of a changing stream tracks");
        let mut parts = Vec::new();
        let mut touched = tracked.touched.as_slice();
        for (count, before) in &tracked.before {
            let (groups, rest) = touched.split_at(*count);
            touched = rest;
            parts.extend(self.change(plan, groups, Some(before), &mut tracked.hidden)?);
        }
        let new: Vec<u32> = numbers(tracked.existing..self.groups.len()).collect();
        for groups in new.chunks(CHUNK) {
            parts.extend(self.change(plan, groups, None, &mut tracked.hidden)?);
        }
        let mostly_gone = tracked.hidden.gone.len() * 2 > self.groups.len();
        self.tracked = Some(tracked);
        self.forget_changes();
        if mostly_gone {
            let tracked = self.tracked.as_ref().expect("put back just now");
            *self = self.without(plan, &tracked.hidden.gone)?;
        }
        Ok(parts)
    }

    /// The groups that this epoch has changed so far.
    pub fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        let tracked = self.tracked.as_ref();
        let tracked = tracked.expect("the table of a changing stream tracks");
        let new = numbers(tracked.existing..self.groups.len());
        tracked.touched.iter().copied().chain(new)
    }

    /// Forgets groups, after `changes`: the rows that they show are no more.
    pub fn take_back(
        &mut self,
        plan: &Plan,
        groups: &[u32],
    ) -> Result<Vec<TableChanges>, AggregateError> {
        let tracked = self.tracked.as_ref();
        let hidden = &tracked
            .expect("the table of a changing stream tracks")
            .hidden;
        let shown = groups.iter().copied().filter(|group| !hidden.has(*group));
        let shown: Vec<u32> = shown.collect();
        let parts = shown.chunks(CHUNK).map(|groups| {
            let keys = groups.iter().map(|&group| self.groups.key(group as usize));
            let mut columns = plan.codec.decode(keys)?;
            columns.extend(self.slots.peek(plan, groups)?);
            let diffs = Int64Array::from_value(-1, groups.len());
            Ok(TableChanges { columns, diffs })
        });
        let parts = parts.collect::<Result<Vec<_>, AggregateError>>()?;
        let over = hidden.gone.iter().chain(groups).copied().collect();
        *self = self.without(plan, &over)?;
        Ok(parts)
    }

    /// The group of each row that was taken or merged last.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// What changed in these groups, which showed `before`.
    fn change(
        &self,
        plan: &Plan,
        groups: &[u32],
        before: Option<&Vec<ArrayRef>>,
        hidden: &mut Hidden,
    ) -> Result<Option<TableChanges>, AggregateError> {
        let now = self.slots.peek_each(plan, groups)?;
        let gone = self.gone(plan, groups)?;
        let rows = 0..groups.len();
        let is_hidden = |row: &usize| now.failed.contains_key(row) || gone.contains(&groups[*row]);
        let (old, picks): (&[ArrayRef], Vec<(usize, usize)>) = match before {
            None => {
                let asserted = rows.filter(|row| !is_hidden(row));
                (&now.columns, asserted.map(|row| (1, row)).collect())
            }
            Some(old) => {
                let was_hidden = |row: &usize| hidden.has(groups[*row]);
                let mut changed = differing(old, &now.columns, groups.len())?;
                // What is not shown is NULL here, which a result may be too.
                changed.extend(rows.filter(|row| was_hidden(row) != is_hidden(row)));
                changed.sort_unstable();
                changed.dedup();
                let retracted = changed.iter().filter(|row| !was_hidden(row));
                let asserted = changed.iter().filter(|row| !is_hidden(row));
                let picks = retracted.map(|&row| (0, row));
                (old, picks.chain(asserted.map(|&row| (1, row))).collect())
            }
        };
        hidden.replace(groups, now.failed, gone);
        if picks.is_empty() {
            return Ok(None);
        }
        let keys = picks
            .iter()
            .map(|&(_, row)| self.groups.key(groups[row] as usize));
        let mut columns = plan.codec.decode(keys)?;
        for (old, new) in old.iter().zip(&now.columns) {
            columns.push(interleave(&[old.as_ref(), new.as_ref()], &picks)?);
        }
        let diffs = picks
            .iter()
            .map(|&(side, _)| if side == 0 { -1 } else { 1 });
        Ok(Some(TableChanges {
            columns,
            diffs: diffs.collect(),
        }))
    }

    /// Those of these groups whose rows were all taken back.
    fn gone(&self, plan: &Plan, groups: &[u32]) -> Result<BTreeSet<u32>, AggregateError> {
        let Some(living) = &plan.living else {
            return Ok(BTreeSet::new());
        };
        let counts = self.slots.read(living, groups)?;
        let counts = counts.as_primitive::<Int64Type>().values();
        let gone = groups.iter().zip(counts).filter(|(_, count)| **count == 0);
        Ok(gone.map(|(&group, _)| group).collect())
    }

    /// The same without some groups, those that are gone among them: numbers cannot be given up
    /// one by one.
    fn without(&self, plan: &Plan, gone: &BTreeSet<u32>) -> Result<Self, AggregateError> {
        let mut table = Self::new(plan, Tracking::On);
        for range in chunks(self.len()) {
            let (hashes, keys, states) = self.partial_without(plan, range, gone)?;
            let states = States {
                keys: &keys,
                hashes: hashes.values(),
                columns: &states,
            };
            table.merge(plan, states)?;
        }
        table.forget_changes();
        if let (Some(ours), Some(tracked)) = (&self.tracked, &mut table.tracked) {
            // They are numbered anew in the order they had.
            let failing = ours.hidden.failing.iter();
            let failing = failing.filter(|(group, _)| !gone.contains(group));
            let below = |group: u32| u32::try_from(gone.range(..group).count());
            let moved = failing.map(|(&group, why)| {
                let below = below(group).expect("groups are numbered by u32");
                (group - below, why.clone())
            });
            tracked.hidden.failing = moved.collect();
        }
        Ok(table)
    }

    /// A group that shows no row, why, and how many there are.
    pub fn failing(&self, plan: &Plan) -> Result<Option<Failing<'_>>, AggregateError> {
        let failing = self.tracked.as_ref().map(|tracked| &tracked.hidden.failing);
        let Some((failing, (&group, error))) =
            failing.and_then(|failing| Some((failing, failing.first_key_value()?)))
        else {
            return Ok(None);
        };
        let key = plan
            .codec
            .decode([self.groups.key(group as usize)].into_iter())?;
        Ok(Some(Failing {
            key,
            why: error,
            groups: failing.len(),
        }))
    }

    /// Everything that is here counts as shown, as it would have been in the epoch before. Looks only
    /// at what came since this was last so: state is restored in many pieces.
    pub fn was_shown(&mut self, plan: &Plan) -> Result<(), AggregateError> {
        let Some(tracked) = &mut self.tracked else {
            return Ok(());
        };
        let touched = tracked.touched.iter().copied();
        let new = numbers(tracked.existing..self.groups.len());
        let groups: Vec<u32> = touched.chain(new).collect();
        for groups in groups.chunks(CHUNK) {
            let failed = self.slots.peek_each(plan, groups)?.failed;
            tracked.hidden.replace(groups, failed, BTreeSet::new());
        }
        self.forget_changes();
        Ok(())
    }

    /// Key columns and aggregates of all groups, in the order of the keys' bytes, in parts.
    pub fn rows(&self, plan: &Plan) -> Result<Vec<(usize, Vec<ArrayRef>)>, AggregateError> {
        let parts = self.sorted();
        let parts = parts.chunks(CHUNK).map(|groups| {
            let keys = groups.iter().map(|&group| self.groups.key(group as usize));
            let mut columns = plan.codec.decode(keys)?;
            columns.extend(self.slots.peek(plan, groups)?);
            Ok((groups.len(), columns))
        });
        parts.collect()
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.slots.clear();
        if let Some(tracked) = &mut self.tracked {
            *tracked = Tracked::default();
        }
    }

    /// Finds the group of each row, makes room for it, and remembers what it showed.
    fn number(
        &mut self,
        plan: &Plan,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: Option<&[u32]>,
    ) -> Result<(), AggregateError> {
        match self.rows {
            Rows::Grouped => self.groups.number(keys, hashes, rows, &mut self.numbers),
            Rows::Apart => self.groups.append(keys, rows, &mut self.numbers),
        }
        self.slots.resize(self.groups.len());
        let Some(tracked) = &mut self.tracked else {
            return Ok(());
        };
        let from = tracked.touched.len();
        tracked.touch(&self.numbers);
        let tracked = self.tracked.as_ref().expect("looked at just now");
        if tracked.touched.len() > from {
            let touched = &tracked.touched[from..];
            let before = self.slots.peek_each(plan, touched)?;
            let before = (touched.len(), before.columns);
            let tracked = self.tracked.as_mut().expect("looked at just now");
            tracked.before.push(before);
        }
        Ok(())
    }

    /// All groups, in the order of their keys' bytes.
    fn sorted(&self) -> Vec<u32> {
        let key = |packed: u128| self.groups.key(group_of(packed) as usize);
        // Twelve bytes of the key above the group's number: most comparisons end there, and what is
        // compared is at hand; the key itself is far away.
        let packed = |group: u32| {
            let key = key(u128::from(group));
            let mut bytes = [0; 16];
            let length = key.len().min(PREFIX);
            bytes[..length].copy_from_slice(&key[..length]);
            u128::from_be_bytes(bytes) | u128::from(group)
        };
        let mut groups: Vec<u128> = numbers(0..self.groups.len()).map(packed).collect();
        groups.sort_unstable();
        for alike in groups.chunk_by_mut(|a, b| a >> u32::BITS == b >> u32::BITS) {
            alike.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        }
        groups.into_iter().map(group_of).collect()
    }
}

impl Tracked {
    fn touch(&mut self, groups: &[u32]) {
        for &group in groups {
            // A group at or past the end of `seen` is new in this epoch: it showed nothing.
            if let Some(seen) = self.seen.get_mut(group as usize)
                && !*seen
            {
                *seen = true;
                self.touched.push(group);
            }
        }
    }

    fn bytes(&self) -> usize {
        let before = self.before.iter().flat_map(|(_, columns)| columns);
        self.seen.capacity()
            + self.hidden.gone.len() * size_of::<u64>()
            + self.touched.capacity() * size_of::<u32>()
            + before
                .map(|rows| rows.get_array_memory_size())
                .sum::<usize>()
    }
}

/// How many groups make one batch: few enough that their texts stay far below the 2 GiB that an
/// array of texts can hold.
pub(super) const CHUNK: usize = 8192;

/// Ranges of at most `CHUNK` groups.
pub(super) fn chunks(groups: usize) -> impl Iterator<Item = Range<usize>> {
    (0..groups)
        .step_by(CHUNK)
        .map(move |start| start..(start + CHUNK).min(groups))
}

/// The rows below `rows` in which some column differs.
pub(super) fn differing(
    old: &[ArrayRef],
    new: &[ArrayRef],
    rows: usize,
) -> Result<Vec<usize>, ArrowError> {
    let comparators = old
        .iter()
        .zip(new)
        .map(|(old, new)| make_comparator(old.as_ref(), new.as_ref(), SortOptions::default()));
    let comparators = comparators.collect::<Result<Vec<_>, _>>()?;
    let differs = |row: &usize| {
        comparators
            .iter()
            .any(|compare| compare(*row, *row) != Ordering::Equal)
    };
    Ok((0..rows).filter(differs).collect())
}

/// The columns of some rows of a batch.
pub(super) fn pick(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
    let rows = UInt32Array::from(rows.to_vec());
    columns
        .iter()
        .map(|column| take(column, &rows, None))
        .collect()
}

/// Bytes of a key that are compared first.
const PREFIX: usize = 12;

/// The group that stands in the lowest bits.
#[allow(clippy::cast_possible_truncation, reason = "the rest is the key's")]
fn group_of(packed: u128) -> u32 {
    packed as u32
}

fn numbers(groups: Range<usize>) -> impl Iterator<Item = u32> {
    groups.map(|group| u32::try_from(group).expect("groups are numbered by u32"))
}
