//! When the records of an epoch were written, kept small: so that the commit which makes them
//! visible can say how old they have become.
//!
//! A run of neighbouring records stands as one of them and a count. That is exact enough for a
//! latency (a run spans milliseconds where records come as they are written), and the oldest and
//! the newest of a block always stand for themselves.

use serde::{Deserialize, Serialize};

/// Into how many runs a block of records is cut.
const RUNS: usize = 8;

/// How many are kept of an epoch.
const KEPT: usize = 48;

/// Times in microseconds since 1970, and how many records each stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(Vec<(i64, u64)>);

impl Written {
    /// Takes in the records of a block, by the times at which they were written.
    pub fn block(&mut self, times: &[i64]) {
        let (Some(&oldest), Some(&newest)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        for run in times.chunks(times.len().div_ceil(RUNS)) {
            self.0.push((run[run.len() / 2], run.len() as u64));
        }
        // Each is one of the records of some run already: one more does no harm.
        self.0.extend([(oldest, 1), (newest, 1)]);
        self.thin();
    }

    /// Takes in `count` records that were all written at `time`.
    pub fn at(&mut self, time: i64, count: u64) {
        if count > 0 {
            self.0.push((time, count));
            self.thin();
        }
    }

    /// Takes in all of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// The times, and for how many records each stands.
    #[must_use]
    pub fn times(&self) -> &[(i64, u64)] {
        &self.0
    }

    /// Puts neighbours in time together until few enough are left; the ends stay.
    fn thin(&mut self) {
        if self.0.len() <= KEPT {
            return;
        }
        self.0.sort_unstable();
        let last = self.0.len() - 1;
        let mut thinned = vec![self.0[0]];
        for pair in self.0[1..last].chunks(2) {
            thinned.push((pair[pair.len() - 1].0, pair.iter().map(|(_, n)| n).sum()));
        }
        thinned.push(self.0[last]);
        self.0 = thinned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_blocks_come_few_times_are_kept_and_the_ends_stay() {
        let mut written = Written::default();
        for block in 0..1000 {
            let times: Vec<i64> = (0..100).map(|record| block * 100 + record).collect();
            written.block(&times);
        }

        let times = written.times();

        assert!(times.len() <= KEPT, "{}", times.len());
        let (oldest, newest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert_eq!((oldest.0, newest.0), (0, 99_999));
        let count: u64 = times.iter().map(|(_, count)| count).sum();
        assert!((100_000..=102_000).contains(&count), "{count}");
    }

    #[test]
    fn an_empty_block_says_nothing() {
        let mut written = Written::default();
        written.block(&[]);
        written.at(7, 0);

        assert_eq!(written.times(), []);
    }
}
