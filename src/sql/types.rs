//! SQL's type names to Arrow types, as PostgreSQL means them.
//!
//! * `TIMESTAMP` and `TIME` count microseconds whatever precision is written (up to 6).
//! * `TIMESTAMPTZ` is an instant; it is shown in UTC.
//! * `NUMERIC(p, s)` has at most 38 digits; a bare `NUMERIC` is `NUMERIC(38, 10)`.
//! * `UUID` and `JSON` are text with a mark in the field's metadata, `JSONB` is `JSON`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "sqlparser lists the types of every engine: those not named here are refused"
)]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion_common::Result;
use datafusion_expr::planner::TypePlanner;
use datafusion_sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as Sql, ExactNumberInfo, Expr, TimezoneInfo, Value,
    VisitMut,
};

use super::walk;
use crate::types::nearest;

/// The metadata key under which Arrow names extension types.
pub const EXTENSION: &str = "ARROW:extension:name";
/// The extension name of `JSON`.
pub const JSON: &str = "arrow.json";
/// The extension name of `UUID`.
pub const UUID: &str = "arrow.uuid";

/// What a type name means, and what to write where it means nothing here.
pub fn field_of(sql: &Sql) -> Result<FieldRef, (String, String)> {
    let plain = |data_type| Ok(Arc::new(Field::new("", data_type, true)));
    match sql {
        Sql::Boolean | Sql::Bool => plain(DataType::Boolean),
        Sql::SmallInt(_) | Sql::Int2(_) => plain(DataType::Int16),
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => plain(DataType::Int32),
        Sql::BigInt(_) | Sql::Int8(_) => plain(DataType::Int64),
        Sql::Real | Sql::Float4 => plain(DataType::Float32),
        Sql::Float(ExactNumberInfo::Precision(1..=24)) => plain(DataType::Float32),
        Sql::Float(_) | Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 => {
            plain(DataType::Float64)
        }
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => decimal(info).and_then(plain),
        Sql::Text | Sql::String(_) | Sql::Varchar(_) | Sql::CharacterVarying(_) => {
            plain(DataType::Utf8)
        }
        Sql::CharVarying(_) | Sql::Char(_) | Sql::Character(_) => plain(DataType::Utf8),
        Sql::Bytea | Sql::Bytes(_) | Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) => {
            plain(DataType::Binary)
        }
        Sql::Date => plain(DataType::Date32),
        Sql::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            microseconds(*precision)?;
            plain(DataType::Time64(TimeUnit::Microsecond))
        }
        Sql::Timestamp(precision, zone) => {
            microseconds(*precision)?;
            let zone = matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone);
            plain(timestamp(zone))
        }
        Sql::Datetime(precision) => {
            microseconds(*precision)?;
            plain(timestamp(false))
        }
        Sql::Interval { .. } => plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        Sql::Uuid => Ok(marked(UUID)),
        Sql::JSON | Sql::JSONB => Ok(marked(JSON)),
        Sql::Array(
            ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => {
            let item = field_of(item)?.as_ref().clone().with_name("item");
            plain(DataType::List(Arc::new(item)))
        }
        Sql::Struct(fields, _) => structure(fields).and_then(plain),
        other => Err(refuse(other)),
    }
}

fn timestamp(zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()))
}

fn marked(extension: &str) -> FieldRef {
    let metadata = HashMap::from([(EXTENSION.to_owned(), extension.to_owned())]);
    Arc::new(Field::new("", DataType::Utf8, true).with_metadata(metadata))
}

fn microseconds(precision: Option<u64>) -> Result<(), (String, String)> {
    match precision {
        None | Some(0..=6) => Ok(()),
        Some(precision) => Err((
            format!("times have microseconds, not {precision} digits after the second"),
            "write a precision of 6 or less".to_owned(),
        )),
    }
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, (String, String)> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let in_range = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if in_range => Ok(DataType::Decimal128(precision, scale)),
        _ => Err((
            format!("NUMERIC({precision}, {scale}) is out of range"),
            "write up to 38 digits, of which any number stand after the point".to_owned(),
        )),
    }
}

fn structure(
    fields: &[datafusion_sql::sqlparser::ast::StructField],
) -> Result<DataType, (String, String)> {
    let mut out = Vec::with_capacity(fields.len());
    for field in fields {
        let Some(name) = &field.field_name else {
            return Err((
                "the fields of a STRUCT have names".to_owned(),
                "write STRUCT<name TYPE, ..>".to_owned(),
            ));
        };
        let kind = field_of(&field.field_type)?;
        out.push(kind.as_ref().clone().with_name(super::normalise(name)));
    }
    Ok(DataType::Struct(Fields::from(out)))
}

