//! Records kept for `state.ttl` and then taken back, as event time counts, before whatever would
//! hold them for ever.
//!
//! ```text
//!   a record of turn t ──▶ +1 ──event time is more than 256 turns past t──▶ -1
//! ```
//!
//! What is there at the end of an epoch are the records that were read, but for those of turns that
//! are over. That is a function of the records, of their turns and of how far event time is, which
//! all follow from how far each partition was read: not of epochs, workers or restarts.
//!
//! Records stay on the worker that read them: whoever gives one takes it back, and after a restart
//! that may be any. They are columns, in batches by turn, so that a turn leaves whole.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use foldhash::fast::FixedState;

use super::group::{GroupError, Groups};
use super::parts::{Most, together};
use super::roles::{watermarks, with_counts};
use super::state::{StateError, Stateful, behind, without_first};
use super::turns::{TurnClock, Turns};
use crate::types::{Watermark, batch};

/// The records of one worker, by turn.
pub struct Keep {
    schema: SchemaRef,
    clock: TurnClock,
    /// Those that are there.
    kept: BTreeMap<i64, Stack>,
    /// Those of the open epoch, with their turns.
    fresh: Vec<(RecordBatch, Vec<i64>)>,
}

/// Up to so many rows and bytes are put together in one batch: an array of texts holds 2 GiB.
const CHUNK: usize = 8192;
const CHUNK_BYTES: usize = 64 << 20;

/// Rows in few batches.
#[derive(Default)]
struct Stack(Vec<RecordBatch>);

impl Stack {
    /// Adds rows. Of small batches larger ones are made as soon as two are about of one size, so
    /// that a row is copied a few times and a turn of many epochs has few batches.
    fn push(&mut self, rows: RecordBatch) -> Result<(), ArrowError> {
        self.0.push(rows);
        while let [.., one, other] = self.0.as_slice() {
            let bytes = one.get_array_memory_size() + other.get_array_memory_size();
            let (one, other) = (one.num_rows(), other.num_rows());
            if one > 2 * other || one + other > CHUNK || bytes > CHUNK_BYTES {
                break;
            }
            let pair = self.0.split_off(self.0.len() - 2);
            self.0.push(concat_batches(pair[0].schema_ref(), &pair)?);
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(RecordBatch::get_array_memory_size).sum()
    }
}

impl Keep {
    /// Keeps rows of `schema` for `ttl_us` at least, and a 256th of it more at most.
    pub fn new(schema: SchemaRef, ttl_us: i64) -> Self {
        Self {
            schema,
            clock: TurnClock::new(Turns::of_records(ttl_us)),
            kept: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }

    /// Takes in rows with their turns, each turn a batch of its own.
    fn keep(&mut self, rows: &RecordBatch, turns: &[i64]) -> Result<(), ArrowError> {
        for (turn, run) in runs(turns) {
            // Copied, unless it is all: a slice would keep the whole batch in memory for as long as
            // its last row.
            let rows = match run.len() == turns.len() {
                true => rows.clone(),
                false => picked(rows, run)?,
            };
            self.kept.entry(turn).or_default().push(rows)?;
        }
        Ok(())
    }

    /// The epoch is complete: what leaves and what comes in it, with counts.
    fn advance(&mut self) -> Result<Vec<RecordBatch>, GroupError> {
        let now = self.clock.now().unwrap_or(i64::MIN);
        let first = now.saturating_sub(Turns::RECORDS_KEPT);
        let mut over = Vec::new();
        while let Some(entry) = self.kept.first_entry().filter(|turn| *turn.key() < first) {
            over.extend(entry.remove().0);
        }
        let over = together(&self.schema, &over, Most::FLOWING)?.into_iter();
        let mut changes: Vec<RecordBatch> = over.map(|(_, rows)| counted(&rows, -1)).collect();
        for (mut rows, mut turns) in std::mem::take(&mut self.fresh) {
            if turns.iter().any(|turn| *turn < first) {
                // What comes and goes at once is not said.
                let stays = turns.iter().map(|turn| Some(*turn >= first));
                rows = filter_record_batch(&rows, &stays.collect())?;
                turns.retain(|turn| *turn >= first);
            }
            if !turns.is_empty() {
                self.keep(&rows, &turns)?;
                changes.push(counted(&rows, 1));
            }
        }
        Ok(changes)
    }
}

/// Where rows follow each other that are of one turn. Those of one partition are in the order of
/// their turns.
fn runs(turns: &[i64]) -> Vec<(i64, Range<usize>)> {
    let mut runs: Vec<(i64, Range<usize>)> = Vec::new();
    for same in turns.chunk_by(|a, b| a == b) {
        let start = runs.last().map_or(0, |(_, run)| run.end);
        runs.push((same[0], start..start + same.len()));
    }
    runs
}

/// Some rows of a batch.
fn picked(rows: &RecordBatch, run: Range<usize>) -> Result<RecordBatch, ArrowError> {
    let count = run.len();
    let run = run.map(|row| u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
    let run = UInt32Array::from_iter_values(run);
    let columns = rows.columns().iter().map(|column| take(column, &run, None));
    batch(rows.schema(), columns.collect::<Result<_, _>>()?, count)
}

fn counted(rows: &RecordBatch, count: i64) -> RecordBatch {
    with_counts(rows, &Int64Array::from_value(count, rows.num_rows()))
}

impl Stateful for Keep {
    fn rows(&self) -> usize {
        let fresh = self.fresh.iter().map(|(_, turns)| turns.len());
        self.kept.values().map(Stack::rows).chain(fresh).sum()
    }

    fn bytes(&self) -> usize {
        let fresh = self.fresh.iter();
        let fresh = fresh.map(|(rows, _)| rows.get_array_memory_size());
        self.kept.values().map(Stack::bytes).chain(fresh).sum()
    }

    /// Before the columns of the rows stand a hash, which gives every worker its share, and the turn.
    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        assert!(self.fresh.is_empty(), "saved between two epochs");
        let hasher = FixedState::with_seed(0);
        let mut saved = Vec::new();
        for (&turn, stack) in &self.kept {
            for (at, rows) in stack.0.iter().enumerate() {
                let count = rows.num_rows();
                let hashes = (0..count).map(|row| hasher.hash_one((turn, at, row)));
                let hashes = Arc::new(UInt64Array::from_iter_values(hashes));
                let turns = Arc::new(Int64Array::from_value(turn, count));
                let columns: [(&str, ArrayRef); 2] = [("__hash", hashes), ("__turn", turns)];
                saved.push(behind(columns, &self.schema, rows.columns())?);
            }
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let turns = saved.column(1).as_primitive::<Int64Type>().values();
        Ok(self.keep(&without_first(saved, 2)?, turns)?)
    }
}

impl Groups for Keep {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let turns = self.clock.turns().of_each(watermarks(rows));
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.fresh.push((rows.project(&columns)?, turns));
        Ok(())
    }

    fn close(&mut self, _: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(Vec::new())
    }

    fn forget(&mut self, reached: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        // Where input ends, event time is that of the partition that is furthest (see `report`).
        self.clock.advance(reached, []);
        self.advance()
    }
}

#[cfg(test)]
mod tests;
