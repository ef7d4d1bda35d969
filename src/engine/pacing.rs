//! History at a multiple of real time: which rows are due. Pure, but for the clock it asks.
//!
//! ```text
//!   event time   origin ──────────┬──▶     what happened before "now" is let in, in the order of its
//!   wall clock   began  ──▶ now ──┘ × speed     file; a row that happened later waits, and those after it
//! ```
//!
//! When a row comes in changes nothing in a result; it is only seen to happen as it did. Nobody waits
//! for rows that are filtered anyway because they are on the other side, nor for one that stands far ahead of
//! those behind it: its time is wrong, and it must not stop its file.

use std::sync::OnceLock;
use std::time::Duration;

use crate::dataflow::arrival::{Arrival, ArrivedRows};
use crate::types::{Clock, EventTime, Offset, Side};

/// A row that happened so long after one behind it in its file is not waited for any longer than that one.
pub const WILD_US: i64 = 24 * 60 * 60 * 1_000_000;

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
    /// What comes before this position; nothing more before this time.
    Until(Offset, EventTime),
    /// Nothing before this time.
    Not(EventTime),
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

    /// How long it is from `now` until `then` has happened.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a microsecond more or less")]
    pub fn wait(&self, now: EventTime, then: EventTime) -> Duration {
        let micros = then.0.saturating_sub(now.0).max(0) as f64;
        Duration::try_from_secs_f64(micros / 1e6 / self.speed).unwrap_or(Duration::MAX)
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

/// What of `arrival` has happened by `now`. The end of a file, rows without a time and rows that `side`
/// does not take wait for nothing but what stands before them. `next` says when what comes after the
/// arrival begins, as far as it is there.
#[must_use]
pub fn due(
    arrival: &Arrival,
    now: EventTime,
    side: Option<Side>,
    next: impl FnOnce() -> Option<i64>,
) -> Due {
    match arrival {
        Arrival::Rows(rows) => due_rows(rows, now, side, next),
        Arrival::CaughtUp(_) | Arrival::Away | Arrival::Found(..) | Arrival::End => Due::All,
    }
}

fn due_rows(
    rows: &ArrivedRows,
    now: EventTime,
    side: Option<Side>,
    next: impl FnOnce() -> Option<i64>,
) -> Due {
    let waits = |time: i64| time > now.0 && is_of(side, time);
    if !rows.times.iter().any(|&time| waits(time)) {
        return Due::All;
    }
    let (mut behind, mut after) = (next().unwrap_or(i64::MAX), None);
    let mut first = None;
    for (row, &time) in rows.times.iter().enumerate().rev() {
        let is_wild = time.saturating_sub(WILD_US) > behind;
        let due = if is_wild { behind } else { time };
        if waits(due) && is_of(side, time) {
            first = Some((row, due));
        }
        if is_of(side, time) {
            if is_believed(time, after) {
                behind = behind.min(time);
            }
            after = Some(time);
        }
    }
    let Some((row, time)) = first else {
        return Due::All;
    };
    let at = rows.positions.of(rows.spans[row].start);
    if at > rows.from {
        Due::Until(at, EventTime(time))
    } else {
        Due::Not(EventTime(time))
    }
}

/// Whether a row's time says how far those before it can be: not if the row after it is far past it again.
fn is_believed(time: i64, after: Option<i64>) -> bool {
    after.is_none_or(|after| after.saturating_sub(WILD_US) <= time)
}

/// When the earliest row of `arrival` happened that `side` takes, as far as its times are believed.
#[must_use]
pub fn earliest(arrival: &Arrival, side: Option<Side>) -> Option<i64> {
    let Arrival::Rows(rows) = arrival else {
        return None;
    };
    let times = rows.times.iter().rev().copied();
    let mut after = None;
    let believed = |&time: &i64| is_believed(time, after.replace(time));
    times
        .filter(|&time| is_of(side, time))
        .filter(believed)
        .min()
}

fn is_of(side: Option<Side>, time: i64) -> bool {
    side.is_none_or(|side| side.takes(time))
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
        let due = |arrival, now| due(arrival, EventTime(now), None, || None);

        assert_eq!(due(&rows, 4), Due::Not(EventTime(5)));
        assert_eq!(due(&rows, 5), Due::Until(Offset(110), EventTime(9)));
        assert_eq!(due(&rows, 19), Due::Until(Offset(130), EventTime(20)));
        assert_eq!(due(&rows, 20), Due::All);
        assert_eq!(due(&Arrival::End, 0), Due::All);
    }

    #[test]
    fn nobody_waits_for_a_row_of_the_other_side() {
        let rows = Arrival::Rows(rows(100, &[70, 5, 60, 9]));
        let side = Some(Side::Before(EventTime(60)));

        let due = |now| due(&rows, EventTime(now), side, || None);

        assert_eq!(due(4), Due::Until(Offset(110), EventTime(5)));
        assert_eq!(due(5), Due::Until(Offset(130), EventTime(9)));
        assert_eq!(due(9), Due::All);
    }

    #[test]
    fn a_row_far_ahead_of_those_behind_it_does_not_keep_them() {
        const WILD: i64 = i64::MAX / 2;
        let within = Arrival::Rows(rows(100, &[5, WILD, 7]));
        let last = Arrival::Rows(rows(100, &[5, WILD]));
        let due = |rows, now, next| due(rows, EventTime(now), None, || next);

        let until = |time| Due::Until(Offset(110), EventTime(time));

        assert_eq!(due(&within, 6, None), until(7));
        assert_eq!(due(&within, 7, None), Due::All);
        assert_eq!(due(&last, 7, Some(7)), Due::All);
        assert_eq!(due(&last, 7, None), until(WILD));
    }

    #[test]
    fn a_row_far_behind_those_around_it_says_nothing_of_them() {
        const THEN: i64 = i64::MAX / 2;
        let within = Arrival::Rows(rows(100, &[THEN, 0, THEN + 1]));
        let first = Arrival::Rows(rows(100, &[0, THEN + 1]));

        let waits = Due::Not(EventTime(THEN));
        assert_eq!(due(&within, EventTime(0), None, || None), waits);
        assert_eq!(earliest(&first, None), Some(THEN + 1));
    }

    #[test]
    fn what_is_waited_for_takes_as_long_as_the_speed_says() {
        let pacing = Pacing::new(60.0, EventTime(0), Clock::manual());
        let wait = |then| pacing.wait(EventTime(0), EventTime(then));
        assert_eq!(wait(120_000_000), Duration::from_secs(2));
        assert_eq!(wait(-1), Duration::ZERO);
    }
}
