//! Which windows a row belongs to, and which of them it is late for.
//!
//! A row is late for a window when the watermark of its own partition, before this row, had
//! already reached the window's end plus the allowed lateness. That is a function of the
//! partition's rows alone, so it does not matter when, where or how fast they were read. For
//! SESSION it is the row's own time that counts: where its session ends, other rows decide.
//!
//! ```text
//!   hop by 10, size 30     pane [20,30) belongs to [0,30) [10,40) [20,50)
//!   watermark before: 31   late for [0,30), so its first window is the one that ends at 40
//! ```

use std::collections::BTreeMap;

use crate::plan::{Assign, WindowKind};
use crate::types::Watermark;

/// The watermark of a partition before each row of a batch.
#[derive(Clone, Debug)]
pub struct Passed<'a> {
    /// Before the first row.
    before: Watermark,
    /// After the last row.
    after: Watermark,
    /// The rows' event times; empty where the source has no event time.
    times: &'a [i64],
    bound_us: i64,
}

impl<'a> Passed<'a> {
    /// Rows with these event times arrive at a partition that stands at `before`.
    #[must_use]
    pub fn new(before: Watermark, times: &'a [i64], bound_us: i64) -> Self {
        let highest = times.iter().copied().max();
        let after = highest.map_or(before, |time| {
            before.max(Watermark::behind(crate::types::EventTime(time), bound_us))
        });
        Self {
            before,
            after,
            times,
            bound_us,
        }
    }

    /// For rows that are never late: those that an operator made.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            before: Watermark::START,
            after: Watermark::START,
            times: &[],
            bound_us: 0,
        }
    }

    /// The watermark once the rows have been taken in.
    #[must_use]
    pub fn after(&self) -> Watermark {
        self.after
    }

    /// The watermark after each row, in microseconds.
    #[must_use]
    pub fn after_each(&self) -> Vec<i64> {
        let mut highest = self.before;
        let watermarks = self.times.iter().map(|&time| {
            let own = Watermark::behind(crate::types::EventTime(time), self.bound_us);
            highest = highest.max(own);
            highest.micros()
        });
        watermarks.collect()
    }

    /// The watermark before each row.
    fn before_each(&self) -> Vec<i64> {
        let mut highest = self.before;
        let watermarks = self.times.iter().map(|&time| {
            let before = highest;
            let own = Watermark::behind(crate::types::EventTime(time), self.bound_us);
            highest = highest.max(own);
            before.micros()
        });
        watermarks.collect()
    }
}

/// The rows of a batch with their windows, or panes. Rows that are late for all are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Which input row; `None` when every row stands once and in order.
    pub rows: Option<Vec<u32>>,
    /// `window_start` per output row.
    pub starts: Vec<i64>,
    /// `window_end` per output row.
    pub ends: Vec<i64>,
    /// Input rows that are late for all their windows, with the end of the last of those.
    pub late: Vec<(u32, i64)>,
}

/// Assigns windows to the rows with these event `times`. `origin` says which row of the arrived
/// batch each is (`None`: the same).
#[must_use]
pub fn assign(
    kind: WindowKind,
    how: Assign,
    lateness_us: i64,
    times: &[i64],
    origin: Option<&[u32]>,
    passed: &Passed<'_>,
) -> Assigned {
    let limits = Limits::new(kind, lateness_us, times, origin, passed);
    match (kind, how) {
        (WindowKind::Tumble { size_us }, _) => tumble(size_us, times, &limits),
        (WindowKind::Session { gap_us, .. }, _) => session(gap_us, times, &limits),
        (_, Assign::Panes) => panes(kind, times, &limits),
        (_, Assign::Windows) => windows(kind, times, &limits),
    }
}

/// The rows with these event `times` that are late by themselves, and the watermark of the
/// partition before each: it had passed the row's time plus the allowed lateness.
#[must_use]
pub fn late(
    times: &[i64],
    origin: Option<&[u32]>,
    lateness_us: i64,
    passed: &Passed<'_>,
) -> BTreeMap<usize, i64> {
    let earliest = times.iter().copied().min().unwrap_or(i64::MAX);
    if earliest >= passed.after.micros().saturating_sub(lateness_us) {
        return BTreeMap::new();
    }
    let before = passed.before_each();
    let arrived = |row: usize| origin.map_or(row, |origin| origin[row] as usize);
    let rows = times
        .iter()
        .enumerate()
        .map(|(row, &time)| (row, time, before[arrived(row)]));
    rows.filter(|&(_, time, watermark)| time < watermark.saturating_sub(lateness_us))
        .map(|(row, _, watermark)| (row, watermark))
        .collect()
}

/// For each row, the watermark less the allowed lateness: a window that ends at or before it is
/// closed to the row.
enum Limits {
    /// No row of the batch is late for any window.
    NothingLate,
    PerRow(Vec<i64>),
}

