//! MATCH_RECOGNIZE: finds patterns in the rows of each partition of an append stream.
//!
//! ```text
//!   rows ──▶ waiting, by time and place ──watermark──▶ their partitions ──search──▶ matches
//! ```
//!
//! A row joins its partition when no earlier one can come any more: when the watermark is past it
//! by the allowed lateness. So a partition is a sequence, which is a function of the input: by
//! event time, then by the place in the input, then (behind state, where rows have no place) by
//! the row itself. What is searched for is decided by these rows alone (see `search`), so it does
//! not matter in which epochs they came.
//!
//! A partition keeps the rows from the first on where a match may still begin, and as many before
//! it as conditions look back.

mod ahead;
mod found;
mod progress;
mod rows;
mod search;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type, UInt64Type};
use arrow::row::{RowConverter, SortField};

use super::aggregate::{KeyCodec, routes};
use super::group::{GroupError, Groups};
use super::roles::with_positions;
use super::sequences::{Bytes, Sequences, times};
use crate::plan::Matching;
use crate::types::Watermark;
use found::{Navigator, Within};
use progress::Progress;
use search::{Path, Program, ROW_TRIES_MAX, Rows, TRIES_MAX};

/// The rows of a worker's partitions that a match may need still.
pub struct Matches {
    navigator: Navigator,
    program: Program,
    /// How many rows before the first of a match are kept.
    looks_back: usize,
    /// Whether rows come with their places.
    located: bool,
    input: SchemaRef,
    output: SchemaRef,
    codec: KeyCodec,
    /// The input's columns and the two places.
    converter: RowConverter,
    /// By the place of rows in the input; known of a partition is how far it has been searched.
    sequences: Sequences<(u32, u64), Progress>,
}

fn too_many_ways() -> String {
    format!(
        "the pattern has more than {TRIES_MAX} ways to go on from one row, or a row is tried more \
         than {ROW_TRIES_MAX} times: bound its repetitions, such as {{1,10}}, leave out those of \
         what repeats itself, or let conditions look at the row and those next to it alone"
    )
}

