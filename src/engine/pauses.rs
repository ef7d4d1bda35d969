//! Since when a source has been read without a pause.
//!
//! A pause is when nobody looks what has come: there is no room for it, or the thread does something else
//! for long. What comes then waits at the broker, or behind what comes of other partitions.

use std::time::Duration;

/// A thread that has not looked for so long does something else.
const LONG: Duration = Duration::from_secs(1);

/// When a thread looked what has come.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// When it looked last.
    looked: Duration,
    /// The end of the last pause.
    since: Duration,
    /// There was no room since it looked last.
    full: bool,
}

impl Pauses {
    /// There is no room for what may have come.
    pub fn is_full(&mut self) {
        self.full = true;
    }

    /// It looks now.
    pub fn look(&mut self, now: Duration) {
        if self.is_pause(now) {
            self.since = now;
        }
        self.full = false;
        self.looked = now;
    }

    /// Since when it has looked without a pause: the present in a pause.
    pub fn reads_since(&self, now: Duration) -> Duration {
        if self.is_pause(now) { now } else { self.since }
    }

    fn is_pause(&self, now: Duration) -> bool {
        self.full || now.saturating_sub(self.looked) > LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn want_of_room_is_a_pause_however_short_and_a_look_that_is_late_is_one() {
        let mut pauses = Pauses::default();
        for at in (0..2000).step_by(100) {
            pauses.look(ms(at));
        }
        assert_eq!(pauses.reads_since(ms(2000)), ms(0));

        pauses.is_full();
        assert_eq!(pauses.reads_since(ms(2001)), ms(2001));
        pauses.look(ms(2003));
        pauses.look(ms(2100));
        assert_eq!(pauses.reads_since(ms(2900)), ms(2003));

        assert_eq!(pauses.reads_since(ms(3200)), ms(3200));
        pauses.look(ms(3300));
        assert_eq!(pauses.reads_since(ms(3400)), ms(3300));
    }
}
