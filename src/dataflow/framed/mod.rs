//! Functions over the ordered rows of partitions: what they say of each row.
//!
//! ```text
//!   Partition { rows, peers } ──▶ Lines: the frame of every row, by function ──▶ Said: a column each
//! ```
//!
//! It knows rows in their order and nothing of when they came: what changes, and what may be
//! forgotten, is the business of those who ask.

mod aggregate;
mod bounds;
#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use crate::plan::{OverCall, OverFunction, RowOfFrame, SortKey};
use aggregate::{FrameAggregate, Piece};
use bounds::{Lines, counted_in, frames};

/// What went wrong with functions over partitions.
pub type FramedError = Box<dyn std::error::Error + Send + Sync>;

/// A partition's rows, in their order.
#[derive(Default)]
pub struct Partition {
    /// As numbers in a batch.
    pub rows: Vec<u32>,
    /// By row: the number of the first of its peers.
    pub peers: Vec<u64>,
}

impl Partition {
    /// The next row.
    pub fn add(&mut self, row: u32, is_peer: bool) {
        let number = self.rows.len() as u64 + 1;
        let first = match (is_peer, self.peers.last()) {
            (true, Some(&first)) => first,
            (true | false, _) => number,
        };
        self.rows.push(row);
        self.peers.push(first);
    }
}

/// The functions, ready to be computed.
pub struct Calls {
    calls: Vec<OverCall>,
    /// By call: where it is an aggregate.
    aggregates: Vec<Option<FrameAggregate>>,
    /// What the order is by, where a frame counts in it.
    counted: Option<SortKey>,
}

/// By call: the frame of each row of a partition.
pub type Frames = Vec<Vec<Range<u32>>>;

/// What the functions say of rows.
pub struct Said {
    /// By call.
    pub columns: Vec<ArrayRef>,
    /// The rows that some function fails on, and why.
    pub failed: BTreeMap<usize, String>,
}

/// Rows of a partition that functions are asked about.
pub struct Asked<'a> {
    /// The partition.
    pub partition: &'a Partition,
    /// The frames of all of its rows.
    pub frames: &'a Frames,
    /// Which of them.
    pub places: Range<usize>,
}

impl Calls {
    /// Functions over rows of `input` in an order.
    pub fn new(
        calls: Vec<OverCall>,
        order: &[SortKey],
        input: &SchemaRef,
    ) -> Result<Self, FramedError> {
        let aggregate = |call: &OverCall| match &call.function {
            OverFunction::Aggregate { call, frame } => {
                Ok(Some(FrameAggregate::new(call, *frame, input)?))
            }
            OverFunction::RowNumber
            | OverFunction::Rank
            | OverFunction::DenseRank
            | OverFunction::PercentRank
            | OverFunction::CumulativeShare
            | OverFunction::Ntile(_)
            | OverFunction::Before { .. }
            | OverFunction::Value { .. } => Ok::<_, FramedError>(None),
        };
        let aggregates = calls.iter().map(aggregate).collect::<Result<_, _>>()?;
        let counts = |call: &OverCall| call.function.frame().counts_values();
        let counted = order.first().filter(|_| calls.iter().any(counts)).cloned();
        Ok(Self {
            calls,
            aggregates,
            counted,
        })
    }

    /// The calls themselves.
    pub fn calls(&self) -> &[OverCall] {
        &self.calls
    }

    /// What the order is by, of every row of a batch; nothing if no frame counts in it.
    pub fn counted(&self, rows: &RecordBatch) -> Result<Vec<Option<i128>>, FramedError> {
        match &self.counted {
            None => Ok(Vec::new()),
            Some(key) => {
                let column = key.expression.evaluate(rows)?;
                Ok(counted_in(&column, key.descending)?)
            }
        }
    }

    /// The frames of all rows of a partition; `counted` is of all rows of the batch.
    pub fn frames(&self, partition: &Partition, counted: &[Option<i128>]) -> Frames {
        let values = partition
            .rows
            .iter()
            .filter_map(|&row| counted.get(row as usize).copied());
        let values: Vec<Option<i128>> = values.collect();
        let lines = Lines {
            peers: &partition.peers,
            values: &values,
        };
        let calls = self.calls.iter();
        calls
            .map(|call| frames(call.function.frame(), lines))
            .collect()
    }