impl Limits {
    fn new(
        kind: WindowKind,
        lateness_us: i64,
        times: &[i64],
        origin: Option<&[u32]>,
        passed: &Passed<'_>,
    ) -> Self {
        let earliest = times.iter().copied().min().unwrap_or(i64::MAX);
        let pane = match kind {
            WindowKind::Tumble { size_us } => size_us,
            WindowKind::Hop { slide_us, .. } => slide_us,
            WindowKind::Cumulate { step_us, .. } => step_us,
            // What decides is the row itself, which is as good as a window that ends with it.
            WindowKind::Session { .. } => 1,
        };
        let first_end = floor(earliest, pane).saturating_add(pane);
        if passed.after == Watermark::START
            || first_end.saturating_add(lateness_us) > passed.after.micros()
        {
            return Self::NothingLate;
        }
        let before = passed.before_each();
        let limit = |row: usize| before[row].saturating_sub(lateness_us);
        Self::PerRow(match origin {
            None => (0..times.len()).map(limit).collect(),
            Some(origin) => origin.iter().map(|&row| limit(row as usize)).collect(),
        })
    }

    fn of(&self, row: usize) -> i64 {
        match self {
            Self::NothingLate => i64::MIN,
            Self::PerRow(limits) => limits[row],
        }
    }
}

/// The start of the aligned interval of length `size` that holds `time`.
fn floor(time: i64, size: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(size))
}

fn tumble(size: i64, times: &[i64], limits: &Limits) -> Assigned {
    let mut out = Assigned {
        starts: Vec::with_capacity(times.len()),
        ends: Vec::with_capacity(times.len()),
        ..Assigned::default()
    };
    // Neighbouring rows mostly share a window: a comparison is cheaper than a division.
    let (mut start, mut end) = (0, 0);
    let mut on_time = Vec::new();
    for (row, &time) in times.iter().enumerate() {
        if time < start || time >= end {
            start = floor(time, size);
            end = start.saturating_add(size);
        }
        if end <= limits.of(row) {
            if out.late.is_empty() {
                on_time = (0..index(row)).collect();
            }
            out.late.push((index(row), end));
            continue;
        }
        if !out.late.is_empty() {
            on_time.push(index(row));
        }
        out.starts.push(start);
        out.ends.push(end);
    }
    out.rows = (!out.late.is_empty()).then_some(on_time);
    out
}

/// Each row's own session: from the row on, until nothing happened for `gap`.
fn session(gap: i64, times: &[i64], limits: &Limits) -> Assigned {
    let mut out = Assigned::default();
    let mut rows = Vec::with_capacity(times.len());
    for (row, &time) in times.iter().enumerate() {
        let end = time.saturating_add(gap);
        if time < limits.of(row) {
            out.late.push((index(row), end));
            continue;
        }
        rows.push(index(row));
        out.starts.push(time);
        out.ends.push(end);
    }
    out.rows = (!out.late.is_empty()).then_some(rows);
    out
}

fn panes(kind: WindowKind, times: &[i64], limits: &Limits) -> Assigned {
    let mut out = Assigned::default();
    let mut rows = Vec::with_capacity(times.len());
    for (row, &time) in times.iter().enumerate() {
        let ends = Ends::of(kind, time);
        match ends.first_after(limits.of(row)) {
            None => out.late.push((index(row), ends.last)),
            Some(end) => {
                rows.push(index(row));
                out.starts.push(ends.pane);
                out.ends.push(end);
            }
        }
    }
    out.rows = Some(rows);
    out
}

fn windows(kind: WindowKind, times: &[i64], limits: &Limits) -> Assigned {
    let mut out = Assigned::default();
    let mut rows = Vec::with_capacity(times.len());
    for (row, &time) in times.iter().enumerate() {
        let ends = Ends::of(kind, time);
        let Some(first) = ends.first_after(limits.of(row)) else {
            out.late.push((index(row), ends.last));
            continue;
        };
        let mut end = first;
        while end <= ends.last {
            rows.push(index(row));
            out.starts.push(ends.start_of(kind, end));
            out.ends.push(end);
            end = end.saturating_add(ends.step);
        }
    }
    out.rows = Some(rows);
    out
}

fn index(row: usize) -> u32 {
    u32::try_from(row).expect("a batch has fewer than 4 billion rows")
}

/// The ends of the windows that hold one time: from `first` to `last`, `step` apart.
struct Ends {
    pane: i64,
    first: i64,
    last: i64,
    step: i64,
}

impl Ends {
    fn of(kind: WindowKind, time: i64) -> Self {
        let (step, last) = match kind {
            WindowKind::Tumble { size_us } => (size_us, floor(time, size_us) + size_us),
            WindowKind::Hop { slide_us, size_us } => (slide_us, floor(time, slide_us) + size_us),
            WindowKind::Cumulate { step_us, size_us } => (step_us, floor(time, size_us) + size_us),
            WindowKind::Session { .. } => {
                unreachable!("a row's own time is not aligned")
            }
        };
        let pane = floor(time, step);
        Self {
            pane,
            first: pane + step,
            last,
            step,
        }
    }

