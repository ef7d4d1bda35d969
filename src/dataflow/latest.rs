//! The last row per key of an append stream: `'upsert.by'`.
//!
//! "Last" is by the column named, then by the row's place in the input, so it is a function of
//! the rows and not of the order that they came in. A row whose column is NULL is earlier than
//! any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;

use super::aggregate::without_signs;
use super::group::{Changes, GroupError, Groups, PreGroups};
use super::roles::with_positions;
use super::state::{StateError, Stateful};
use crate::plan::Expression;
use crate::types::Watermark;

/// The rows held, and what changed in the open epoch.
pub struct Latest {
    schema: SchemaRef,
    keys: Vec<usize>,
    by: Expression,
    key_rows: RowConverter,
    order_rows: RowConverter,
    value_rows: RowConverter,
    held: HashMap<OwnedRow, Entry, FixedState>,
    /// The row that each key touched in this epoch had before it.
    before: BTreeMap<OwnedRow, Option<OwnedRow>>,
    bytes: usize,
}

struct Entry {
    order: OwnedRow,
    /// The input's columns and its two places.
    row: OwnedRow,
}

impl Latest {
    /// Keeps rows of `schema` by the columns `keys`, the last by `by`.
    pub fn new(schema: SchemaRef, keys: Vec<usize>, by: Expression) -> Result<Self, GroupError> {
        let located = with_positions(&schema);
        let sort = |index: &usize| SortField::new(located.field(*index).data_type().clone());
        let places = [schema.fields().len(), schema.fields().len() + 1];
        let mut order = vec![SortField::new(by.data_type.clone())];
        order.extend(places.iter().map(sort));
        let all: Vec<usize> = (0..located.fields().len()).collect();
        Ok(Self {
            key_rows: RowConverter::new(keys.iter().map(sort).collect())?,
            order_rows: RowConverter::new(order)?,
            value_rows: RowConverter::new(all.iter().map(sort).collect())?,
            held: HashMap::with_hasher(FixedState::with_seed(0)),
            before: BTreeMap::new(),
            bytes: 0,
            schema,
            keys,
            by,
        })
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys
            .iter()
            .map(|&key| without_signs(rows.column(key)))
            .collect()
    }

