//! The rows of partitions as sequences, which grow at the end as event time moves on.
//!
//! ```text
//!   rows ──▶ waiting ──watermark──▶ at the end of their partitions ──▶ those with new rows, or due
//! ```
//!
//! A row joins its partition when no earlier one can come any more. So a partition is a sequence
//! that is a function of the input: by event time, then by what its owner orders rows of one time
//! by, then by the rows themselves. It does not matter in which epochs they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Index;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::group::GroupError;

/// A key or a row, encoded.
pub type Bytes = Arc<[u8]>;

/// The partitions of a worker. `O` orders rows of one time, `S` is what is known of a partition
/// besides its rows.
pub struct Sequences<O, S> {
    /// Rows before which others may come: time, order, row and partition; and how many of each.
    waiting: BTreeMap<(i64, O, Bytes, Bytes), usize>,
    partitions: BTreeMap<Bytes, Sequence<S>>,
    /// When a partition has to be looked at though no row came.
    due: BTreeSet<(i64, Bytes)>,
    rows: usize,
    bytes: usize,
}

/// A partition, as far as it is held.
pub struct Sequence<S> {
    /// The times and the rows.
    pub rows: VecDeque<(i64, Bytes)>,
    /// What else is known of it.
    pub state: S,
    due: Option<i64>,
}

/// How many rows are worked out in one go.
const CHUNK_ROWS: usize = 1 << 16;

impl<O: Ord, S> Default for Sequences<O, S> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            partitions: BTreeMap::new(),
            due: BTreeSet::new(),
            rows: 0,
            bytes: 0,
        }
    }
}

impl<O: Ord, S> Sequences<O, S> {
    /// How many rows are held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Memory held, in bytes, about.
    pub fn bytes(&self) -> usize {
        const EACH: usize = 96;
        self.bytes + (self.rows + self.partitions.len()) * EACH
    }

    /// Takes a row of a partition that others may come before.
    pub fn wait(&mut self, time: i64, order: O, key: Bytes, row: Bytes) {
        self.rows += 1;
        self.bytes += row.len();
        *self.waiting.entry((time, order, row, key)).or_default() += 1;
    }

    /// Rows before `horizon` (`None`: all) come no more: those that wait join their partitions, of
    /// which new ones begin as `begin` says. Gives the partitions that are to be looked at.
    pub fn settle(&mut self, horizon: Option<i64>, mut begin: impl FnMut() -> S) -> Vec<Bytes> {
        let mut touched = BTreeSet::new();
        while let Some(first) = self.waiting.first_entry() {
            if horizon.is_some_and(|horizon| first.key().0 >= horizon) {
                break;
            }
            let ((time, _, row, key), count) = first.remove_entry();
            let sequence = self.partitions.entry(Arc::clone(&key));
            let sequence = sequence.or_insert_with(|| Sequence::new(begin()));
            sequence
                .rows
                .extend(std::iter::repeat_n((time, row), count));
            touched.insert(key);
        }
        match horizon {
            None => touched.extend(self.partitions.keys().map(Arc::clone)),
            Some(horizon) => {
                let due = self.due.iter().take_while(|(at, _)| *at <= horizon);
                touched.extend(due.map(|(_, key)| Arc::clone(key)));
            }
        }
        touched.into_iter().collect()
    }

    /// Partitions in parts that hold no more rows than are good to work on at a time.
    pub fn chunks<'k>(&self, mut keys: &'k [Bytes]) -> Vec<&'k [Bytes]> {
        let mut chunks = Vec::new();
        while !keys.is_empty() {
            let mut rows = 0;
            let fits = keys.iter().take_while(|key| {
                rows += self[key].rows.len();
                rows <= CHUNK_ROWS
            });
            let (chunk, rest) = keys.split_at(fits.count().max(1));
            chunks.push(chunk);
            keys = rest;
        }
        chunks
    }

    /// Whether rows of a partition are held, besides those that wait.
    pub fn holds_rows(&self, key: &Bytes) -> bool {
        let sequence = self.partitions.get(key);
        sequence.is_some_and(|sequence| !sequence.rows.is_empty())
    }

    /// What else is known of a partition that is held.
    pub fn state(&mut self, key: &Bytes) -> &mut S {
        &mut self.held(key).state
    }

    fn held(&mut self, key: &Bytes) -> &mut Sequence<S> {
        self.partitions.get_mut(key).expect("it is held")
    }

    /// Drops the first rows of a partition.
    pub fn drop_front(&mut self, key: &Bytes, count: usize) {
        let dropped = self.held(key).rows.drain(..count);
        let bytes: usize = dropped.map(|(_, row)| row.len()).sum();
        self.rows -= count;
        self.bytes -= bytes;
    }

    /// Says when a partition is to be looked at though no row comes.
    pub fn schedule(&mut self, key: &Bytes, due: Option<i64>) {
        let held = self.held(key);
        if due == held.due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut held.due, due) {
            self.due.remove(&(old, Arc::clone(key)));
        }
        self.due.extend(due.map(|due| (due, Arc::clone(key))));
    }

    /// Forgets a partition if it holds no row.
    pub fn forget_empty(&mut self, key: &Bytes) {
        if self[key].rows.is_empty() {
            self.schedule(key, None);
            self.partitions.remove(key);
        }
    }

    /// All partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Sequence<S>)> {
        self.partitions.iter()
    }

    /// The rows that wait, and their partitions.
    pub fn waiting(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let waiting = self.waiting.iter();
        waiting.flat_map(|((_, _, row, key), count)| std::iter::repeat_n((key, row), *count))
    }

    /// A partition that was saved, which begins as `begin` says if it is not held yet.
    pub fn restore(&mut self, key: &Bytes, begin: impl FnOnce() -> S) -> &mut S {
        let sequence = self.partitions.entry(Arc::clone(key));
        &mut sequence.or_insert_with(|| Sequence::new(begin())).state
    }

    /// A further row of a partition that was saved.
    pub fn restore_row(&mut self, key: &Bytes, time: i64, row: Bytes) {
        self.rows += 1;
        self.bytes += row.len();
        self.held(key).rows.push_back((time, row));
    }
}

