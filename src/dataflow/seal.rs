//! The changes of an epoch to one table, consolidated: what a reader would see change.
//!
//! Rows come from many operators and workers in any order; a row retracted and asserted again
//! is no change. What is left is sorted by key, so that the same changes make the same
//! transaction whatever the order they came in.
//!
//! An epoch may be of any size: all windows close at the end of a file. So nothing puts all of it
//! into one array, of which one of texts holds 2 GiB: rows are compared as bytes, by their
//! numbers, and what is left is cut into parts.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result;

use super::aggregate::without_signs;
use super::parts::{Most, cut, together};
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

/// Of how many bytes the rows of a part are, about.
const PART: usize = 64 << 20;

/// Two rows of one key at the end of an epoch: the planner's proof was wrong.
#[derive(Debug, thiserror::Error)]
#[error("two rows of `{table}` have the same key")]
pub struct KeyNotUnique {
    table: String,
}

impl Lane {
    /// The consolidated changes of `batches`: none if nothing changed, and mostly one. Of several
    /// parts those that delete come first. A batch of a changing stream has one more column than
    /// the table: the count of each row.
    pub fn seal(
        &self,
        position: usize,
        batches: &[RecordBatch],
    ) -> Result<std::result::Result<Vec<TableChanges>, KeyNotUnique>> {
        self.seal_in_parts(position, batches, PART)
    }

    fn seal_in_parts(
        &self,
        position: usize,
        batches: &[RecordBatch],
        part: usize,
    ) -> Result<std::result::Result<Vec<TableChanges>, KeyNotUnique>> {
        let (batches, counts) = self.gather(batches)?;
        if self.key.is_empty() {
            assert!(
                counts.iter().all(|&count| count == 1),
                "an append table is never retracted"
            );
            let most = Most {
                rows: usize::MAX,
                bytes: part,
            };
            let parts = together(&self.schema, &batches, most)?.into_iter();
            let parts = parts.map(|(_, rows)| rows).collect();
            return Ok(Ok(in_order(position, parts, Vec::new())));
        }
        let keys = |batch: &RecordBatch| self.key_columns(batch);
        let keys = comparable(&batches, keys)?;
        let whole = comparable(&batches, |batch| batch.columns().to_vec())?;
        let Ok((upserts, deletes)) = net(&keys, &whole, &counts) else {
            return Ok(Err(KeyNotUnique {
                table: self.name.clone(),
            }));
        };
        let upserts = pick(&batches, &upserts, (&whole, part))?;
        let gone: std::result::Result<Vec<_>, _> =
            batches.iter().map(|rows| rows.project(&self.key)).collect();
        let deletes = pick(&gone?, &deletes, (&keys, part))?;
        Ok(Ok(in_order(position, upserts, deletes)))
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key
            .iter()
            .map(|&column| without_signs(rows.column(column)))
            .collect()
    }

    /// The rows as the table has them, and the count of each.
    fn gather(&self, batches: &[RecordBatch]) -> Result<(Vec<RecordBatch>, Vec<i64>)> {
        let width = self.schema.fields().len();
        let mut counts = Vec::new();
        let mut plain = Vec::with_capacity(batches.len());
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            match roles::counts(batch, width) {
                None => counts.resize(counts.len() + batch.num_rows(), 1),
                Some(own) => counts.extend(own.values()),
            }
            let columns = batch.columns()[..width].to_vec();
            plain.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        Ok((plain, counts))
    }
}

/// Changes of a table that together are all of an epoch. What deletes makes room, so it goes first.
fn in_order(
    table: usize,
    upserts: Vec<RecordBatch>,
    deletes: Vec<RecordBatch>,
) -> Vec<TableChanges> {
    let mut upserts = upserts.into_iter().peekable();
    let last = deletes.len().saturating_sub(1);
    let mut changes = Vec::new();
    for (at, gone) in deletes.into_iter().enumerate() {
        changes.push(TableChanges {
            table,
            upserts: upserts.next_if(|_| at == last),
            deletes: Some(gone),
        });
    }
    changes.extend(upserts.map(|rows| TableChanges {
        table,
        upserts: Some(rows),
        deletes: None,
    }));
    changes
}

