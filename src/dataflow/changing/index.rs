//! Arrangements: the rows of a stream by key, on the worker that owns the key.
//!
//! ```text
//!   rows ──▶ Spread ──▶ [by key] ──▶ updates ──▶ arrange ──▶ batches, one reader or several
//!                                       ▲           │
//!                       restored rows ──┘           └──▶ Kept: what a snapshot takes
//! ```
//!
//! Rows that were restored stand in epoch 0, which no source ever opens; readers pass over it,
//! because what follows from those rows was said before the snapshot.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, RecordBatch,
};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use differential_dataflow::trace::{BatchReader, Cursor as _, TraceReader};
use timely::progress::Antichain;

use super::codec::{Codec, has_null};
use super::rows::Trace;
use super::sorted::Arrived;
use crate::dataflow::aggregate::routes;
use crate::dataflow::spread::{Spread, by_target};
use crate::dataflow::state::{StateError, Stateful};
use crate::types::Epoch;

/// The epoch of restored rows.
pub const RESTORED: u64 = 0;

/// What becomes of rows with a NULL in their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NullKeys {
    /// They are rows like any other.
    Kept,
    /// They match nothing and are not asked for.
    Dropped,
}

/// Makes bytes of rows, for the owners of their keys among `peers` workers.
pub fn spread(name: &str, codec: Arc<Codec>, peers: usize, nulls: NullKeys) -> Spread {
    Spread::cutting(name.to_owned(), move |rows| {
        let encoded = codec.encode(rows)?;
        let routes = routes(&encoded.keys);
        let keys = encoded.keys.iter().flatten();
        let whole: BooleanArray = keys.map(|key| Some(!has_null(key))).collect();
        let rows = encoded.into_batch();
        if nulls == NullKeys::Kept || !whole.has_false() {
            return by_target(&routes, &rows, peers);
        }
        let routes = filter(&routes, &whole)?;
        by_target(
            routes.as_primitive(),
            &filter_record_batch(&rows, &whole)?,
            peers,
        )
    })
}

/// Keys, rows and counts, which begin at column `first`.
pub fn parts(batch: &RecordBatch, first: usize) -> (&BinaryArray, &BinaryArray, &Int64Array) {
    (
        batch.column(first).as_binary(),
        batch.column(first + 1).as_binary(),
        batch.column(first + 2).as_primitive::<Int64Type>(),
    )
}

/// What a snapshot takes of an arrangement.
#[derive(Default)]
pub struct Kept {
    trace: Option<std::cell::RefCell<Trace>>,
    /// Rows of a snapshot, before there is a trace.
    restored: Vec<RecordBatch>,
    /// Rows of later epochs are not taken; `None` takes all.
    until: Option<Epoch>,
}

/// How many rows make one batch.
const CHUNK: usize = 8192;

impl Kept {
    /// The rows that a snapshot kept, to be arranged.
    pub fn take_restored(&mut self) -> Vec<Arrived> {
        let restored = std::mem::take(&mut self.restored).into_iter();
        restored.map(|rows| (RESTORED, rows)).collect()
    }

    /// From now on this is what is kept.
    pub fn watch(&mut self, trace: Trace) {
        self.trace = Some(trace.into());
    }

    /// A snapshot is to be cut at the end of `epoch`, or of all epochs.
    pub fn until(&mut self, epoch: Option<Epoch>) {
        self.until = epoch;
    }

    /// Nobody asks for a cut before the end of `epoch` any more.
    pub fn compact(&mut self, epoch: Epoch) {
        if let Some(trace) = &self.trace {
            compact(&mut trace.borrow_mut(), epoch.0);
        }
    }
}

/// Lets the epochs up to `epoch` become one.
pub fn compact(trace: &mut Trace, epoch: u64) {
    let frontier = Antichain::from_elem(epoch);
    trace.set_logical_compaction(frontier.borrow());
    trace.set_physical_compaction(frontier.borrow());
}

impl Stateful for Kept {
    fn rows(&self) -> usize {
        let mut rows = 0;
        if let Some(trace) = &self.trace {
            trace.borrow().map_batches(|batch| rows += batch.len());
        }
        rows
    }

    fn bytes(&self) -> usize {
        let mut bytes = 0;
        if let Some(trace) = &self.trace {
            trace.borrow().map_batches(|batch| {
                let rows = &batch.storage;
                let updates = batch.len() * (size_of::<u64>() + size_of::<i64>());
                bytes += rows.keys.size() + rows.vals.vals.size() + updates;
            });
        }
        bytes
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        let Some(trace) = &self.trace else {
            return Ok(Vec::new());
        };
        let last = self.until.map_or(u64::MAX, |epoch| epoch.0);
        let (mut cursor, storage) = trace.borrow_mut().cursor();
        let (mut saved, mut part) = (Vec::new(), Part::default());
        while let Some(key) = cursor.get_key(&storage) {
            while let Some(row) = cursor.get_val(&storage) {
                let mut count = 0;
                cursor.map_times(&storage, |&epoch, &diff| {
                    if epoch <= last {
                        count += diff;
                    }
                });
                if count != 0 {
                    part.add(key, row, count);
                }
                if part.counts.len() >= CHUNK {
                    saved.push(std::mem::take(&mut part).finish()?);
                }
                cursor.step_val(&storage);
            }
            cursor.step_key(&storage);
        }
        if !part.counts.is_empty() {
            saved.push(part.finish()?);
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        // The hash before them has done its work.
        self.restored.push(saved.project(&[1, 2, 3])?);
        Ok(())
    }
}

/// A batch of a snapshot in the making.
#[derive(Default)]
struct Part {
    keys: BinaryBuilder,
    rows: BinaryBuilder,
    counts: Vec<i64>,
}

impl Part {
    fn add(&mut self, key: &[u8], row: &[u8], count: i64) {
        self.keys.append_value(key);
        self.rows.append_value(row);
        self.counts.push(count);
    }

    /// With the hash that decides who owns a row before it.
    fn finish(mut self) -> Result<RecordBatch, StateError> {
        let keys = self.keys.finish();
        let routes = routes(&keys);
        let schema = Schema::new(vec![
            Field::new("hash", DataType::UInt64, false),
            Field::new("key", DataType::Binary, false),
            Field::new("row", DataType::Binary, false),
            Field::new("count", DataType::Int64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(routes),
            Arc::new(keys),
            Arc::new(self.rows.finish()),
            Arc::new(Int64Array::from(self.counts)),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}
