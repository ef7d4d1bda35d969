//! When epochs close.

use std::time::Duration;

/// When epochs close.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When this much time has passed.
    Interval(Duration),
    /// After a pseudo-random number of arrivals: for tests, which cut epochs anywhere.
    Arrivals {
        /// Which sequence of cuts.
        seed: u64,
    },
    /// After so many arrivals: for benchmarks, whose epochs hold so many rows.
    Count {
        /// How many.
        arrivals: u64,
    },
}

/// A pace at work: whether the open epoch is to be cut after an arrival.
#[derive(Clone, Debug)]
pub(super) struct Cuts {
    pace: Pace,
    state: u64,
    wanted: bool,
}

impl Cuts {
    pub fn new(pace: Pace) -> Self {
        let state = match pace {
            Pace::Interval(_) | Pace::Count { .. } => 0,
            Pace::Arrivals { seed } => seed,
        };
        Self {
            pace,
            state,
            wanted: false,
        }
    }

    /// Something arrived.
    pub fn arrived(&mut self) {
        self.wanted |= match self.pace {
            Pace::Interval(_) => false,
            Pace::Count { arrivals } => {
                self.state += 1;
                self.state.is_multiple_of(arrivals)
            }
            Pace::Arrivals { .. } => {
                // About every third, by a linear congruential sequence.
                let next = self.state.wrapping_mul(6_364_136_223_846_793_005);
                self.state = next.wrapping_add(1);
                (self.state >> 33).is_multiple_of(3)
            }
        };
    }

    /// Whether a cut was wanted since this was last asked.
    pub fn take(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }

    /// How long to wait for the next look at the time, given what has passed.
    pub fn until_tick(&self, elapsed: Duration) -> Duration {
        match self.pace {
            Pace::Arrivals { .. } | Pace::Count { .. } => Duration::from_millis(1),
            Pace::Interval(interval) => {
                let interval = interval.as_micros().max(1);
                let rest = interval - elapsed.as_micros() % interval;
                Duration::from_micros(u64::try_from(rest).unwrap_or(1))
            }
        }
    }

    /// How many intervals have passed, where time closes epochs.
    pub fn ticks(&self, elapsed: Duration) -> Option<u64> {
        match self.pace {
            Pace::Interval(interval) => {
                let ticks = elapsed.as_micros() / interval.as_micros().max(1);
                Some(u64::try_from(ticks).expect("a run ends before 2^64 intervals"))
            }
            Pace::Arrivals { .. } | Pace::Count { .. } => None,
        }
    }
}
