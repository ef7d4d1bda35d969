//! Reads rows that are made up by their numbers: a block says only from which row to which.
//!
//! Partition `p` of `P` holds the rows `p`, `p + P`, `p + 2P` and so on; an offset is a row's number.
//! With a rate it hands out a block when its last row is due, from when reading started. Rows that an
//! earlier run had are due at once: a run that was killed is not as long behind as it has to read again.

use std::sync::Arc;
use std::time::Duration;

use super::{ConnectorError, Reader};
use crate::format::Block;
use crate::types::{Clock, Offset};

/// Rows per block: as many as a batch has anywhere.
pub(super) const BLOCK_ROWS: u64 = 8192;

/// A block of a partition spans the rows of all others too, and places in a block have 32 bits.
pub(super) const PARTITIONS_MAX: u64 = 1 << 16;

/// How often a paced reader hands out a block.
const BLOCKS_PER_SECOND: f64 = 20.0;

/// How long a reader waits for its next row before it says that there is nothing yet.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a table's rows are dealt out.
pub(super) struct Deal {
    /// Which partition.
    pub(super) index: u64,
    pub(super) partitions: u64,
    /// How many rows all partitions have together, if there is an end.
    pub(super) rows: Option<u64>,
    /// Rows per second of all partitions together.
    pub(super) rate: Option<f64>,
    /// The most rows of a block.
    pub(super) block_rows: u64,
}

/// Hands out row numbers.
pub(super) struct DealtReader {
    next: u64,
    end: u64,
    step: u64,
    block_rows: u64,
    /// Rows before this one were handed out by an earlier run.
    again: u64,
    pace: Option<Pace>,
}

impl DealtReader {
    pub(super) fn new(deal: &Deal, from: Offset, clock: &Clock) -> Self {
        let (partitions, index) = (deal.partitions, deal.index);
        // The first row of this partition from there on.
        let ahead = (index + partitions - from.0 % partitions) % partitions;
        let rate = deal.rate.map(|rate| rate / partitions as f64);
        let paced = |rate: f64| {
            (rate / BLOCKS_PER_SECOND)
                .ceil()
                .clamp(1.0, deal.block_rows as f64) as u64
        };
        Self {
            next: from.0.saturating_add(ahead),
            end: deal.rows.unwrap_or(u64::MAX),
            step: partitions,
            block_rows: rate.map_or(deal.block_rows, paced),
            again: 0,
            pace: rate.map(|rate| Pace {
                rate,
                start: clock.elapsed(),
                rows: 0,
                clock: clock.clone(),
            }),
        }
    }
}

/// Keeps to a number of rows per second, from when reading started.
struct Pace {
    rate: f64,
    start: Duration,
    rows: u64,
    clock: Clock,
}

impl Pace {
    /// The rows that come now were due long ago; those after them are counted from here.
    fn begin(&mut self) -> bool {
        self.start = self.clock.elapsed();
        true
    }

    /// Waits until it is time for `rows` more, but not for long: returns whether it is. Whoever
    /// wants to stop reading does not wait for a row that comes in an hour.
    fn wait_for(&mut self, rows: u64) -> bool {
        let total = self.rows + rows;
        let due = Duration::try_from_secs_f64(total as f64 / self.rate).unwrap_or(Duration::MAX);
        let due = self.start.saturating_add(due);
        let patience = self.clock.elapsed() + PATIENCE;
        self.clock.wait_until(due.min(patience));
        let is_time = due <= patience;
        if is_time {
            self.rows = total;
        }
        is_time
    }
}

impl Reader for DealtReader {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let rows = (self.end - self.next)
            .div_ceil(self.step)
            .min(self.block_rows);
        let is_time = match &mut self.pace {
            Some(pace) if self.next < self.again => pace.begin(),
            Some(pace) => pace.wait_for(rows),
            None => true,
        };
        // A block of no rows says that there is nothing yet.
        let rows = if is_time { rows } else { 0 };
        let start = self.next;
        self.next = start.saturating_add(rows * self.step);
        Ok(Some(Block {
            bytes: Arc::new(Vec::new()),
            start: Offset(start),
            end: Offset(self.next),
            line: 0,
            header: None,
            columns: None,
            records: None,
        }))
    }

    fn again_up_to(&mut self, to: Offset) {
        self.again = to.0;
    }
}
