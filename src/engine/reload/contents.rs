//! What a table holds, by its key, and what is different from what it held before. Pure.
//!
//! A difference is rows with a count each: `-1` for a row that is there no more, `+1` for one that
//! is there now; a row that was changed is both. It is sorted by the key, so it is a function of
//! the two contents alone.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::dataflow::changing::{Codec, CodecError};
use crate::dataflow::lookup::DuplicateKey;
use crate::dataflow::roles::with_counts;

/// Rows as bytes, by the bytes of their keys.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The rows of a table whose keys are unique.
pub struct Contents {
    codec: Codec,
    rows: Rows,
}

/// What a table holds now, as its contents say it.
pub struct Found(Rows);

impl Contents {
    /// No rows, of a table with these columns and the PRIMARY KEY at these positions.
    pub fn empty(schema: SchemaRef, key: Vec<usize>) -> Result<Self, CodecError> {
        Ok(Self {
            codec: Codec::new(schema, key, Vec::new())?,
            rows: Rows::new(),
        })
    }

    /// What differences come to.
    pub fn after<'a>(
        schema: SchemaRef,
        key: Vec<usize>,
        differences: impl Iterator<Item = &'a RecordBatch>,
    ) -> Result<Self, CodecError> {
        let mut contents = Self::empty(schema, key)?;
        for difference in differences {
            contents.apply(difference)?;
        }
        Ok(contents)
    }

    /// The rows of a table as they were read.
    pub fn found(&self, rows: &RecordBatch) -> Result<Result<Found, DuplicateKey>, CodecError> {
        let encoded = self.codec.encode(rows)?;
        let mut found: BTreeMap<&[u8], usize> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            if let Some(other) = found.insert(encoded.keys.value(row), row) {
                let rows = (other, row);
                return Ok(Err(DuplicateKey { rows }));
            }
        }
        let bytes = |(key, row): (&[u8], usize)| (key.to_vec(), encoded.rows.value(row).to_vec());
        Ok(Ok(Found(found.into_iter().map(bytes).collect())))
    }

    /// What has to be taken back and what put in its place, for the contents to be `now`. `None` if
    /// they are.
    pub fn difference(&self, now: &Found) -> Result<Option<RecordBatch>, CodecError> {
        let (before, now) = (&self.rows, &now.0);
        let mut changes: Vec<(&[u8], &[u8], i64)> = Vec::new();
        for (key, row) in before {
            if now.get(key) != Some(row) {
                changes.push((key, row, -1));
            }
        }
        for (key, row) in now {
            if before.get(key) != Some(row) {
                changes.push((key, row, 1));
            }
        }
        // By key; of a row that was changed the old one comes first.
        changes.sort_by_key(|&(key, _, count)| (key, count));
        if changes.is_empty() {
            return Ok(None);
        }
        self.batch(changes.into_iter().map(|(_, row, count)| (row, count)))
            .map(Some)
    }

    /// All rows, as the difference from nothing.
    pub fn whole(&self) -> Result<RecordBatch, CodecError> {
        self.batch(self.rows.values().map(|row| (row.as_slice(), 1)))
    }

    /// The contents are what was found.
    pub fn become_found(&mut self, now: Found) {
        self.rows = now.0;
    }

    fn apply(&mut self, difference: &RecordBatch) -> Result<(), CodecError> {
        let encoded = self.codec.encode(difference)?;
        for row in 0..difference.num_rows() {
            let (key, bytes) = (encoded.keys.value(row), encoded.rows.value(row));
            let fits = match encoded.counts.value(row) {
                1 => self.rows.insert(key.to_vec(), bytes.to_vec()).is_none(),
                -1 => self.rows.remove(key).as_deref() == Some(bytes),
                _ => false,
            };
            if !fits {
                return Err(format!("its row {row} does not fit what is there before it").into());
            }
        }
        Ok(())
    }

    fn batch<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], i64)>,
    ) -> Result<RecordBatch, CodecError> {
        let (rows, counts): (Vec<&[u8]>, Vec<i64>) = rows.unzip();
        let columns = self.codec.decode(rows.into_iter())?;
        let rows = RecordBatch::try_new(SchemaRef::clone(self.codec.schema()), columns)?;
        Ok(with_counts(&rows, &Int64Array::from(counts)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &[(i64, &str)]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let names = rows.iter().map(|row| Some(row.1));
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        RecordBatch::try_new(schema(), vec![ids, names]).unwrap()
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]))
    }

    fn contents(rows: &[(i64, &str)]) -> Contents {
        let mut contents = Contents::empty(schema(), vec![0]).unwrap();
        let found = contents.found(&table(rows)).unwrap().unwrap();
        contents.become_found(found);
        contents
    }

    fn lines(difference: &RecordBatch) -> Vec<(i64, String, i64)> {
        let ids = difference.column(0).as_primitive::<Int64Type>();
        let names = difference.column(1).as_string::<i32>();
        let counts = difference.column(2).as_primitive::<Int64Type>();
        let line = |row| {
            (
                ids.value(row),
                names.value(row).to_owned(),
                counts.value(row),
            )
        };
        (0..difference.num_rows()).map(line).collect()
    }

    #[test]
    fn a_difference_takes_back_what_is_gone_and_then_says_what_is_there() {
        let before = contents(&[(1, "a"), (2, "b"), (3, "c")]);

        let now = before
            .found(&table(&[(4, "d"), (2, "B"), (1, "a")]))
            .unwrap()
            .unwrap();
        let difference = before.difference(&now).unwrap().unwrap();

        let expected = [(2, "b", -1), (2, "B", 1), (3, "c", -1), (4, "d", 1)];
        let expected = expected.map(|(id, name, count)| (id, name.to_owned(), count));
        assert_eq!(lines(&difference), expected);
        let same = before
            .found(&table(&[(3, "c"), (1, "a"), (2, "b")]))
            .unwrap()
            .unwrap();
        assert!(before.difference(&same).unwrap().is_none());
    }

    #[test]
    fn two_rows_of_one_key_are_told() {
        let twins = contents(&[])
            .found(&table(&[(1, "a"), (2, "b"), (1, "c")]))
            .unwrap();

        assert_eq!(twins.err(), Some(DuplicateKey { rows: (0, 2) }));
    }

    #[test]
    fn a_difference_of_something_else_is_refused() {
        let mut contents = contents(&[(1, "a")]);
        let gone = with_counts(&table(&[(1, "b")]), &Int64Array::from(vec![-1]));
        assert!(contents.apply(&gone).is_err());

        let twice = with_counts(&table(&[(2, "b"), (2, "c")]), &Int64Array::from(vec![1, 1]));
        assert!(contents.apply(&twice).is_err());
    }

    proptest! {
        #[test]
        fn differences_add_up_to_the_last_contents_wherever_they_are_merged(
            readings in prop::collection::vec(
                prop::collection::btree_map(0_i64..6, "[ab]", 0..6), 1..6),
            merged in 0_usize..6,
        ) {
            let mut known = Contents::empty(schema(), vec![0]).unwrap();
            let mut log = Vec::new();
            for reading in &readings {
                let rows: Vec<_> = reading.iter().map(|(id, name)| (*id, name.as_str())).collect();
                let found = known.found(&table(&rows)).unwrap().unwrap();
                log.extend(known.difference(&found).unwrap());
                known.become_found(found);
            }

            let after = |log: &[RecordBatch]| {
                Contents::after(schema(), vec![0], log.iter()).unwrap()
            };
            let merged = merged.min(log.len());
            let mut short = vec![after(&log[..merged]).whole().unwrap()];
            short.extend_from_slice(&log[merged..]);

            prop_assert_eq!(&after(&log).rows, &known.rows);
            prop_assert_eq!(&after(&short).rows, &known.rows);
        }
    }
}
