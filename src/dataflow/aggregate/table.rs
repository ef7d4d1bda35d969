//! The groups of one bucket, with what is in the making for each, and what changed.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, UInt32Array, UInt64Array,
    make_comparator,
};
use arrow::compute::{SortOptions, concat, interleave, take};
use arrow::error::ArrowError;

use super::accumulators::Accumulator;
use super::error::AggregateError;
use super::groups::Groups;
use super::keys::{hashes, route};
use super::plan::Plan;

/// Groups and their accumulators.
pub(super) struct Table {
    groups: Groups,
    accumulators: Vec<Box<dyn Accumulator>>,
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
    /// The results they had, by batch and then by aggregate; in the order of `touched`.
    before: Vec<Vec<ArrayRef>>,
}

/// Whether a table remembers what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracking {
    /// It does: `changes` will be asked for.
    On,
    /// It does not.
    Off,
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
            accumulators: plan.accumulators(),
            tracked: (tracking == Tracking::On).then(Tracked::default),
            numbers: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn bytes(&self) -> usize {
        let tracked = self.tracked.as_ref().map_or(0, Tracked::bytes);
        let accumulators = self
            .accumulators
            .iter()
            .map(|accumulator| accumulator.bytes());
        self.groups.bytes() + accumulators.sum::<usize>() + tracked
    }

    /// Takes rows: `keys` and `hashes` of a whole batch, and which rows of it; `columns` of those
    /// rows alone.
    pub fn update(
        &mut self,
        plan: &Plan,
        (keys, hashes): (&BinaryArray, &[u64]),
        rows: Option<&[u32]>,
        columns: &[Option<ArrayRef>],
    ) -> Result<(), AggregateError> {
        self.number(plan, keys, hashes, rows)?;
        for (accumulator, recipe) in self.accumulators.iter_mut().zip(&plan.recipes) {
            let column = |&at: &usize| {
                Arc::clone(
                    columns[at]
                        .as_ref()
                        .expect("what recipes name is evaluated"),
                )
            };
            let arguments: Vec<ArrayRef> = recipe.arguments.iter().map(column).collect();
            let filter = recipe.filter.as_ref().map(column);
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator
                .update(&arguments, &self.numbers, filter)
                .map_err(|cause| recipe.failed(cause))?;
        }
        Ok(())
    }

    /// Takes states: keys, and the columns of all accumulators' states.
    pub fn merge(
        &mut self,
        plan: &Plan,
        keys: &BinaryArray,
        states: &[ArrayRef],
    ) -> Result<(), AggregateError> {
        self.number(plan, keys, &hashes(keys), None)?;
        let mut states = states;
        for (accumulator, recipe) in self.accumulators.iter_mut().zip(&plan.recipes) {
            let (own, others) = states.split_at(accumulator.state_types().len());
            states = others;
            accumulator
                .merge(own, &self.numbers)
                .map_err(|cause| recipe.failed(cause))?;
        }
        Ok(())
    }

    /// Takes all that another table has.
    pub fn merge_table(&mut self, plan: &Plan, other: &Self) -> Result<(), AggregateError> {
        for range in chunks(other.len()) {
            let states = other.states(plan, range.clone())?;
            self.merge(plan, &other.groups.keys(range), &states)?;
        }
        Ok(())
    }

    /// Hash to exchange by, key, and states of some groups.
    pub fn partial(
        &self,
        plan: &Plan,
        groups: Range<usize>,
    ) -> Result<(UInt64Array, BinaryArray, Vec<ArrayRef>), AggregateError> {
        let keys = self.groups.keys(groups.clone());
        let routes = hashes(&keys).into_iter().map(route).collect();
        let states = self.states(plan, groups)?;
        Ok((routes, keys, states))
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

    /// What changed since the last call. A group whose row is what it was is left out.
    pub fn changes(&mut self, plan: &Plan) -> Result<Option<TableChanges>, AggregateError> {
        let tracked = self
            .tracked
            .as_ref()
            .expect("the table of a changing stream tracks");
        let touched = &tracked.touched;
        let new = tracked.existing..self.groups.len();
        let after: Vec<u32> = touched.iter().copied().chain(numbers(new)).collect();
        if after.is_empty() {
            return Ok(None);
        }
        let new_rows = self.peek(plan, &after)?;
        let old_rows = tracked.old_rows(&new_rows)?;
        let changed = differing(&old_rows, &new_rows, touched.len())?;
        let picks: Vec<(usize, usize)> = changed
            .iter()
            .map(|&row| (0, row))
            .chain(changed.iter().map(|&row| (1, row)))
            .chain((touched.len()..after.len()).map(|row| (1, row)))
            .collect();
        let keys = picks
            .iter()
            .map(|&(_, row)| self.groups.key(after[row] as usize));
        let mut columns = plan.codec.decode(keys)?;
        for (old, new) in old_rows.iter().zip(&new_rows) {
            columns.push(interleave(&[old.as_ref(), new.as_ref()], &picks)?);
        }
        let diffs = picks
            .iter()
            .map(|&(side, _)| if side == 0 { -1 } else { 1 });
        let diffs: Int64Array = diffs.collect();
        self.forget_changes();
        Ok((!diffs.is_empty()).then_some(TableChanges { columns, diffs }))
    }

    /// Key columns and aggregates of all groups, in the order of the keys' bytes.
    pub fn rows(&self, plan: &Plan) -> Result<Vec<ArrayRef>, AggregateError> {
        let groups = self.sorted();
        let keys = groups.iter().map(|&group| self.groups.key(group as usize));
        let mut columns = plan.codec.decode(keys)?;
        columns.extend(self.peek(plan, &groups)?);
        Ok(columns)
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.groups.clear();
        for accumulator in &mut self.accumulators {
            accumulator.clear();
        }
        if let Some(tracked) = &mut self.tracked {
            *tracked = Tracked::default();
        }
    }

    fn states(&self, plan: &Plan, groups: Range<usize>) -> Result<Vec<ArrayRef>, AggregateError> {
        let mut states = Vec::new();
        for (accumulator, recipe) in self.accumulators.iter().zip(&plan.recipes) {
            let state = accumulator.state(groups.clone());
            states.extend(state.map_err(|cause| recipe.failed(cause))?);
        }
        Ok(states)
    }

    fn peek(&self, plan: &Plan, groups: &[u32]) -> Result<Vec<ArrayRef>, AggregateError> {
        let results = plan.readings.iter().map(|reading| {
            let accumulator = &self.accumulators[reading.accumulator];
            let result = accumulator.peek(&reading.output, groups);
            result.map_err(|cause| AggregateError::Compute {
                text: reading.text.clone(),
                cause,
            })
        });
        results.collect()
    }

    /// Finds the group of each row, makes room for it, and remembers what it showed.
    fn number(
        &mut self,
        plan: &Plan,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: Option<&[u32]>,
    ) -> Result<(), AggregateError> {
        self.groups.number(keys, hashes, rows, &mut self.numbers);
        let groups = self.groups.len();
        for accumulator in &mut self.accumulators {
            accumulator.resize(groups);
        }
        let Some(tracked) = &mut self.tracked else {
            return Ok(());
        };
        let from = tracked.touched.len();
        tracked.touch(&self.numbers);
        let tracked = self.tracked.as_ref().expect("looked at just now");
        if tracked.touched.len() > from {
            let before = self.peek(plan, &tracked.touched[from..])?;
            self.tracked
                .as_mut()
                .expect("looked at just now")
                .before
                .push(before);
        }
        Ok(())
    }

    fn sorted(&self) -> Vec<u32> {
        let prefix = |group: u32| {
            let key = self.groups.key(group as usize);
            let mut bytes = [0; 16];
            let length = key.len().min(16);
            bytes[..length].copy_from_slice(&key[..length]);
            u128::from_be_bytes(bytes)
        };
        // Most comparisons end in the prefix, which is at hand; the key itself is far away.
        let mut groups: Vec<(u128, u32)> = numbers(0..self.groups.len())
            .map(|group| (prefix(group), group))
            .collect();
        groups.sort_unstable_by(|a, b| {
            let keys = || {
                self.groups
                    .key(a.1 as usize)
                    .cmp(self.groups.key(b.1 as usize))
            };
            a.0.cmp(&b.0).then_with(keys)
        });
        groups.into_iter().map(|(_, group)| group).collect()
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

    /// The remembered results, one array per aggregate; empty ones like `new_rows` if none are.
    fn old_rows(&self, new_rows: &[ArrayRef]) -> Result<Vec<ArrayRef>, ArrowError> {
        let columns = new_rows.iter().enumerate().map(|(column, new)| {
            let parts: Vec<&dyn Array> = self
                .before
                .iter()
                .map(|rows| rows[column].as_ref())
                .collect();
            match parts.is_empty() {
                true => Ok(new.slice(0, 0)),
                false => concat(&parts),
            }
        });
        columns.collect()
    }

    fn bytes(&self) -> usize {
        let before = self.before.iter().flatten();
        self.seen.capacity()
            + self.touched.capacity() * size_of::<u32>()
            + before
                .map(|rows| rows.get_array_memory_size())
                .sum::<usize>()
    }
}

/// Ranges of at most 8192 groups.
pub(super) fn chunks(groups: usize) -> impl Iterator<Item = Range<usize>> {
    const CHUNK: usize = 8192;
    (0..groups)
        .step_by(CHUNK)
        .map(move |start| start..(start + CHUNK).min(groups))
}

/// The rows below `rows` in which some column differs.
fn differing(old: &[ArrayRef], new: &[ArrayRef], rows: usize) -> Result<Vec<usize>, ArrowError> {
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

fn numbers(groups: Range<usize>) -> impl Iterator<Item = u32> {
    groups.map(|group| u32::try_from(group).expect("groups are numbered by u32"))
}
