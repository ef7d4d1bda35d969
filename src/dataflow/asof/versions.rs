//! The rows of the right side that a left row may still ask for: by key, and under a key by time.
//!
//! Of two rows of one key and one time, the one that stands later in the input counts; of two that
//! stand at one place, as UNION ALL makes them, the one whose columns are greater. Behind state,
//! where rows stand nowhere, there are no two. Nothing hangs on which of them came first.

use crate::dataflow::sided::{ByTime, Same, Timed};

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

impl Timed for Version {
    fn time(&self) -> i64 {
        self.time
    }

    fn bytes(&self) -> usize {
        self.row.as_ref().map_or(0, |row| row.len())
    }
}

/// The versions of all keys, one for each time.
#[derive(Default)]
pub struct Versions(ByTime<Version>);

impl Versions {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Takes in a row.
    pub fn insert(&mut self, key: &[u8], version: Version) {
        self.0
            .insert(key, version, |other, version| match other < version {
                true => Same::Instead {
                    // What was due of the other may have been.
                    due: version.row.is_none() && other.row.is_some(),
                },
                false => Same::Not,
            });
    }

    /// The newest row under a key whose time `holds`: what holds at one time does at all before it.
    pub fn newest(&self, key: &[u8], holds: impl Fn(i64) -> bool) -> Option<&Version> {
        let versions = self.0.get(key)?;
        let after = versions.partition_point(|version| holds(version.time));
        versions.get(after.checked_sub(1)?)
    }

    /// Forgets under each key the rows before the newest one that `is_seen`, by every left row
    /// that may still ask, and that one too if it says that there is none and its time `is_past`:
    /// until then a row of the same time may come, and would be found in its stead. What holds at
    /// one time does at all before it, and what is past is seen.
    pub fn forget(&mut self, is_seen: impl Fn(i64) -> bool, is_past: impl Fn(i64) -> bool) {
        // That there is none is what an unknown key says too.
        let is_end = |first: &Version| first.row.is_none() && is_seen(first.time);
        self.0.expire(&is_seen, |_, time, mut versions| {
            while versions.get(1).is_some_and(|next| is_seen(next.time)) {
                versions.pop();
            }
            let Some(first) = versions.get(0).filter(|first| is_end(first)) else {
                return false;
            };
            if is_past(first.time) {
                versions.pop();
                return false;
            }
            first.time == time
        });
    }

    /// Forgets everything: nobody asks any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All rows, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Version)> {
        self.0.iter()
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
        let each = ByTime::<Version>::ROW + ByTime::<Version>::KEY + 3;
        let bytes = 2 * each + b"k".len() + b"other".len();
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
