//! The partitions that are held, as a snapshot keeps them: one row each.
//!
//! ```text
//!   hash | key | rows before | groups before | shown | rows, a list | waiting rows, a list |
//!   and by total: how many of the rows are in it, and its state
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, ListBuilder, RecordBatch, UInt32Array,
    UInt64Array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type, UInt64Type};

use super::{Bytes, Held, Running, times};
use crate::dataflow::aggregate::routes;
use crate::dataflow::framed::Before;
use crate::dataflow::group::GroupError;

/// How many partitions make one batch.
const CHUNK: usize = 1024;

/// The columns before those of the totals.
const FIXED: usize = 7;

/// A partition, and its rows that wait.
type Whole<'a> = (Option<&'a Held>, Vec<&'a Bytes>);

impl Running {
    /// How many rows and totals are held.
    #[must_use]
    pub fn held(&self) -> usize {
        let rows = self.partitions.values().map(|held| held.rows.len());
        rows.sum::<usize>() + self.waiting.values().sum::<usize>() + self.slots as usize
    }

    /// Memory held, in bytes, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        const EACH: usize = 96;
        let totals = self.totals.0.iter().flatten().map(|total| total.bytes());
        self.bytes + (self.held() + self.partitions.len()) * EACH + totals.sum::<usize>()
    }

    /// All partitions.
    pub fn saved(&self) -> Result<Vec<RecordBatch>, GroupError> {
        let mut all: BTreeMap<&Bytes, Whole<'_>> = BTreeMap::new();
        for (key, held) in &self.partitions {
            all.entry(key).or_default().0 = Some(held);
        }
        for ((_, key, row), count) in &self.waiting {
            let waiting = &mut all.entry(key).or_default().1;
            waiting.extend(std::iter::repeat_n(row, *count));
        }
        let all: Vec<(&Bytes, Whole<'_>)> = all.into_iter().collect();
        all.chunks(CHUNK).map(|part| self.part(part)).collect()
    }

    fn part(&self, part: &[(&Bytes, Whole<'_>)]) -> Result<RecordBatch, GroupError> {
        let keys = BinaryArray::from_iter_values(part.iter().map(|(key, _)| key));
        let held = || part.iter().map(|(_, (held, _))| *held);
        let number = |of: fn(&Held) -> u64| -> ArrayRef {
            let numbers = held().map(|held| held.map_or(0, of));
            Arc::new(UInt64Array::from_iter_values(numbers))
        };
        let (mut rows, mut waiting) = (list(), list());
        for (_, (held, waits)) in part {
            for (_, row) in held.iter().flat_map(|held| &held.rows) {
                rows.values().append_value(row);
            }
            waits
                .iter()
                .for_each(|row| waiting.values().append_value(row));
            rows.append(true);
            waiting.append(true);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(routes(&keys)),
            Arc::new(keys),
            number(|held| held.before.rows),
            number(|held| held.before.groups),
            number(|held| held.shown as u64),
            Arc::new(rows.finish()),
            Arc::new(waiting.finish()),
        ];
        for (call, total) in self.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            let taken = held().map(|held| held.map_or(0, |held| held.before.held[call]));
            columns.push(Arc::new(UInt32Array::from_iter_values(taken)));
            let mut fresh = self.calls.totals().0.swap_remove(call).expect("it is one");
            fresh.resize(1);
            let states = held().map(|held| match held {
                Some(held) => total.state(held.before.slot),
                None => fresh.state(0),
            });
            let states: Vec<Vec<ArrayRef>> = states.collect::<Result<_, _>>()?;
            for column in 0..total.state_types().len() {
                let parts = states.iter().map(|state| state[column].as_ref());
                columns.push(concat(&parts.collect::<Vec<_>>())?);
            }
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn schema(&self) -> Arc<Schema> {
        let bytes = || DataType::List(Arc::new(Field::new_list_field(DataType::Binary, true)));
        let mut fields = vec![
            Field::new("hash", DataType::UInt64, false),
            Field::new("key", DataType::Binary, false),
            Field::new("rows_before", DataType::UInt64, false),
            Field::new("groups_before", DataType::UInt64, false),
            Field::new("shown", DataType::UInt64, false),
            Field::new("rows", bytes(), false),
            Field::new("waiting", bytes(), false),
        ];
        for (call, total) in self.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            fields.push(Field::new(format!("taken_{call}"), DataType::UInt32, false));
            for (part, data_type) in total.state_types().into_iter().enumerate() {
                fields.push(Field::new(format!("state_{call}_{part}"), data_type, true));
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// Takes a batch of `saved`.
    pub fn load(&mut self, saved: &RecordBatch) -> Result<(), GroupError> {
        let keys = saved.column(1).as_binary::<i32>();
        let number = |column: usize| saved.column(column).as_primitive::<UInt64Type>().values();
        let (rows, groups, shown) = (number(2), number(3), number(4));
        let (mut slots, mut begun) = (Vec::new(), Vec::new());
        for (number, at) in (0u32..).zip(0..saved.num_rows()) {
            let key: Bytes = Arc::from(keys.value(at));
            for (time, row) in self.rows_of(&saved.column(6).as_list::<i32>().value(at))? {
                self.wait(time, Arc::clone(&key), row);
            }
            let held = self.rows_of(&saved.column(5).as_list::<i32>().value(at))?;
            if held.is_empty() && rows[at] == 0 {
                // All of its rows wait.
                continue;
            }
            begun.push(number);
            self.bytes += held.iter().map(|(_, row)| row.len()).sum::<usize>();
            let partition = self.partition(&key);
            slots.push(partition.before.slot);
            partition.rows = held.into();
            partition.shown = usize::try_from(shown[at])?;
            partition.before = Before {
                rows: rows[at],
                groups: groups[at],
                ..std::mem::take(&mut partition.before)
            };
            self.totals_of(saved, at, &key);
            self.schedule(&key);
        }
        let begun = UInt32Array::from(begun);
        let mut column = FIXED;
        for total in self.totals.0.iter_mut().flatten() {
            let states = column + 1..column + 1 + total.state_types().len();
            column = states.end;
            let states = saved.columns()[states].iter();
            let states = states.map(|state| take(state, &begun, None));
            total.merge(&states.collect::<Result<Vec<_>, _>>()?, &slots)?;
        }
        Ok(())
    }

    /// How many rows of a saved partition are in its totals.
    fn totals_of(&mut self, saved: &RecordBatch, at: usize, key: &Bytes) {
        let mut column = FIXED;
        let held = self.partitions.get_mut(key).expect("it was made just now");
        for (call, total) in self.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            let taken = saved.column(column).as_primitive::<UInt32Type>();
            held.before.held[call] = taken.value(at);
            column += 1 + total.state_types().len();
        }
    }

    /// Rows with their times.
    fn rows_of(&self, rows: &ArrayRef) -> Result<Vec<(i64, Bytes)>, GroupError> {
        let rows = rows.as_binary::<i32>();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let columns = self.codec.decode(rows.iter().flatten())?;
        let times = times(&columns[self.time])?;
        let rows = rows.iter().flatten().map(Arc::from);
        Ok(times.into_iter().zip(rows).collect())
    }
}

fn list() -> ListBuilder<BinaryBuilder> {
    ListBuilder::new(BinaryBuilder::new())
}
