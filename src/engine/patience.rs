//! Waiting for what is away: the one retry loop.

use std::time::Duration;

use tracing::{info, warn};

use crate::connector::ConnectorError;
use crate::dataflow::outcome::Shared;
use crate::types::Clock;

/// How long to wait before something that is away is tried again: a quarter of the time that it
/// has been away, within these.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a run that is asked to stop still waits.
const GRACE: Duration = Duration::from_secs(5);

/// Waits for sources and destinations that are away, or not.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// Knows whether the run is to stop.
    pub shared: &'a Shared,
    /// Time.
    pub clock: &'a Clock,
    /// Whether it is worth waiting: an address that was never right is not.
    pub waits: bool,
}

impl Patience<'_> {
    /// Tries again while `name` is away, which is said once, and again when it is back. A run that
    /// is asked to stop waits a little longer, and then no more.
    pub fn wait<T>(
        &self,
        name: &str,
        mut attempt: impl FnMut() -> Result<T, ConnectorError>,
    ) -> Result<T, ConnectorError> {
        let mut away: Option<Duration> = None;
        let mut stopping: Option<Duration> = None;
        loop {
            let outcome = attempt();
            let now = self.clock.elapsed();
            let cause = match outcome {
                Err(cause @ (ConnectorError::Transient(_) | ConnectorError::Away { .. })) => cause,
                Ok(_) | Err(_) => {
                    if let (Some(since), Ok(_)) = (away, &outcome) {
                        let after = now.saturating_sub(since);
                        info!(name, ?after, "it is back; nothing is lost");
                    }
                    return outcome;
                }
            };
            if !self.waits {
                return Err(cause);
            }
            if away.is_none() {
                warn!(name, %cause, "it is away: waiting for it");
            }
            let since = *away.get_or_insert(now);
            let late = self.shared.is_stopping() && now > *stopping.get_or_insert(now) + GRACE;
            if late || self.shared.has_failed() {
                return Err(cause);
            }
            let pause = (now.saturating_sub(since) / 4).clamp(PAUSE_MIN, PAUSE_MAX);
            self.clock.wait_until(now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> ConnectorError {
        ConnectorError::Transient("could not reach it".to_owned())
    }

    #[test]
    fn what_is_away_is_tried_until_it_is_back() {
        let (shared, clock) = (Shared::default(), Clock::manual());
        let patience = Patience {
            shared: &shared,
            clock: &clock,
            waits: true,
        };
        let mut tries = 0;

        let outcome = patience.wait("it", || {
            tries += 1;
            if tries < 100 { Err(away()) } else { Ok(tries) }
        });

        assert_eq!(outcome.unwrap(), 100);
        assert!(clock.elapsed() > Duration::from_secs(30));
    }

    #[test]
    fn a_run_that_is_to_stop_waits_a_little_and_one_that_has_no_reason_not_at_all() {
        let (shared, clock) = (Shared::default(), Clock::manual());
        let mut patience = Patience {
            shared: &shared,
            clock: &clock,
            waits: false,
        };
        assert!(patience.wait("it", || Err::<(), _>(away())).is_err());
        assert_eq!(clock.elapsed(), Duration::ZERO);

        shared.stop();
        patience.waits = true;
        assert!(patience.wait("it", || Err::<(), _>(away())).is_err());
        assert!(clock.elapsed() >= GRACE && clock.elapsed() < GRACE * 2);
    }
}
