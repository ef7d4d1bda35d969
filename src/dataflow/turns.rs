//! Event time in turns: by how many of them a key has had no record, `state.ttl` forgets it.
//!
//! ```text
//!   a record   ──watermark of its own partition, after it──▶ its turn
//!   an epoch   ──watermark of all, at its end──────────────▶ the turn that event time is in
//! ```
//!
//! A record's turn is a function of its partition's records alone, as lateness is. And when event
//! time is in a turn, every record of an earlier one is there: no partition is behind it.

use crate::types::Watermark;

/// Stretches of event time, all of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    length_us: i64,
}

impl Turns {
    /// A key is over when so many turns have passed after that of its last record. With more of
    /// them it is looked for such keys more often, and each is moved as often meanwhile.
    pub const KEPT: i64 = 8;

    /// A record is taken back when so many shorter turns have passed after its own: with each turn all
    /// its records leave at once, and everything that was made of them is corrected in one epoch.
    pub const RECORDS_KEPT: i64 = 256;

    /// The turns by which keys are kept for `ttl_us` at least, and an eighth of it more at most.
    #[must_use]
    pub fn of_ttl(ttl_us: i64) -> Self {
        Self {
            length_us: (ttl_us / Self::KEPT).max(1),
        }
    }

    /// The turns by which records are kept for `ttl_us` at least, and a 256th of it more at most.
    #[must_use]
    pub fn of_records(ttl_us: i64) -> Self {
        Self {
            length_us: (ttl_us / Self::RECORDS_KEPT).max(1),
        }
    }

    /// The turn that a watermark is in.
    #[must_use]
    pub fn of(self, watermark: Watermark) -> i64 {
        self.of_micros(watermark.micros())
    }

    fn of_micros(self, watermark: i64) -> i64 {
        watermark.div_euclid(self.length_us)
    }

    /// The turn of each record, given the watermark of its partition after it.
    #[must_use]
    pub fn of_each(self, watermarks: &[i64]) -> Vec<i64> {
        // Neighbours mostly have one watermark, and a comparison is cheaper than a division.
        let (mut last, mut turn) = (0, 0);
        let of_each = watermarks.iter().map(|&watermark| {
            if watermark != last {
                (last, turn) = (watermark, self.of_micros(watermark));
            }
            turn
        });
        of_each.collect()
    }
}

/// How far event time is, in turns.
#[derive(Clone, Copy, Debug)]
pub struct TurnClock {
    turns: Turns,
    /// The turn that event time is in, once that is known in this run.
    now: Option<i64>,
}

impl TurnClock {
    /// Nothing is known of event time yet.
    #[must_use]
    pub fn new(turns: Turns) -> Self {
        Self { turns, now: None }
    }

    /// The turns that it counts.
    #[must_use]
    pub fn turns(&self) -> Turns {
        self.turns
    }

    /// The turn that event time is in, once that is known in this run.
    #[must_use]
    pub fn now(&self) -> Option<i64> {
        self.now
    }

    /// Whether event time has not got to a turn, so that its rows wait.
    #[must_use]
    pub fn is_to_come(&self, turn: i64) -> bool {
        self.now.is_none_or(|now| turn > now)
    }

    /// Event time has got to `reached`: the turns that begin for that, of those that rows wait for
    /// (ascending), and last the one that event time is in now. None, if it was there before.
    pub fn advance(
        &mut self,
        reached: Watermark,
        waiting: impl IntoIterator<Item = i64>,
    ) -> Vec<i64> {
        let turn = self.turns.of(reached);
        if reached.is_start() || !self.is_to_come(turn) {
            return Vec::new();
        }
        self.now = Some(turn);
        let due = waiting.into_iter().take_while(|waits| *waits < turn);
        due.chain([turn]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EventTime;

    #[test]
    fn turns_that_rows_wait_for_begin_in_their_order_and_once() {
        let mut clock = TurnClock::new(Turns::of_ttl(80));
        let at = |time| Watermark::behind(EventTime(time), 0);

        assert!(clock.advance(Watermark::START, [1, 2]).is_empty());
        assert!(clock.is_to_come(0));
        assert_eq!(clock.advance(at(39), [1, 3, 4]), [1, 3]);
        assert!(clock.advance(at(30), [4]).is_empty());
        assert!(!clock.is_to_come(3) && clock.is_to_come(4));
        assert_eq!(clock.advance(at(50), [4]), [4, 5]);
    }

    #[test]
    fn turns_are_aligned_before_1970_too() {
        let turns = Turns::of_ttl(80);
        let of = |time| turns.of(Watermark::behind(EventTime(time), 0));

        assert_eq!([of(0), of(9), of(10), of(-1)], [0, 0, 1, -1]);
    }
}
