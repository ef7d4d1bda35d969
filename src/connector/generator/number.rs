//! Numbers: how they are distributed, and how texts of options become them.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of Arrow's types only numbers and times come here"
)]

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};

use super::draw::{Draws, Zipf};

/// How numbers are distributed. For all types but floats they are whole: the type's own units,
/// such as cents or microseconds.
#[derive(Debug)]
pub(super) enum Numbers {
    Uniform {
        min: i64,
        max: i64,
    },
    UniformFloat {
        min: f64,
        max: f64,
    },
    Zipf {
        min: i64,
        ranks: Zipf,
    },
    Sequence {
        min: i64,
        max: i64,
    },
    Normal {
        mean: f64,
        deviation: f64,
        min: f64,
        max: f64,
    },
}

impl Numbers {
    /// The number of `row`, in units of the type.
    pub(super) fn whole(&self, row: u64, draws: &mut Draws) -> i64 {
        match self {
            Self::Uniform { min, max } => {
                let span = max.abs_diff(*min);
                let distance = if span == u64::MAX {
                    draws.bits()
                } else {
                    draws.below(span + 1)
                };
                min.wrapping_add_unsigned(distance)
            }
            Self::Zipf { min, ranks } => min.saturating_add_unsigned(ranks.draw(draws) - 1),
            Self::Sequence { min, max } => match max.abs_diff(*min) {
                u64::MAX => min.wrapping_add_unsigned(row),
                span => min.wrapping_add_unsigned(row % (span + 1)),
            },
            Self::UniformFloat { .. } | Self::Normal { .. } => {
                self.float(row, draws).round() as i64
            }
        }
    }

    /// The number of `row`, of a type with a point.
    pub(super) fn float(&self, row: u64, draws: &mut Draws) -> f64 {
        match self {
            Self::UniformFloat { min, max } => min + draws.unit() * (max - min),
            Self::Normal {
                mean,
                deviation,
                min,
                max,
            } => (mean + deviation * draws.normal()).clamp(*min, *max),
            Self::Uniform { .. } | Self::Zipf { .. } | Self::Sequence { .. } => {
                self.whole(row, draws) as f64
            }
        }
    }
}

/// Every number between two as often as any other.
pub(super) fn uniform(min: i64, max: i64, data_type: &DataType) -> Numbers {
    if data_type.is_floating() {
        Numbers::UniformFloat {
            min: min as f64,
            max: max as f64,
        }
    } else {
        Numbers::Uniform { min, max }
    }
}

/// Where a type's numbers lie if nothing is said, as they would be written.
pub(super) fn default_range(data_type: &DataType) -> (String, String) {
    let range = |min: &str, max: &str| (min.to_owned(), max.to_owned());
    match data_type {
        DataType::Decimal128(precision, scale) => {
            // As much of 0 to 100 as has room before the point.
            let digits = i32::from(*precision) - i32::from(*scale);
            range(
                "0",
                if digits >= 3 {
                    "100"
                } else {
                    ["0", "9", "99"][usize::try_from(digits).unwrap_or(0)]
                },
            )
        }
        DataType::Date32 => range("2026-01-01", "2026-12-31"),
        DataType::Time64(_) => range("00:00:00", "23:59:59.999999"),
        DataType::Timestamp(..) => range("2026-01-01 00:00:00", "2026-12-31 23:59:59"),
        other if other.is_floating() => range("0", "100"),
        _ => range("0", "999"),
    }
}

/// Whole numbers as the values of which they are the units.
pub(super) fn of_units(values: &Int64Array, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Date32 => {
            let days = cast(values, &DataType::Int32).expect("kept in range");
            cast(&days, data_type).expect("days are a date")
        }
        other => cast(values, other).expect("kept in range"),
    }
}

/// A value in the units of its type; of a float, without what is behind the point.
pub(super) fn units(text: &str, data_type: &DataType) -> Option<i64> {
    let value = parsed(&[text], data_type)?;
    let value: ArrayRef = match data_type {
        DataType::Decimal128(..) => {
            return i64::try_from(value.as_primitive::<Decimal128Type>().value(0)).ok();
        }
        DataType::Date32 => cast(&value, &DataType::Int32).ok()?,
        _ => value,
    };
    let whole = cast(&value, &DataType::Int64).ok()?;
    Some(whole.as_primitive::<Int64Type>().value(0))
}

/// Texts as values of a type, if they all are.
pub(super) fn parsed(texts: &[&str], data_type: &DataType) -> Option<ArrayRef> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let texts = StringArray::from(texts.to_vec());
    cast_with_options(&texts, data_type, &strict)
        .ok()
        .filter(|values| values.null_count() == 0)
}
