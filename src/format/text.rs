//! Values as text, the way PostgreSQL writes them: what a terminal shows, what SQLite stores and
//! what dead letters hold.
//!
//! Arrays are `{1,NULL,"a b"}`, structs `(1,,"a b")`, bytes `\x00ff`. Every text reads back as
//! the value it came from.

use std::fmt::Write;

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrowPrimitiveType};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::number::{write_decimal, write_float};
use super::time::{self, Style};

/// The text of a value; `None` if it is NULL.
#[must_use]
pub fn value_text(array: &dyn Array, row: usize) -> Option<String> {
    array.is_valid(row).then(|| {
        let mut out = String::new();
        write_text(&mut out, array, row, Style::Postgres);
        out
    })
}

/// Writes the text of a value that is not NULL.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the types of Arrow that no column has"
)]
pub(super) fn write_text(out: &mut String, array: &dyn Array, row: usize, style: Style) {
    match array.data_type() {
        DataType::Boolean => {
            out.push_str(if array.as_boolean().value(row) {
                "true"
            } else {
                "false"
            });
        }
        DataType::Int8 => whole::<Int8Type>(out, array, row),
        DataType::Int16 => whole::<Int16Type>(out, array, row),
        DataType::Int32 => whole::<Int32Type>(out, array, row),
        DataType::Int64 => whole::<Int64Type>(out, array, row),
        DataType::UInt8 => whole::<UInt8Type>(out, array, row),
        DataType::UInt16 => whole::<UInt16Type>(out, array, row),
        DataType::UInt32 => whole::<UInt32Type>(out, array, row),
        DataType::UInt64 => whole::<UInt64Type>(out, array, row),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            write_float(out, f64::from(value), &format!("{value:e}"));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            write_float(out, value, &format!("{value:e}"));
        }
        DataType::Decimal128(_, scale) => {
            write_decimal(
                out,
                array.as_primitive::<Decimal128Type>().value(row),
                *scale,
            );
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            time::write_date(out, i64::from(days));
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            time::write_time(
                out,
                array.as_primitive::<Time64MicrosecondType>().value(row),
            );
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            time::write_timestamp(out, micros, zone.is_some(), style);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            time::write_interval(out, interval);
        }
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Utf8View => out.push_str(array.as_string_view().value(row)),
        DataType::Binary => write_hex(out, array.as_binary::<i32>().value(row)),
        DataType::List(_) => write_list(out, &*array.as_list::<i32>().value(row)),
        DataType::Struct(_) => write_struct(out, array, row),
        _ => write_other(out, array, row),
    }
}

fn whole<T: ArrowPrimitiveType>(out: &mut String, array: &dyn Array, row: usize)
where
    T::Native: std::fmt::Display,
{
    let value = array.as_primitive::<T>().value(row);
    write!(out, "{value}").expect("a String takes all text");
}

/// A type that no column has but an intermediate result might: as Arrow shows it.
fn write_other(out: &mut String, array: &dyn Array, row: usize) {
    match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(formatter) => write!(out, "{}", formatter.value(row)).expect("a String takes all text"),
        Err(error) => write!(out, "<{error}>").expect("a String takes all text"),
    }
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    out.push_str(r"\x");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a String takes all text");
    }
}

fn write_list(out: &mut String, items: &dyn Array) {
    out.push('{');
    for row in 0..items.len() {
        if row > 0 {
            out.push(',');
        }
        match value_text(items, row) {
            None => out.push_str("NULL"),
            Some(text) if matches!(items.data_type(), DataType::List(_)) => out.push_str(&text),
            Some(text) => {
                let special = |c: char| c.is_ascii_whitespace() || "{},\"\\".contains(c);
                let is_null = text.eq_ignore_ascii_case("null");
                if text.is_empty() || is_null || text.contains(special) {
                    write_quoted(out, &text, "\\\"");
                } else {
                    out.push_str(&text);
                }
            }
        }
    }
    out.push('}');
}

fn write_struct(out: &mut String, array: &dyn Array, row: usize) {
    out.push('(');
    for (at, column) in array.as_struct().columns().iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if let Some(text) = value_text(column, row) {
            let special = |c: char| c.is_ascii_whitespace() || "(),\"\\".contains(c);
            if text.is_empty() || text.contains(special) {
                write_quoted(out, &text, "\"\"");
            } else {
                out.push_str(&text);
            }
        }
    }
    out.push(')');
}

/// Writes text in quotes, a quote inside as `quote`.
fn write_quoted(out: &mut String, text: &str, quote: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str(quote),
            '\\' => out.push_str("\\\\"),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Writes text as a JSON string.
pub(super) fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        from = at + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect("a String takes all text");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}
