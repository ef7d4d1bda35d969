//! One column being decoded: text, numbers and JSON into Arrow buffers.
//!
//! Every format and every path through a format converts values here and nowhere else, so that
//! two paths cannot disagree about what a value means. A row whose third field is bad has already
//! written two; `truncate` takes them back.

mod values;
mod words;

use std::ops::Range;

use arrow::array::{ArrayRef, NullBufferBuilder};
use arrow::datatypes::{Field, FieldRef};

use self::values::Values;
use super::number::{self, NotThisNumber, Plain};
use super::object;
use super::options::{FormatError, TimestampFormat};
use super::time;
use crate::types::{Reason, Reject};

/// Metadata key of a field's extension type.
pub const EXTENSION: &str = "ARROW:extension:name";
/// The extension of a text column that holds JSON.
pub const JSON: &str = "arrow.json";
/// The extension of a text column that holds UUIDs.
pub const UUID: &str = "arrow.uuid";
/// Metadata key, with value `true`, of a column that holds the whole record.
pub const RECORD: &str = "tidemark.record";

/// Metadata key of a column whose name was written without quotes and not all in small letters:
/// the name as it was written. In records the column may have either.
pub const WRITTEN: &str = "tidemark.written";

/// The names that a column may have in records: as SQL has it, and as it was written.
pub(super) fn names_of(field: &Field) -> impl Iterator<Item = &str> {
    let written = field.metadata().get(WRITTEN).map(String::as_str);
    std::iter::once(field.name().as_str()).chain(written)
}

/// Whether a column holds the whole record instead of one field of it.
#[must_use]
pub fn is_record(field: &Field) -> bool {
    field
        .metadata()
        .get(RECORD)
        .is_some_and(|value| value == "true")
}

/// Whether a text column has this extension type.
pub(super) fn has_extension(field: &Field, name: &str) -> bool {
    field
        .metadata()
        .get(EXTENSION)
        .is_some_and(|value| value == name)
}

/// Why a field was not taken.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It does not convert.
    Bad(String),
    /// It has no value, and needs one.
    Missing,
}

impl Unfit {
    #[cold]
    fn bad(text: &str, what: &str) -> Self {
        Self::Bad(format!("`{}` is not {what}", shortened(text)))
    }

    pub fn reject(self, column: &str) -> Reject {
        match self {
            Self::Bad(message) => Reject::column(Reason::BadValue, column, message),
            Self::Missing => Reject::missing(column),
        }
    }
}

/// At most forty characters of a text, for messages: those that nobody sees, or that a terminal
/// obeys, as escapes.
fn shortened(text: &str) -> String {
    let (start, dots) = match text.char_indices().nth(40) {
        Some((end, _)) => (&text[..end], "..."),
        None => (text, ""),
    };
    let mut shown = String::with_capacity(start.len() + dots.len());
    for letter in start.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown + dots
}

/// The values of one column so far.
#[derive(Debug)]
pub(super) struct Column {
    pub field: FieldRef,
    values: Values,
    nulls: NullBufferBuilder,
    len: usize,
}

