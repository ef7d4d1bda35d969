//! Casts of text to times, BYTEA and lists, as PostgreSQL reads them.
//!
//! * A time of day has minutes, a timestamp need not have seconds; digits beyond microseconds are
//!   rounded. What only Arrow reads (`9:30 PM`) is read by Arrow.
//! * `'\x6162'` is two bytes. Without `\x` a text is its own bytes, with `\\` and `\000` in them.
//! * `'{a,"b,c",NULL}'` is a list of three.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of Arrow's types, those that are read here are named"
)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, ListArray, PrimitiveArray, StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow::util::display::FormatOptions;
use chrono::Utc;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::folded::unary;
use super::intervals;
use super::marked::{self, Unfit};
use crate::sql::types::{EXTENSION, name_of};
use crate::types::moment;

const DAY_US: i64 = 86_400_000_000;

/// What does not fit is an error.
const STRICT: CastOptions = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// The cast of text to `to`, if it is one of those that are read here.
pub fn cast_text(value: Expr, to: &FieldRef, unfit: Unfit) -> Result<Expr, Expr> {
    let is_ours = matches!(
        to.data_type(),
        DataType::Date32
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Binary
            | DataType::List(_)
    );
    if !is_ours {
        return Err(value);
    }
    let verb = match unfit {
        Unfit::Error => CAST,
        Unfit::Null => "try_cast",
    };
    let function = ScalarUDF::from(CastText {
        name: format!("{verb} {}", name_of(to.data_type())),
        to: Arc::clone(to),
        unfit,
        signature: Signature::any(1, Volatility::Immutable),
    });
    Ok(function.call(vec![value]))
}

/// The verb of a cast that fails.
const CAST: &str = "cast";

/// Whether a function is such a cast that fails where another is NULL.
pub fn fails(name: &str) -> bool {
    name.split_once(' ').is_some_and(|(verb, _)| verb == CAST)
}

/// The verb of such a cast and the type, by the function's name.
pub fn written(name: &str) -> Option<(String, &str)> {
    let (verb, to) = name.split_once(' ')?;
    Some((verb.to_uppercase(), to))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastText {
    name: String,
    to: FieldRef,
    unfit: Unfit,
    signature: Signature,
}

impl ScalarUDFImpl for CastText {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = arguments.arg_fields[0].is_nullable() || self.unfit == Unfit::Null;
        let field = Field::new(&self.name, self.to.data_type().clone(), nullable);
        Ok(Arc::new(field.with_metadata(self.to.metadata().clone())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |texts| {
            read(texts.as_string(), &self.to, self.unfit)
        })
    }
}

/// The values that texts stand for.
fn read(texts: &StringArray, to: &Field, unfit: Unfit) -> Result<ArrayRef> {
    let data_type = to.data_type();
    let each = Each {
        texts,
        data_type,
        unfit,
    };
    if let Some(mark) = to.metadata().get(EXTENSION) {
        return each.values(|text| marked::read(mark, text), |read: StringArray| read);
    }
    match data_type {
        DataType::Date32 => each.values(date, |read: PrimitiveArray<Date32Type>| read),
        DataType::Time64(_) => {
            each.values(time, |read: PrimitiveArray<Time64MicrosecondType>| read)
        }
        DataType::Timestamp(_, zone) => each.values(
            timestamp,
            |read: PrimitiveArray<TimestampMicrosecondType>| read.with_timezone_opt(zone.clone()),
        ),
        DataType::Interval(_) => each.values(
            |text| intervals::of_text(text).ok(),
            |read: PrimitiveArray<IntervalMonthDayNanoType>| read,
        ),
        DataType::Binary => {
            let mut out = BinaryBuilder::new();
            each.each(bytes, |read| out.append_option(read))?;
            Ok(Arc::new(out.finish()))
        }
        DataType::List(item) => match (lists(&each, item), unfit) {
            (Err(_), Unfit::Null) => apart(texts, to),
            (read, _) => read,
        },
        other => {
            let options = CastOptions {
                safe: unfit == Unfit::Null,
                ..STRICT
            };
            Ok(cast_with_options(texts, other, &options)?)
        }
    }
}

/// Texts that are read one by one.
struct Each<'a> {
    texts: &'a StringArray,
    data_type: &'a DataType,
    unfit: Unfit,
}