impl Matches {
    /// Searches rows of `input`. `located` says whether two further columns say where rows stand.
    pub fn new(
        matching: &Matching,
        input: SchemaRef,
        output: SchemaRef,
        located: bool,
    ) -> Result<Self, GroupError> {
        let types = |columns: &SchemaRef| -> Vec<DataType> {
            let fields = columns.fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        let fields = types(&with_positions(&input)).into_iter();
        let navigator = Navigator::new(matching.clone(), &input)?;
        Ok(Self {
            program: Program::new(&matching.pattern),
            looks_back: matching.looks_back(),
            navigator,
            located,
            codec: KeyCodec::new(&types(&input)[..matching.partition])?,
            converter: RowConverter::new(fields.map(SortField::new).collect())?,
            input,
            output,
            sequences: Sequences::default(),
        })
    }

    /// The hash of each row's partition.
    pub fn hashes(&self, rows: &RecordBatch) -> Result<UInt64Array, GroupError> {
        let keys = self.keys(rows)?;
        Ok(routes(&keys))
    }

    fn keys(&self, rows: &RecordBatch) -> Result<BinaryArray, GroupError> {
        let columns = &rows.columns()[..self.navigator.matching().partition];
        Ok(self.codec.encode(columns, rows.num_rows())?)
    }

    /// The columns with the places, which are zero where rows have none.
    fn placed(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let width = self.input.fields().len();
        if self.located {
            return rows.columns()[..width + 2].to_vec();
        }
        let count = rows.num_rows();
        let mut columns = rows.columns()[..width].to_vec();
        columns.push(Arc::new(UInt32Array::from_value(0, count)));
        columns.push(Arc::new(UInt64Array::from_value(0, count)));
        columns
    }

    fn times(&self, rows: &RecordBatch) -> Result<Vec<i64>, GroupError> {
        times(rows.column(self.navigator.matching().time))
    }

    /// Searches some partitions, and drops the rows that no match needs any more.
    fn search(
        &mut self,
        keys: &[Bytes],
        horizon: Option<i64>,
    ) -> Result<Option<RecordBatch>, GroupError> {
        let mut bases = Vec::new();
        let mut held: Vec<&[u8]> = Vec::new();
        for key in keys {
            bases.push(held.len());
            held.extend(self.sequences[key].rows.iter().map(|(_, row)| &**row));
        }
        let rows = self.decoded(&held)?;
        drop(held);
        let chunk = self.navigator.chunk(&rows, &bases)?;
        let (within_us, after) = {
            let matching = self.navigator.matching();
            (matching.within_us, matching.after)
        };
        let mut found: Vec<(usize, Path)> = Vec::new();
        for (key, base) in keys.iter().zip(bases) {
            let partition = &self.sequences[key];
            let times: Vec<i64> = partition.rows.iter().map(|(time, _)| *time).collect();
            let rows = Rows {
                times: &times,
                horizon,
                within_us,
            };
            let mut conditions = Within {
                chunk: &chunk,
                base,
            };
            let progress = self.sequences.state(key);
            let paths = progress.search(&self.program, rows, &mut conditions, after)?;
            found.extend(paths.into_iter().map(|path| (base, path)));
        }
        let paths: Vec<(usize, &Path)> = found.iter().map(|(base, path)| (*base, path)).collect();
        let out = match paths.is_empty() {
            true => None,
            false => Some(chunk.measure(&paths, &self.output)?),
        };
        for key in keys {
            self.drop_rows(key);
        }
        Ok(out)
    }

    fn decoded(&self, rows: &[&[u8]]) -> Result<RecordBatch, GroupError> {
        let parser = self.converter.parser();
        let columns = self
            .converter
            .convert_rows(rows.iter().map(|row| parser.parse(row)))?;
        let columns = columns[..self.input.fields().len()].to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.input), columns)?)
    }

    /// Drops the rows of a partition that no match needs any more.
    fn drop_rows(&mut self, key: &Bytes) {
        let dropped = self.sequences.state(key).forget(self.looks_back);
        self.sequences.drop_front(key, dropped);
        self.schedule(key);
    }

    /// Says when the open search of a partition is decided, whatever comes; forgets a partition
    /// without rows.
    fn schedule(&mut self, key: &Bytes) {
        let partition = &self.sequences[key];
        let first = partition.rows.get(partition.state.start());
        let within = self.navigator.matching().within_us;
        let deadline = first
            .zip(within)
            .map(|((time, _), within)| time.saturating_add(within));
        self.sequences.schedule(key, deadline);
        self.sequences.forget_empty(key);
    }
}

impl Groups for Matches {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let keys = self.keys(rows)?;
        let columns = self.placed(rows);
        let times = self.times(rows)?;
        let encoded = self.converter.convert_columns(&columns)?;
        let places = (
            columns[columns.len() - 2].as_primitive::<UInt32Type>(),
            columns[columns.len() - 1].as_primitive::<UInt64Type>(),
        );
        for (row, time) in times.into_iter().enumerate() {
            let place = (places.0.value(row), places.1.value(row));
            let bytes = Arc::from(encoded.row(row).as_ref());
            let key = Arc::from(keys.value(row));
            self.sequences.wait(time, place, key, bytes);
        }
        Ok(())
    }

    /// The matches that are decided.
    fn close(&mut self, watermark: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        let open_us = self.navigator.matching().open_us;
        let horizon =
            (watermark != Watermark::END).then(|| watermark.micros().saturating_sub(open_us));
        let touched = self.sequences.settle(horizon, Progress::default);
        let mut out = Vec::new();
        for keys in self.sequences.chunks(&touched) {
            out.extend(self.search(keys, horizon)?);
        }
        Ok(out)
    }
}
