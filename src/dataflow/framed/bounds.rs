//! Which rows of a partition are in the frame of each of its rows.
//!
//! What PostgreSQL does, NULLs included: they are peers of each other, and nothing that is counted
//! in values of the order reaches them or leads away from them. Both ends of a frame move forward
//! only, so that an aggregate over one row's frame is made of the one before.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;

use crate::plan::{Frame, FrameBound, FrameUnits};

/// A partition, row by row.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    /// The number of the first of a row's peers, from one on.
    pub peers: &'a [u64],
    /// What the order is by, so that it grows; NULLs are at one end. Empty if no frame counts in it.
    pub values: &'a [Option<i128>],
}

/// The places in the frame of each row.
pub fn frames(frame: Frame, lines: Lines<'_>) -> Vec<Range<u32>> {
    let places = Places::new(frame, lines);
    let ends = (0..lines.peers.len()).map(|row| {
        let start = places.start(row);
        let end = places.end(row).max(start);
        place(start)..place(end)
    });
    ends.collect()
}

fn place(row: usize) -> u32 {
    u32::try_from(row).expect("fewer than 2^32 rows at a time")
}

/// A partition as one kind of frame counts it.
struct Places<'a> {
    frame: Frame,
    lines: Lines<'a>,
    /// Where each group of peers starts, and the partition ends.
    groups: Vec<usize>,
    /// By row: which group it is in.
    group_of: Vec<usize>,
    /// The rows that have a value.
    valued: Range<usize>,
}

impl<'a> Places<'a> {
    fn new(frame: Frame, lines: Lines<'a>) -> Self {
        let (mut groups, mut group_of) = (Vec::new(), Vec::new());
        if frame.units != FrameUnits::Rows {
            for (row, &peer) in lines.peers.iter().enumerate() {
                if peer == row as u64 + 1 {
                    groups.push(row);
                }
                group_of.push(groups.len() - 1);
            }
            groups.push(lines.peers.len());
        }
        let first = lines.values.iter().position(Option::is_some);
        let last = lines.values.iter().rposition(Option::is_some);
        let valued = first
            .zip(last)
            .map_or(0..0, |(first, last)| first..last + 1);
        Self {
            frame,
            lines,
            groups,
            group_of,
            valued,
        }
    }

    fn start(&self, row: usize) -> usize {
        let FrameBound::At(distance) = self.frame.start else {
            return 0;
        };
        match self.frame.units {
            FrameUnits::Rows => self.moved(row, distance),
            FrameUnits::Groups => self.groups[self.group(row, distance)],
            FrameUnits::Range => match self.target(row, distance) {
                None => self.groups[self.group_of[row]],
                Some(target) => self.first_where(|value| value >= target),
            },
        }
    }

    fn end(&self, row: usize) -> usize {
        let FrameBound::At(distance) = self.frame.end else {
            return self.lines.peers.len();
        };
        match self.frame.units {
            FrameUnits::Rows => self.moved(row, distance.saturating_add(1)),
            FrameUnits::Groups => self.groups[self.group(row, distance.saturating_add(1))],
            FrameUnits::Range => match self.target(row, distance) {
                None => self.groups[self.group_of[row] + 1],
                Some(target) => self.first_where(|value| value > target),
            },
        }
    }

    /// The place so many on, within the partition.
    fn moved(&self, row: usize, distance: i128) -> usize {
        let to = (row as i128).saturating_add(distance);
        let last = self.lines.peers.len();
        usize::try_from(to.max(0)).map_or(last, |to| to.min(last))
    }

    /// The group so many on, or the end of the partition.
    fn group(&self, row: usize, distance: i128) -> usize {
        let to = (self.group_of[row] as i128).saturating_add(distance);
        let last = self.groups.len() - 1;
        usize::try_from(to.max(0)).map_or(last, |to| to.min(last))
    }

    /// The value so far on; none where peers are meant.
    fn target(&self, row: usize, distance: i128) -> Option<i128> {
        if distance == 0 {
            return None;
        }
        Some(self.lines.values[row]?.saturating_add(distance))
    }

    fn first_where(&self, reached: impl Fn(i128) -> bool) -> usize {
        let values = &self.lines.values[self.valued.clone()];
        let before = values.partition_point(|value| !reached(value.expect("it has a value")));
        self.valued.start + before
    }
}

/// What a frame counts in, of a column that the order is by: growing in that order.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the planner lets numbers and times through"
)]
pub fn counted_in(column: &ArrayRef, descending: bool) -> Result<Vec<Option<i128>>, ArrowError> {
    const DAY_US: i128 = 86_400_000_000;
    let sign = if descending { -1 } else { 1 };
    let values: Vec<Option<i128>> = match column.data_type() {
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().iter().collect(),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().iter();
            days.map(|day| Some(i128::from(day?) * DAY_US)).collect()
        }
        DataType::UInt64 => {
            let numbers = column.as_primitive::<UInt64Type>().iter();
            numbers.map(|number| number.map(i128::from)).collect()
        }
        _ => {
            let numbers = cast(column, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter();
            numbers.map(|number| number.map(i128::from)).collect()
        }
    };
    Ok(values
        .into_iter()
        .map(|value| value.map(|value| value * sign))
        .collect())
}
