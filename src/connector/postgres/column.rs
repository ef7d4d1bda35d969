//! A column of rows in PostgreSQL's binary form, straight from Arrow's buffers.
//!
//! One value is its length and its bytes, or the length -1 for NULL. COPY and arrays are both made
//! of these, so there is one encoder. It does not fail: `refused` has looked first.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field};
use bytes::{BufMut, BytesMut};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::kind::Kind;
use super::{json, numeric};
use crate::format::json_text;

/// Days and microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What PostgreSQL's calendar holds, counted from 1970: from 4713 BC on. Beyond are its infinities
/// and what it refuses.
const DATES: Range<i32> = -2_451_545 + EPOCH_DAYS..2_145_031_949 + EPOCH_DAYS;
/// The last moment is after the last that we can count to.
const FIRST_MOMENT: i64 = -211_813_488_000_000_000 + EPOCH_MICROS;
const DAY_MICROS: i64 = 86_400_000_000;

/// A column whose type has been looked up once.
#[derive(Debug)]
pub(super) enum Column {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Numeric(Decimal128Array, i8),
    Text(StringArray),
    Uuid(StringArray),
    Jsonb(StringArray),
    Bytea(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Array(ListArray, Box<Column>, u32),
}

/// The same for the array of any column.
macro_rules! each {
    ($column:expr, $array:ident => $what:expr) => {
        match $column {
            Column::Bool($array) => $what,
            Column::Int2($array) => $what,
            Column::Int4($array) => $what,
            Column::Int8($array) => $what,
            Column::Float4($array) => $what,
            Column::Float8($array) => $what,
            Column::Numeric($array, _) => $what,
            Column::Text($array) | Column::Uuid($array) | Column::Jsonb($array) => $what,
            Column::Bytea($array) => $what,
            Column::Date($array) => $what,
            Column::Time($array) => $what,
            Column::Timestamp($array) => $what,
            Column::Interval($array) => $what,
            Column::Array($array, _, _) => $what,
        }
    };
}

impl Column {
    /// `array` has the type that `kind` was made for.
    pub(super) fn new(kind: &Kind, field: &Field, array: &ArrayRef) -> Self {
        match kind {
            Kind::Bool => Self::Bool(array.as_boolean().clone()),
            Kind::Int2 => Self::Int2(array.as_primitive().clone()),
            Kind::Int4 => Self::Int4(array.as_primitive().clone()),
            Kind::Int8 => Self::Int8(array.as_primitive().clone()),
            Kind::Float4 => Self::Float4(array.as_primitive().clone()),
            Kind::Float8 => Self::Float8(array.as_primitive().clone()),
            Kind::Numeric { scale, .. } => Self::Numeric(array.as_primitive().clone(), *scale),
            Kind::Text => Self::Text(array.as_string().clone()),
            Kind::Uuid => Self::Uuid(array.as_string().clone()),
            Kind::Jsonb => Self::Jsonb(json_texts(field, array)),
            Kind::Bytea => Self::Bytea(array.as_binary().clone()),
            Kind::Date => Self::Date(array.as_primitive().clone()),
            Kind::Time => Self::Time(array.as_primitive().clone()),
            Kind::Timestamp | Kind::TimestampTz => Self::Timestamp(array.as_primitive().clone()),
            Kind::Interval => Self::Interval(array.as_primitive().clone()),
            Kind::Array(item) => {
                let list = array.as_list::<i32>();
                let DataType::List(field) = list.data_type() else {
                    unreachable!("a list array has a list type");
                };
                let items = Self::new(item, field, list.values());
                Self::Array(list.clone(), Box::new(items), item.pg().oid())
            }
        }
    }

    fn array(&self) -> &dyn Array {
        each!(self, array => array)
    }

    /// Not by way of `array`: this is asked for every value, and has to be inlined.
    #[inline]
    fn is_null(&self, row: usize) -> bool {
        each!(self, array => array.is_null(row))
    }

