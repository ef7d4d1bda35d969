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
    opened: Duration,
}

impl Cuts {
    /// The first epoch was opened `now`.
    pub fn new(pace: Pace, now: Duration) -> Self {
        let state = match pace {
            Pace::Interval(_) | Pace::Count { .. } => 0,
            Pace::Arrivals { seed } => seed,
        };
        Self {
            pace,
            state,
            wanted: false,
            opened: now,
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

    /// How long an epoch is open, where time closes epochs.
    pub fn interval(&self) -> Option<Duration> {
        match self.pace {
            Pace::Interval(interval) => Some(interval),
            Pace::Arrivals { .. } | Pace::Count { .. } => None,
        }
    }

    /// An epoch was opened.
    pub fn opened(&mut self, now: Duration) {
        self.opened = now;
    }

    /// How long the open epoch stays open yet, where time closes epochs.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        let open_for = now.saturating_sub(self.opened);
        Some(self.interval()?.saturating_sub(open_for))
    }
}
