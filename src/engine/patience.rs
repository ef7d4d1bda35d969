//! Waiting for what is away: said once, and again when it is back.

use std::time::Duration;

use tracing::{info, warn};

use crate::connector::ConnectorError;
use crate::dataflow::outcome::Shared;
use crate::types::Clock;

/// How long to wait before what is away is tried again: a quarter of the time that it has been
/// away, within these.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a run that is asked to stop still waits.
const GRACE: Duration = Duration::from_secs(5);

/// Does `work` with `what` again while it is away. A run that is asked to stop waits a little
/// longer, and then no more; one that has failed does not wait.
pub fn patiently<T>(
    what: &str,
    (shared, clock): (&Shared, &Clock),
    mut work: impl FnMut() -> Result<T, ConnectorError>,
) -> Result<T, ConnectorError> {
    let mut away: Option<Duration> = None;
    let mut stopping: Option<Duration> = None;
    loop {
        let outcome = work();
        let now = clock.elapsed();
        let Err(error @ (ConnectorError::Transient(_) | ConnectorError::Away { .. })) = outcome
        else {
            if let (Some(since), Ok(_)) = (away, &outcome) {
                let after = now.saturating_sub(since);
                shared.board.is_back(what);
                info!(what, ?after, "it works again; nothing is lost");
            }
            return outcome;
        };
        if away.is_none() {
            if matches!(error, ConnectorError::Away { .. }) {
                warn!(what, cause = %error, "it is away: waiting for it");
            } else {
                // It may well be there: a disk is full, somebody holds a lock.
                warn!(what, cause = %error, "it does not work now: trying again until it does");
            }
        }
        let since = *away.get_or_insert(now);
        shared
            .board
            .is_away(what, (since, &error.to_string()), clock);
        let has_waited = shared.is_stopping() && now > *stopping.get_or_insert(now) + GRACE;
        if has_waited || shared.has_failed() {
            return Err(error);
        }
        let pause = (now.saturating_sub(since) / 4).clamp(PAUSE_MIN, PAUSE_MAX);
        clock.wait_until(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> ConnectorError {
        ConnectorError::Transient("no answer".to_owned())
    }

    #[test]
    fn what_is_away_is_waited_for_and_what_is_wrong_is_not() {
        let (shared, clock) = (Shared::default(), Clock::manual());
        let mut answers = vec![Ok(7), Err(away()), Err(away())];

        let got = patiently("it", (&shared, &clock), || answers.pop().unwrap());
        assert!(matches!(got, Ok(7)));
        assert!(clock.elapsed() >= 2 * PAUSE_MIN);

        let wrong = || Err::<(), _>(ConnectorError::permanent("no such table"));
        assert!(patiently("it", (&shared, &clock), wrong).is_err());
    }

    #[test]
    fn a_run_that_stops_waits_a_little_longer_and_then_no_more() {
        let (shared, clock) = (Shared::default(), Clock::manual());
        shared.stop();

        let got = patiently("it", (&shared, &clock), || Err::<(), _>(away()));

        assert!(got.is_err());
        assert!(clock.elapsed() > GRACE && clock.elapsed() < 2 * GRACE);
    }
}
