//! Which PostgreSQL type each type of a pipeline has, and which other ones hold its values
//! unchanged.
//!
//! Lists of plain values are arrays, structs and lists of lists are `jsonb`.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use postgres::types::Type;

use crate::format::{EXTENSION, JSON, UUID};

/// The PostgreSQL type by which values are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric { precision: u8, scale: i8 },
    Text,
    Uuid,
    Jsonb,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Array(Box<Kind>),
}

/// How a column that is there takes values of a `Kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has this very type, but for a length.
    Exact { characters: Option<usize> },
    /// Another type that holds every value: PostgreSQL converts.
    Converted,
    /// It would refuse values or change them.
    No,
}

impl Kind {
    /// The type for a column; `None` if there is none.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Arrow has many types that cannot be declared"
    )]
    pub(super) fn of(field: &Field) -> Option<Self> {
        let extension = field.metadata().get(EXTENSION).map(String::as_str);
        Some(match field.data_type() {
            DataType::Boolean => Self::Bool,
            DataType::Int16 => Self::Int2,
            DataType::Int32 => Self::Int4,
            DataType::Int64 => Self::Int8,
            DataType::Float32 => Self::Float4,
            DataType::Float64 => Self::Float8,
            DataType::Decimal128(precision, scale) => Self::Numeric {
                precision: *precision,
                scale: *scale,
            },
            DataType::Utf8 if extension == Some(JSON) => Self::Jsonb,
            DataType::Utf8 if extension == Some(UUID) => Self::Uuid,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Bytea,
            DataType::Date32 => Self::Date,
            DataType::Time64(TimeUnit::Microsecond) => Self::Time,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::TimestampTz,
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval,
            DataType::Struct(_) => Self::Jsonb,
            DataType::List(item) => match (item.data_type(), Self::of(item)?) {
                (DataType::List(_), _) => Self::Jsonb,
                (_, item) => Self::Array(Box::new(item)),
            },
            _ => return None,
        })
    }

    /// PostgreSQL's own description of the type.
    pub(super) fn pg(&self) -> Type {
        match self {
            Self::Bool => Type::BOOL,
            Self::Int2 => Type::INT2,
            Self::Int4 => Type::INT4,
            Self::Int8 => Type::INT8,
            Self::Float4 => Type::FLOAT4,
            Self::Float8 => Type::FLOAT8,
            Self::Numeric { .. } => Type::NUMERIC,
            Self::Text => Type::TEXT,
            Self::Uuid => Type::UUID,
            Self::Jsonb => Type::JSONB,
            Self::Bytea => Type::BYTEA,
            Self::Date => Type::DATE,
            Self::Time => Type::TIME,
            Self::Timestamp => Type::TIMESTAMP,
            Self::TimestampTz => Type::TIMESTAMPTZ,
            Self::Interval => Type::INTERVAL,
            Self::Array(item) => item.array(),
        }
    }

    /// The type of arrays of this.
    fn array(&self) -> Type {
        match self {
            Self::Bool => Type::BOOL_ARRAY,
            Self::Int2 => Type::INT2_ARRAY,
            Self::Int4 => Type::INT4_ARRAY,
            Self::Int8 => Type::INT8_ARRAY,
            Self::Float4 => Type::FLOAT4_ARRAY,
            Self::Float8 => Type::FLOAT8_ARRAY,
            Self::Numeric { .. } => Type::NUMERIC_ARRAY,
            Self::Text => Type::TEXT_ARRAY,
            Self::Uuid => Type::UUID_ARRAY,
            Self::Jsonb => Type::JSONB_ARRAY,
            Self::Bytea => Type::BYTEA_ARRAY,
            Self::Date => Type::DATE_ARRAY,
            Self::Time => Type::TIME_ARRAY,
            Self::Timestamp => Type::TIMESTAMP_ARRAY,
            Self::TimestampTz => Type::TIMESTAMPTZ_ARRAY,
            Self::Interval => Type::INTERVAL_ARRAY,
            Self::Array(item) => item.array(),
        }
    }

    /// The type of a parameter or of a column of a temporary table.
    pub(super) fn sql(&self) -> String {
        if let Self::Array(item) = self {
            return format!("{}[]", item.sql());
        }
        self.pg().name().to_owned()
    }

    /// The type in CREATE TABLE, as people write it.
    pub(super) fn declared(&self) -> String {
        let name = match self {
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Bool => "boolean",
            Self::Numeric { precision, scale } => return format!("numeric({precision},{scale})"),
            Self::Array(item) => return format!("{}[]", item.declared()),
            Self::Text
            | Self::Uuid
            | Self::Jsonb
            | Self::Bytea
            | Self::Date
            | Self::Time
            | Self::Timestamp
            | Self::TimestampTz
            | Self::Interval => return self.pg().name().to_owned(),
        };
        name.to_owned()
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Whether two values that are spelled differently may be equal there, in ways that only
    /// PostgreSQL knows; then it cannot be a key.
    pub(super) fn has_spellings(&self) -> bool {
        matches!(self, Self::Jsonb | Self::Array(_))
    }

    /// How a column of type `name` (as in `pg_type`) with the modifier `typmod` takes values.
    pub(super) fn fit(&self, name: &str, typmod: i32) -> Fit {
        if let Self::Array(item) = self {
            return match name.strip_prefix('_').map(|name| item.fit(name, typmod)) {
                Some(Fit::Exact { characters }) if name == self.pg().name() => {
                    Fit::Exact { characters }
                }
                Some(Fit::Exact { characters: None }) => Fit::Converted,
                Some(Fit::Exact { .. } | Fit::Converted | Fit::No) | None => Fit::No,
            };
        }
        let exact = Fit::Exact { characters: None };
        let limit = usize::try_from(typmod).ok().map(|n| n.saturating_sub(4));
        match (self, name) {
            (Self::Text, "varchar") => Fit::Exact { characters: limit },
            (Self::Numeric { precision, scale }, "numeric") => {
                if numeric_holds(typmod, i32::from(*precision), i32::from(*scale)) {
                    exact
                } else {
                    Fit::No
                }
            }
            (Self::Time | Self::Timestamp | Self::TimestampTz | Self::Interval, _)
                if name == self.pg().name() =>
            {
                if typmod == -1 || typmod == 6 {
                    exact
                } else {
                    Fit::No
                }
            }
            (Self::Int2, "int4" | "int8")
            | (Self::Int4, "int8")
            | (Self::Float4, "float8")
            | (Self::Jsonb, "json") => Fit::Converted,
            _ if name == self.pg().name() => exact,
            _ => Fit::No,
        }
    }
}

