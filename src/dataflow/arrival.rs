//! What a source's reading threads hand to the worker that owns the partition.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use crate::format::{Positions, RejectedRecord, row_text};
use crate::types::{Offset, Side, Span, TakenFile};

/// The next thing that a partition has to say, in its order.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// Decoded and checked records.
    Rows(ArrivedRows),
    /// It has been read to its end, which is here for now: more may come.
    CaughtUp(Offset),
    /// Whether it has been read to its end is not known any more: nobody answers for it.
    Away,
    /// It exists, from this position on, and nobody knew of it before.
    Found(Found),
    /// There are no more.
    End,
}

/// A partition that nobody knew of.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it begins.
    pub from: Offset,
    /// What it is, if a file.
    pub file: Option<TakenFile>,
    /// How many partitions there are now, with those that were found together with it.
    pub count: usize,
}

/// A block of records, decoded and checked.
#[derive(Clone, Debug)]
pub struct ArrivedRows {
    /// The good rows, with the columns of the plan's `Source` node.
    pub rows: RecordBatch,
    /// Their event times; empty where the source has none.
    pub times: ScalarBuffer<i64>,
    /// Which bytes each was.
    pub spans: Vec<Span>,
    /// The bad records, in order.
    pub rejects: Vec<RejectedRecord>,
    /// The bytes.
    pub bytes: Arc<Vec<u8>>,
    /// The line of its file on which the block starts, from 1; 0 where there are no lines.
    pub line: u64,
    /// What a record's place in the bytes says of its position.
    pub positions: Positions,
    /// The position of the first record in here.
    pub from: Offset,
    /// The position after the last record.
    pub end: Offset,
}

impl Arrival {
    /// How much memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Rows(rows) => {
                let before = match &rows.positions {
                    Positions::Rows { rows, .. } => rows.get_array_memory_size(),
                    Positions::Bytes { .. } | Positions::Records(_) => rows.bytes.len(),
                };
                rows.rows.get_array_memory_size() + before
            }
            Self::CaughtUp(_) | Self::Away | Self::Found(..) | Self::End => 0,
        }
    }
}

impl ArrivedRows {
    /// Cuts in two at a record boundary, so that the second part begins at `offset`.
    #[must_use]
    pub fn split(self, offset: Offset) -> (Self, Self) {
        assert!(
            self.from < offset && offset < self.end,
            "{offset} is not inside"
        );
        let before = |span: &Span| self.positions.of(span.start) < offset;
        let rows = self.spans.partition_point(before);
        let rejects = self.rejects.partition_point(|reject| before(&reject.span));
        let times = if self.times.is_empty() { 0 } else { rows };
        let second = Self {
            rows: self.rows.slice(rows, self.rows.num_rows() - rows),
            times: self.times.slice(times, self.times.len() - times),
            spans: self.spans[rows..].to_vec(),
            rejects: self.rejects[rejects..].to_vec(),
            bytes: Arc::clone(&self.bytes),
            line: self.line,
            positions: self.positions.clone(),
            from: offset,
            end: self.end,
        };
        let first = Self {
            rows: self.rows.slice(0, rows),
            times: self.times.slice(0, times),
            spans: self.spans[..rows].to_vec(),
            rejects: self.rejects[..rejects].to_vec(),
            end: offset,
            ..self
        };
        (first, second)
    }

    /// Leaves out the records that are not read here, in order: rows, and rejects whose time says so.
    pub fn keep(mut self, side: Side) -> Result<(Self, Vec<Span>), ArrowError> {
        let is_other = |reject: &mut RejectedRecord| reject.at.is_some_and(|at| !side.takes(at));
        let others = self.rejects.extract_if(.., is_other);
        let mut others: Vec<Span> = others.map(|reject| reject.span).collect();
        let keep: BooleanArray = self
            .times
            .iter()
            .map(|&time| Some(side.takes(time)))
            .collect();
        if keep.true_count() == keep.len() {
            return Ok((self, others));
        }
        let kept = || keep.values().iter();
        let left = self.spans.iter().zip(kept());
        others.extend(left.filter_map(|(&span, kept)| (!kept).then_some(span)));
        others.sort_unstable_by_key(|span| span.start);
        let times = self.times.iter().zip(kept());
        let spans = self.spans.iter().zip(kept());
        let rows = Self {
            rows: filter_record_batch(&self.rows, &keep)?,
            times: times
                .filter_map(|(&time, kept)| kept.then_some(time))
                .collect(),
            spans: spans
                .filter_map(|(&span, kept)| kept.then_some(span))
                .collect(),
            ..self
        };
        Ok((rows, others))
    }

    /// The bytes of a record; of one that came in columns, what was read of it as JSON.
    #[must_use]
    pub fn payload(&self, span: Span) -> Vec<u8> {
        let start = span.start as usize;
        let bytes = match &self.positions {
            Positions::Rows { rows, .. } => return row_text(rows, start).into_bytes(),
            Positions::Bytes { .. } | Positions::Records(_) => {
                self.bytes.get(start..start + span.len as usize)
            }
        };
        bytes.unwrap_or_default().to_vec()
    }

    /// The line on which a record starts, where there are lines.
    #[must_use]
    pub fn line_of(&self, span: Span) -> Option<u64> {
        line_of(&self.bytes, self.line, span)
    }
}

/// The line on which a record of a block starts that itself starts on line `first`.
#[must_use]
pub fn line_of(bytes: &[u8], first: u64, span: Span) -> Option<u64> {
    let before = bytes.get(..span.start as usize).unwrap_or_default();
    (first > 0).then(|| first + memchr::memchr_iter(b'\n', before).count() as u64)
}

/// Where a worker takes a source's arrivals from. Never waits.
pub trait Inbox {
    /// The next arrival of any of the worker's partitions.
    fn take(&mut self) -> Option<(usize, Arrival)>;

    /// The worker has what it needs of this partition for now; others may go first.
    fn park(&mut self, partition: usize);

    /// The worker wants this partition again.
    fn resume(&mut self, partition: usize);

    /// Whether all that has come of this partition has been taken.
    fn is_quiet(&self, partition: usize) -> bool;

    /// Since when it has been read without a pause, by the clock of the run; the present if it is not
    /// read now. What came to it in a pause may wait where nobody has looked yet.
    fn reads_since(&self, partition: usize) -> Duration;

    /// Wants to be told again that the partition has been read to its end, if that is still so.
    fn ask(&mut self, partition: usize);

    /// The files of a history are read: the topic may be read now.
    fn follow(&mut self) {}

    /// Whether nothing more comes, perhaps, before event time has moved.
    fn is_kept(&self) -> bool {
        false
    }
}

impl Inbox for Box<dyn Inbox> {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        (**self).take()
    }

    fn park(&mut self, partition: usize) {
        (**self).park(partition);
    }

    fn resume(&mut self, partition: usize) {
        (**self).resume(partition);
    }

    fn is_quiet(&self, partition: usize) -> bool {
        (**self).is_quiet(partition)
    }

    fn reads_since(&self, partition: usize) -> Duration {
        (**self).reads_since(partition)
    }

    fn ask(&mut self, partition: usize) {
        (**self).ask(partition);
    }

    fn follow(&mut self) {
        (**self).follow();
    }

    fn is_kept(&self) -> bool {
        (**self).is_kept()
    }
}
