//! Rows by key, and under a key by time, each until its time is over.
//!
//! A heap knows the time of each row, so what is over is found without a look at what is not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A row that has a time.
pub trait Timed {
    /// When it happened.
    fn time(&self) -> i64;
    /// What it takes besides itself.
    fn bytes(&self) -> usize;
}

/// The rows of all keys.
pub struct ByTime<R> {
    /// Under a key, in the order of time.
    by_key: HashMap<Rc<[u8]>, VecDeque<R>, FixedState>,
    /// The time and the key of each row, earliest first: which are over next.
    due: BinaryHeap<Reverse<(i64, Rc<[u8]>)>>,
    rows: usize,
    bytes: usize,
}

/// What becomes of a row whose key has one of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// It is taken in behind the other.
    Beside,
    /// It is not taken in.
    Not,
    /// It is taken in for the other; `due` if what was due of that one is not enough.
    Instead {
        /// Whether to come back to it when its time is over.
        due: bool,
    },
}

/// The rows of one key, those that are over at the front.
pub struct Rows<'a, R> {
    rows: &'a mut VecDeque<R>,
    held: &'a mut usize,
    bytes: &'a mut usize,
}

impl<R: Timed> Rows<'_, R> {
    /// The row at a place, by time.
    pub fn get(&self, at: usize) -> Option<&R> {
        self.rows.get(at)
    }

    /// Takes the first row away.
    pub fn pop(&mut self) -> Option<R> {
        let row = self.rows.pop_front()?;
        *self.held -= 1;
        *self.bytes -= ByTime::<R>::ROW + row.bytes();
        Some(row)
    }
}

impl<R> Default for ByTime<R> {
    fn default() -> Self {
        Self {
            by_key: HashMap::with_hasher(FixedState::with_seed(0)),
            due: BinaryHeap::new(),
            rows: 0,
            bytes: 0,
        }
    }
}

impl<R: Timed> ByTime<R> {
    /// What a row takes besides its bytes, about: itself, its place in the heap, and the allocation.
    pub const ROW: usize = size_of::<R>() + size_of::<(i64, Rc<[u8]>)>() + 16;
    /// The same of a key: it, the list of its rows, and two allocations.
    pub const KEY: usize = size_of::<(Rc<[u8]>, VecDeque<R>)>() + 48;

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows of a key, in the order of time.
    pub fn get(&self, key: &[u8]) -> Option<&VecDeque<R>> {
        self.by_key.get(key)
    }