impl Column {
    /// An empty column of `field`'s type, or why no format can read that type.
    pub fn new(field: &FieldRef, timestamps: TimestampFormat) -> Result<Self, FormatError> {
        Ok(Self {
            field: FieldRef::clone(field),
            values: Values::new(field, timestamps)?,
            nulls: NullBufferBuilder::new(0),
            len: 0,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// The names that it may have in records.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names_of(&self.field)
    }

    /// Whether values go here as raw JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.values, Values::Json(_))
    }

    /// Whether an empty text is a value of this type.
    pub fn is_text(&self) -> bool {
        matches!(self.values, Values::Text(_) | Values::Binary(_))
    }

    /// Takes back all values from the one at `len` on.
    pub fn truncate(&mut self, len: usize) {
        // Also where this column has no more: a nested one may have begun a value.
        assert!(len <= self.len, "rows are taken back from the end");
        self.len = len;
        self.nulls.truncate(len);
        self.values.truncate(len);
    }

    /// Adds a NULL, if the column may have one.
    pub fn append_null(&mut self) -> Result<(), Unfit> {
        if !self.field.is_nullable() {
            return Err(Unfit::Missing);
        }
        self.append_placeholder();
        Ok(())
    }

    /// Adds a NULL whether or not the column may have one: below a NULL struct nobody looks.
    pub fn append_placeholder(&mut self) {
        self.values.push_default();
        self.nulls.append_null();
        self.len += 1;
    }

    #[inline]
    fn appended(&mut self) {
        self.nulls.append_non_null();
        self.len += 1;
    }

    /// Adds the value that a text without quotes and escapes stands for.
    #[inline]
    pub fn append_text(&mut self, text: &str) -> Result<(), Unfit> {
        match &mut self.values {
            Values::Text(values) => values.push(text.as_bytes()),
            Values::Timestamp(values, TimestampFormat::Iso) => match time::timestamp(text) {
                Some(micros) => values.push(micros),
                None => return self.append_trimmed(text),
            },
            Values::Json(_) => {
                let raw = object::raw(text).ok_or_else(|| Unfit::bad(text, "JSON"))?;
                return self.append_json(raw);
            }
            Values::Binary(values) => words::binary(text, values)?,
            Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
            | Values::Timestamp(_, TimestampFormat::Unix { .. }) => {
                return self.append_number(text.trim_ascii());
            }
            Values::Boolean(_)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::List(..)
            | Values::Struct(..) => return self.append_trimmed(text),
        }
        self.appended();
        Ok(())
    }

    /// Adds the value that the text at `place` of `source` stands for, without quotes and escapes.
    /// The same as [`Self::append_text`]; what follows the text may be copied and does not stay.
    #[inline]
    pub fn append_string(&mut self, source: &str, place: Range<usize>) -> Result<(), Unfit> {
        match &mut self.values {
            Values::Text(values) => values.push_within(source.as_bytes(), place),
            Values::Timestamp(values, TimestampFormat::Iso) => {
                match time::usual_timestamp(&source.as_bytes()[place.clone()]) {
                    Some(micros) => values.push(micros),
                    None => return self.append_text(&source[place]),
                }
            }
            Values::Boolean(_)
            | Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Timestamp(_, TimestampFormat::Unix { .. })
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::Json(_)
            | Values::Binary(_)
            | Values::List(..)
            | Values::Struct(..) => return self.append_text(&source[place]),
        }
        self.appended();
        Ok(())
    }

    /// Adds a value of a type for which spaces around it mean nothing.
    fn append_trimmed(&mut self, text: &str) -> Result<(), Unfit> {
        let text = text.trim_ascii();
        match &mut self.values {
            Values::Boolean(values) => {
                values
                    .append(words::boolean(text).ok_or_else(|| Unfit::bad(text, "true or false"))?);
            }
            Values::Date(values) => {
                values.push(time::date(text).ok_or_else(|| Unfit::bad(text, "a date"))?);
            }
            Values::Time(values) => {
                let micros = time::time_of_day(text);
                values.push(micros.ok_or_else(|| Unfit::bad(text, "a time of day"))?);
            }
            Values::Timestamp(values, TimestampFormat::Iso) => {
                let micros = time::timestamp(text);
                values.push(micros.ok_or_else(|| Unfit::bad(text, "a timestamp"))?);
            }
            Values::Interval(values) => {
                let interval = time::interval(text);
                values.push(interval.ok_or_else(|| Unfit::bad(text, "an interval"))?);
            }
            Values::Uuid(values) => words::uuid(text, values)?,
            Values::List(..) | Values::Struct(..) => {
                let raw = object::raw(text).ok_or_else(|| Unfit::bad(text, "JSON"))?;
                return self.append_json(raw);
            }
            Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
            | Values::Timestamp(_, TimestampFormat::Unix { .. })
            | Values::Text(_)
            | Values::Json(_)
            | Values::Binary(_) => {
                unreachable!("`append_text` has taken these types")
            }
        }
        self.appended();
        Ok(())
    }

    /// Adds a whole record.
    pub fn append_whole(&mut self, text: &str) -> Result<(), Unfit> {
        if let Values::Text(values) | Values::Json(values) = &mut self.values {
            values.push(text.as_bytes());
            self.appended();
            return Ok(());
        }
        self.append_text(text)
    }

    /// Adds the value that a number stands for, written as in JSON.
    #[inline]
    pub fn append_number(&mut self, text: &str) -> Result<(), Unfit> {
        match Plain::read(text.as_bytes()) {
            Some((plain, end)) if end == text.len() => self.append_plain(plain, text),
            Some(_) | None => self.append_any_number(text),
        }
    }

    /// Adds the value of a number that was read as a plain one from `text`.
    #[inline(always)]
    pub fn append_plain(&mut self, plain: Plain, text: &str) -> Result<(), Unfit> {
        let appended = match &mut self.values {
            Values::Int16(values) => push(values, plain.integer().and_then(|i| i.try_into().ok())),
            Values::Int32(values) => push(values, plain.integer().and_then(|i| i.try_into().ok())),
            Values::Int64(values) => push(values, plain.integer()),
            Values::Float64(values) => push(values, plain.double()),
            Values::Decimal(values, precision, scale) => {
                push(values, plain.decimal(*precision, *scale))
            }
            Values::Float32(_)
            | Values::Timestamp(..)
            | Values::Text(_)
            | Values::Json(_)
            | Values::Boolean(_)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::Binary(_)
            | Values::List(..)
            | Values::Struct(..) => false,
        };
        if !appended {
            return self.append_any_number(text);
        }
        self.appended();
        Ok(())
    }

    fn append_any_number(&mut self, text: &str) -> Result<(), Unfit> {
        match &mut self.values {
            Values::Int16(values) => values.push(small(text, "a SMALLINT")?),
            Values::Int32(values) => values.push(small(text, "an INT")?),
            Values::Int64(values) => {
                values.push(number::integer(text).map_err(|e| wrong(text, "a BIGINT", e))?);
            }
            Values::Float32(values) => {
                values.push(number::float(text).map_err(|e| wrong(text, "a REAL", e))?);
            }
            Values::Float64(values) => {
                let value = number::float(text);
                values.push(value.map_err(|e| wrong(text, "a DOUBLE PRECISION", e))?);
            }
            Values::Decimal(values, precision, scale) => {
                let value = number::decimal(text, *precision, *scale);
                values.push(
                    value
                        .map_err(|e| wrong(text, &format!("a DECIMAL({precision},{scale})"), e))?,
                );
            }
            Values::Timestamp(values, TimestampFormat::Unix { places }) => {
                let micros = number::decimal(text, 38, *places);
                let micros = micros.and_then(|m| i64::try_from(m).or(Err(NotThisNumber::Range)));
                values.push(micros.map_err(|e| wrong(text, "a timestamp in microseconds", e))?);
            }
            Values::Text(values) | Values::Json(values) => values.push(text.as_bytes()),
            Values::Boolean(_)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Timestamp(_, TimestampFormat::Iso)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::Binary(_)
            | Values::List(..)
            | Values::Struct(..) => return Err(self.mismatch(text)),
        }
        self.appended();
        Ok(())
    }

    /// Adds `true` or `false`, as JSON has them.
    pub fn append_boolean(&mut self, value: bool) -> Result<(), Unfit> {
        let text = if value { "true" } else { "false" };
        match &mut self.values {
            Values::Boolean(values) => values.append(value),
            Values::Text(values) | Values::Json(values) => values.push(text.as_bytes()),
            Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Timestamp(..)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::Binary(_)
            | Values::List(..)
            | Values::Struct(..) => return Err(self.mismatch(text)),
        }
        self.appended();
        Ok(())
    }

    /// Adds a JSON value as it stands in the record, without spaces around it. It is valid.
    pub fn append_json(&mut self, raw: &str) -> Result<(), Unfit> {
        if raw == "null" {
            return self.append_null();
        }
        if let Values::Json(values) = &mut self.values {
            values.push(raw.as_bytes());
            self.appended();
            return Ok(());
        }
        match raw.as_bytes()[0] {
            b'"' => {
                let text = object::unescape(raw).ok_or_else(|| {
                    Unfit::bad(raw, "text: it has an escape that stands for no character")
                })?;
                self.append_text(&text)
            }
            b't' => self.append_boolean(true),
            b'f' => self.append_boolean(false),
            b'[' | b'{' => self.append_nested(raw),
            _ => self.append_number(raw),
        }
    }

    /// Adds a JSON array or object.
    fn append_nested(&mut self, raw: &str) -> Result<(), Unfit> {
        let (is_array, is_object) = (raw.starts_with('['), raw.starts_with('{'));
        match &mut self.values {
            Values::Text(values) => values.push(raw.as_bytes()),
            Values::List(offsets, items) if is_array => {
                for item in object::items(raw) {
                    items.append_json(item)?;
                }
                offsets.push(i32::try_from(items.len()).expect("a block is far below 2 GiB"));
            }
            Values::Struct(names, columns) if is_object => {
                let found = object::read(raw, names).map_err(|_| Unfit::bad(raw, "an object"))?;
                for (column, value) in columns.iter_mut().zip(found) {
                    match value {
                        Some(value) => column.append_json(value)?,
                        None => column.append_null()?,
                    }
                }
            }
            Values::Boolean(_)
            | Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Timestamp(..)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::Json(_)
            | Values::Binary(_)
            | Values::List(..)
            | Values::Struct(..) => return Err(self.mismatch(raw)),
        }
        self.appended();
        Ok(())
    }

    /// A value of one kind for a column of another.
    #[cold]
    fn mismatch(&self, text: &str) -> Unfit {
        Unfit::bad(text, self.values.what())
    }

    /// Hands out the array of everything appended and starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        self.len = 0;
        self.values
            .finish(self.field.data_type(), self.nulls.finish())
    }
}

/// Adds the value, if there is one, and says so.
#[inline(always)]
fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            values.push(value);
            true
        }
        None => false,
    }
}

#[cold]
fn wrong(text: &str, what: &str, why: NotThisNumber) -> Unfit {
    let text = shortened(text);
    Unfit::Bad(match why {
        NotThisNumber::Syntax => format!("`{text}` is not a number"),
        NotThisNumber::Fraction => format!("`{text}` has more digits after the point than {what}"),
        NotThisNumber::Range => format!("`{text}` is out of range for {what}"),
    })
}

fn small<T: TryFrom<i64>>(text: &str, what: &str) -> Result<T, Unfit> {
    let value = number::integer(text).map_err(|why| wrong(text, what, why))?;
    T::try_from(value).map_err(|_| wrong(text, what, NotThisNumber::Range))
}
