//! The one place that reads the machine's clock. What it says paces work and shows progress; it
//! never enters a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Time since the clock was made. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's, which never goes back.
    Machine { start: Instant },
    /// Microseconds; moves when someone waits for it or sets it.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the `Clock` that others use instead"
    )]
    pub fn machine() -> Self {
        Self(Kind::Machine {
            start: Instant::now(),
        })
    }

    /// A clock that stands still until someone waits for it: for tests.
    #[must_use]
    pub fn manual() -> Self {
        Self(Kind::Manual(Arc::default()))
    }

    /// How long it has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Kind::Machine { start } => start.elapsed(),
            Kind::Manual(micros) => Duration::from_micros(micros.load(Ordering::Relaxed)),
        }
    }

    /// What time of day it is: microseconds since 1970, to say how old a record is. A manual clock
    /// was started then.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the `Clock` that others use instead"
    )]
    pub fn wall(&self) -> i64 {
        let since = match &self.0 {
            Kind::Machine { .. } => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            Kind::Manual(_) => self.elapsed(),
        };
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    /// Returns when the clock shows `time` or later. A manual clock is set to it.
    pub fn wait_until(&self, time: Duration) {
        match &self.0 {
            Kind::Machine { .. } => {
                let left = time.saturating_sub(self.elapsed());
                if !left.is_zero() {
                    std::thread::sleep(left);
                }
            }
            Kind::Manual(micros) => {
                let target = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                micros.fetch_max(target, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_to_what_is_waited_for_and_never_back() {
        let clock = Clock::manual();

        clock.wait_until(Duration::from_secs(5));
        clock.wait_until(Duration::from_secs(3));

        assert_eq!(clock.elapsed(), Duration::from_secs(5));
    }
}
