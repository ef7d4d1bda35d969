//! How often something took how long: fixed buckets since the start, which may be added up over
//! processes, and exact quantiles of the last one to two minutes, which may not.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The quantiles that are shown: how they are written, and the share below.
pub const QUANTILES: [(&str, f64); 4] =
    [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)];

/// How long observations are gathered before the older half is forgotten.
const HALF: Duration = Duration::from_mins(1);

/// Upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    600.0,
];

/// An hour: longer is taken for as long, in the quantiles only.
const LONGEST_US: u64 = 3_600_000_000;

/// One series.
pub(super) struct Latency {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
    recent: Histogram<u64>,
    before: Histogram<u64>,
    /// When `recent` began.
    since: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST_US, 2).expect("the bounds are right");
        Self {
            counts: [0; BOUNDS.len() + 1],
            sum: 0.0,
            recent: empty.clone(),
            before: empty,
            since: Duration::ZERO,
        }
    }
}

impl Latency {
    pub(super) fn observe(&mut self, took: Duration, times: u64, now: Duration) {
        self.turn(now);
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.counts[bucket] += times;
        #[allow(clippy::cast_precision_loss, reason = "a sum of seconds")]
        let weighted = seconds * times as f64;
        self.sum += weighted;
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
        self.recent
            .saturating_record_n(micros.clamp(1, LONGEST_US), times);
    }

    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since);
        if passed >= 2 * HALF {
            self.before.reset();
            self.recent.reset();
            self.since = now;
        } else if passed >= HALF {
            std::mem::swap(&mut self.before, &mut self.recent);
            self.recent.reset();
            self.since += HALF;
        }
    }

    pub(super) fn quantiles(&mut self, now: Duration) -> Option<Vec<Duration>> {
        self.turn(now);
        let mut both = self.before.clone();
        both.add(&self.recent).expect("both have the same bounds");
        let at = |&(_, share): &(&str, f64)| Duration::from_micros(both.value_at_quantile(share));
        (!both.is_empty()).then(|| QUANTILES.iter().map(at).collect())
    }

    /// Their sum in seconds, how many there are, and each bucket's bound and count.
    pub(super) fn buckets(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(self.counts).collect();
        (self.sum, self.counts.iter().sum(), buckets)
    }
}

/// How long something took, every time since it was begun: exact quantiles of all of it.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are right"))
    }
}

impl Times {
    /// It took this long, so many times.
    pub fn add(&mut self, took: Duration, times: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
        self.0
            .saturating_record_n(micros.clamp(1, LONGEST_US), times);
    }

    /// What this share of the times did not exceed; `None` if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let found = || Duration::from_micros(self.0.value_at_quantile(share));
        (!self.0.is_empty()).then(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_two_minutes_is_not_in_the_quantiles() {
        let seconds = Duration::from_secs;
        let mut latency = Latency::default();
        latency.observe(seconds(9), 1, seconds(10));
        latency.observe(seconds(1), 1, seconds(70));

        let both = latency.quantiles(seconds(80)).unwrap();
        let newer = latency.quantiles(seconds(130)).unwrap();

        assert!(both[3] > seconds(8), "{both:?}");
        assert!(newer[3] < seconds(2), "{newer:?}");
        assert_eq!(latency.quantiles(seconds(300)), None);
        assert_eq!(latency.buckets().1, 2);
    }
}
