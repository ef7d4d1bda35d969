//! The three times. `Epoch` orders work, `EventTime` orders what happened, and a `Watermark`
//! says how far event time has come. Comparing two different ones does not compile, except
//! through the questions a watermark answers.

use serde::{Deserialize, Serialize};

/// The unit of commit: the timestamp of the dataflow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// When something happened: microseconds since 1970 in UTC, a column of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// How far event time has come: no row that happened before it is expected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(i64);

impl Watermark {
    /// Nothing is known yet: nothing is late and nothing closes.
    pub const START: Self = Self(i64::MIN);
    /// The input has ended: everything closes.
    pub const END: Self = Self(i64::MAX);

    /// Whether nothing is known yet.
    #[must_use]
    pub fn is_start(&self) -> bool {
        *self == Self::START
    }

    /// The watermark that a row at `time` allows, given the bound in `WATERMARK FOR`.
    #[must_use]
    pub fn behind(time: EventTime, bound_us: i64) -> Self {
        // A time at the edge of the range must not wrap, nor be taken for START or END.
        Self(
            time.0
                .saturating_sub(bound_us)
                .clamp(i64::MIN + 1, i64::MAX - 1),
        )
    }

    /// Microseconds since 1970, for arithmetic over columns of times.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whether event time has reached `end`, so that a window that ends there is complete.
    #[must_use]
    pub fn has_reached(self, end: EventTime) -> bool {
        self.0 >= end.0
    }
}

impl Default for Watermark {
    fn default() -> Self {
        Self::START
    }
}

impl std::fmt::Display for Watermark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::START => f.write_str("none"),
            Self::END => f.write_str("end"),
            Self(us) => match chrono::DateTime::from_timestamp_micros(us) {
                Some(time) => write!(f, "{}", time.naive_utc()),
                None => write!(f, "{us}us"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_stays_between_start_and_end_at_the_edges_of_time() {
        let earliest = Watermark::behind(EventTime(i64::MIN), 10);
        let latest = Watermark::behind(EventTime(i64::MAX), 0);

        assert!(earliest > Watermark::START);
        assert!(latest < Watermark::END);
    }

    #[test]
    fn a_window_is_complete_when_the_watermark_equals_its_end() {
        let watermark = Watermark::behind(EventTime(70), 10);

        assert!(watermark.has_reached(EventTime(60)));
        assert!(!watermark.has_reached(EventTime(61)));
    }
}
