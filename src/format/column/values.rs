//! The buffers of a column: one kind for each type that a column can have.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, DataType, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit, TimeUnit,
};

use super::{Column, JSON, UUID, has_extension};
use crate::format::object::Names;
use crate::format::options::{FormatError, TimestampFormat};
use crate::format::room_after;

/// The values of a column so far; something stands also where they are NULL.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp(Vec<i64>, TimestampFormat),
    Interval(Vec<IntervalMonthDayNano>),
    Text(Bytes),
    Uuid(Bytes),
    Json(Bytes),
    Binary(Bytes),
    List(Vec<i32>, Box<Column>),
    Struct(Names, Vec<Column>),
}

impl Values {
    /// No values of `field`'s type, or why no format can read that type.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the types of Arrow that SQL does not name"
    )]
    pub fn new(field: &FieldRef, timestamps: TimestampFormat) -> Result<Self, FormatError> {
        Ok(match field.data_type() {
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Vec::new(), *precision, *scale),
            DataType::Date32 => Self::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(Vec::new(), timestamps)
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(Vec::new()),
            DataType::Utf8 if has_extension(field, JSON) => Self::Json(Bytes::new()),
            DataType::Utf8 if has_extension(field, UUID) => Self::Uuid(Bytes::new()),
            DataType::Utf8 => Self::Text(Bytes::new()),
            DataType::Binary => Self::Binary(Bytes::new()),
            DataType::List(item) => Self::List(vec![0], Box::new(Column::new(item, timestamps)?)),
            DataType::Struct(fields) if !fields.is_empty() => {
                let columns = fields.iter().map(|field| Column::new(field, timestamps));
                let names = Names::new(fields.iter().map(|field| field.name().as_str()));
                Self::Struct(names, columns.collect::<Result<_, _>>()?)
            }
            other => {
                let name = field.name();
                return Err(FormatError::new(format!(
                    "column `{name}` has type {other}, which no format can read"
                )));
            }
        })
    }

    /// Adds the value that stands under a NULL.
    pub fn push_default(&mut self) {
        match self {
            Self::Boolean(values) => values.append(false),
            Self::Int16(values) => values.push(0),
            Self::Int32(values) | Self::Date(values) => values.push(0),
            Self::Int64(values) | Self::Time(values) | Self::Timestamp(values, _) => {
                values.push(0);
            }
            Self::Float32(values) => values.push(0.0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal(values, _, _) => values.push(0),
            Self::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Self::Text(values) | Self::Uuid(values) | Self::Json(values) | Self::Binary(values) => {
                values.close();
            }
            Self::List(offsets, _) => offsets.push(offsets[offsets.len() - 1]),
            Self::Struct(_, columns) => columns.iter_mut().for_each(Column::append_placeholder),
        }
    }

    /// What a value of this type is, for "`x` is not ..".
    pub fn what(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "true or false",
            Self::Int16(_) | Self::Int32(_) | Self::Int64(_) => "a whole number",
            Self::Float32(_) | Self::Float64(_) | Self::Decimal(..) => "a number",
            Self::Date(_) => "a date",
            Self::Time(_) => "a time of day",
            Self::Timestamp(_, TimestampFormat::Iso) => "a timestamp (see `timestamp.format`)",
            Self::Timestamp(..) => "a timestamp",
            Self::Interval(_) => "an interval",
            Self::Text(_) => "text",
            Self::Uuid(_) => "a UUID",
            Self::Json(_) => "JSON",
            Self::Binary(_) => "text of bytes",
            Self::List(..) => "an array",
            Self::Struct(..) => "an object",
        }
    }

    /// Takes back all values from the one at `len` on.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Boolean(values) => values.truncate(len),
            Self::Int16(values) => values.truncate(len),
            Self::Int32(values) | Self::Date(values) => values.truncate(len),
            Self::Float32(values) => values.truncate(len),
            Self::Float64(values) => values.truncate(len),
            Self::Decimal(values, _, _) => values.truncate(len),
            Self::Int64(values) | Self::Time(values) | Self::Timestamp(values, _) => {
                values.truncate(len);
            }
            Self::Interval(values) => values.truncate(len),
            Self::Text(values) | Self::Uuid(values) | Self::Json(values) | Self::Binary(values) => {
                values.truncate(len);
            }
            Self::List(offsets, items) => {
                offsets.truncate(len + 1);
                items.truncate(usize::try_from(offsets[len]).expect("offsets are not negative"));
            }
            Self::Struct(_, columns) => columns.iter_mut().for_each(|c| c.truncate(len)),
        }
    }

    /// Hands out all values as an array of type `kind`.
    pub fn finish(&mut self, kind: &DataType, nulls: Option<NullBuffer>) -> ArrayRef {
        match self {
            Self::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::Int16(values) => Arc::new(Int16Array::new(taken(values), nulls)),
            Self::Int32(values) => Arc::new(Int32Array::new(taken(values), nulls)),
            Self::Int64(values) => Arc::new(Int64Array::new(taken(values), nulls)),
            Self::Float32(values) => Arc::new(Float32Array::new(taken(values), nulls)),
            Self::Float64(values) => Arc::new(Float64Array::new(taken(values), nulls)),
            Self::Decimal(values, precision, scale) => Arc::new(
                Decimal128Array::new(taken(values), nulls)
                    .with_precision_and_scale(*precision, *scale)
                    .expect("the type was made with this precision and scale"),
            ),
            Self::Date(values) => Arc::new(Date32Array::new(taken(values), nulls)),
            Self::Time(values) => Arc::new(Time64MicrosecondArray::new(taken(values), nulls)),
            Self::Timestamp(values, _) => Arc::new(
                TimestampMicrosecondArray::new(taken(values), nulls).with_data_type(kind.clone()),
            ),
            Self::Interval(values) => {
                Arc::new(IntervalMonthDayNanoArray::new(taken(values), nulls))
            }
            Self::Text(values) | Self::Uuid(values) | Self::Json(values) => {
                let (offsets, bytes) = values.finish();
                Arc::new(StringArray::new(offsets, bytes.into(), nulls))
            }
            Self::Binary(values) => {
                let (offsets, bytes) = values.finish();
                Arc::new(BinaryArray::new(offsets, bytes.into(), nulls))
            }
            Self::List(offsets, items) => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let field = FieldRef::clone(&items.field);
                let items = items.finish();
                Arc::new(ListArray::new(
                    field,
                    OffsetBuffer::new(offsets.into()),
                    items,
                    nulls,
                ))
            }
            Self::Struct(_, columns) => {
                let fields: Fields = columns.iter().map(|c| FieldRef::clone(&c.field)).collect();
                let arrays = columns.iter_mut().map(Column::finish).collect();
                Arc::new(StructArray::new(fields, arrays, nulls))
            }
        }
    }
}