    /// All rows, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &R)> {
        let keys = self.by_key.iter();
        keys.flat_map(|(key, rows)| rows.iter().map(move |row| (&**key, row)))
    }

    /// Takes in a row. Of one with the same time, if there is one, `same` is asked: the old, the new.
    pub fn insert(&mut self, key: &[u8], row: R, same: impl FnOnce(&R, &R) -> Same) {
        let (time, bytes) = (row.time(), Self::ROW + row.bytes());
        let Some((key, rows)) = self.by_key.get_key_value_mut(key) else {
            self.rows += 1;
            self.bytes += Self::KEY + key.len() + bytes;
            let key: Rc<[u8]> = key.into();
            self.due.push(Reverse((time, Rc::clone(&key))));
            self.by_key.insert(key, VecDeque::from([row]));
            return;
        };
        // Mostly the last: rows come about in the order of time.
        let behind = match rows.back().is_none_or(|last| last.time() < time) {
            true => rows.len(),
            false => rows.partition_point(|other| other.time() <= time),
        };
        let other = rows.range_mut(..behind).next_back();
        let other = other.filter(|other| other.time() == time);
        let is_due = match other.map(|other| (same(other, &row), other)) {
            Some((Same::Not, _)) => return,
            Some((Same::Instead { due }, other)) => {
                self.bytes = self.bytes + row.bytes() - other.bytes();
                *other = row;
                due
            }
            Some((Same::Beside, _)) | None => {
                self.rows += 1;
                self.bytes += bytes;
                rows.insert(behind, row);
                true
            }
        };
        if is_due {
            self.due.push(Reverse((time, Rc::clone(key))));
        }
    }

    /// Goes to each key of which a row `is_over`, with that row's time: `visit` may take rows
    /// from its front, and says whether the row is to be come back to. What is over at one time is
    /// over at all before it.
    pub fn expire(
        &mut self,
        is_over: impl Fn(i64) -> bool,
        mut visit: impl FnMut(&[u8], i64, Rows<'_, R>) -> bool,
    ) {
        let mut again = Vec::new();
        while self.due.peek().is_some_and(|due| is_over(due.0.0)) {
            let Reverse((time, key)) = self.due.pop().expect("it was seen");
            // A key may be gone whole, and what was due of it besides finds nothing.
            let Some(rows) = self.by_key.get_mut(&key) else {
                continue;
            };
            let (held, bytes) = (&mut self.rows, &mut self.bytes);
            let left = Rows { rows, held, bytes };
            if visit(&key, time, left) {
                again.push(Reverse((time, Rc::clone(&key))));
            }
            if rows.is_empty() {
                self.by_key.remove(&key);
                self.bytes -= Self::KEY + key.len();
            }
        }
        self.due.extend(again);
        self.shrink();
    }

    /// Lets go all rows that `is_over` says so of; `gone` hears of each, with its key.
    pub fn let_go(&mut self, is_over: impl Fn(i64) -> bool, mut gone: impl FnMut(&[u8], R)) {
        self.expire(&is_over, |key, _, mut rows| {
            while rows.get(0).is_some_and(|row| is_over(row.time())) {
                gone(key, rows.pop().expect("it was seen"));
            }
            false
        });
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
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(i64, &'static str);

    impl Timed for Row {
        fn time(&self) -> i64 {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1.len()
        }
    }

    fn beside(_: &Row, _: &Row) -> Same {
        Same::Beside
    }

    #[test]
    fn rows_of_a_key_stand_in_the_order_of_time_and_then_of_coming() {
        let mut rows = ByTime::default();
        for (time, name) in [(5, "a"), (1, "b"), (3, "c"), (3, "d"), (9, "e")] {
            rows.insert(b"k", Row(time, name), beside);
        }
        rows.insert(b"other", Row(4, "f"), beside);

        let names = rows.get(b"k").unwrap().iter().map(|row| row.1);
        assert_eq!(names.collect::<String>(), "bcdae");
        assert!(rows.get(b"none").is_none());
    }

    #[test]
    fn one_of_the_same_time_may_stand_for_another_or_give_way() {
        let mut rows = ByTime::default();
        for (time, name) in [(5, "a"), (3, "long"), (5, "b"), (3, "c")] {
            rows.insert(b"k", Row(time, name), |old, new| match old.1 < new.1 {
                true => Same::Instead { due: false },
                false => Same::Not,
            });
        }

        let names = rows.get(b"k").unwrap().iter().map(|row| row.1);
        assert_eq!(names.collect::<Vec<_>>(), ["long", "b"]);
        let bytes = ByTime::<Row>::KEY + 1 + 2 * ByTime::<Row>::ROW + 5;
        assert_eq!((rows.len(), rows.bytes()), (2, bytes));
    }

    #[test]
    fn what_is_over_goes_and_its_memory_with_it() {
        let mut rows = ByTime::default();
        for time in 0..5000 {
            let key = [u8::try_from(time % 7).unwrap()];
            rows.insert(&key, Row(time, "row"), beside);
        }

        let mut gone = 0;
        rows.let_go(|time| time < 4000, |_, _| gone += 1);
        assert_eq!((gone, rows.len()), (4000, 1000));
        rows.let_go(|_| true, |_, _| gone += 1);

        assert_eq!((gone, rows.len(), rows.bytes()), (5000, 0, 0));
        assert!(rows.due.capacity() < 5000 && rows.by_key.is_empty());
    }
}