/// Whether a `numeric` of this modifier keeps all digits of `numeric(precision, scale)`.
fn numeric_holds(typmod: i32, precision: i32, scale: i32) -> bool {
    if typmod < 4 {
        return true;
    }
    let there = ((typmod - 4) >> 16) & 0xffff;
    // Eleven bits with a sign, since 15; before that never above 1000.
    let there_scale = (((typmod - 4) & 0x7ff) ^ 1024) - 1024;
    there_scale >= scale && there - there_scale >= precision - scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn a_column_fits_if_it_keeps_every_value() {
        let exact = Fit::Exact { characters: None };
        let numeric = Kind::Numeric {
            precision: 10,
            scale: 2,
        };
        for (kind, name, modifier, expected) in [
            (Kind::Int4, "int4", -1, exact.clone()),
            (Kind::Int4, "int8", -1, Fit::Converted),
            (Kind::Int8, "int4", -1, Fit::No),
            (Kind::Text, "text", -1, exact.clone()),
            (Kind::Text, "bpchar", 8, Fit::No),
            (
                Kind::Text,
                "varchar",
                8,
                Fit::Exact {
                    characters: Some(4),
                },
            ),
            (Kind::Timestamp, "timestamp", -1, exact.clone()),
            (Kind::Timestamp, "timestamp", 3, Fit::No),
            (Kind::Timestamp, "timestamptz", -1, Fit::No),
            (numeric.clone(), "numeric", -1, exact.clone()),
            (numeric.clone(), "numeric", typmod(12, 4), exact.clone()),
            (numeric.clone(), "numeric", typmod(11, 4), Fit::No),
            (numeric.clone(), "numeric", typmod(10, 1), Fit::No),
            (numeric, "numeric", typmod(10, -1), Fit::No),
            (Kind::Array(Box::new(Kind::Int4)), "_int4", -1, exact),
            (
                Kind::Array(Box::new(Kind::Text)),
                "_varchar",
                -1,
                Fit::Converted,
            ),
            (Kind::Array(Box::new(Kind::Int4)), "_int8", -1, Fit::No),
            (Kind::Int4, "_int4", -1, Fit::No),
        ] {
            assert_eq!(kind.fit(name, modifier), expected, "{kind:?} in {name}");
        }
    }
}
