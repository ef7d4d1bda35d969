//! The rows of one side that may still match: by key, and under a key by time.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A row that may still match.
#[derive(Debug)]
pub struct Held {
    /// When it happened.
    pub time: i64,
    /// Whether it has matched. Set while the side is only looked at.
    pub matched: Cell<bool>,
    /// Its columns.
    pub row: Box<[u8]>,
}

/// The rows of a side.
pub struct Side {
    /// Under a key, in the order of time.
    by_key: HashMap<Rc<[u8]>, VecDeque<Held>, FixedState>,
    /// The time and the key of each row, earliest first: which rows go next.
    due: BinaryHeap<Reverse<(i64, Rc<[u8]>)>>,
    rows: usize,
    bytes: usize,
}

/// What a row takes besides its bytes, about: itself, its place in the heap, and the allocation.
const ROW: usize = size_of::<Held>() + size_of::<(i64, Rc<[u8]>)>() + 16;
/// The same of a key: it, the list of its rows, and two allocations.
const KEY: usize = size_of::<(Rc<[u8]>, VecDeque<Held>)>() + 48;

impl Default for Side {
    fn default() -> Self {
        Self {
            by_key: HashMap::with_hasher(FixedState::with_seed(0)),
            due: BinaryHeap::new(),
            rows: 0,
            bytes: 0,
        }
    }
}

impl Side {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a row.
    pub fn insert(&mut self, key: &[u8], held: Held) {
        self.rows += 1;
        self.bytes += ROW + held.row.len();
        if let Some((key, rows)) = self.by_key.get_key_value_mut(key) {
            self.due.push(Reverse((held.time, Rc::clone(key))));
            // Mostly the last: rows come about in the order of time.
            match rows.back().is_none_or(|last| last.time <= held.time) {
                true => rows.push_back(held),
                false => {
                    let at = rows.partition_point(|other| other.time <= held.time);
                    rows.insert(at, held);
                }
            }
            return;
        }
        self.bytes += KEY + key.len();
        let key: Rc<[u8]> = key.into();
        self.due.push(Reverse((held.time, Rc::clone(&key))));
        self.by_key.insert(key, VecDeque::from([held]));
    }

    /// The rows under a key with a time from `first` to `last`.
    pub fn within(&self, key: &[u8], first: i64, last: i64) -> impl Iterator<Item = &Held> {
        let rows = self.by_key.get(key).into_iter();
        rows.flat_map(move |rows| {
            let start = rows.partition_point(|held| held.time < first);
            rows.range(start..)
                .take_while(move |held| held.time <= last)
        })
    }

    /// Lets go all rows that `is_over` says so of, which is asked of times: what is over at one
    /// time is over at all before it. `gone` hears of each, with its key.
    pub fn let_go(&mut self, is_over: impl Fn(i64) -> bool, mut gone: impl FnMut(&[u8], Held)) {
        while self.due.peek().is_some_and(|due| is_over(due.0.0)) {
            let Reverse((_, key)) = self.due.pop().expect("it was seen");
            // The rows of a key go together; what was due of them besides finds nothing.
            let Some(rows) = self.by_key.get_mut(&key) else {
                continue;
            };
            while let Some(held) = rows.pop_front_if(|held| is_over(held.time)) {
                self.rows -= 1;
                self.bytes -= ROW + held.row.len();
                gone(&key, held);
            }
            if rows.is_empty() {
                self.by_key.remove(&key);
                self.bytes -= KEY + key.len();
            }
        }
        self.shrink();
    }

    /// Gives back what a burst took.
    fn shrink(&mut self) {
        const FEW: usize = 1024;
        if self.due.capacity() > FEW.max(self.due.len() * 4) {
            self.due.shrink_to(self.due.len() * 2);
        }
        if self.by_key.capacity() > FEW.max(self.by_key.len() * 4) {
            self.by_key.shrink_to(self.by_key.len() * 2);
        }
    }

    /// All rows, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Held)> {
        let keys = self.by_key.iter();
        keys.flat_map(|(key, rows)| rows.iter().map(move |held| (&**key, held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64) -> Held {
        Held {
            time,
            matched: Cell::new(false),
            row: Box::from(&b"row"[..]),
        }
    }

    fn times<'a>(rows: impl Iterator<Item = &'a Held>) -> Vec<i64> {
        rows.map(|held| held.time).collect()
    }

    #[test]
    fn rows_of_a_key_stand_in_the_order_of_time() {
        let mut side = Side::default();
        for time in [5, 1, 3, 3, 9] {
            side.insert(b"k", row(time));
        }
        side.insert(b"other", row(4));

        assert_eq!(times(side.within(b"k", 3, 8)), [3, 3, 5]);
        assert_eq!(side.within(b"k", 10, 20).count(), 0);
        assert_eq!(side.within(b"none", 0, 20).count(), 0);
    }

    #[test]
    fn what_is_over_goes_and_its_memory_with_it() {
        let mut side = Side::default();
        for time in 0..5000 {
            side.insert(&[u8::try_from(time % 7).unwrap()], row(time));
        }

        let mut gone = 0;
        side.let_go(|time| time < 4000, |_, _| gone += 1);
        assert_eq!((gone, side.len()), (4000, 1000));
        side.let_go(|_| true, |_, _| gone += 1);

        assert_eq!((gone, side.len(), side.bytes()), (5000, 0, 0));
        assert!(side.due.capacity() < 5000 && side.by_key.is_empty());
    }
}
