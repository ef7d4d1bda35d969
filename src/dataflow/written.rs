//! When the records of an epoch were written, kept small: so that the commit which makes them
//! visible can say how old they have become.
//!
//! Records are counted by the millisecond, and by two, four, eight of them where an epoch spans too
//! many: a record's time is never off by more than a part in two hundred of the span, so quantiles of
//! the age are as good as that. What is counted is each record, once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many cells are kept of an epoch. It is cut every 0.1 s or so: enough for each millisecond.
const KEPT: usize = 256;

/// Looks on as epochs are committed: a benchmark, which forgets nothing.
pub trait Witness: fmt::Debug + Send + Sync {
    /// A commit took so long, and was done at `wall` (microseconds since 1970).
    fn commit(&self, took: Duration, wall: i64, written: &Written);
}

/// How many records were written when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// A cell is as wide as two to the power of this, in milliseconds.
    doubled: u32,
    /// By how many cells since 1970.
    cells: BTreeMap<i64, u64>,
}

impl Written {
    /// Takes in the records of a block, by the times at which they were written: microseconds since
    /// 1970.
    pub fn block(&mut self, times: &[i64]) {
        let mut rest = times;
        while let Some((&first, others)) = rest.split_first() {
            // Neighbours are mostly of one cell: few are looked up.
            let (from, width) = (self.from(self.cell(first)), 1000_u64 << self.doubled);
            let same = |&&time: &&i64| time.wrapping_sub(from).cast_unsigned() < width;
            let count = 1 + others.iter().take_while(same).count();
            self.at(first, count as u64);
            rest = &rest[count..];
        }
    }

    /// Takes in `count` records that were all written at `time`.
    pub fn at(&mut self, time: i64, count: u64) {
        if count > 0 {
            *self.cells.entry(self.cell(time)).or_default() += count;
            self.thin();
        }
    }

    /// Takes in all of `other`.
    pub fn extend(&mut self, other: &Self) {
        while self.doubled < other.doubled {
            self.double();
        }
        for (&cell, &count) in &other.cells {
            let cell = cell >> (self.doubled - other.doubled);
            *self.cells.entry(cell).or_default() += count;
            self.thin();
        }
    }

    /// The times, the oldest first, and how many records were written then.
    pub fn times(&self) -> impl Iterator<Item = (i64, u64)> {
        let middle = ((1_i64 << self.doubled) - 1) * 500;
        let cells = self.cells.iter();
        cells.map(move |(&cell, &count)| (self.from(cell).saturating_add(middle), count))
    }

    fn cell(&self, time: i64) -> i64 {
        time.div_euclid(1000) >> self.doubled
    }

    /// The first microsecond of a cell.
    fn from(&self, cell: i64) -> i64 {
        (cell << self.doubled).saturating_mul(1000)
    }

    fn thin(&mut self) {
        while self.cells.len() > KEPT {
            self.double();
        }
    }

    /// Puts each two cells together. Where they begin does not depend on what has come, so what
    /// others have counted fits in.
    fn double(&mut self) {
        self.doubled += 1;
        for (cell, count) in std::mem::take(&mut self.cells) {
            *self.cells.entry(cell >> 1).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some moment in 2026.
    const NOW: i64 = 1_790_000_000_000_000;

    /// Quantiles of the age at `NOW`, in milliseconds.
    fn ages(times: impl Iterator<Item = (i64, u64)>) -> Vec<f64> {
        let mut times: Vec<(i64, u64)> = times.collect();
        times.sort_unstable_by_key(|&(time, _)| std::cmp::Reverse(time));
        let all: u64 = times.iter().map(|(_, count)| count).sum();
        let at = |per_mille: u64| {
            let mut left = all * per_mille / 1000;
            let found = times.iter().find(|(_, count)| {
                let is_it = left < *count;
                left = left.saturating_sub(*count);
                is_it
            });
            (NOW - found.expect("it is below the count").0) as f64 / 1000.0
        };
        [10, 500, 900, 990, 999].map(at).to_vec()
    }

    /// Blocks of a hundred, dealt to two workers, whose reports one publisher puts together.
    fn holds_the_quantiles_of(written_at: &[i64]) {
        let mut workers = [Written::default(), Written::default()];
        for (index, block) in written_at.chunks(100).enumerate() {
            workers[index % 2].block(block);
        }

        let mut written = Written::default();
        workers.iter().for_each(|worker| written.extend(worker));

        assert!(written.times().count() <= KEPT, "{written:?}");
        let count: u64 = written.times().map(|(_, count)| count).sum();
        assert_eq!(count, written_at.len() as u64);
        let oldest = (NOW - written_at.iter().min().unwrap()) as f64 / 1000.0;
        let truth = ages(written_at.iter().map(|&time| (time, 1)));
        for (kept, truth) in ages(written.times()).iter().zip(&truth) {
            let off = (kept - truth).abs();
            assert!(off <= 1.0 + oldest / 100.0, "{kept} ms for {truth} ms");
        }
    }

    #[test]
    fn the_quantiles_of_an_even_stream_are_the_true_ones() {
        // An epoch of a tenth of a second at 50,000 records/s, and one that has waited for 100 s.
        holds_the_quantiles_of(&(0..5000).map(|at| NOW - 20 * at).rev().collect::<Vec<_>>());
        holds_the_quantiles_of(&(0..100_000).map(|at| NOW - 1000 * at).collect::<Vec<_>>());
    }

    #[test]
    fn few_that_had_to_wait_stay_as_old_as_they_are_and_leave_the_others_their_age() {
        let even = (0..50_000).map(|at| NOW - 2 * at);
        let times: Vec<i64> = (0..600)
            .map(|at| NOW - 9_000_000 - at)
            .chain(even)
            .collect();
        let mut written = Written::default();

        times.chunks(100).for_each(|block| written.block(block));

        let kept = ages(written.times());
        assert!((49.0..53.0).contains(&kept[1]), "{kept:?}");
        assert!((8_999.0..9_002.0).contains(&kept[3]), "{kept:?}");
    }

    #[test]
    fn times_far_apart_fit_in_with_their_count() {
        let mut written = Written::default();

        written.block(&[i64::MIN, i64::MAX, 0, -1, NOW]);
        for power in 0..1000 {
            written.at(power * (i64::MAX / 1000), 2);
        }

        let count: u64 = written.times().map(|(_, count)| count).sum();
        assert_eq!(count, 2005);
        assert!(written.times().count() <= KEPT);
    }

    #[test]
    fn an_empty_block_says_nothing() {
        let mut written = Written::default();
        written.block(&[]);
        written.at(7, 0);

        assert_eq!(written.times().count(), 0);
    }
}
