//! Which columns of a file are read, and whether their types become those that are declared: said
//! before a row is read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};

use crate::format::Wanted;
use crate::format::column::{JSON, UUID, has_extension, is_record, names_of};
use crate::format::infer::{InferredColumn, Remark};
use crate::format::options::{FormatOptions, TimestampFormat};

/// The columns of a file are not what is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfitting {
    /// What differs.
    pub difference: String,
    /// What to type.
    pub hint: String,
}

/// Which of a file's columns are read, ascending; or what does not fit. Columns that nobody wants may
/// be of any type.
pub fn fit(
    file: &Schema,
    options: &FormatOptions,
    wanted: &Wanted,
) -> Result<Vec<usize>, Unfitting> {
    let fields = wanted.schema.fields().iter();
    if wanted.schema.fields().iter().any(|field| is_record(field)) {
        for field in fields.filter(|field| !is_record(field)) {
            place_of(file, field, options)?;
        }
        return Ok((0..file.fields().len()).collect());
    }
    let places = fields.map(|field| place_of(file, field, options).map(|(place, _)| place));
    let mut places = places.collect::<Result<Vec<usize>, _>>()?;
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// Where a wanted column is in the file, and how it is read.
pub(super) fn place_of(
    file: &Schema,
    field: &Field,
    options: &FormatOptions,
) -> Result<(usize, How), Unfitting> {
    let name = field.name();
    let Some(place) = names_of(field).find_map(|name| file.index_of(name).ok()) else {
        let names = file.fields().iter().map(|field| field.name().as_str());
        return Err(Unfitting {
            difference: format!("there is no column `{name}`"),
            hint: format!("it has {}", names.collect::<Vec<_>>().join(", ")),
        });
    };
    let there = file.field(place).data_type();
    if let Some(what) = unreadable(there) {
        return Err(Unfitting {
            difference: format!("`{name}` is {what} there, which cannot be read"),
            hint: "leave the column out, or have it written as text of JSON".to_owned(),
        });
    }
    let how = how(there, field, options.timestamps).ok_or_else(|| {
        let (there, declared) = (sql_type(there), declared_type(field));
        Unfitting {
            difference: format!("`{name}` is {there} there, which does not become {declared}"),
            hint: format!("declare it as {there}, and CAST it in the query"),
        }
    })?;
    Ok((place, how))
}

/// How the values of a column become those of a declared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The array becomes another one.
    AtOnce,
    /// Value by value, from its text.
    ByText,
}

/// What kind of value a type holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Whole,
    Decimal,
    Float,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    List,
    Struct,
    Other,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not listed becomes nothing but itself"
)]
fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Boolean,
        other if other.is_integer() => Kind::Whole,
        other if other.is_decimal() => Kind::Decimal,
        other if other.is_floating() => Kind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Kind::Bytes,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Dictionary(_, values) => kind_of(values),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Kind::List,
        DataType::Struct(_) => Kind::Struct,
        _ => Kind::Other,
    }
}

/// How values of a type become those of a declared column, if they do: without loss, or one bad
/// value among good ones.
fn how(there: &DataType, field: &Field, timestamps: TimestampFormat) -> Option<How> {
    let (from, to) = (kind_of(there), kind_of(field.data_type()));
    if has_extension(field, JSON) {
        return (from != Kind::Other).then_some(How::ByText);
    }
    if has_extension(field, UUID) {
        let is_uuid = from == Kind::Text || *there == DataType::FixedSizeBinary(16);
        return is_uuid.then_some(How::ByText);
    }
    match (from, to) {
        (Kind::Decimal, Kind::Decimal) => {
            let fits = scale_of(there) <= scale_of(field.data_type());
            // A longer fraction is rounded, or not, as the others do.
            Some(if fits { How::AtOnce } else { How::ByText })
        }
        (Kind::Decimal, Kind::Float) => Some(How::ByText),
        // Programs write amounts as floats, and whole numbers too where some are missing.
        (Kind::Float, Kind::Decimal) | (Kind::Float | Kind::Decimal, Kind::Whole) => {
            Some(How::ByText)
        }
        (Kind::List, Kind::List) | (Kind::Struct, Kind::Struct) => Some(How::ByText),
        (Kind::Text, Kind::Text) | (Kind::Bytes, Kind::Text | Kind::Bytes) => Some(How::AtOnce),
        (Kind::Text, Kind::List | Kind::Struct) => None,
        (Kind::Text, _) => Some(How::ByText),
        (Kind::Other, _) | (_, Kind::Other) => (there == field.data_type()).then_some(How::AtOnce),
        (Kind::Whole, Kind::Decimal | Kind::Float) | (Kind::Date, Kind::Timestamp) => {
            Some(How::AtOnce)
        }
        (Kind::Whole, Kind::Timestamp) => {
            (timestamps != TimestampFormat::Iso).then_some(How::ByText)
        }
        (from, to) => (from == to).then_some(How::AtOnce),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only decimals have a scale")]
fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

/// The type among ours that holds the values, where there is one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types are ours, or are not read"
)]
pub(super) fn plain(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let plain = plain(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(inner(item))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// The type as `CREATE TABLE` has it; what has no type of its own there is JSON.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is shown as JSON")]
fn sql_type(data_type: &DataType) -> String {
    match plain(data_type) {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "SMALLINT".to_owned(),
        DataType::Int32 | DataType::UInt16 => "INT".to_owned(),
        DataType::Int64 | DataType::UInt32 => "BIGINT".to_owned(),
        DataType::UInt64 => "DECIMAL(20, 0)".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) if !item.data_type().is_nested() => {
            format!("{}[]", sql_type(item.data_type()))
        }
        _ => "JSON".to_owned(),
    }
}

pub(super) fn declared_type(field: &Field) -> String {
    if has_extension(field, UUID) {
        return "UUID".to_owned();
    }
    if matches!(field.data_type(), DataType::Struct(_)) {
        return "STRUCT".to_owned();
    }
    sql_type(field.data_type())
}

/// What a type is called that becomes nothing that a column can be declared as.
fn unreadable(data_type: &DataType) -> Option<String> {
    matches!(data_type, DataType::Map(..)).then(|| "a map".to_owned())
}

/// The columns of a file as `tidemark infer` prints them.
#[must_use]
pub fn declared(file: &Schema) -> Vec<InferredColumn> {
    let column = |field: &FieldRef| InferredColumn {
        name: field.name().clone(),
        sql_type: sql_type(field.data_type()),
        nullable: field.is_nullable(),
        remark: unreadable(field.data_type()).map(Remark::Unreadable),
    };
    file.fields().iter().map(column).collect()
}