/// Byte strings one after the other.
#[derive(Debug)]
pub(super) struct Bytes {
    pub bytes: Vec<u8>,
    /// Where each starts, and where the last ends.
    offsets: Vec<i32>,
}

impl Bytes {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            offsets: vec![0],
        }
    }

    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.close();
    }

    /// Adds the bytes at `place` of `source`.
    ///
    /// Copies whole pieces and takes back what was too much: how long the next text is, the
    /// processor cannot guess, and a copy of a length that it knows is a few moves.
    #[inline]
    pub fn push_within(&mut self, source: &[u8], place: Range<usize>) {
        const PIECE: usize = 32;
        let end = self.bytes.len() + place.len();
        let mut at = place.start;
        while at < place.end {
            let Some(piece) = source[at..].first_chunk::<PIECE>() else {
                self.bytes.extend_from_slice(&source[at..place.end]);
                break;
            };
            self.bytes.extend_from_slice(piece);
            at += PIECE;
        }
        self.bytes.truncate(end);
        self.close();
    }

    #[inline]
    pub fn close(&mut self) {
        let end = i32::try_from(self.bytes.len()).expect("a block is far smaller than 2 GiB");
        self.offsets.push(end);
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.bytes
            .truncate(usize::try_from(self.offsets[len]).expect("offsets are not negative"));
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Vec<u8>) {
        let mut offsets = Vec::with_capacity(room_after(self.offsets.len()));
        offsets.push(0);
        let offsets = std::mem::replace(&mut self.offsets, offsets);
        let bytes = Vec::with_capacity(room_after(self.bytes.len()));
        let bytes = std::mem::replace(&mut self.bytes, bytes);
        (OffsetBuffer::new(offsets.into()), bytes)
    }
}

/// The values, leaving room for the next block's.
fn taken<T: ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let room = Vec::with_capacity(room_after(values.len()));
    std::mem::replace(values, room).into()
}
