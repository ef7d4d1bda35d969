//! The partitions that are held, as a snapshot keeps them: a record each, and one for each row.
//!
//! ```text
//!   hash | key | kind | row | rows before | groups before | shown |
//!   and by total: how many of the rows are in it, and its state
//! ```
//!
//! The records of a partition follow each other: its own, its rows in their order, those that wait.
//! A batch may end between any two, so a partition may hold more than a batch can.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt8Array, UInt32Array, UInt64Array,
    new_empty_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type, UInt32Type, UInt64Type};

use super::{Running, Shown};
use crate::dataflow::aggregate::routes;
use crate::dataflow::group::GroupError;
use crate::dataflow::sequences::{Bytes, times};
use crate::dataflow::state::{StateError, Stateful};

/// What a record says: of a partition, of a row of it, or of one that waits.
const PARTITION: u8 = 0;
const HELD: u8 = 1;
const WAITING: u8 = 2;

/// The columns before those of the totals.
const FIXED: usize = 7;

/// How much goes into one batch, of whatever there is more first.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    /// Records.
    pub records: usize,
    /// Bytes of keys and rows, unless one record has more.
    pub bytes: usize,
}

/// Far below what the offsets of an array can count.
const CHUNK: Chunk = Chunk {
    records: 8192,
    bytes: 64 << 20,
};

/// A record of a partition, which says what is held of it, or of a row.
struct Record<'a> {
    key: &'a Bytes,
    kind: u8,
    held: Option<&'a Shown>,
    row: Option<&'a Bytes>,
}

impl Record<'_> {
    fn bytes(&self) -> usize {
        self.key.len() + self.row.map_or(0, |row| row.len())
    }
}

impl Stateful for Running {
    /// How many rows and totals are held.
    fn rows(&self) -> usize {
        self.sequences.rows() + self.totals.slots as usize
    }

    fn bytes(&self) -> usize {
        const EACH: usize = 96;
        let totals = self.totals.totals.0.iter().flatten();
        let totals: usize = totals.map(|total| total.bytes()).sum();
        self.sequences.bytes() + self.totals.slots as usize * EACH + totals
    }

    fn save(&self) -> Result<Vec<RecordBatch>, StateError> {
        self.saved_in(CHUNK)
    }

    /// The records of a partition come in their order.
    fn restore(&mut self, saved: &RecordBatch) -> Result<(), StateError> {
        let keys = saved.column(1).as_binary::<i32>();
        let kinds = saved.column(2).as_primitive::<UInt8Type>().values();
        let number = |column: usize| saved.column(column).as_primitive::<UInt64Type>().values();
        let (before, groups, shown) = (number(4), number(5), number(6));
        let mut rows = self.rows_of(saved.column(3))?.into_iter();
        let (mut slots, mut begun) = (Vec::new(), Vec::new());
        let mut loaded: Vec<Bytes> = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            if loaded.last().is_none_or(|last| **last != *keys.value(at)) {
                loaded.push(Arc::from(keys.value(at)));
            }
            let key = Arc::clone(loaded.last().expect("there is one now"));
            if *kind == WAITING {
                let (time, row) = rows.next().expect("every other record has a row");
                self.sequences.wait(time, (), key, row);
                continue;
            }
            let partition = self.sequences.restore(&key, || self.totals.begin());
            if *kind == HELD {
                let (time, row) = rows.next().expect("every other record has a row");
                self.sequences.restore_row(&key, time, row);
                continue;
            }
            begun.push(u32::try_from(at)?);
            slots.push(partition.before.slot);
            partition.rows = usize::try_from(shown[at])?;
            partition.before.rows = before[at];
            partition.before.groups = groups[at];
            self.totals_of(saved, at, &key);
        }
        for key in loaded {
            // Those of a partition without rows may come in the next batch.
            if self.sequences.holds_rows(&key) {
                self.schedule(&key);
            }
        }
        self.states_of(saved, UInt32Array::from(begun), &slots)
    }
}

