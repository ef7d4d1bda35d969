//! History at a multiple of real time: which rows are due. Pure, but for the clock it asks.
//!
//! ```text
//!   event time   origin ──────────┬──▶     what happened before "now" is let in, in the order of its
//!   wall clock   began  ──▶ now ──┘ × speed     file; a row that happened later waits, and those after it
//! ```
//!
//! When a row comes in changes nothing in a result; it is only seen to happen as it did.

use std::sync::OnceLock;
use std::time::Duration;

use crate::dataflow::arrival::{Arrival, ArrivedRows};
use crate::types::{Clock, EventTime, Offset};

/// A pace that all readers of a run keep.
#[derive(Debug)]
pub struct Pacing {
    speed: f64,
    origin: EventTime,
    clock: Clock,
    began: OnceLock<Duration>,
}

/// What of an arrival is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// All of it.
    All,
    /// What comes before this position.
    Until(Offset),
    /// Nothing yet.
    Nothing,
}

impl Pacing {
    /// `speed` times as fast as it happened, from `origin` on.
    #[must_use]
    pub fn new(speed: f64, origin: EventTime, clock: Clock) -> Self {
        Self {
            speed,
            origin,
            clock,
            began: OnceLock::new(),
        }
    }

    /// What has happened by now. The clock begins when this is asked first.
    #[must_use]
    pub fn now(&self) -> EventTime {
        let elapsed = self.clock.elapsed();
        let began = self.began.get_or_init(|| elapsed);
        happened(self.origin, self.speed, elapsed.saturating_sub(*began))
    }
}

/// How far event time may be when `passed` has passed since it was at `origin`.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a microsecond more or less after some years, and an end of time that saturates"
)]
fn happened(origin: EventTime, speed: f64, passed: Duration) -> EventTime {
    let micros = passed.as_micros() as f64 * speed;
    EventTime(origin.0.saturating_add(micros as i64))
}

/// What of `arrival` has happened by `now`. The end of a file, and rows without a time, wait for
/// nothing but what stands before them.
#[must_use]
pub fn due(arrival: &Arrival, now: EventTime) -> Due {
    match arrival {
        Arrival::Rows(rows) => due_rows(rows, now),
        Arrival::CaughtUp(_) | Arrival::Away | Arrival::Found(..) | Arrival::End => Due::All,
    }
}

fn due_rows(rows: &ArrivedRows, now: EventTime) -> Due {
    let Some(later) = rows.times.iter().position(|&time| time > now.0) else {
        return Due::All;
    };
    let at = rows.positions.of(rows.spans[later].start);
    if at > rows.from {
        Due::Until(at)
    } else {
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;
    use crate::format::Positions;
    use crate::types::Span;

    fn rows(from: u64, times: &[i64]) -> ArrivedRows {
        let column: ArrayRef = Arc::new(Int64Array::from(times.to_vec()));
        let spans = (0..times.len()).map(|row| Span {
            start: 10 * u32::try_from(row).unwrap(),
            len: 10,
        });
        ArrivedRows {
            rows: RecordBatch::try_from_iter([("at", column)]).unwrap(),
            times: times.to_vec().into(),
            spans: spans.collect(),
            rejects: Vec::new(),
            bytes: Arc::default(),
            line: 1,
            positions: Positions::Bytes {
                start: Offset(from),
            },
            from: Offset(from),
            end: Offset(from + 10 * times.len() as u64),
        }
    }

    #[test]
    fn event_time_runs_speed_times_as_fast_as_the_clock() {
        let clock = Clock::manual();
        clock.wait_until(Duration::from_secs(7));
        let pacing = Pacing::new(60.0, EventTime(1_000_000), clock.clone());
        assert_eq!(pacing.now(), EventTime(1_000_000));

        clock.wait_until(Duration::from_secs(9));
        assert_eq!(pacing.now(), EventTime(121_000_000));

        let slow = happened(EventTime(0), 0.5, Duration::from_secs(3));
        assert_eq!(slow, EventTime(1_500_000));
        let end = happened(EventTime(5), 1e300, Duration::from_secs(1));
        assert_eq!(end, EventTime(i64::MAX));
    }

    #[test]
    fn rows_are_due_up_to_the_first_that_has_not_happened() {
        let rows = Arrival::Rows(rows(100, &[5, 9, 7, 20, 8]));

        assert_eq!(due(&rows, EventTime(4)), Due::Nothing);
        assert_eq!(due(&rows, EventTime(5)), Due::Until(Offset(110)));
        assert_eq!(due(&rows, EventTime(19)), Due::Until(Offset(130)));
        assert_eq!(due(&rows, EventTime(20)), Due::All);
        assert_eq!(due(&Arrival::End, EventTime(0)), Due::All);
    }
}