    /// What the functions say of the rows that are asked about, one after the other.
    pub fn say(&self, rows: &RecordBatch, asked: &[Asked<'_>]) -> Result<Said, FramedError> {
        let mut columns = Vec::with_capacity(self.calls.len());
        let mut failed = BTreeMap::new();
        for (at, call) in self.calls.iter().enumerate() {
            let column: ArrayRef = match &call.function {
                OverFunction::RowNumber => numbers(asked, |_, place| place as u64 + 1),
                OverFunction::Rank => numbers(asked, |partition, place| partition.peers[place]),
                OverFunction::DenseRank => dense_ranks(asked),
                OverFunction::PercentRank => shares(asked, percent_rank),
                OverFunction::CumulativeShare => shares(asked, cumulative_share),
                OverFunction::Ntile(parts) => numbers(asked, |partition, place| {
                    part_of(place as u64, partition.rows.len() as u64, *parts)
                }),
                OverFunction::Before { value, .. } => {
                    let rows_of = rows_of(asked, at, RowOfFrame::First);
                    take(&value.evaluate(rows)?, &rows_of, None)?
                }
                OverFunction::Value { row, value, .. } => {
                    let rows_of = rows_of(asked, at, *row);
                    take(&value.evaluate(rows)?, &rows_of, None)?
                }
                OverFunction::Aggregate { .. } => {
                    let aggregate = self.aggregates[at].as_ref();
                    let aggregate = aggregate.expect("made for every aggregate");
                    let pieces = asked.iter().map(|asked| Piece {
                        rows: &asked.partition.rows,
                        frames: &asked.frames[at][asked.places.clone()],
                    });
                    let results = aggregate.evaluate(rows, &pieces.collect::<Vec<_>>())?;
                    failed.extend(results.failed);
                    results.values
                }
            };
            columns.push(column);
        }
        Ok(Said { columns, failed })
    }
}

fn numbers(asked: &[Asked<'_>], number: impl Fn(&Partition, usize) -> u64) -> ArrayRef {
    let each = asked.iter().flat_map(|asked| {
        let places = asked.places.clone();
        places.map(|place| number(asked.partition, place))
    });
    Arc::new(UInt64Array::from_iter_values(each))
}

fn dense_ranks(asked: &[Asked<'_>]) -> ArrayRef {
    let ranks = asked.iter().flat_map(|asked| {
        let mut rank = 0;
        let peers = asked.partition.peers[..asked.places.end].iter();
        let ranks = peers.enumerate().map(|(place, &peer)| {
            rank += u64::from(peer == place as u64 + 1);
            rank
        });
        ranks.skip(asked.places.start).collect::<Vec<u64>>()
    });
    Arc::new(UInt64Array::from_iter_values(ranks))
}

fn shares(asked: &[Asked<'_>], share: impl Fn(&Partition) -> Vec<f64>) -> ArrayRef {
    let each = asked.iter().flat_map(|asked| {
        share(asked.partition)
            .drain(asked.places.clone())
            .collect::<Vec<_>>()
    });
    Arc::new(Float64Array::from_iter_values(each))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "PostgreSQL divides in floats, too"
)]
fn percent_rank(partition: &Partition) -> Vec<f64> {
    let others = partition.rows.len().saturating_sub(1).max(1) as f64;
    let ranks = partition.peers.iter();
    ranks.map(|&rank| (rank - 1) as f64 / others).collect()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "PostgreSQL divides in floats, too"
)]
fn cumulative_share(partition: &Partition) -> Vec<f64> {
    let all = partition.rows.len() as f64;
    let mut shares = Vec::with_capacity(partition.rows.len());
    for peers in partition.peers.chunk_by(|a, b| a == b) {
        let upto = (shares.len() + peers.len()) as f64;
        shares.extend(std::iter::repeat_n(upto / all, peers.len()));
    }
    shares
}

/// Which of `parts` parts of `rows` rows a row is in; the first parts are the larger ones.
fn part_of(place: u64, rows: u64, parts: u64) -> u64 {
    let (size, larger) = (rows / parts, rows % parts);
    let of_larger = larger * (size + 1);
    match place < of_larger {
        true => place / (size + 1) + 1,
        false => larger + (place - of_larger) / size.max(1) + 1,
    }
}

/// A row of each frame; none where the frame has no such row.
fn rows_of(asked: &[Asked<'_>], call: usize, which: RowOfFrame) -> UInt32Array {
    let rows = asked.iter().flat_map(|asked| {
        let frames = &asked.frames[call][asked.places.clone()];
        frames.iter().map(move |frame| {
            let place = match which {
                RowOfFrame::First => u64::from(frame.start),
                RowOfFrame::Last => u64::from(frame.end).checked_sub(1)?,
                RowOfFrame::Nth(number) => u64::from(frame.start).checked_add(number - 1)?,
            };
            let is_in = (u64::from(frame.start)..u64::from(frame.end)).contains(&place);
            let place = usize::try_from(place).ok().filter(|_| is_in)?;
            Some(asked.partition.rows[place])
        })
    });
    rows.collect()
}