fn refuse(sql: &Sql) -> (String, String) {
    let name = sql.to_string();
    if name.to_lowercase().ends_with("serial") {
        let hint = "write BIGINT or INT; nothing counts up here: a number comes with the record, or \
                    from row_number()";
        return (format!("there is no type `{name}`"), hint.to_owned());
    }
    if let Some(meant) = misspelt(sql) {
        let message = format!("there is no type `{name}`");
        return (message, format!("did you mean {meant}?"));
    }
    let hint = match sql {
        Sql::TinyInt(_) => "write SMALLINT",
        Sql::Time(_, _) => "write TIME, or TIMESTAMPTZ for an instant",
        Sql::Map(_, _) => "write JSON, and take values out with ->>",
        Sql::TimestampNtz { .. } => "write TIMESTAMP",
        Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("timestamp_ltz") => {
            "write TIMESTAMPTZ"
        }
        _ if name.to_lowercase().contains("unsigned") => "write the next larger signed type",
        _ => {
            "the types are BOOLEAN, SMALLINT, INT, BIGINT, NUMERIC, REAL, DOUBLE PRECISION, TEXT, \
             BYTEA, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, UUID, JSON, T[] and STRUCT<..>"
        }
    };
    (format!("there is no type `{name}`"), hint.to_owned())
}

/// The type that a name was most likely meant to be.
fn misspelt(sql: &Sql) -> Option<&'static str> {
    const NAMES: [&str; 18] = [
        "BOOLEAN",
        "SMALLINT",
        "INT",
        "INTEGER",
        "BIGINT",
        "NUMERIC",
        "DECIMAL",
        "REAL",
        "DOUBLE",
        "FLOAT",
        "TEXT",
        "VARCHAR",
        "BYTEA",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "INTERVAL",
        "UUID",
    ];
    let Sql::Custom(name, _) = sql else {
        return None;
    };
    let name = name.to_string();
    // Of short names every other is near.
    nearest(&name, NAMES).filter(|meant| meant.len() > 3 && name.len() > 3)
}

/// The `n` of `VARCHAR(n)` and `CHAR(n)`.
pub fn length_limit(sql: &Sql) -> Option<u64> {
    let length = match sql {
        Sql::Varchar(length) | Sql::CharacterVarying(length) | Sql::CharVarying(length) => length,
        Sql::Char(length) | Sql::Character(length) => length,
        _ => return None,
    };
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        Some(CharacterLength::Max) | None => None,
    }
}

/// Writes `CAST(x AS VARCHAR(n))` as the first n characters of the text, which is what PostgreSQL
/// makes of it.
pub fn cut_off<T: VisitMut>(sql: &mut T) {
    let _ = walk::expressions(sql, &mut |expr| {
        if let Expr::Cast {
            data_type,
            array: false,
            ..
        } = expr
            && let Some(length) = length_limit(data_type)
        {
            *data_type = Sql::Text;
            let number = |n: u64| {
                let number = Value::Number(n.to_string(), false).with_empty_span();
                Some(Box::new(Expr::Value(number)))
            };
            let whole = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
            *expr = Expr::Substring {
                expr: Box::new(whole),
                substring_from: number(1),
                substring_for: number(length),
                special: true,
                shorthand: false,
            };
        }
        ControlFlow::Continue(())
    });
}

/// Our types for DataFusion's CASTs.
#[derive(Debug)]
pub struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql: &Sql) -> Result<Option<FieldRef>> {
        let problem = |message: String, hint: String| {
            let problem = super::problem::Problem::of_file(message).hint(hint);
            datafusion_common::DataFusionError::from(problem)
        };
        match field_of(sql) {
            Ok(field) => Ok(Some(field)),
            Err((message, hint)) => Err(problem(message, hint)),
        }
    }
}

/// The type that a column of a table has for values of `data_type`: times have microseconds, and
/// text has one type.
pub fn storable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => timestamp(zone.is_some()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(_) | DataType::Interval(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

/// The SQL name of an Arrow type, for messages and `explain`.
#[must_use]
pub fn name_of(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) => format!("NUMERIC({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::List(item) => format!("{}[]", name_of(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), name_of(field.data_type())))
                .collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}