    /// The first end past `limit`, if there is one.
    fn first_after(&self, limit: i64) -> Option<i64> {
        if limit < self.first {
            return Some(self.first);
        }
        let steps = (limit - self.first) / self.step + 1;
        let end = self.first + steps * self.step;
        (end <= self.last).then_some(end)
    }

    fn start_of(&self, kind: WindowKind, end: i64) -> i64 {
        match kind {
            WindowKind::Tumble { size_us } | WindowKind::Hop { size_us, .. } => end - size_us,
            WindowKind::Cumulate { size_us, .. } => self.last - size_us,
            WindowKind::Session { .. } => {
                unreachable!("a row's own time is not aligned")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EventTime;

    fn passed(before: i64, times: &[i64], bound: i64) -> Passed<'_> {
        Passed::new(Watermark::behind(EventTime(before), 0), times, bound)
    }

    #[test]
    fn a_row_is_late_when_its_own_partition_had_passed_the_window_before_it() {
        let times = [5, 25, 7, 19];
        let kind = WindowKind::Tumble { size_us: 10 };

        let assigned = assign(
            kind,
            Assign::Windows,
            0,
            &times,
            None,
            &passed(0, &times, 0),
        );

        assert_eq!(assigned.late, [(2, 10), (3, 20)]);
        assert_eq!(assigned.rows, Some(vec![0, 1]));
        assert_eq!(
            (assigned.starts, assigned.ends),
            (vec![0, 20], vec![10, 30])
        );
    }

    #[test]
    fn allowed_lateness_keeps_a_window_open_for_longer() {
        let times = [5, 25, 7, 19];
        let kind = WindowKind::Tumble { size_us: 10 };

        let assigned = assign(
            kind,
            Assign::Windows,
            6,
            &times,
            None,
            &passed(0, &times, 0),
        );

        assert_eq!(assigned.late, [(2, 10)]);
    }

    #[test]
    fn windows_before_1970_are_aligned_too() {
        let times = [-1, -10, -11];
        let kind = WindowKind::Tumble { size_us: 10 };

        let assigned = assign(
            kind,
            Assign::Windows,
            0,
            &times,
            None,
            &Passed::new(Watermark::START, &[], 0),
        );

        assert_eq!(assigned.starts, [-10, -10, -20]);
    }

    #[test]
    fn a_hopping_row_stands_in_every_window_that_it_is_not_late_for() {
        let kind = WindowKind::Hop {
            slide_us: 10,
            size_us: 30,
        };
        let times = [60, 25];

        let assigned = assign(
            kind,
            Assign::Windows,
            0,
            &times,
            None,
            &passed(0, &times, 29),
        );

        // Before the second row the watermark is 31: the window that ends at 30 is closed to it.
        let second: Vec<_> = assigned.ends[3..].to_vec();
        assert_eq!(second, [40, 50]);
        assert_eq!(assigned.starts[3..], [10, 20]);
    }

    #[test]
    fn a_pane_names_the_first_window_that_its_row_is_not_late_for() {
        let kind = WindowKind::Hop {
            slide_us: 10,
            size_us: 30,
        };
        let times = [60, 25];

        let assigned = assign(kind, Assign::Panes, 0, &times, None, &passed(0, &times, 29));

        assert_eq!(assigned.starts, [60, 20]);
        assert_eq!(assigned.ends, [70, 40]);
    }

    #[test]
    fn cumulating_windows_share_their_start() {
        let kind = WindowKind::Cumulate {
            step_us: 10,
            size_us: 30,
        };
        let times = [41];

        let assigned = assign(
            kind,
            Assign::Windows,
            0,
            &times,
            None,
            &Passed::new(Watermark::START, &[], 0),
        );

        assert_eq!(assigned.starts, [30, 30]);
        assert_eq!(assigned.ends, [50, 60]);
    }

    #[test]
    fn a_row_is_late_for_a_session_when_its_own_time_and_the_lateness_were_passed() {
        let kind = WindowKind::Session {
            gap_us: 10,
            partition: 0,
        };
        let times = [5, 25, 21, 20, 19];

        let assigned = assign(
            kind,
            Assign::Windows,
            5,
            &times,
            None,
            &passed(0, &times, 0),
        );

        assert_eq!(assigned.rows, Some(vec![0, 1, 2, 3]));
        assert_eq!(assigned.starts, [5, 25, 21, 20]);
        assert_eq!(assigned.ends, [15, 35, 31, 30]);
        assert_eq!(assigned.late, [(4, 29)]);
    }

    #[test]
    fn a_filtered_row_is_judged_by_its_place_in_the_arrived_batch() {
        let all = [5, 25, 7];
        let kind = WindowKind::Tumble { size_us: 10 };

        let kept = assign(
            kind,
            Assign::Windows,
            0,
            &[7],
            Some(&[2]),
            &passed(0, &all, 0),
        );

        assert_eq!(kept.late, [(0, 10)]);
    }
}
