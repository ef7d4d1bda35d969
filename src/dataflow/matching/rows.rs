//! The rows that are held, as a snapshot keeps them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt8Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::{Bytes, Matches};
use crate::dataflow::aggregate::route;
use crate::dataflow::group::GroupError;
use crate::dataflow::roles::with_positions;

/// Where a row is: it waits for earlier ones; a match may begin with it; it is only looked back at.
const WAITING: u8 = 0;
const OPEN: u8 = 1;
const BEHIND: u8 = 2;

/// How many rows make one batch.
const CHUNK: usize = 8192;

impl Matches {
    /// How many rows are held.
    #[must_use]
    pub fn held(&self) -> usize {
        let waiting: usize = self.waiting.values().map(|waiting| waiting.count).sum();
        let rows = self
            .partitions
            .values()
            .map(|partition| partition.rows.len());
        waiting + rows.sum::<usize>()
    }

    /// Memory held, in bytes, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        const EACH: usize = 96;
        self.bytes + self.held() * EACH
    }

    /// All rows: the hash of the partition, where they are, and what they are.
    pub fn saved(&self) -> Result<Vec<RecordBatch>, GroupError> {
        let mut all: Vec<(&Bytes, u8, &Bytes)> = Vec::with_capacity(self.held());
        for (key, partition) in &self.partitions {
            for (at, (_, row)) in partition.rows.iter().enumerate() {
                let state = if at < partition.start { BEHIND } else { OPEN };
                all.push((key, state, row));
            }
        }
        for ((_, _, _, row), waiting) in &self.waiting {
            all.extend(std::iter::repeat_n(
                (&waiting.key, WAITING, row),
                waiting.count,
            ));
        }
        let hasher = FixedState::with_seed(0);
        let parser = self.converter.parser();
        let mut fields = vec![
            Arc::new(Field::new("__hash", DataType::UInt64, false)),
            Arc::new(Field::new("__state", DataType::UInt8, false)),
        ];
        fields.extend(with_positions(&self.input).fields().iter().cloned());
        let schema = Arc::new(Schema::new(fields));
        let batches = all.chunks(CHUNK).map(|rows| {
            let hashes = rows.iter().map(|(key, ..)| route(hasher.hash_one(&***key)));
            let states = rows.iter().map(|(_, state, _)| *state);
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(UInt64Array::from_iter_values(hashes)),
                Arc::new(UInt8Array::from_iter_values(states)),
            ];
            let rows = rows.iter().map(|(.., row)| parser.parse(row));
            columns.extend(self.converter.convert_rows(rows)?);
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        });
        batches.collect()
    }

    /// Takes a batch of `saved`.
    pub fn load(&mut self, saved: &RecordBatch) -> Result<(), GroupError> {
        let states = saved.column(1).as_primitive::<UInt8Type>();
        let rows: Vec<usize> = (2..saved.num_columns()).collect();
        let rows = saved.project(&rows)?;
        let waiting = arrow::compute::filter_record_batch(
            &rows,
            &states
                .iter()
                .map(|state| Some(state == Some(WAITING)))
                .collect(),
        )?;
        let located = std::mem::replace(&mut self.located, true);
        let taken = self.update(&waiting);
        self.located = located;
        taken?;
        let keys = self.keys(&rows)?;
        let times = self.times(&rows)?;
        let encoded = self.converter.convert_columns(rows.columns())?;
        for (row, state) in states.values().iter().enumerate() {
            if *state == WAITING {
                continue;
            }
            let key: Bytes = Arc::from(keys.value(row));
            let bytes: Bytes = Arc::from(encoded.row(row).as_ref());
            self.bytes += bytes.len();
            let partition = self.partitions.entry(Arc::clone(&key)).or_default();
            partition.rows.push_back((times[row], bytes));
            partition.start += usize::from(*state == BEHIND);
            self.schedule(&key);
        }
        Ok(())
    }
}