impl Each<'_> {
    /// Hands on what each text stands for.
    fn each<T>(
        &self,
        read: impl Fn(&str) -> Option<T>,
        mut take: impl FnMut(Option<T>),
    ) -> Result<()> {
        for text in self.texts {
            match (text.map(|text| (text, read(text))), self.unfit) {
                (None, _) | (Some((_, None)), Unfit::Null) => take(None),
                (Some((_, Some(value))), _) => take(Some(value)),
                (Some((text, None)), Unfit::Error) => return refuse(text, self.data_type),
            }
        }
        Ok(())
    }

    /// An array of what each text stands for.
    fn values<T, A: FromIterator<Option<T>> + Array + 'static>(
        &self,
        read: impl Fn(&str) -> Option<T>,
        typed: impl Fn(A) -> A,
    ) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(self.texts.len());
        self.each(read, |value| values.push(value))?;
        let values = typed(values.into_iter().collect());
        match values.data_type() == self.data_type {
            true => Ok(Arc::new(values)),
            // A time in another unit.
            false => Ok(cast_with_options(&values, self.data_type, &STRICT)?),
        }
    }
}

fn refuse<T>(text: &str, data_type: &DataType) -> Result<T> {
    const SHOWN: usize = 60;
    let kind = name_of(data_type);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => exec_err!("'{}..' is not {kind}", &text[..end]),
        None => exec_err!("'{text}' is not {kind}"),
    }
}

fn date(text: &str) -> Option<i32> {
    let text = text.trim();
    let written = moment::date(text).or_else(|| Date32Type::parse(text));
    written.or_else(|| i32::try_from(timestamp(text)?.div_euclid(DAY_US)).ok())
}

fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    // Arrow takes a bare number for microseconds.
    let otherwise = || {
        let nanos = string_to_time_nanoseconds(text).ok();
        nanos
            .filter(|_| text.contains(':'))
            .map(|nanos| nanos / 1000)
    };
    let written = moment::time_of_day(text).or_else(otherwise);
    // Of a timestamp it is the time of its day.
    let is_long = text.len() > "2026-03-01 ".len();
    written.or_else(|| Some(timestamp(text).filter(|_| is_long)?.rem_euclid(DAY_US)))
}

fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let otherwise = || {
        let read = string_to_datetime(&Utc, text).ok();
        read.map(|time| time.timestamp_micros())
    };
    let written = moment::timestamp(text).or_else(otherwise);
    written.or_else(|| text.eq_ignore_ascii_case("epoch").then_some(0))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let mut digits = digits.chars().filter(|c| !c.is_ascii_whitespace());
        let mut out = Vec::with_capacity(text.len() / 2);
        while let Some(high) = digits.next() {
            let (high, low) = (high.to_digit(16)?, digits.next()?.to_digit(16)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        }
        return Some(out);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b'\\', ..]) => {
                out.push(b'\\');
                rest = &after[1..];
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = &after[3..];
            }
            (b'\\', _) => return None,
            _ => out.push(first),
        }
    }
    Some(out)
}

fn lists(each: &Each, item: &FieldRef) -> Result<ArrayRef> {
    let (mut texts, mut ends, mut valid) = (Vec::new(), vec![0], Vec::new());
    // One that is no list is an error, also where its elements would be NULL: see `apart`.
    let strictly = Each {
        unfit: Unfit::Error,
        ..*each
    };
    let nested = matches!(item.data_type(), DataType::List(_));
    strictly.each(
        |text| items(text, nested),
        |items| {
            valid.push(items.is_some());
            texts.extend(items.into_iter().flatten());
            ends.push(i32::try_from(texts.len()).unwrap_or(i32::MAX));
        },
    )?;
    let texts: StringArray = texts.into_iter().collect();
    let values = read(&texts, item, Unfit::Error)?;
    let (ends, valid) = (OffsetBuffer::new(ends.into()), NullBuffer::from(valid));
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        ends,
        values,
        Some(valid),
    )?))
}

