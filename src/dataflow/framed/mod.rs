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

use crate::dataflow::aggregate::Moving;
use crate::plan::{FrameBound, OverCall, OverFunction, RowOfFrame, SortKey};
use aggregate::{FrameAggregate, Piece, Results};
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
    /// What came before it.
    pub before: Before,
}

/// What came before the rows of a partition that are at hand.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// How many rows.
    pub rows: u64,
    /// How many groups of peers.
    pub groups: u64,
    /// Where `Totals` hold its aggregates.
    pub slot: u32,
    /// By call: how many of the rows at hand are in those already.
    pub held: Vec<u32>,
}

/// By call, where a frame has no start: the aggregate so far.
pub struct Totals(pub Vec<Option<Moving>>);

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

    /// The same of a partition whose next row has `next` for what its order is by, at least; that
    /// row's frames are the last. Frames that end behind it are not known yet.
    pub fn frames_so_far(
        &self,
        partition: &Partition,
        counted: &[Option<i128>],
        next: i128,
    ) -> Frames {
        let mut peers = partition.peers.clone();
        peers.push(peers.len() as u64 + 1);
        let values = partition
            .rows
            .iter()
            .filter_map(|&row| counted.get(row as usize).copied());
        let values: Vec<Option<i128>> = values.chain([Some(next)]).collect();
        let lines = Lines {
            peers: &peers,
            values: &values,
        };
        let calls = self.calls.iter();
        calls
            .map(|call| frames(call.function.frame(), lines))
            .collect()
    }

    /// Room for the aggregates of frames without a start.
    pub fn totals(&self) -> Totals {
        let calls = self.calls.iter().zip(&self.aggregates);
        let totals = calls.map(|(call, aggregate)| {
            let aggregate = aggregate.as_ref()?;
            let is_total = call.function.frame().start == FrameBound::Unbounded;
            is_total.then(|| aggregate.moving())
        });
        Totals(totals.collect())
    }

    /// What the functions say of the rows that are asked about, one after the other. Aggregates
    /// of frames without a start go on from `totals`, if there are any.
    pub fn say(
        &self,
        rows: &RecordBatch,
        asked: &[Asked<'_>],
        mut totals: Option<&mut Totals>,
    ) -> Result<Said, FramedError> {
        let mut columns = Vec::with_capacity(self.calls.len());
        let mut failed = BTreeMap::new();
        for (at, call) in self.calls.iter().enumerate() {
            let column: ArrayRef = match &call.function {
                OverFunction::RowNumber => {
                    numbers(asked, |asked, place| asked.before.rows + place as u64 + 1)
                }
                OverFunction::Rank => numbers(asked, |asked, place| {
                    asked.before.rows + asked.partition.peers[place]
                }),
                OverFunction::DenseRank => dense_ranks(asked),
                OverFunction::PercentRank => shares(asked, percent_rank),
                OverFunction::CumulativeShare => shares(asked, cumulative_share),
                OverFunction::Ntile(parts) => numbers(asked, |asked, place| {
                    part_of(place as u64, asked.partition.rows.len() as u64, *parts)
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
                    let total = totals.as_mut().and_then(|totals| totals.0[at].as_mut());
                    let results = self.aggregate(at, rows, asked, total)?;
                    failed.extend(results.failed);
                    results.values
                }
            };
            columns.push(column);
        }
        Ok(Said { columns, failed })
    }

    /// What one aggregate says.
    fn aggregate(
        &self,
        at: usize,
        rows: &RecordBatch,
        asked: &[Asked<'_>],
        total: Option<&mut Moving>,
    ) -> Result<Results, FramedError> {
        let aggregate = self.aggregates[at].as_ref();
        let aggregate = aggregate.expect("made for every aggregate");
        let is_total = total.is_some();
        let mut fresh = aggregate.moving();
        fresh.resize(asked.len());
        let pieces = (0..).zip(asked).map(|(number, asked)| Piece {
            rows: &asked.partition.rows,
            frames: &asked.frames[at][asked.places.clone()],
            group: if is_total { asked.before.slot } else { number },
            held: if is_total {
                0..asked.before.held[at]
            } else {
                0..0
            },
            before: asked.before.rows,
        });
        let pieces: Vec<Piece<'_>> = pieces.collect();
        Ok(aggregate.evaluate(total.unwrap_or(&mut fresh), rows, &pieces)?)
    }
}

fn numbers(asked: &[Asked<'_>], number: impl Fn(&Asked<'_>, usize) -> u64) -> ArrayRef {
    let each = asked.iter().flat_map(|asked| {
        let places = asked.places.clone();
        places.map(move |place| (asked, place))
    });
    let each = each.map(|(asked, place)| number(asked, place));
    Arc::new(UInt64Array::from_iter_values(each))
}

fn dense_ranks(asked: &[Asked<'_>]) -> ArrayRef {
    let ranks = asked.iter().flat_map(|asked| {
        let mut rank = asked.before.groups;
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