impl<O: Ord, S> Index<&Bytes> for Sequences<O, S> {
    type Output = Sequence<S>;

    fn index(&self, key: &Bytes) -> &Sequence<S> {
        &self.partitions[key]
    }
}

impl<S> Sequence<S> {
    fn new(state: S) -> Self {
        Self {
            rows: VecDeque::new(),
            state,
            due: None,
        }
    }
}

/// The values of a column of event time.
pub fn times(column: &ArrayRef) -> Result<Vec<i64>, GroupError> {
    let times = cast(column, &DataType::Int64)?;
    assert_eq!(times.null_count(), 0, "rows without a time are turned away");
    Ok(times.as_primitive::<Int64Type>().values().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Arc::from(text.as_bytes())
    }

    fn of(sequences: &Sequences<u32, ()>, key: &str) -> String {
        let rows = sequences[&bytes(key)].rows.iter();
        rows.map(|(_, row)| str::from_utf8(row).unwrap()).collect()
    }

    #[test]
    fn rows_join_their_partitions_by_time_and_order_however_they_came() {
        let mut sequences = Sequences::default();
        for (time, order, row) in [
            (3, 1, "e"),
            (1, 9, "b"),
            (3, 0, "d"),
            (1, 9, "b"),
            (9, 0, "f"),
        ] {
            sequences.wait(time, order, bytes("k"), bytes(row));
        }
        sequences.wait(2, 0, bytes("other"), bytes("c"));

        assert_eq!(
            sequences.settle(Some(3), || ()),
            [bytes("k"), bytes("other")]
        );
        assert_eq!(of(&sequences, "k"), "bb");
        assert_eq!(sequences.settle(Some(9), || ()), [bytes("k")]);
        assert_eq!(of(&sequences, "k"), "bbde");
        assert_eq!(sequences.waiting().count(), 1);
        assert_eq!(sequences.settle(None, || ()), [bytes("k"), bytes("other")]);
        assert_eq!(of(&sequences, "k"), "bbdef");
    }

    #[test]
    fn a_partition_is_looked_at_when_it_is_due_and_forgotten_when_it_is_empty() {
        let mut sequences = Sequences::<u32, ()>::default();
        let key = bytes("k");
        sequences.wait(1, 0, Arc::clone(&key), bytes("a"));
        sequences.settle(Some(5), || ());
        sequences.schedule(&key, Some(9));
        sequences.schedule(&key, Some(7));

        assert!(sequences.settle(Some(6), || ()).is_empty());
        assert_eq!(sequences.settle(Some(7), || ()), [Arc::clone(&key)]);

        sequences.drop_front(&key, 1);
        sequences.forget_empty(&key);
        assert!(sequences.settle(None, || ()).is_empty());
        assert_eq!((sequences.rows(), sequences.bytes()), (0, 0));
    }

    #[test]
    fn parts_hold_what_is_good_at_a_time_and_at_least_one_partition() {
        let mut sequences = Sequences::<u32, ()>::default();
        for (key, rows) in [("a", 2), ("b", CHUNK_ROWS + 1), ("c", 1), ("d", 2)] {
            for _ in 0..rows {
                sequences.wait(1, 0, bytes(key), bytes("r"));
            }
        }

        let touched = sequences.settle(None, || ());

        let sizes = sequences.chunks(&touched).into_iter().map(<[Bytes]>::len);
        assert_eq!(sizes.collect::<Vec<_>>(), [1, 1, 2]);
    }
}
