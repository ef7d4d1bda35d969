//! A reference table, replicated to each worker: rows found by key.
//!
//! The table is whole before the first stream row and fixed for the run. NULL equals nothing,
//! so a row with a NULL in its key is not in the index and finds nothing.

use std::hash::BuildHasher;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::row::{RowConverter, Rows, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use datafusion_common::Result;

use super::aggregate::without_signs;

/// An index of a reference table by one choice of key columns.
#[derive(Debug)]
pub struct Index {
    rows: RecordBatch,
    converter: RowConverter,
    keys: Rows,
    table: HashTable<u32>,
    hasher: FixedState,
}

/// Two rows of a reference table have the same key.
#[derive(Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    /// Positions of the two rows.
    pub rows: (usize, usize),
}

impl Index {
    /// Indexes `rows` by the columns `key`, which must be unique together.
    pub fn new(
        rows: RecordBatch,
        key: &[usize],
    ) -> Result<std::result::Result<Self, DuplicateKey>> {
        let columns: Vec<ArrayRef> = key.iter().map(|&i| without_signs(rows.column(i))).collect();
        let fields = columns
            .iter()
            .map(|c| SortField::new(c.data_type().clone()))
            .collect();
        let converter = RowConverter::new(fields)?;
        let keys = converter.convert_columns(&columns)?;
        let mut index = Self {
            converter,
            table: HashTable::with_capacity(rows.num_rows()),
            hasher: FixedState::with_seed(0),
            keys,
            rows,
        };
        for row in 0..index.rows.num_rows() {
            if columns.iter().any(|column| column.is_null(row)) {
                continue;
            }
            if let Some(other) = index.insert(row) {
                return Ok(Err(DuplicateKey { rows: (other, row) }));
            }
        }
        Ok(Ok(index))
    }

    fn insert(&mut self, row: usize) -> Option<usize> {
        let (keys, hasher) = (&self.keys, &self.hasher);
        let bytes = keys.row(row);
        let hash = hasher.hash_one(bytes.data());
        let same = |&other: &u32| keys.row(other as usize) == bytes;
        if let Some(&other) = self.table.find(hash, same) {
            return Some(other as usize);
        }
        let row = u32::try_from(row).expect("a reference table has fewer than 4 billion rows");
        let rehash = |&row: &u32| hasher.hash_one(keys.row(row as usize).data());
        self.table.insert_unique(hash, row, rehash);
        None
    }

    /// The row of the table for each key, or NULL.
    pub fn find(&self, keys: &[ArrayRef]) -> Result<UInt32Array> {
        let normal: Vec<ArrayRef> = keys.iter().map(without_signs).collect();
        let wanted = self.converter.convert_columns(&normal)?;
        let found = wanted.iter().enumerate().map(|(row, bytes)| {
            if keys.iter().any(|key| key.is_null(row)) {
                return None;
            }
            let hash = self.hasher.hash_one(bytes.data());
            let same = |&other: &u32| self.keys.row(other as usize) == bytes;
            self.table.find(hash, same).copied()
        });
        Ok(found.collect())
    }

    /// All columns of the table.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};

    use super::*;

    fn zones(ids: Vec<Option<i32>>) -> RecordBatch {
        let names = (0..ids.len())
            .map(|i| format!("zone {i}"))
            .collect::<Vec<_>>();
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int32Array::from(ids)) as ArrayRef),
            ("name", Arc::new(StringArray::from(names)) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn a_key_finds_its_row_and_null_finds_nothing() {
        let index = Index::new(zones(vec![Some(7), None, Some(9)]), &[0])
            .unwrap()
            .unwrap();

        let keys: ArrayRef = Arc::new(Int32Array::from(vec![Some(9), None, Some(8), Some(7)]));
        let found = index.find(&[keys]).unwrap();

        assert_eq!(found, UInt32Array::from(vec![Some(2), None, None, Some(0)]));
    }

    #[test]
    fn a_key_that_occurs_twice_is_named() {
        let error = Index::new(zones(vec![Some(7), Some(8), Some(7)]), &[0])
            .unwrap()
            .unwrap_err();

        assert_eq!(error, DuplicateKey { rows: (0, 2) });
    }
}
