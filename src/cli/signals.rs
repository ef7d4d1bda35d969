//! SIGINT and SIGTERM as wishes: the first asks to stop, another one not to wait.
//!
//! What comes at once with a signal is the same wish, not another: `timeout` signals a process and
//! then its group, and some shells and supervisors do likewise.

use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;

use crate::engine::spawn_named;
use crate::types::Clock;

/// Signals that are no further apart are one wish. A person takes longer to press a key twice.
const TOGETHER: Duration = Duration::from_millis(150);

/// Has a thread call `wish` for each wish of the process' life, until it says that it is enough.
pub fn on_wishes(mut wish: impl FnMut() -> bool + Send + 'static) {
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => return warn!(%error, "could not listen for signals"),
    };
    spawn_named("signals", move || {
        let (clock, mut wishes) = (Clock::machine(), Wishes::default());
        for _ in signals.forever() {
            if wishes.is_another(clock.elapsed()) && !wish() {
                return;
            }
        }
    });
}

/// Tells wishes apart.
#[derive(Default)]
struct Wishes {
    last: Option<Duration>,
}

impl Wishes {
    fn is_another(&mut self, now: Duration) -> bool {
        let is_another = self.last.is_none_or(|last| now >= last + TOGETHER);
        if is_another {
            self.last = Some(now);
        }
        is_another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_at_once_are_one_wish_and_later_ones_another() {
        let mut wishes = Wishes::default();
        let heard =
            [0, 0, 3, 149, 150, 151, 2000].map(|ms| wishes.is_another(Duration::from_millis(ms)));

        assert_eq!(heard, [true, false, false, false, true, false, true]);
    }
}
