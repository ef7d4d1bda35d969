//! The rows of the right side that a left row may still ask for: by key, and under a key by time.
//!
//! Of two rows of one key and one time, the one that stands later in the input counts; of two that
//! stand at one place, as UNION ALL makes them, the one whose columns are greater. Behind state,
//! where rows stand nowhere, there are no two. Nothing hangs on which of them came first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A row that holds from its time on, until the next one of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Since when it holds.
    pub time: i64,
    /// Where it stands in the input, by partition and offset; zeros where it stands nowhere.
    pub place: (u32, u64),
    /// Its columns; `None` where the key has no row from then on.
    pub row: Option<Box<[u8]>>,
}

impl Version {
    /// What it takes, about.
    fn bytes(&self) -> usize {
        ROW + self.row.as_ref().map_or(0, |row| row.len())
    }
}

/// The versions of all keys.
pub struct Versions {
    /// Under a key, in the order of time, one for each time.
    by_key: HashMap<Rc<[u8]>, VecDeque<Version>, FixedState>,
    /// The time and the key of each, earliest first: where older ones may be forgotten next.
    due: BinaryHeap<Reverse<(i64, Rc<[u8]>)>>,
    rows: usize,
    bytes: usize,
}

/// What a row takes besides its bytes, about: itself, its place in the heap, and the allocation.
const ROW: usize = size_of::<Version>() + size_of::<(i64, Rc<[u8]>)>() + 16;
/// The same of a key: it, the list of its rows, and two allocations.
const KEY: usize = size_of::<(Rc<[u8]>, VecDeque<Version>)>() + 48;

impl Default for Versions {
    fn default() -> Self {
        Self {
            by_key: HashMap::with_hasher(FixedState::with_seed(0)),
            due: BinaryHeap::new(),
            rows: 0,
            bytes: 0,
        }
    }
}

impl Versions {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a row.
    pub fn insert(&mut self, key: &[u8], version: Version) {
        let (time, bytes) = (version.time, version.bytes());
        let Some((key, versions)) = self.by_key.get_key_value_mut(key) else {
            self.bytes += KEY + key.len() + bytes;
            self.rows += 1;
            let key: Rc<[u8]> = key.into();
            self.due.push(Reverse((time, Rc::clone(&key))));
            self.by_key.insert(key, VecDeque::from([version]));
            return;
        };
        // Mostly the last: rows come about in the order of time.
        let at = match versions.back().is_none_or(|last| last.time < time) {
            true => versions.len(),
            false => versions.partition_point(|other| other.time < time),
        };
        match versions.get_mut(at).filter(|other| other.time == time) {
            Some(other) if *other < version => {
                self.bytes = self.bytes + bytes - other.bytes();
                // What was due of the other may have been.
                if version.row.is_none() && other.row.is_some() {
                    self.due.push(Reverse((time, Rc::clone(key))));
                }
                *other = version;
            }
            Some(_) => {}
            None => {
                self.rows += 1;
                self.bytes += bytes;
                self.due.push(Reverse((time, Rc::clone(key))));
                versions.insert(at, version);
            }
        }
    }

    /// The newest row under a key whose time `holds`: what holds at one time does at all before it.
    pub fn newest(&self, key: &[u8], holds: impl Fn(i64) -> bool) -> Option<&Version> {
        let versions = self.by_key.get(key)?;
        let after = versions.partition_point(|version| holds(version.time));
        versions.get(after.checked_sub(1)?)
    }

    /// Forgets under each key the rows before the newest one that `is_seen`, by every left row
    /// that may still ask, and that one too if it says that there is none and its time `is_past`:
    /// until then a row of the same time may come, and would be found in its stead. What holds at
    /// one time does at all before it, and what is past is seen.
    pub fn forget(&mut self, is_seen: impl Fn(i64) -> bool, is_past: impl Fn(i64) -> bool) {
        let mut again = Vec::new();
        while self.due.peek().is_some_and(|due| is_seen(due.0.0)) {
            let Reverse((time, key)) = self.due.pop().expect("it was seen");
            // A key may be forgotten whole, and what was due of it besides finds nothing.
            let Some(versions) = self.by_key.get_mut(&key) else {
                continue;
            };
            while versions.get(1).is_some_and(|next| is_seen(next.time)) {
                let gone = versions.pop_front().expect("there are two");
                self.rows -= 1;
                self.bytes -= gone.bytes();
            }
            // That there is none is what an unknown key says too.
            let is_end = |first: &Version| first.row.is_none() && is_seen(first.time);
            if let Some(first) = versions.pop_front_if(|first| is_end(first) && is_past(first.time))
            {
                self.rows -= 1;
                self.bytes -= first.bytes();
            } else if versions
                .front()
                .is_some_and(|first| is_end(first) && first.time == time)
            {
                again.push(Reverse((time, Rc::clone(&key))));
            }
            if versions.is_empty() {
                self.by_key.remove(&key);
                self.bytes -= KEY + key.len();
            }
        }
        self.due.extend(again);
        const FEW: usize = 1024;
        if self.due.capacity() > FEW.max(self.due.len() * 4) {
            self.due.shrink_to(self.due.len() * 2);
        }
    }

