//! Group keys: key columns as bytes and back, and their hashes. `groups` numbers them.
//!
//! NULL is a key like any other and equals NULL. Among floats -0 equals 0 and NaN equals NaN,
//! whatever its bits, as in PostgreSQL. Hashes have fixed seeds: every worker and every run sends
//! a key to the same place.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array, UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::texts;

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
pub enum KeyCodec {
    /// The empty key, which arrow-row cannot count.
    Nothing,
    /// One column of text: its own bytes, so that nothing is copied to look a key up. NULL is a
    /// byte that no text begins with.
    Text,
    /// Several columns of text, in the row format of Arrow too.
    Texts(RowConverter),
    /// Any other columns, in the row format of Arrow.
    Rows(RowConverter),
}

/// NULL among texts; after all of them.
const NULL_TEXT: &[u8] = &[0xff];

impl KeyCodec {
    /// A codec for columns of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        match types {
            [] => Ok(Self::Nothing),
            [DataType::Utf8] => Ok(Self::Text),
            types => {
                let fields = types.iter().cloned().map(SortField::new);
                let converter = RowConverter::new(fields.collect())?;
                let only_texts = types.iter().all(|of| *of == DataType::Utf8);
                Ok(if only_texts {
                    Self::Texts(converter)
                } else {
                    Self::Rows(converter)
                })
            }
        }
    }

    /// One key per row.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<BinaryArray, ArrowError> {
        match self {
            Self::Nothing => {
                let offsets = OffsetBuffer::new_zeroed(rows);
                Ok(BinaryArray::new(offsets, Buffer::default(), None))
            }
            Self::Text => {
                let texts = columns[0].as_string::<i32>();
                if texts.null_count() > 0 {
                    let keys = texts
                        .iter()
                        .map(|text| text.map_or(NULL_TEXT, str::as_bytes));
                    return Ok(BinaryArray::from_iter_values(keys));
                }
                let (offsets, bytes, _) = texts.clone().into_parts();
                Ok(BinaryArray::new(offsets, bytes, None))
            }
            Self::Texts(_) => texts::encode(columns, rows),
            Self::Rows(converter) => {
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
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Text => {
                let keys = keys.map(|key| (key != NULL_TEXT).then_some(key));
                let texts = cast(&BinaryArray::from_iter(keys), &DataType::Utf8)?;
                Ok(vec![texts])
            }
            Self::Texts(converter) | Self::Rows(converter) => {
                let parser = converter.parser();
                let keys: Vec<&[u8]> = keys.collect();
                converter.convert_rows(keys.iter().map(|key| parser.parse(key)))
            }
        }
    }
}

/// The key of no columns.
pub const NO_KEY: &[u8] = &[];

/// The hash of each key. Its high bits say which worker owns the key, so the keys of one worker agree in
/// them: what spreads keys within a worker goes by the low half.
pub fn hashes(keys: &BinaryArray) -> Vec<u64> {
    let bytes = keys.value_data();
    let ends = keys.value_offsets().windows(2);
    ends.map(|ends| hash(&bytes[offset(ends[0])..offset(ends[1])]))
        .collect()
}

/// The same as a column, to exchange rows by.
pub fn routes(keys: &BinaryArray) -> UInt64Array {
    hashes(keys).into()
}

/// The hash of a key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    let hash = foldhash::fast::FixedState::with_seed(0).hash_one(key);
    let product = u128::from(hash) * 0x9e37_79b9_7f4a_7c15;
    let (high, low) = (product >> 64, product);
    #[allow(clippy::cast_possible_truncation, reason = "both halves are mixed")]
    let mixed = high as u64 ^ low as u64;
    mixed
}

pub(super) fn offset(value: i32) -> usize {
    usize::try_from(value).expect("offsets of an array are not negative")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    /// Snapshots hold keys as these bytes and the worker that they went to, and the lanes of a sink are
    /// cut by the same: a change of a dependency that fails here needs a new version of snapshots.
    #[test]
    fn keys_and_where_they_go_stay_as_they_were_written() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("ann"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(-1)]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(-0.0), None]));
        let encoded = |columns: &[ArrayRef]| {
            let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
            KeyCodec::new(&types).unwrap().encode(columns, 2).unwrap()
        };

        let one = encoded(std::slice::from_ref(&texts));
        assert_eq!([one.value(0), one.value(1)], [b"ann".as_slice(), &[0xff]]);
        assert_eq!(
            routes(&one).values()[..],
            [8_860_205_002_527_899_507, 11_567_760_337_562_062_238]
        );

        let several = encoded(&[numbers, texts, floats]);
        let hex = |row| {
            let bytes = several.value(row).iter();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(
            hex(0),
            "01800000000000000702616e6e000000000003018000000000000000"
        );
        assert_eq!(hex(1), "017fffffffffffffff00000000000000000000");
        assert_eq!(
            routes(&several).values()[..],
            [16_713_163_071_047_080_420, 2_906_903_131_288_078_359]
        );
    }
}
