//! Group keys: key columns as bytes, and bytes as group numbers.
//!
//! NULL is a key like any other and equals NULL. Among floats -0 equals 0 and NaN equals NaN,
//! whatever its bits, as in PostgreSQL. Hashes have fixed seeds: every worker and every run sends
//! a key to the same place.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;

/// Floats with one zero and one NaN; other columns as they are.
#[allow(clippy::wildcard_enum_match_arm, reason = "only floats have two zeros")]
pub fn without_signs(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            // Adding zero turns -0 into 0 and leaves every other number.
            let floats: Float64Array = floats.unary(|value| {
                if value.is_nan() {
                    f64::NAN
                } else {
                    value + 0.0
                }
            });
            Arc::new(floats)
        }
        DataType::Float32 => {
            let floats = column.as_primitive::<Float32Type>();
            let floats: Float32Array = floats.unary(|value| {
                if value.is_nan() {
                    f32::NAN
                } else {
                    value + 0.0
                }
            });
            Arc::new(floats)
        }
        _ => Arc::clone(column),
    }
}

/// Turns key columns into bytes and back. Bytes compare as the keys do, column by column.
pub struct KeyCodec {
    /// `None` for the empty key, which arrow-row cannot count.
    converter: Option<RowConverter>,
}

impl KeyCodec {
    /// A codec for columns of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(Self { converter })
    }

    /// One key per row.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<BinaryArray, ArrowError> {
        match &self.converter {
            None => {
                let offsets = OffsetBuffer::new_zeroed(rows);
                Ok(BinaryArray::new(offsets, Buffer::default(), None))
            }
            Some(converter) => {
                let columns: Vec<ArrayRef> = columns.iter().map(without_signs).collect();
                converter.convert_columns(&columns)?.try_into_binary()
            }
        }
    }

    /// The columns of keys that `encode` made.
    pub fn decode<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        match &self.converter {
            None => Ok(Vec::new()),
            Some(converter) => {
                let parser = converter.parser();
                let keys: Vec<&[u8]> = keys.collect();
                converter.convert_rows(keys.iter().map(|key| parser.parse(key)))
            }
        }
    }
}

/// The hash of each key.
pub fn hashes(keys: &BinaryArray) -> Vec<u64> {
    let state = foldhash::fast::FixedState::with_seed(0);
    let bytes = keys.value_data();
    let ends = keys.value_offsets().windows(2);
    ends.map(|ends| state.hash_one(&bytes[offset(ends[0])..offset(ends[1])]))
        .collect()
}

/// The hash by which keys are sent to workers. It is not the tables' own: were it, the keys of
/// one worker would agree in the bits that a table spreads them by.
pub fn route(hash: u64) -> u64 {
    let product = u128::from(hash) * 0x9e37_79b9_7f4a_7c15;
    let (high, low) = (product >> 64, product);
    #[allow(clippy::cast_possible_truncation, reason = "both halves are mixed")]
    let mixed = high as u64 ^ low as u64;
    mixed
}

fn offset(value: i32) -> usize {
    usize::try_from(value).expect("offsets of an array are not negative")
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    group: u32,
}

/// Numbers keys from zero, in the order of their first appearance.
#[derive(Default)]
pub struct Groups {
    table: HashTable<Entry>,
    /// All keys, one after the other.
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<u64>,
}

impl Groups {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key of a group.
    pub fn key(&self, group: usize) -> &[u8] {
        key_at(&self.bytes, &self.ends, group)
    }

    /// The group of a key, which is made if it is new.
    #[inline]
    pub fn intern(&mut self, key: &[u8], hash: u64) -> u32 {
        let Self { table, bytes, ends } = self;
        let short = shorten(hash);
        let found = table.find(spread(short), |entry| {
            entry.hash == short && key_at(bytes, ends, entry.group as usize) == key
        });
        if let Some(entry) = found {
            return entry.group;
        }
        let group = u32::try_from(ends.len()).expect("fewer than 2^32 groups on one worker");
        let entry = Entry { hash: short, group };
        table.insert_unique(spread(short), entry, |entry| spread(entry.hash));
        bytes.extend_from_slice(key);
        ends.push(bytes.len() as u64);
        group
    }

    /// The groups of keys, of all or of some rows, in their order.
    pub fn intern_all(
        &mut self,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) {
        let bytes = keys.value_data();
        let offsets = keys.value_offsets();
        let mut intern = |row: usize| {
            self.intern(
                &bytes[offset(offsets[row])..offset(offsets[row + 1])],
                hashes[row],
            )
        };
        groups.clear();
        match rows {
            None => groups.extend((0..hashes.len()).map(intern)),
            Some(rows) => groups.extend(rows.iter().map(|&row| intern(row as usize))),
        }
    }

    /// The keys of some groups, as an array.
    pub fn keys(&self, groups: std::ops::Range<usize>) -> BinaryArray {
        let start = groups
            .start
            .checked_sub(1)
            .map_or(0, |group| self.ends[group]);
        let ends = &self.ends[groups];
        let shifted = ends.iter().map(|end| {
            i32::try_from(end - start).expect("keys are cut into pieces of less than 2 GB")
        });
        let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(shifted).collect();
        let end = ends.last().copied().unwrap_or(start);
        let bytes = &self.bytes[index(start)..index(end)];
        BinaryArray::new(OffsetBuffer::new(offsets), Buffer::from(bytes), None)
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.table.allocation_size()
            + self.bytes.capacity()
            + self.ends.capacity() * size_of::<u64>()
    }
}

#[inline]
fn key_at<'a>(bytes: &'a [u8], ends: &[u64], group: usize) -> &'a [u8] {
    let start = group.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[index(start)..index(ends[group])]
}

#[inline]
fn index(value: u64) -> usize {
    usize::try_from(value).expect("64-bit addresses")
}

#[allow(clippy::cast_possible_truncation, reason = "half of a hash is kept")]
#[inline]
fn shorten(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The hash of the table out of the half that entries keep: it takes the low bits as a place and
/// the highest as a tag.
#[inline]
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