    /// Forgets everything: nobody asks any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All rows, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Version)> {
        let keys = self.by_key.iter();
        keys.flat_map(|(key, versions)| versions.iter().map(move |version| (&**key, version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(time: i64, offset: u64) -> Version {
        Version {
            time,
            place: (0, offset),
            row: Some(Box::from(&b"row"[..])),
        }
    }

    fn newest(versions: &Versions, time: i64) -> Option<(i64, u64)> {
        let found = versions.newest(b"k", |at| at <= time);
        found.map(|version| (version.time, version.place.1))
    }

    #[test]
    fn the_newest_at_a_time_is_found_whatever_the_order_in_which_they_came() {
        let mut versions = Versions::default();
        for (time, offset) in [(5, 2), (1, 0), (3, 1), (3, 7), (3, 4)] {
            versions.insert(b"k", version(time, offset));
        }

        assert_eq!(newest(&versions, 0), None);
        assert_eq!(newest(&versions, 2), Some((1, 0)));
        assert_eq!(newest(&versions, 4), Some((3, 7)));
        assert_eq!(newest(&versions, 9), Some((5, 2)));
        assert_eq!(versions.len(), 3);
    }

    #[test]
    fn what_stays_is_the_newest_that_is_seen_and_what_comes_after_it() {
        let mut versions = Versions::default();
        for time in 0..100 {
            versions.insert(b"k", version(time, 0));
        }
        versions.insert(b"other", version(0, 0));
        versions.forget(|time| time <= 90, |_| false);

        assert_eq!(newest(&versions, 89), None);
        assert_eq!(newest(&versions, 90), Some((90, 0)));
        assert_eq!(versions.len(), 10 + 1);
        versions.forget(|_| true, |_| true);
        assert_eq!(versions.len(), 2);
        let bytes = 2 * (ROW + KEY + 3) + b"k".len() + b"other".len();
        assert_eq!(versions.bytes(), bytes);
    }

    #[test]
    fn a_key_that_is_gone_is_forgotten_once_all_have_seen_it() {
        let mut versions = Versions::default();
        versions.insert(b"k", version(1, 0));
        let row = None;
        versions.insert(
            b"k",
            Version {
                row,
                ..version(5, 1)
            },
        );
        versions.forget(|time| time <= 4, |time| time < 4);
        assert_eq!((newest(&versions, 4), versions.len()), (Some((1, 0)), 2));

        for _ in 0..2 {
            versions.forget(|time| time <= 5, |time| time < 5);
            assert_eq!(versions.len(), 1);
        }

        versions.forget(|time| time <= 6, |time| time < 6);
        assert_eq!((versions.len(), versions.bytes()), (0, 0));
        versions.insert(b"k", version(6, 2));
        versions.forget(|time| time <= 9, |time| time < 9);
        assert_eq!(newest(&versions, 9), Some((6, 2)));
    }

    #[test]
    fn an_end_that_comes_after_a_row_of_its_time_is_forgotten_too() {
        let mut versions = Versions::default();
        versions.insert(b"k", version(5, 0));
        versions.forget(|time| time <= 5, |time| time < 5);
        let row = None;
        versions.insert(
            b"k",
            Version {
                row,
                ..version(5, 1)
            },
        );
        versions.forget(|time| time <= 5, |time| time < 5);
        assert_eq!(versions.len(), 1);

        versions.forget(|time| time <= 6, |time| time < 6);
        assert_eq!((versions.len(), versions.bytes()), (0, 0));
    }
}