impl Running {
    pub(super) fn saved_in(&self, chunk: Chunk) -> Result<Vec<RecordBatch>, GroupError> {
        let records = self.records();
        let (mut batches, mut rest) = (Vec::new(), records.as_slice());
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(chunk.records).take_while(|record| {
                bytes += record.bytes();
                bytes <= chunk.bytes
            });
            let (part, others) = rest.split_at(fits.count().max(1));
            batches.push(self.part(part)?);
            rest = others;
        }
        Ok(batches)
    }

    fn records(&self) -> Vec<Record<'_>> {
        let mut waits: BTreeMap<&Bytes, Vec<&Bytes>> = BTreeMap::new();
        for (key, row) in self.sequences.waiting() {
            waits.entry(key).or_default().push(row);
        }
        let of_row = |key, kind, row| Record {
            key,
            kind,
            held: None,
            row: Some(row),
        };
        let mut all = Vec::new();
        for (key, sequence) in self.sequences.iter() {
            all.push(Record {
                key,
                kind: PARTITION,
                held: Some(&sequence.state),
                row: None,
            });
            all.extend(sequence.rows.iter().map(|(_, row)| of_row(key, HELD, row)));
            let waiting = waits.remove(key).into_iter().flatten();
            all.extend(waiting.map(|row| of_row(key, WAITING, row)));
        }
        for (key, rows) in waits {
            all.extend(rows.into_iter().map(|row| of_row(key, WAITING, row)));
        }
        all
    }

    fn part(&self, part: &[Record<'_>]) -> Result<RecordBatch, GroupError> {
        let keys = BinaryArray::from_iter_values(part.iter().map(|record| record.key));
        let number = |of: fn(&Shown) -> u64| -> ArrayRef {
            let numbers = part.iter().map(|record| record.held.map_or(0, of));
            Arc::new(UInt64Array::from_iter_values(numbers))
        };
        let kinds = part.iter().map(|record| record.kind);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(routes(&keys)),
            Arc::new(keys),
            Arc::new(UInt8Array::from_iter_values(kinds)),
            Arc::new(BinaryArray::from_iter(part.iter().map(|record| record.row))),
            number(|held| held.before.rows),
            number(|held| held.before.groups),
            number(|held| held.rows as u64),
        ];
        // Records of rows have no state.
        let mut partitions = 0;
        let places = part.iter().map(|record| {
            record.held.map(|_| {
                partitions += 1;
                partitions - 1
            })
        });
        let places: UInt32Array = places.collect();
        for (call, total) in self.totals.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            let held = || part.iter().map(|record| record.held);
            let taken = held().map(|held| held.map_or(0, |held| held.before.held[call]));
            columns.push(Arc::new(UInt32Array::from_iter_values(taken)));
            let states = held().flatten().map(|held| total.state(held.before.slot));
            let states: Vec<Vec<ArrayRef>> = states.collect::<Result<_, _>>()?;
            for (column, data_type) in total.state_types().iter().enumerate() {
                let empty = new_empty_array(data_type);
                let parts = states.iter().map(|state| state[column].as_ref());
                let parts: Vec<&dyn Array> = parts.chain([empty.as_ref()]).collect();
                columns.push(take(&concat(&parts)?, &places, None)?);
            }
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn schema(&self) -> Arc<Schema> {
        let mut fields = vec![
            Field::new("hash", DataType::UInt64, false),
            Field::new("key", DataType::Binary, false),
            Field::new("kind", DataType::UInt8, false),
            Field::new("row", DataType::Binary, true),
            Field::new("rows_before", DataType::UInt64, false),
            Field::new("groups_before", DataType::UInt64, false),
            Field::new("shown", DataType::UInt64, false),
        ];
        for (call, total) in self.totals.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            fields.push(Field::new(format!("taken_{call}"), DataType::UInt32, false));
            for (part, data_type) in total.state_types().into_iter().enumerate() {
                fields.push(Field::new(format!("state_{call}_{part}"), data_type, true));
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// The states of saved partitions.
    fn states_of(
        &mut self,
        saved: &RecordBatch,
        begun: UInt32Array,
        slots: &[u32],
    ) -> Result<(), GroupError> {
        let mut column = FIXED;
        for total in self.totals.totals.0.iter_mut().flatten() {
            let states = column + 1..column + 1 + total.state_types().len();
            column = states.end;
            let states = saved.columns()[states].iter();
            let states = states.map(|state| take(state, &begun, None));
            total.merge(&states.collect::<Result<Vec<_>, _>>()?, slots)?;
        }
        Ok(())
    }

    /// How many rows of a saved partition are in its totals.
    fn totals_of(&mut self, saved: &RecordBatch, at: usize, key: &Bytes) {
        let mut column = FIXED;
        let held = self.sequences.state(key);
        for (call, total) in self.totals.totals.0.iter().enumerate() {
            let Some(total) = total else { continue };
            let taken = saved.column(column).as_primitive::<UInt32Type>();
            held.before.held[call] = taken.value(at);
            column += 1 + total.state_types().len();
        }
    }

    /// Rows with their times.
    fn rows_of(&self, rows: &ArrayRef) -> Result<Vec<(i64, Bytes)>, GroupError> {
        let rows = rows.as_binary::<i32>();
        if rows.null_count() == rows.len() {
            return Ok(Vec::new());
        }
        let columns = self.codec.decode(rows.iter().flatten())?;
        let times = times(&columns[self.time])?;
        let rows = rows.iter().flatten().map(Arc::from);
        Ok(times.into_iter().zip(rows).collect())
    }
}