/// The same one by one: what is no list is NULL.
fn apart(texts: &StringArray, to: &Field) -> Result<ArrayRef> {
    let each = (0..texts.len()).map(|row| {
        let one = read(&texts.slice(row, 1), to, Unfit::Error);
        one.unwrap_or_else(|_| arrow::array::new_null_array(to.data_type(), 1))
    });
    let each: Vec<ArrayRef> = each.collect();
    let each: Vec<&dyn Array> = each.iter().map(AsRef::as_ref).collect();
    Ok(concat(&each)?)
}

/// The elements of a list as it is written, `{a,"b,c",NULL}`; those of a list of lists are lists.
pub fn items(text: &str, nested: bool) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut out = Vec::new();
    if inside.trim().is_empty() {
        return Some(out);
    }
    let mut characters = inside.chars();
    loop {
        let (item, ended) = item(&mut characters, nested)?;
        out.push(item);
        if ended {
            return Some(out);
        }
    }
}

/// The next element, and whether it is the last one.
fn item(characters: &mut std::str::Chars, nested: bool) -> Option<(Option<String>, bool)> {
    let (mut item, mut quoted, mut inside, mut depth) = (String::new(), false, false, 0);
    // What blanks behind the last character that counts are left out.
    let mut length = 0;
    let ended = loop {
        let Some(c) = characters.next() else {
            break true;
        };
        match c {
            '\\' => {
                if depth > 0 {
                    item.push(c);
                }
                item.push(characters.next()?);
            }
            '"' => {
                (quoted, inside) = (true, !inside);
                if depth > 0 {
                    item.push(c);
                }
            }
            c if inside => item.push(c),
            ',' if depth == 0 => break false,
            '{' if nested => {
                depth += 1;
                item.push(c);
            }
            '}' if nested => {
                depth -= 1;
                item.push(c);
            }
            '{' | '}' => return None,
            c if c.is_ascii_whitespace() && depth == 0 => {
                if !item.is_empty() && !quoted {
                    item.push(c);
                }
                continue;
            }
            c => item.push(c),
        }
        length = item.len();
    };
    if inside || depth != 0 || (length == 0 && !quoted) {
        return None;
    }
    item.truncate(length);
    let is_null = !quoted && item.eq_ignore_ascii_case("null");
    Some(((!is_null).then_some(item), ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_in_braces() {
        let items = |text: &str| -> Option<Vec<Option<String>>> { items(text, false) };
        let texts = |texts: &[&str]| Some(texts.iter().map(|t| Some((*t).to_owned())).collect());

        assert_eq!(items("{}"), texts(&[]));
        assert_eq!(items("{a,b}"), texts(&["a", "b"]));
        assert_eq!(items(" { a b , c } "), texts(&["a b", "c"]));
        assert_eq!(
            items(r#"{"a,b", "\"", "", \,}"#),
            texts(&["a,b", "\"", "", ","])
        );
        assert_eq!(
            items(r#"{NULL,"null"}"#),
            Some(vec![None, Some("null".to_owned())])
        );
        for wrong in ["", "a", "{a", "{a,}", "{,}", "{a,,b}", "{\"a}", "{{a}}"] {
            assert_eq!(items(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_hexadecimal_behind_a_backslash_and_x() {
        assert_eq!(bytes(r"\x6162"), Some(b"ab".to_vec()));
        assert_eq!(bytes(r"\x 61 62"), Some(b"ab".to_vec()));
        assert_eq!(bytes(r"a\\\000\377"), Some(b"a\\\0\xff".to_vec()));
        for wrong in [r"\x6", r"\xg0", r"\a", r"\40", r"\400"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_of_day_has_minutes_and_a_timestamp_need_not_have_seconds() {
        assert_eq!(time("09:30"), Some(34_200_000_000));
        assert_eq!(time("9:30 PM"), Some(77_400_000_000));
        for wrong in ["12", "+5", "-0", "25:00"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        assert_eq!(timestamp("1970-01-02 00:00"), Some(DAY_US));
        assert_eq!(timestamp(" 1970-01-01T00:00:00.1234567 "), Some(123_457));
        assert_eq!(timestamp("epoch"), Some(0));
        assert_eq!(date("1970-01-02 09:30"), Some(1));
    }
}
