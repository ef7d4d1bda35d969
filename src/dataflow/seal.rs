//! The changes of an epoch to one table, consolidated: what a reader would see change.
//!
//! Rows come from many operators and workers in any order; a row retracted and asserted again
//! is no change. What is left is sorted by key, so that the same changes make the same
//! transaction whatever the order they came in.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result;

use super::aggregate::without_signs;
use super::roles;
use crate::connector::TableChanges;

/// One table of a destination, as its publisher sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The table's name, for errors.
    pub name: String,
    /// The table's columns.
    pub schema: SchemaRef,
    /// Positions of the PRIMARY KEY; empty for a table that is appended to.
    pub key: Vec<usize>,
}

/// Two rows of one key at the end of an epoch: the planner's proof was wrong.
#[derive(Debug, thiserror::Error)]
#[error("two rows of `{table}` have the same key")]
pub struct KeyNotUnique {
    table: String,
}

impl Lane {
    /// The consolidated changes of `batches`; `None` if nothing changed. A batch of a changing
    /// stream has one more column than the table: the count of each row.
    pub fn seal(
        &self,
        position: usize,
        batches: &[RecordBatch],
    ) -> Result<std::result::Result<Option<TableChanges>, KeyNotUnique>> {
        let (rows, counts) = self.gather(batches)?;
        if rows.num_rows() == 0 {
            return Ok(Ok(None));
        }
        if self.key.is_empty() {
            assert!(
                counts.iter().all(|&count| count == 1),
                "an append table is never retracted"
            );
            let changes = TableChanges {
                table: position,
                upserts: Some(rows),
                deletes: None,
            };
            return Ok(Ok(Some(changes)));
        }
        let keys = comparable(&self.key_columns(&rows))?;
        let whole = comparable(rows.columns())?;
        let Ok((upserts, deletes)) = net(&keys, &whole, &counts) else {
            return Ok(Err(KeyNotUnique {
                table: self.name.clone(),
            }));
        };
        let upserts = pick(&rows, upserts)?;
        let deletes = pick(&rows.project(&self.key)?, deletes)?;
        let changed = upserts.is_some() || deletes.is_some();
        Ok(Ok(changed.then_some(TableChanges {
            table: position,
            upserts,
            deletes,
        })))
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key
            .iter()
            .map(|&column| without_signs(rows.column(column)))
            .collect()
    }

    fn gather(&self, batches: &[RecordBatch]) -> Result<(RecordBatch, Vec<i64>)> {
        let width = self.schema.fields().len();
        let mut counts = Vec::new();
        let mut plain = Vec::with_capacity(batches.len());
        for batch in batches {
            match roles::counts(batch, width) {
                None => counts.resize(counts.len() + batch.num_rows(), 1),
                Some(own) => counts.extend(own.values()),
            }
            let columns = batch.columns()[..width].to_vec();
            plain.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        Ok((concat_batches(&self.schema, &plain)?, counts))
    }
}

/// Rows as bytes that compare as their values do.
fn comparable(columns: &[ArrayRef]) -> Result<Rows> {
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    Ok(RowConverter::new(fields.collect())?.convert_columns(columns)?)
}

/// The rows to upsert and one row of each key to delete, in the order of their keys.
fn net(keys: &Rows, whole: &Rows, counts: &[i64]) -> std::result::Result<(Vec<u32>, Vec<u32>), ()> {
    let mut order: Vec<u32> = (0..u32::try_from(counts.len()).expect("fits an epoch")).collect();
    let place = |row: u32| (keys.row(row as usize), whole.row(row as usize));
    order.sort_unstable_by(|&a, &b| place(a).cmp(&place(b)));

    let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
    for same_key in order.chunk_by(|&a, &b| keys.row(a as usize) == keys.row(b as usize)) {
        let (mut asserted, mut retracted) = (None, None);
        for same_row in same_key.chunk_by(|&a, &b| whole.row(a as usize) == whole.row(b as usize)) {
            match same_row
                .iter()
                .map(|&row| counts[row as usize])
                .sum::<i64>()
            {
                0 => {}
                1 if asserted.is_none() => asserted = Some(same_row[0]),
                -1 if retracted.is_none() => retracted = Some(same_row[0]),
                _ => return Err(()),
            }
        }
        match (asserted, retracted) {
            (Some(row), _) => upserts.push(row),
            (None, Some(row)) => deletes.push(row),
            (None, None) => {}
        }
    }
    Ok((upserts, deletes))
}

fn pick(rows: &RecordBatch, picked: Vec<u32>) -> Result<Option<RecordBatch>> {
    if picked.is_empty() {
        return Ok(None);
    }
    Ok(Some(take_record_batch(rows, &UInt32Array::from(picked))?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn lane(key: Vec<usize>) -> Lane {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            Field::new("n", DataType::Int64, true),
        ]);
        Lane {
            name: "t".to_owned(),
            schema: Arc::new(schema),
            key,
        }
    }

    fn changes(rows: &[(&str, i64, i64)]) -> RecordBatch {
        let texts = rows.iter().map(|row| row.0);
        let numbers = rows.iter().map(|row| row.1);
        let plain = RecordBatch::try_from_iter([
            (
                "k",
                Arc::new(StringArray::from_iter_values(texts)) as ArrayRef,
            ),
            (
                "n",
                Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef,
            ),
        ])
        .unwrap();
        let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        roles::with_counts(&plain, &counts)
    }

    fn keys(batch: &Option<RecordBatch>) -> Vec<String> {
        let Some(batch) = batch else { return vec![] };
        let keys = batch.column(0).as_string::<i32>();
        keys.iter().map(|key| key.unwrap().to_owned()).collect()
    }

    #[test]
    fn a_row_replaced_is_an_upsert_and_a_row_gone_is_a_delete() {
        let first = changes(&[("b", 1, -1), ("c", 5, -1), ("a", 3, 1)]);
        let second = changes(&[("b", 2, 1)]);

        let sealed = lane(vec![0])
            .seal(4, &[second, first])
            .unwrap()
            .unwrap()
            .unwrap();

        assert_eq!(sealed.table, 4);
        assert_eq!(keys(&sealed.upserts), ["a", "b"]);
        assert_eq!(keys(&sealed.deletes), ["c"]);
        assert_eq!(sealed.deletes.unwrap().num_columns(), 1);
    }

    #[test]
    fn a_row_retracted_and_asserted_again_is_no_change() {
        let both = changes(&[("a", 3, -1), ("a", 3, 1)]);

        assert!(lane(vec![0]).seal(0, &[both]).unwrap().unwrap().is_none());
    }

    #[test]
    fn two_rows_of_one_key_are_an_error() {
        let both = changes(&[("a", 3, 1), ("a", 4, 1)]);

        assert!(lane(vec![0]).seal(0, &[both]).unwrap().is_err());
    }

    #[test]
    fn a_table_without_key_takes_every_row() {
        let rows = changes(&[("a", 3, 1), ("a", 3, 1)]);

        let sealed = lane(vec![]).seal(0, &[rows]).unwrap().unwrap().unwrap();

        assert_eq!(keys(&sealed.upserts), ["a", "a"]);
    }
}
