//! Buckets: what rows are kept by until a window closes; and which windows a pane is part of.
//!
//! ```text
//!   HOP, slide 1, size 3     pane [2,3)    windows that end at 3, 4, 5
//!   CUMULATE, step 1, size 3 pane [4,5)    windows that start at 3 and end at 5, 6
//! ```
//!
//! A row that is late for some windows of its pane and not for others is in a bucket of its own,
//! (pane, first window that takes it): a window is made of its panes' buckets whose first window
//! is not after it.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::plan::Plan;
use crate::dataflow::roles::watermarks;
use crate::dataflow::state::OpenWindows;
use crate::plan::{AggregateWindow, Assign, WindowKind};
use crate::types::{EventTime, Watermark};

/// What the two window columns of a row say, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bucket {
    /// Start of the window or pane.
    pub start: i64,
    /// End of the window, or of the pane's first window that takes the row.
    pub end: i64,
}

impl Bucket {
    /// The bucket of an aggregate without windows.
    pub const ALL: Self = Self { start: 0, end: 0 };

    /// The bucket of the rows of a turn, where groups are forgotten.
    pub const fn of_turn(turn: i64) -> Self {
        Self {
            start: turn,
            end: 0,
        }
    }
}

/// The rows of one bucket in a batch. `None` is all rows.
pub(super) type Selection = (Bucket, Option<Vec<u32>>);

/// Sorts the rows of a batch into buckets, in the order of the buckets.
pub(super) fn split(starts: &[i64], ends: &[i64]) -> Vec<Selection> {
    let bucket = |row: usize| Bucket {
        start: starts[row],
        end: ends[row],
    };
    if starts.is_empty() {
        return Vec::new();
    }
    let first = bucket(0);
    let one = starts.iter().all(|&start| start == first.start)
        && ends.iter().all(|&end| end == first.end);
    if one {
        return vec![(first, None)];
    }
    let mut places: HashMap<Bucket, usize> = HashMap::new();
    let mut selections: Vec<(Bucket, Vec<u32>)> = Vec::new();
    // Neighbours are mostly in one bucket.
    let (mut last, mut place) = (None, 0);
    for row in 0..starts.len() {
        let bucket = bucket(row);
        if last != Some(bucket) {
            place = *places.entry(bucket).or_insert_with(|| {
                selections.push((bucket, Vec::new()));
                selections.len() - 1
            });
            last = Some(bucket);
        }
        selections[place]
            .1
            .push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
    }
    selections.sort_unstable_by_key(|(bucket, _)| *bucket);
    selections
        .into_iter()
        .map(|(bucket, rows)| (bucket, Some(rows)))
        .collect()
}

/// The buckets of rows.
pub(super) fn of_rows(plan: &Plan, input: &RecordBatch) -> Vec<Selection> {
    if let Some(turns) = plan.turns {
        let turns = turns.of_each(watermarks(input));
        return split(&turns, &vec![0; turns.len()]);
    }
    match plan.window {
        None if input.num_rows() == 0 => Vec::new(),
        None => vec![(Bucket::ALL, None)],
        Some(window) => split(
            micros(input.column(window.start)),
            micros(input.column(window.end)),
        ),
    }
}

/// The microseconds of a window column: a timestamp, or an integer in a partial state.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner makes timestamps of microseconds"
)]
pub(super) fn micros(column: &ArrayRef) -> &[i64] {
    assert_eq!(column.null_count(), 0, "every row has a window");
    match column.data_type() {
        arrow::datatypes::DataType::Int64 => column.as_primitive::<Int64Type>().values(),
        _ => column.as_primitive::<TimestampMicrosecondType>().values(),
    }
}

/// The buckets of partial states.
pub(super) fn of_partials(starts: &ArrayRef, ends: &ArrayRef) -> Vec<Selection> {
    split(micros(starts), micros(ends))
}

/// Whether event time has come so far that nothing more goes into a window.
pub(super) fn is_closed(window: AggregateWindow, end: i64, watermark: Watermark) -> bool {
    watermark.has_reached(EventTime(end.saturating_add(window.lateness_us)))
}

/// The windows that a bucket's rows are in, from the first to end to the last. For
/// `Assign::Windows` that is the bucket itself.
pub(super) fn windows(window: AggregateWindow, bucket: Bucket) -> impl Iterator<Item = Bucket> {
    let (step, last) = ends(window, bucket);
    let ends = std::iter::successors(Some(bucket.end), move |end| end.checked_add(step));
    ends.take_while(move |end| *end <= last).map(move |end| {
        let start = match (window.assign, window.kind) {
            (Assign::Windows, _)
            | (Assign::Panes, WindowKind::Tumble { .. } | WindowKind::Session { .. }) => {
                bucket.start
            }
            (Assign::Panes, WindowKind::Hop { size_us, .. }) => end - size_us,
            (Assign::Panes, WindowKind::Cumulate { size_us, .. }) => last - size_us,
        };
        Bucket { start, end }
    })
}

/// How far apart the ends of those windows are, and the last of them; the first is the bucket's own.
fn ends(window: AggregateWindow, bucket: Bucket) -> (i64, i64) {
    match (window.assign, window.kind) {
        (Assign::Windows, _)
        | (Assign::Panes, WindowKind::Tumble { .. } | WindowKind::Session { .. }) => {
            (i64::MAX, bucket.end)
        }
        (Assign::Panes, WindowKind::Hop { slide_us, size_us }) => {
            (slide_us, bucket.start.saturating_add(size_us))
        }
        (Assign::Panes, WindowKind::Cumulate { step_us, size_us }) => {
            let first = bucket.start.div_euclid(size_us) * size_us;
            (step_us, first.saturating_add(size_us))
        }
    }
}

/// The windows that the rows of `buckets` are in.
pub(super) fn open_windows(
    window: AggregateWindow,
    buckets: impl Iterator<Item = Bucket>,
) -> Option<OpenWindows> {
    let mut buckets: Vec<Bucket> = buckets.collect();
    buckets.sort_unstable_by_key(|bucket| bucket.end);
    let next_end = buckets.first()?.end;
    // A pane is in the windows from its own end on, and shares all but the last ones with the pane before it.
    let (mut count, mut counted) = (0, None);
    for bucket in buckets {
        let (step, last) = ends(window, bucket);
        let next = |counted: i64| counted.saturating_add(step).max(bucket.end);
        let first = match window.assign {
            Assign::Windows => bucket.end,
            Assign::Panes => counted.map_or(bucket.end, next),
        };
        if first <= last {
            count += usize::try_from((last - first) / step).unwrap_or(usize::MAX) + 1;
        }
        counted = counted.max(Some(last));
    }
    Some(OpenWindows {
        count,
        next_end: EventTime(next_end),
        lateness_us: window.lateness_us,
    })
}
