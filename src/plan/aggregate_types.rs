//! The type that each aggregate yields, for whoever plans one and whoever computes it.
//!
//! The types are PostgreSQL's where it has a fixed one. Its unlimited NUMERIC is ours of 38
//! digits: `sum(bigint)` is DECIMAL(38, 0), and `avg` of integers DECIMAL(38, 16). `avg` of
//! DECIMAL(p, s) has 16 digits after the point, or as many as leave room for the p - s before it,
//! and never fewer than s: an average lies between its values, so it always fits. Float results
//! are DOUBLE PRECISION, of REAL arguments too: a sum of REALs has more digits than a REAL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "an aggregate names the types that it takes; whatever else Arrow has is refused"
)]

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Field};

use super::AggregateFunction;

/// Digits after the point of an average, where nothing asks for other than that.
const AVERAGE_SCALE: i8 = 16;

/// What `function` yields over arguments of these types, or why it takes no such arguments.
///
/// The arguments of a percentile are the value and the fraction, of `median` the value alone, of
/// `string_agg` the text and the separator.
pub fn result_type(
    function: &AggregateFunction,
    arguments: &[DataType],
) -> Result<DataType, String> {
    use AggregateFunction as F;
    match function {
        F::Count => Ok(DataType::Int64),
        F::Sum => sum_type(first(arguments, "sum")?),
        F::Average => average_type(first(arguments, "avg")?),
        F::Min => orderable(first(arguments, "min")?, "min"),
        F::Max => orderable(first(arguments, "max")?, "max"),
        F::BoolAnd | F::BoolOr => match first(arguments, "bool_and")? {
            DataType::Boolean => Ok(DataType::Boolean),
            other => Err(format!("bool_and and bool_or take booleans, not {other}")),
        },
        F::BitAnd | F::BitOr | F::BitXor => match first(arguments, "bit_and")? {
            integer if integer.is_integer() => Ok(integer.clone()),
            other => Err(format!(
                "bit_and, bit_or and bit_xor take integers, not {other}"
            )),
        },
        F::VariancePopulation | F::VarianceSample | F::DeviationPopulation | F::DeviationSample => {
            number(first(arguments, "variance")?, "a variance")
        }
        F::CovariancePopulation | F::CovarianceSample | F::Correlation => {
            number(first(arguments, "covar")?, "a covariance")?;
            match arguments.get(1) {
                Some(second) => number(second, "a covariance"),
                None => Err("a covariance takes two arguments".to_owned()),
            }
        }
        F::ApproxDistinct => first(arguments, "approx_distinct").map(|_| DataType::Int64),
        F::First => first(arguments, "first_value").cloned(),
        F::Last => first(arguments, "last_value").cloned(),
        F::ArrayAgg => {
            let item = first(arguments, "array_agg")?.clone();
            Ok(DataType::List(Arc::new(Field::new_list_field(item, true))))
        }
        F::StringAgg => match first(arguments, "string_agg")? {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(DataType::Utf8),
            other => Err(format!("string_agg takes text, not {other}")),
        },
        F::PercentileCont => number(first(arguments, "percentile_cont")?, "percentile_cont"),
        F::PercentileDisc => orderable(first(arguments, "percentile_disc")?, "percentile_disc"),
        F::ApproxPercentile => number(
            first(arguments, "approx_percentile_cont")?,
            "approx_percentile_cont",
        ),
        F::Library(library) => library
            .return_type(arguments)
            .map_err(|error| error.strip_backtrace()),
    }
}

fn first<'a>(arguments: &'a [DataType], name: &str) -> Result<&'a DataType, String> {
    arguments
        .first()
        .ok_or_else(|| format!("{name} takes an argument"))
}

fn sum_type(argument: &DataType) -> Result<DataType, String> {
    Ok(match argument {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => DataType::Int64,
        DataType::Int64 | DataType::UInt64 => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
        DataType::Decimal128(_, scale) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale),
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        other => return Err(format!("sum takes numbers, not {other}")),
    })
}

fn average_type(argument: &DataType) -> Result<DataType, String> {
    match argument {
        integer if integer.is_integer() => Ok(DataType::Decimal128(
            DECIMAL128_MAX_PRECISION,
            AVERAGE_SCALE,
        )),
        DataType::Decimal128(precision, scale) => {
            // A negative scale only makes the number of digits before the point larger.
            let before = i16::from(*precision) - i16::from(*scale);
            let room = i16::from(DECIMAL128_MAX_SCALE) - before;
            let scale = room.min(i16::from(AVERAGE_SCALE)).max(i16::from(*scale));
            let scale = i8::try_from(scale).expect("a scale lies between -38 and 38");
            Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale))
        }
        DataType::Float32 | DataType::Float64 => Ok(DataType::Float64),
        other => Err(format!("avg takes numbers, not {other}")),
    }
}

fn number(argument: &DataType, what: &str) -> Result<DataType, String> {
    match argument {
        DataType::Decimal128(_, _) | DataType::Float32 | DataType::Float64 => Ok(DataType::Float64),
        integer if integer.is_integer() => Ok(DataType::Float64),
        other => Err(format!("{what} takes numbers, not {other}")),
    }
}

/// Everything that arrow-row orders, except what has no natural order.
fn orderable(argument: &DataType, what: &str) -> Result<DataType, String> {
    match argument {
        DataType::Map(_, _) | DataType::Union(_, _) | DataType::Null => Err(format!(
            "{what} takes values that have an order, not {argument}"
        )),
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_widens_so_that_it_hardly_overflows() {
        let sum = |argument| result_type(&AggregateFunction::Sum, &[argument]);

        assert_eq!(sum(DataType::Int16), Ok(DataType::Int64));
        assert_eq!(sum(DataType::Int64), Ok(DataType::Decimal128(38, 0)));
        assert_eq!(
            sum(DataType::Decimal128(10, 2)),
            Ok(DataType::Decimal128(38, 2))
        );
        assert_eq!(sum(DataType::Float32), Ok(DataType::Float64));
        assert!(sum(DataType::Utf8).is_err());
    }

    #[test]
    fn an_average_keeps_room_for_the_digits_before_the_point() {
        let average = |argument| result_type(&AggregateFunction::Average, &[argument]);

        assert_eq!(average(DataType::Int64), Ok(DataType::Decimal128(38, 16)));
        assert_eq!(
            average(DataType::Decimal128(10, 2)),
            Ok(DataType::Decimal128(38, 16))
        );
        assert_eq!(
            average(DataType::Decimal128(38, 4)),
            Ok(DataType::Decimal128(38, 4))
        );
        assert_eq!(
            average(DataType::Decimal128(38, 20)),
            Ok(DataType::Decimal128(38, 20))
        );
    }
}
