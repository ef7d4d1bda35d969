//! The last row per key of an append stream: `'upsert.by'`.
//!
//! "Last" is by the column named, then by the row's place in the input, so it is a function of
//! the rows and not of the order that they came in. A row whose column is NULL is earlier than
//! any other. With `state.ttl` a key that has had no record for so long leaves (`forgetting`).

mod forgetting;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use self::forgetting::Ages;
use self::rows::{Entry, Rows};
use super::aggregate::without_signs;
use super::group::{Changes, GroupError, Groups, PreGroups};
use super::roles::{counts, turns, watermarks, with_counts, with_positions, with_turns};
use super::state::{StateError, Stateful, behind, without_first};
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
    held: Rows,
    /// The row that each key touched in this epoch had before it.
    before: BTreeMap<OwnedRow, Option<OwnedRow>>,
    /// When keys had records, if they are forgotten for that.
    ages: Option<Ages>,
}

impl Latest {
    /// Keeps rows of `schema` by the columns `keys`, the last by `by`; a key that has had no record
    /// for `ttl_us` is forgotten. Rows then say the watermark after them.
    pub fn new(
        schema: SchemaRef,
        keys: Vec<usize>,
        by: Expression,
        ttl_us: Option<i64>,
    ) -> Result<Self, GroupError> {
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
            held: Rows::default(),
            before: BTreeMap::new(),
            ages: ttl_us.map(Ages::new),
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
    /// Rows, each with the hash of its key before it; if they are forgotten, with their turns.
    fn hashed(&self, rows: &Rows) -> Result<Vec<RecordBatch>, GroupError> {
        let all: Vec<(&OwnedRow, &Entry)> = rows.by_key.iter().collect();
        all.chunks(CHUNK)
            .map(|part| self.hashed_part(part))
            .collect()
    }

    fn hashed_part(&self, rows: &[(&OwnedRow, &Entry)]) -> Result<RecordBatch, GroupError> {
        let hasher = FixedState::with_seed(0);
        let hashes = rows.iter().map(|(key, _)| hasher.hash_one(key.as_ref()));
        let hashes = Arc::new(UInt64Array::from_iter_values(hashes));
        let turns = rows.iter().map(|(_, entry)| entry.turn);
        let rows = self.rows_of(rows.iter().map(|(_, entry)| &entry.row))?;
        let batch = behind([("__hash", hashes)], rows.schema_ref(), rows.columns())?;
        match self.ages {
            Some(_) => Ok(with_turns(&batch, turns.collect())),
            None => Ok(batch),
        }
    }

    /// What waits for its turn, by turn.
    fn waiting(&self) -> impl Iterator<Item = &Rows> {
        let ages = self.ages.iter();
        ages.flat_map(|ages| ages.waiting.values())
    }

    /// Takes rows of a source.
    fn take_records(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        let ages = self.ages.as_ref();
        let turns = ages.map(|ages| ages.clock.turns().of_each(watermarks(rows)));
        self.take(rows, turns.as_deref(), true)
    }

    /// Takes rows of `hashed`, without the hashes.
    fn take_hashed(&mut self, rows: &RecordBatch, waits: bool) -> Result<(), GroupError> {
        let turns = self.ages.is_some().then(|| turns(rows));
        self.take(rows, turns, waits)
    }

    /// Takes rows: into those that are held, or, where `waits`, those whose turn is to come into
    /// those that wait for it.
    fn take(
        &mut self,
        rows: &RecordBatch,
        turns: Option<&[i64]>,
        waits: bool,
    ) -> Result<(), GroupError> {
        let keys = self.key_rows.convert_columns(&self.key_columns(rows))?;
        let width = self.schema.fields().len();
        let places = width + 2;
        let by = self.by.evaluate(&self.without_places(rows)?)?;
        let mut order = vec![without_signs(&by)];
        order.extend(rows.columns()[width..places].iter().map(ArrayRef::clone));
        let order = self.order_rows.convert_columns(&order)?;
        let values = self.value_rows.convert_columns(&rows.columns()[..places])?;
        for row in 0..rows.num_rows() {
            let turn = turns.map_or(0, |turns| turns[row]);
            let key = keys.row(row).owned();
            let given = (order.row(row), values.row(row));
            if let Some(ages) = &mut self.ages {
                if waits && let Some(waiting) = ages.place_of(turn) {
                    waiting.offer(&key, given, turn);
                    continue;
                }
                ages.oldest = ages.oldest.min(turn);
            }
            if let Some(old) = self.held.offer(&key, given, turn) {
                self.before.entry(key).or_insert(old);
            }
        }
        Ok(())
    }
}

impl Stateful for Latest {
    fn rows(&self) -> usize {
        self.held.by_key.len() + self.ages.as_ref().map_or(0, Ages::rows)
    }