    fn rows_of<'a>(
        &self,
        rows: impl Iterator<Item = &'a OwnedRow>,
    ) -> Result<RecordBatch, GroupError> {
        let columns = self.value_rows.convert_rows(rows.map(OwnedRow::row))?;
        Ok(RecordBatch::try_new(with_positions(&self.schema), columns)?)
    }

    fn without_places(&self, rows: &RecordBatch) -> Result<RecordBatch, GroupError> {
        let columns = rows.columns()[..self.schema.fields().len()].to_vec();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Latest {
    /// All rows held, each with the hash of its key before it.
    fn hashed_rows(&self) -> Result<Vec<RecordBatch>, GroupError> {
        let held: Vec<(&OwnedRow, &Entry)> = self.held.iter().collect();
        held.chunks(CHUNK).map(|part| self.hashed(part)).collect()
    }

    fn hashed(&self, held: &[(&OwnedRow, &Entry)]) -> Result<RecordBatch, GroupError> {
        let hasher = FixedState::with_seed(0);
        let hashes = held.iter().map(|(key, _)| hasher.hash_one(key.as_ref()));
        let hashes: ArrayRef = Arc::new(UInt64Array::from_iter_values(hashes));
        let rows = self.rows_of(held.iter().map(|(_, entry)| &entry.row))?;
        let mut fields = vec![Arc::new(Field::new("__hash", DataType::UInt64, false))];
        fields.extend(rows.schema().fields().iter().map(Arc::clone));
        let mut columns = vec![hashes];
        columns.extend(rows.columns().iter().map(Arc::clone));
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

impl Stateful for Latest {
    fn rows(&self) -> usize {
        self.held.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        self.hashed_rows()
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        self.merge(saved)?;
        self.before.clear();
        Ok(())
    }
}

impl Groups for Latest {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let keys = self.key_rows.convert_columns(&self.key_columns(rows))?;
        let width = self.schema.fields().len();
        let places = width + 2;
        let by = self.by.evaluate(&self.without_places(rows)?)?;
        let mut order = vec![without_signs(&by)];
        order.extend(rows.columns()[width..places].iter().map(ArrayRef::clone));
        let order = self.order_rows.convert_columns(&order)?;
        let values = self.value_rows.convert_columns(&rows.columns()[..places])?;
        for row in 0..rows.num_rows() {
            let key = keys.row(row).owned();
            let known = self.held.get_mut(&key);
            if known
                .as_ref()
                .is_some_and(|known| known.order.row() >= order.row(row))
            {
                continue;
            }
            let entry = Entry {
                order: order.row(row).owned(),
                row: values.row(row).owned(),
            };
            let size = |entry: &Entry| entry.row.as_ref().len() + entry.order.as_ref().len();
            self.bytes += size(&entry) + key.as_ref().len();
            let old = match known {
                None => {
                    self.held.insert(key.clone(), entry);
                    None
                }
                Some(known) => {
                    let old = std::mem::replace(known, entry);
                    self.bytes -= size(&old) + key.as_ref().len();
                    Some(old.row)
                }
            };
            self.before.entry(key).or_insert(old);
        }
        Ok(())
    }

    fn merge(&mut self, states: &RecordBatch) -> Result<(), GroupError> {
        let rows: Vec<usize> = (1..states.num_columns()).collect();
        Groups::update(self, &states.project(&rows)?)
    }

    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        let before = std::mem::take(&mut self.before);
        let now = before.keys().map(|key| (&self.held[key].row, 1));
        let old = before.values().flatten().map(|row| (row, -1));
        let all: Vec<_> = old.chain(now).collect();
        let parts = all.chunks(CHUNK).map(|part| {
            let rows = self.rows_of(part.iter().map(|(row, _)| *row))?;
            Ok(Changes {
                rows: self.without_places(&rows)?,
                counts: part.iter().map(|(_, count)| *count).collect(),
            })
        });
        parts.collect()
    }

    fn close(&mut self, _: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        Ok(Vec::new())
    }
}

/// How many rows make one batch: few enough that their texts stay far below the 2 GiB that an
/// array of texts can hold.
const CHUNK: usize = 8192;

impl PreGroups for Latest {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        Groups::update(self, rows)
    }

    fn groups(&self) -> usize {
        self.held.len()
    }

    fn drain(&mut self) -> Result<Vec<RecordBatch>, GroupError> {
        let drained = self.hashed_rows()?;
        self.before.clear();
        self.bytes = 0;
        self.held.clear();
        Ok(drained)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, UInt32Array};
    use arrow::datatypes::Int64Type;
    use datafusion_physical_expr::expressions::Column;

    use super::*;

    fn latest() -> Latest {
        let fields = ["k", "at"].map(|name| Field::new(name, DataType::Int64, false));
        let by = Expression {
            physical: Arc::new(Column::new("at", 1)),
            text: "at".to_owned(),
            data_type: DataType::Int64,
            nullable: false,
        };
        Latest::new(Arc::new(Schema::new(fields.to_vec())), vec![0], by).unwrap()
    }

    /// A row per key, as they come from a source.
    fn rows(keys: i64) -> RecordBatch {
        let column = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..keys)) };
        let partitions: ArrayRef = Arc::new(UInt32Array::from(vec![0; keys as usize]));
        let offsets: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..keys as u64));
        let schema = with_positions(&latest().schema);
        RecordBatch::try_new(schema, vec![column(), column(), partitions, offsets]).unwrap()
    }

    #[test]
    fn what_is_saved_and_sent_comes_in_batches_that_arrays_of_texts_can_hold() {
        let mut held = latest();
        Groups::update(&mut held, &rows(20_000)).unwrap();

        let saved = held.save().unwrap();
        let drained = held.drain().unwrap();

        for batches in [saved, drained] {
            assert!(batches.iter().all(|batch| batch.num_rows() <= CHUNK));
            let mut restored = latest();
            for batch in &batches {
                restored.restore(batch).unwrap();
            }
            let mut keys: Vec<i64> = Vec::new();
            for batch in restored.save().unwrap() {
                keys.extend(batch.column(1).as_primitive::<Int64Type>().values());
            }
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..20_000));
        }
    }

    #[test]
    fn what_holds_nothing_saves_nothing() {
        assert!(latest().save().unwrap().is_empty());
    }
}
