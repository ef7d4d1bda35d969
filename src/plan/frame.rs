//! The rows of a partition that a function OVER it reads for one of them.

use super::{AggregateCall, Expression};

/// The rows from one bound to the other, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What bounds count in.
    pub units: FrameUnits,
    /// Where it starts.
    pub start: FrameBound,
    /// Where it ends.
    pub end: FrameBound,
}

/// What the bounds of a frame count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// What the order is by: whole numbers as they are, decimals in units of their last digit,
    /// dates and times in microseconds.
    Range,
    /// Rows that the order puts at one place: peers.
    Groups,
}

/// A bound of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameBound {
    /// The partition's.
    Unbounded,
    /// So many units from the current row, before it if negative. Except among ROWS, zero is the
    /// first of its peers, or the last.
    At(i128),
}

impl Frame {
    /// All rows of the partition.
    pub const WHOLE: Self = Self {
        units: FrameUnits::Rows,
        start: FrameBound::Unbounded,
        end: FrameBound::Unbounded,
    };

    /// Rows from `start` to `end` places from the current one.
    #[must_use]
    pub fn rows(start: i128, end: i128) -> Self {
        Self {
            units: FrameUnits::Rows,
            start: FrameBound::At(start),
            end: FrameBound::At(end),
        }
    }

    /// Whether it reads rows that may stand behind the current one.
    #[must_use]
    pub fn looks_ahead(&self) -> bool {
        match (self.units, self.end) {
            (_, FrameBound::Unbounded) => true,
            (FrameUnits::Rows, FrameBound::At(end)) => end > 0,
            (FrameUnits::Range | FrameUnits::Groups, FrameBound::At(end)) => end >= 0,
        }
    }

    /// Whether the current row is in it, whatever the rows.
    #[must_use]
    pub fn has_current_row(&self) -> bool {
        let reaches = |bound, sign: i128| match bound {
            FrameBound::Unbounded => true,
            FrameBound::At(distance) => distance * sign >= 0,
        };
        reaches(self.start, -1) && reaches(self.end, 1)
    }

    /// Whether its bounds count values of the order.
    #[must_use]
    pub fn counts_values(&self) -> bool {
        let counts = |bound| match bound {
            FrameBound::Unbounded => false,
            FrameBound::At(distance) => distance != 0,
        };
        self.units == FrameUnits::Range && (counts(self.start) || counts(self.end))
    }
}

/// Which row of a frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowOfFrame {
    /// The first.
    First,
    /// The last.
    Last,
    /// The one with this number, from one on.
    Nth(u64),
}

/// The functions over the rows of a partition.
#[derive(Clone, Debug)]
pub enum OverFunction {
    /// 1, 2, 3 and so on.
    RowNumber,
    /// The number of the first of the rows that the order puts at one place.
    Rank,
    /// The number of that place.
    DenseRank,
    /// The rank, from 0 to 1.
    PercentRank,
    /// The share of the rows that stand before or at the place.
    CumulativeShare,
    /// The number of one of so many parts that are as equal as possible.
    Ntile(u64),
    /// The value of the row so many places before; NULL where there is none. A negative distance
    /// looks ahead.
    Before {
        /// How many places.
        distance: i64,
        /// Over the input.
        value: Expression,
    },
    /// The value of one row of the frame; NULL where there is none.
    Value {
        /// Which.
        row: RowOfFrame,
        /// Over the input.
        value: Expression,
        /// Of these.
        frame: Frame,
    },
    /// An aggregate of the rows of the frame. One that depends on order has the partition's.
    Aggregate {
        /// Over the input.
        call: Box<AggregateCall>,
        /// Of these.
        frame: Frame,
    },
}

impl OverFunction {
    /// The rows of the partition that the result for a row hangs on.
    #[must_use]
    pub fn frame(&self) -> Frame {
        match self {
            Self::RowNumber | Self::Rank | Self::DenseRank => Frame {
                end: FrameBound::At(0),
                ..Frame::WHOLE
            },
            Self::PercentRank | Self::CumulativeShare | Self::Ntile(_) => Frame::WHOLE,
            Self::Before { distance, .. } => {
                let at = -i128::from(*distance);
                Frame::rows(at, at)
            }
            Self::Value { frame, .. } | Self::Aggregate { frame, .. } => *frame,
        }
    }

    /// The expressions that it reads of each row.
    #[must_use]
    pub fn reads(&self) -> Vec<&Expression> {
        match self {
            Self::Before { value, .. } | Self::Value { value, .. } => vec![value],
            Self::Aggregate { call, .. } => call.arguments.iter().chain(&call.filter).collect(),
            Self::RowNumber
            | Self::Rank
            | Self::DenseRank
            | Self::PercentRank
            | Self::CumulativeShare
            | Self::Ntile(_) => Vec::new(),
        }
    }
}