    /// Writes the value of `row`.
    #[inline]
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            return out.put_i32(-1);
        }
        match self {
            Self::Bool(array) => fixed(out, [u8::from(array.value(row))]),
            Self::Int2(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Int4(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Int8(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Float4(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Float8(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Numeric(array, scale) => numeric::put(out, array.value(row), *scale),
            Self::Text(array) => variable(out, array.value(row).as_bytes()),
            Self::Uuid(array) => fixed(out, uuid(array.value(row)).unwrap_or_default()),
            Self::Jsonb(array) => {
                let text = array.value(row).as_bytes();
                out.put_i32(length(text.len() + 1));
                out.put_u8(1);
                out.put_slice(text);
            }
            Self::Bytea(array) => variable(out, array.value(row)),
            Self::Date(array) => {
                fixed(out, array.value(row).wrapping_sub(EPOCH_DAYS).to_be_bytes());
            }
            Self::Time(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Timestamp(array) => {
                let micros = array.value(row).wrapping_sub(EPOCH_MICROS);
                fixed(out, micros.to_be_bytes());
            }
            Self::Interval(array) => {
                let value = array.value(row);
                out.put_i32(16);
                out.put_i64(value.nanoseconds.div_euclid(1000));
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Self::Array(list, items, oid) => put_list(list, items, *oid, row, out),
        }
    }

    /// Which rows PostgreSQL would refuse or change, and why.
    pub(super) fn refused(&self) -> Option<(BooleanBuffer, &'static str)> {
        let rows = |reason, bad: &dyn Fn(usize) -> bool| {
            let array = self.array();
            let rows =
                BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && bad(row));
            (rows.count_set_bits() > 0).then_some((rows, reason))
        };
        if !self.may_be_refused() {
            return None;
        }
        match self {
            Self::Text(array) => rows("a text with a NUL character", &|row| {
                array.value(row).contains('\0')
            }),
            Self::Uuid(array) => rows("not a UUID", &|row| uuid(array.value(row)).is_none()),
            Self::Jsonb(array) => rows("not JSON that `jsonb` holds", &|row| {
                !json::is_held(array.value(row))
            }),
            Self::Date(array) => rows("a date outside PostgreSQL's calendar", &|row| {
                !DATES.contains(&array.value(row))
            }),
            Self::Timestamp(array) => rows("a time outside PostgreSQL's calendar", &|row| {
                array.value(row) < FIRST_MOMENT
            }),
            Self::Time(array) => rows("a time outside of a day", &|row| {
                !(0..=DAY_MICROS).contains(&array.value(row))
            }),
            Self::Array(list, items, _) => {
                let (bad, reason) = items.refused()?;
                rows(reason, &|row| item_range(list, row).any(|at| bad.value(at)))
            }
            Self::Bool(_)
            | Self::Int2(_)
            | Self::Int4(_)
            | Self::Int8(_)
            | Self::Float4(_)
            | Self::Float8(_)
            | Self::Numeric(..)
            | Self::Bytea(_)
            | Self::Interval(_) => None,
        }
    }

    /// A glance at all values at once, those behind NULLs too.
    fn may_be_refused(&self) -> bool {
        match self {
            Self::Text(array) => memchr::memchr(0, text_bytes(array)).is_some(),
            Self::Date(array) => array.values().iter().any(|day| !DATES.contains(day)),
            Self::Timestamp(array) => array.values().iter().any(|&at| at < FIRST_MOMENT),
            Self::Time(array) => {
                let day = 0..=DAY_MICROS;
                array.values().iter().any(|time| !day.contains(time))
            }
            Self::Uuid(_) | Self::Jsonb(_) | Self::Array(..) => true,
            Self::Bool(_)
            | Self::Int2(_)
            | Self::Int4(_)
            | Self::Int8(_)
            | Self::Float4(_)
            | Self::Float8(_)
            | Self::Numeric(..)
            | Self::Bytea(_)
            | Self::Interval(_) => false,
        }
    }

    /// The first text of more than `limit` characters.
    pub(super) fn too_long(&self, limit: usize) -> Option<usize> {
        match self {
            Self::Text(array) => (0..array.len())
                .find(|&row| array.is_valid(row) && array.value(row).chars().nth(limit).is_some()),
            Self::Array(list, items, _) => {
                let at = items.too_long(limit)?;
                (0..list.len()).find(|&row| item_range(list, row).contains(&at))
            }
            Self::Bool(_)
            | Self::Int2(_)
            | Self::Int4(_)
            | Self::Int8(_)
            | Self::Float4(_)
            | Self::Float8(_)
            | Self::Numeric(..)
            | Self::Uuid(_)
            | Self::Jsonb(_)
            | Self::Bytea(_)
            | Self::Date(_)
            | Self::Time(_)
            | Self::Timestamp(_)
            | Self::Interval(_) => None,
        }
    }

    /// About how many bytes these rows are: what a statement is cut by.
    pub(super) fn size(&self, rows: Range<usize>) -> usize {
        let between = |offsets: &[i32]| {
            usize::try_from(offsets[rows.end] - offsets[rows.start]).unwrap_or_default()
        };
        match self {
            Self::Text(array) | Self::Uuid(array) | Self::Jsonb(array) => {
                between(array.value_offsets())
            }
            Self::Bytea(array) => between(array.value_offsets()),
            Self::Array(list, items, _) => {
                let at = |row: usize| usize::try_from(list.value_offsets()[row]).unwrap_or(0);
                items.size(at(rows.start)..at(rows.end))
            }
            Self::Bool(_)
            | Self::Int2(_)
            | Self::Int4(_)
            | Self::Int8(_)
            | Self::Float4(_)
            | Self::Float8(_)
            | Self::Numeric(..)
            | Self::Date(_)
            | Self::Time(_)
            | Self::Timestamp(_)
            | Self::Interval(_) => 16 * rows.len(),
        }
    }
}

/// Some rows of a column as one array: a parameter of a statement that `unnest`s it.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    pub(super) column: &'a Column,
    pub(super) item_oid: u32,
    pub(super) rows: Range<usize>,
}

impl ToSql for Slice<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        array_header(out, self.item_oid, self.rows.len());
        for row in self.rows.clone() {
            self.column.put(row, out);
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What stands before the items of an array. PostgreSQL looks for NULLs itself.
fn array_header(out: &mut BytesMut, oid: u32, items: usize) {
    out.put_i32(i32::from(items > 0));
    out.put_i32(1);
    out.put_u32(oid);
    if items > 0 {
        out.put_i32(length(items));
        out.put_i32(1);
    }
}

fn put_list(list: &ListArray, items: &Column, oid: u32, row: usize, out: &mut BytesMut) {
    let range = item_range(list, row);
    let start = out.len();
    out.put_i32(0);
    array_header(out, oid, range.len());
    for at in range {
        items.put(at, out);
    }
    let size = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

fn item_range(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    let at = |row: usize| usize::try_from(offsets[row]).expect("offsets are not negative");
    at(row)..at(row + 1)
}

#[inline]
fn fixed<const N: usize>(out: &mut BytesMut, bytes: [u8; N]) {
    // Length and value at once: one check of the capacity.
    let mut both = [0u8; 20];
    both[..4].copy_from_slice(&length(N).to_be_bytes());
    both[4..4 + N].copy_from_slice(&bytes);
    out.put_slice(&both[..4 + N]);
}

#[inline]
fn variable(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(length(bytes.len()));
    out.put_slice(bytes);
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("Arrow's offsets have 31 bits")
}

/// The bytes of all texts, one after the other.
fn text_bytes(array: &StringArray) -> &[u8] {
    let offsets = array.value_offsets();
    let at = |offset: Option<&i32>| usize::try_from(*offset.unwrap_or(&0)).unwrap_or_default();
    &array.values().as_slice()[at(offsets.first())..at(offsets.last())]
}

/// The sixteen bytes of a UUID, with or without its hyphens.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut count = 0;
    for c in text.chars().filter(|&c| c != '-') {
        let digit = u8::try_from(c.to_digit(16)?).ok()?;
        let byte = bytes.get_mut(count / 2)?;
        *byte = *byte << 4 | digit;
        count += 1;
    }
    (count == 32).then_some(bytes)
}

/// JSON is text already; structs and lists become it.
fn json_texts(field: &Field, array: &ArrayRef) -> StringArray {
    match array.as_string_opt::<i32>() {
        Some(texts) => texts.clone(),
        None => (0..array.len())
            .map(|row| json_text(field, array, row))
            .collect(),
    }
}