/// Rows as bytes that compare as their values do, those of all batches one after the other.
fn comparable(
    batches: &[RecordBatch],
    columns: impl Fn(&RecordBatch) -> Vec<ArrayRef>,
) -> Result<Rows> {
    let Some(first) = batches.first() else {
        return Ok(RowConverter::new(Vec::new())?.empty_rows(0, 0));
    };
    let fields = columns(first);
    let fields = fields
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let count = batches.iter().map(RecordBatch::num_rows).sum();
    let mut rows = converter.empty_rows(count, 0);
    for batch in batches {
        converter.append(&mut rows, &columns(batch))?;
    }
    Ok(rows)
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

/// Some rows of all batches, in parts of about so many bytes; `rows` says how large each is.
fn pick(
    batches: &[RecordBatch],
    picked: &[u32],
    (rows, part): (&Rows, usize),
) -> Result<Vec<RecordBatch>> {
    let mut first = 0;
    let starts = batches.iter().map(|batch| {
        first += batch.num_rows();
        first - batch.num_rows()
    });
    let starts: Vec<usize> = starts.collect();
    let place = |&row: &u32| {
        let row = row as usize;
        let batch = starts.partition_point(|&start| start <= row) - 1;
        (batch, row - starts[batch])
    };
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let size = |&row: &u32| [rows.row(row as usize).as_ref().len()];
    let parts = cut(picked, size, [part]).into_iter().map(|picked| {
        let places: Vec<(usize, usize)> = picked.iter().map(place).collect();
        Ok(interleave_record_batch(&batches, &places)?)
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::dataflow::parts::bytes;

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

    /// What comes of it all, which must be one change.
    fn sealed(key: Vec<usize>, batches: &[RecordBatch]) -> TableChanges {
        let mut changes = lane(key).seal(4, batches).unwrap().unwrap();
        let change = changes.pop().unwrap();
        assert!(changes.is_empty());
        change
    }

    #[test]
    fn a_row_replaced_is_an_upsert_and_a_row_gone_is_a_delete() {
        let first = changes(&[("b", 1, -1), ("c", 5, -1), ("a", 3, 1)]);
        let second = changes(&[("b", 2, 1)]);

        let sealed = sealed(vec![0], &[second, first]);

        assert_eq!(sealed.table, 4);
        assert_eq!(keys(&sealed.upserts), ["a", "b"]);
        assert_eq!(keys(&sealed.deletes), ["c"]);
        assert_eq!(sealed.deletes.unwrap().num_columns(), 1);
    }

    #[test]
    fn a_row_retracted_and_asserted_again_is_no_change() {
        let both = changes(&[("a", 3, -1), ("a", 3, 1)]);

        assert!(lane(vec![0]).seal(0, &[both]).unwrap().unwrap().is_empty());
    }

    #[test]
    fn no_rows_are_no_change() {
        let none = changes(&[]);

        for key in [vec![], vec![0]] {
            let lane = lane(key);
            assert!(lane.seal(0, &[]).unwrap().unwrap().is_empty());
            let none = std::slice::from_ref(&none);
            assert!(lane.seal(0, none).unwrap().unwrap().is_empty());
        }
    }

    #[test]
    fn two_rows_of_one_key_are_an_error() {
        let both = changes(&[("a", 3, 1), ("a", 4, 1)]);

        assert!(lane(vec![0]).seal(0, &[both]).unwrap().is_err());
    }

    #[test]
    fn a_table_without_key_takes_every_row() {
        let rows = changes(&[("a", 3, 1), ("a", 3, 1)]);

        assert_eq!(keys(&sealed(vec![], &[rows]).upserts), ["a", "a"]);
    }

    #[test]
    fn an_epoch_of_any_size_comes_in_parts_that_are_the_whole() {
        let batches = [
            changes(&[("d", 4, 1), ("b", 1, -1), ("x", 0, -1)]),
            changes(&[("c", 3, 1), ("b", 2, 1)]),
            changes(&[("a", 1, 1), ("y", 0, -1)]),
        ];

        let parts = lane(vec![0]).seal_in_parts(4, &batches, 1);
        let parts = parts.unwrap().unwrap();

        let of = |part: &TableChanges| (keys(&part.deletes), keys(&part.upserts));
        let said: Vec<_> = parts.iter().map(of).collect();
        let texts = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let expected = [
            (&["x"][..], &[][..]),
            (&["y"], &["a"]),
            (&[], &["b"]),
            (&[], &["c"]),
            (&[], &["d"]),
        ];
        let expected = expected.map(|(gone, rows)| (texts(gone), texts(rows)));
        assert_eq!(said, expected);
        assert!(parts.iter().all(|part| part.table == 4));
    }

    #[test]
    fn rows_that_are_appended_are_put_together_until_a_part_is_full() {
        let batch = changes(&[("a", 3, 1), ("b", 3, 1)]);
        let size = bytes(&batch.project(&[0, 1]).unwrap());
        let batches = [batch.clone(), batch.slice(1, 1), batch.clone(), batch];

        let parts = lane(vec![]).seal_in_parts(0, &batches, 2 * size);

        let rows = |part: &TableChanges| keys(&part.upserts).concat();
        let rows: Vec<String> = parts.unwrap().unwrap().iter().map(rows).collect();
        assert_eq!(rows, ["abb", "abab"]);
    }
}
