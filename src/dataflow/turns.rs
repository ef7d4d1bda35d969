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

    /// The turns by which keys are kept for `ttl_us` at least, and an eighth of it more at most.
    #[must_use]
    pub fn of_ttl(ttl_us: i64) -> Self {
        Self {
            length_us: (ttl_us / Self::KEPT).max(1),
        }
    }

    /// The turn that a watermark is in.
    #[must_use]
    pub fn of(self, watermark: Watermark) -> i64 {
        watermark.micros().div_euclid(self.length_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EventTime;

    #[test]
    fn turns_are_aligned_before_1970_too() {
        let turns = Turns::of_ttl(80);
        let of = |time| turns.of(Watermark::behind(EventTime(time), 0));

        assert_eq!([of(0), of(9), of(10), of(-1)], [0, 0, 1, -1]);
    }
}