    fn bytes(&self) -> usize {
        self.held.bytes + self.waiting().map(|rows| rows.bytes).sum::<usize>()
    }

    /// Where keys are forgotten, a row that waits for its turn counts for nothing yet.
    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        let all = [(&self.held, 1)].into_iter();
        let all = all.chain(self.waiting().map(|rows| (rows, 0)));
        let mut saved = Vec::new();
        for (rows, count) in all {
            for rows in self.hashed(rows)? {
                let counts = Int64Array::from_value(count, rows.num_rows());
                saved.push(match self.ages {
                    Some(_) => with_counts(&rows, &counts),
                    None => rows,
                });
            }
        }
        Ok(saved)
    }

    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let rows = without_first(saved, 1)?;
        match (&self.ages, counts(&rows, self.schema.fields().len())) {
            (Some(_), Some(counts)) => {
                let shown = counts.values().iter().map(|count| Some(*count != 0));
                let shown: BooleanArray = shown.collect();
                self.take_hashed(&filter_record_batch(&rows, &shown)?, false)?;
                self.take_hashed(&filter_record_batch(&rows, &not(&shown)?)?, true)?;
            }
            (Some(_) | None, _) => self.take_hashed(&rows, true)?,
        }
        self.before.clear();
        Ok(())
    }
}

impl Groups for Latest {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        self.take_records(rows)
    }

    fn merge(&mut self, states: &RecordBatch) -> Result<(), GroupError> {
        self.take_hashed(&without_first(states, 1)?, true)
    }

    fn changes(&mut self) -> Result<Vec<Changes>, GroupError> {
        let before = std::mem::take(&mut self.before);
        let now = before.keys().filter_map(|key| self.held.by_key.get(key));
        let now = now.map(|entry| (&entry.row, 1));
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

    fn forget(&mut self, reached: Watermark) -> Result<Vec<RecordBatch>, GroupError> {
        if !self.advance(reached) {
            return Ok(Vec::new());
        }
        let changes = self.changes()?.into_iter();
        let changes = changes.map(|changes| with_counts(&changes.rows, &changes.counts));
        Ok(changes.collect())
    }
}

/// How many rows make one batch: few enough that their texts stay far below the 2 GiB that an
/// array of texts can hold.
const CHUNK: usize = 8192;

impl PreGroups for Latest {
    fn update(&mut self, rows: &RecordBatch) -> Result<(), GroupError> {
        self.take_records(rows)
    }

    fn groups(&self) -> usize {
        self.rows()
    }

    fn drain(&mut self) -> Result<Vec<RecordBatch>, GroupError> {
        let all = [&self.held].into_iter().chain(self.waiting());
        let drained = all.map(|rows| self.hashed(rows));
        let drained = drained.collect::<Result<Vec<_>, _>>()?.concat();
        self.before.clear();
        self.held.clear();
        if let Some(ages) = &mut self.ages {
            ages.waiting.clear();
        }
        Ok(drained)
    }
}

#[cfg(test)]
mod tests;
