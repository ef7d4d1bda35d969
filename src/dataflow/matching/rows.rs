//! The rows that are held, as a snapshot keeps them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt8Array, UInt32Array, UInt64Array};
use arrow::datatypes::{UInt8Type, UInt32Type};

use super::Matches;
use super::progress::Progress;
use crate::dataflow::aggregate::hash;
use crate::dataflow::group::Groups as _;
use crate::dataflow::roles::with_positions;
use crate::dataflow::sequences::Bytes;
use crate::dataflow::state::{StateError, Stateful, behind, without_first};

/// Where a row is: it waits for earlier ones; a match may begin with it; it is only looked back at.
const WAITING: u8 = 0;
const OPEN: u8 = 1;
const BEHIND: u8 = 2;

/// How many rows make one batch.
const CHUNK: usize = 8192;

impl Stateful for Matches {
    fn rows(&self) -> usize {
        self.sequences.rows()
    }

    fn bytes(&self) -> usize {
        self.sequences.bytes()
    }

    /// All rows: the hash of the partition, where they are, how often they were tried, and what they
    /// are.
    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        let mut all: Vec<(&Bytes, (u8, u32), &Bytes)> = Vec::with_capacity(self.rows());
        for (key, partition) in self.sequences.iter() {
            for (at, (_, row)) in partition.rows.iter().enumerate() {
                let is_behind = at < partition.state.start();
                let state = if is_behind { BEHIND } else { OPEN };
                all.push((key, (state, partition.state.spent(at)), row));
            }
        }
        let waiting = self.sequences.waiting();
        all.extend(waiting.map(|(key, row)| (key, (WAITING, 0), row)));
        let parser = self.converter.parser();
        let schema = with_positions(&self.input);
        let batches = all.chunks(CHUNK).map(|rows| {
            let hashes = rows.iter().map(|(key, ..)| hash(key));
            let states = rows.iter().map(|(_, (state, _), _)| *state);
            let tries = rows.iter().map(|(_, (_, tries), _)| *tries);
            let columns: [(&str, ArrayRef); 3] = [
                ("__hash", Arc::new(UInt64Array::from_iter_values(hashes))),
                ("__state", Arc::new(UInt8Array::from_iter_values(states))),
                ("__tries", Arc::new(UInt32Array::from_iter_values(tries))),
            ];
            let rows = rows.iter().map(|(.., row)| parser.parse(row));
            let rows = self.converter.convert_rows(rows)?;
            Ok(behind(columns, &schema, &rows)?)
        });
        batches.collect()
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let states = saved.column(1).as_primitive::<UInt8Type>();
        let tries = saved.column(2).as_primitive::<UInt32Type>();
        let rows = without_first(saved, 3)?;
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
            let progress = self.sequences.restore(&key, Progress::default);
            progress.restore(*state == BEHIND, tries.value(row));
            self.sequences.restore_row(&key, times[row], bytes);
            self.schedule(&key);
        }
        Ok(())
    }
}
