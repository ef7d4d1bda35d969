//! The rows of both sides as a snapshot keeps them: hash, side, key, row, time, and what else a join
//! knows of a row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Int64Array, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::dataflow::aggregate::routes;
use crate::dataflow::state::StateError;

/// What else a join knows of a row, as columns.
pub trait Extra: Default {
    /// Of one row.
    type Of;
    /// Takes that of a further row.
    fn push(&mut self, of: Self::Of);
    /// The columns of all that were pushed.
    fn columns(self) -> Vec<(Field, ArrayRef)>;
}

/// The batches of a snapshot in the making.
#[derive(Default)]
pub struct Saving<E> {
    done: Vec<RecordBatch>,
    part: Part<E>,
}

#[derive(Default)]
struct Part<E> {
    is_right: BooleanBuilder,
    keys: BinaryBuilder,
    rows: BinaryBuilder,
    times: Vec<i64>,
    extra: E,
}

/// How many rows make one batch.
const CHUNK: usize = 8192;

impl<E: Extra> Saving<E> {
    /// A row of a side (0 is the left); `None` for the row says that the key has none.
    pub fn add(
        &mut self,
        side: usize,
        key: &[u8],
        time: i64,
        row: Option<&[u8]>,
        extra: E::Of,
    ) -> Result<(), StateError> {
        self.part.is_right.append_value(side == 1);
        self.part.keys.append_value(key);
        self.part.rows.append_option(row);
        self.part.times.push(time);
        self.part.extra.push(extra);
        if self.part.times.len() == CHUNK {
            self.done.push(std::mem::take(&mut self.part).finish()?);
        }
        Ok(())
    }

    /// What was added.
    pub fn finish(mut self) -> Result<Vec<RecordBatch>, StateError> {
        if !self.part.times.is_empty() {
            self.done.push(self.part.finish()?);
        }
        Ok(self.done)
    }
}

impl<E: Extra> Part<E> {
    /// With the hash that decides who owns a row before it.
    fn finish(mut self) -> Result<RecordBatch, StateError> {
        let keys = self.keys.finish();
        let mut fields = vec![
            Field::new("hash", DataType::UInt64, false),
            Field::new("is_right", DataType::Boolean, false),
            Field::new("key", DataType::Binary, false),
            Field::new("row", DataType::Binary, true),
            Field::new("time", DataType::Int64, false),
        ];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(routes(&keys)),
            Arc::new(self.is_right.finish()),
            Arc::new(keys),
            Arc::new(self.rows.finish()),
            Arc::new(Int64Array::from(self.times)),
        ];
        for (field, column) in self.extra.columns() {
            fields.push(field);
            columns.push(column);
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

/// A row of a batch that was saved.
pub struct Saved<'a> {
    /// Whose it is: 0 is the left.
    pub side: usize,
    /// Its key.
    pub key: &'a [u8],
    /// When it happened.
    pub time: i64,
    /// Its columns; `None` says that the key has no row from then on.
    pub row: Option<&'a [u8]>,
}

/// The rows of a batch of `Saving`, and what else was said of them, as columns.
pub fn saved_rows(saved: &RecordBatch) -> (impl Iterator<Item = Saved<'_>>, &[ArrayRef]) {
    let is_right = saved.column(1).as_boolean();
    let (keys, rows) = (saved.column(2), saved.column(3));
    let (keys, rows) = (keys.as_binary::<i32>(), rows.as_binary::<i32>());
    let times = saved.column(4).as_primitive::<Int64Type>();
    let all = (0..saved.num_rows()).map(move |row| Saved {
        side: usize::from(is_right.value(row)),
        key: keys.value(row),
        time: times.value(row),
        row: rows.is_valid(row).then(|| rows.value(row)),
    });
    (all, &saved.columns()[5..])
}
