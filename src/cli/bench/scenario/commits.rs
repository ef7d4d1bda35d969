//! Every commit of a run that is measured: how long it took, and how old its records had become.
//!
//! Unlike the metrics, which forget after a minute or two, nothing is forgotten here. Of a paced load
//! counts what was due from `from` on, whenever it is committed; what was due before is the warm-up.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataflow::written::{Witness, Written};
use crate::metrics::{QUANTILES, Times};

/// The part of a paced load that counts: by when records are due, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first that counts.
    pub from: i64,
    /// What is due later does not exist.
    pub until: i64,
}

/// What has been seen so far.
#[derive(Debug)]
pub struct Commits {
    span: Option<Span>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    took: Times,
    ages: Times,
    /// The same by the quarter of the span in which a record was due.
    quarters: [Times; 4],
}

impl Commits {
    /// Nothing seen yet. Ages are of interest where a load is paced.
    pub fn new(span: Option<Span>) -> Self {
        let seen = Mutex::default();
        Self { span, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Quantiles of how long a commit took, in milliseconds.
    pub fn took_ms(&self) -> Vec<f64> {
        quantiles(&self.seen().took)
    }

    /// Quantiles of how old records were at their commit.
    pub fn ages_ms(&self) -> Vec<f64> {
        quantiles(&self.seen().ages)
    }

    /// Half of the records of each quarter were not older.
    pub fn quarters_ms(&self) -> Vec<f64> {
        let seen = self.seen();
        let halves = seen.quarters.iter().filter_map(|of| of.quantile(0.5));
        halves.map(milliseconds).collect()
    }
}

fn quantiles(of: &Times) -> Vec<f64> {
    let quantiles = QUANTILES.iter();
    let quantiles = quantiles.filter_map(|&(_, share)| of.quantile(share));
    quantiles.map(milliseconds).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Witness for Commits {
    fn commit(&self, took: Duration, wall: i64, written: &Written) {
        let mut seen = self.seen();
        if self.span.is_none_or(|span| wall >= span.from) {
            seen.took.add(took, 1);
        }
        let Some(span) = self.span else {
            return;
        };
        for (due, count) in written.times().filter(|&(due, _)| due >= span.from) {
            let age = u64::try_from(wall.saturating_sub(due)).unwrap_or(0);
            let age = Duration::from_micros(age);
            seen.ages.add(age, count);
            let quarter = 4 * (due - span.from) / (span.until - span.from).max(1);
            let quarter = usize::try_from(quarter).unwrap_or(0).min(3);
            seen.quarters[quarter].add(age, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn committed(commits: &Commits, at: i64, due: &[i64]) {
        let mut written = Written::default();
        written.block(due);
        commits.commit(Duration::from_millis(7), at, &written);
    }

    #[test]
    fn a_stall_at_the_beginning_of_ten_minutes_is_in_the_quantiles() {
        let (from, until) = (0, 600 * SECOND);
        let commits = Commits::new(Some(Span { from, until }));
        for second in 0..600 {
            let late = if second < 20 { 5 } else { 1 };
            committed(&commits, (second + late) * SECOND, &[second * SECOND]);
        }

        let ages = commits.ages_ms();

        assert!((999.0..1002.0).contains(&ages[1]), "{ages:?}");
        assert!((4990.0..5010.0).contains(&ages[2]), "{ages:?}");
        assert!((6.9..7.1).contains(&commits.took_ms()[2]));
    }

    #[test]
    fn what_was_due_in_the_warm_up_does_not_count_whenever_it_is_committed() {
        let (from, until) = (3 * SECOND, 23 * SECOND);
        let commits = Commits::new(Some(Span { from, until }));

        let due = [0, SECOND, 2 * SECOND, 4 * SECOND];
        committed(&commits, 4 * SECOND + SECOND / 10, &due);

        let ages = commits.ages_ms();
        assert!(
            ages.iter().all(|&ms| (99.0..102.0).contains(&ms)),
            "{ages:?}"
        );
    }

    #[test]
    fn a_lag_that_grows_shows_from_quarter_to_quarter() {
        let (from, until) = (0, 40 * SECOND);
        let commits = Commits::new(Some(Span { from, until }));
        for second in 0..40 {
            let due = second * SECOND;
            committed(&commits, due + due / 20, &[due]);
        }

        let quarters = commits.quarters_ms();

        assert_eq!(quarters.len(), 4);
        assert!(
            quarters.is_sorted() && quarters[3] - quarters[0] > 1400.0,
            "{quarters:?}"
        );
    }

    #[test]
    fn of_a_load_that_is_not_paced_only_the_commits_are_measured() {
        let commits = Commits::new(None);

        committed(&commits, SECOND, &[0]);

        assert!(commits.ages_ms().is_empty() && commits.quarters_ms().is_empty());
        assert_eq!(commits.took_ms().len(), QUANTILES.len());
    }
}
