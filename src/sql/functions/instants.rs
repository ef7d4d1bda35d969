//! `to_timestamp` of numbers, as in PostgreSQL: to the nearest microsecond, and an error of what is no
//! time. DataFusion counts nanoseconds, cuts off, and makes the year 1677 of what is before it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those of numbers are named"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::around::{Around, wrap};
use super::converted::moved;
use super::folded::unary;

/// The function around DataFusion's, if `function` is the one.
pub fn to_timestamp(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    if function.name() != "to_timestamp" {
        return None;
    }
    let all = datafusion_functions::datetime::functions().into_iter();
    let mut of_texts = all.filter(|function| function.name() == "to_timestamp_micros");
    of_texts
        .next()
        .map(|of_texts| wrap(function, Instant { of_texts }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Instant {
    /// The function for texts, in microseconds.
    of_texts: Arc<ScalarUDF>,
}

impl Around for Instant {
    fn result(&self, theirs: &DataType) -> DataType {
        micros(theirs)
    }

    fn invoke(
        &self,
        _: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let is_number = arguments.args.first().map(ColumnarValue::data_type);
        if !is_number.is_some_and(|of| of.is_numeric()) {
            return self.of_texts.inner().invoke_with_args(arguments);
        }
        unary(&arguments, |seconds| {
            let times = of_seconds(seconds)?;
            Ok(cast(&times, arguments.return_field.data_type())?)
        })
    }
}

fn micros(of: &DataType) -> DataType {
    let zone = match of {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

fn of_seconds(seconds: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    match seconds.data_type() {
        &DataType::Decimal128(_, scale) => {
            let numbers = seconds.as_primitive::<Decimal128Type>();
            numbers.try_unary(|number| {
                let us = moved(number, 6 - i32::from(scale));
                let us = us.and_then(|us| i64::try_from(us).ok());
                us.and_then(timed)
                    .ok_or_else(|| beyond(&format!("{number}e-{scale}")))
            })
        }
        DataType::Float32 | DataType::Float64 => {
            let numbers = cast(seconds, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            numbers.try_unary(|number| of_double(number).ok_or_else(|| beyond(&number.to_string())))
        }
        _ => {
            let numbers = cast(seconds, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            numbers.try_unary(|number| {
                let us = number.checked_mul(1_000_000).and_then(timed);
                us.ok_or_else(|| beyond(&number.to_string()))
            })
        }
    }
}

/// PostgreSQL counts from the year 2000 on, and rounds there.
fn of_double(seconds: f64) -> Option<i64> {
    const SECONDS_TO_2000: i64 = 946_684_800;
    let us = ((seconds - SECONDS_TO_2000 as f64) * 1e6).round_ties_even();
    // What is not within is cut to an end of the range, which is no time.
    let us = if us.is_nan() { i64::MAX } else { us as i64 };
    us.checked_add(SECONDS_TO_2000 * 1_000_000).and_then(timed)
}

/// A time that can be written.
fn timed(us: i64) -> Option<i64> {
    chrono::DateTime::from_timestamp_micros(us).map(|_| us)
}

fn beyond(seconds: &str) -> datafusion_common::DataFusionError {
    exec_datafusion_err!("to_timestamp({seconds}) is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_go_to_the_nearest_microsecond() {
        assert_eq!(of_double(1_772_357_415.123), Some(1_772_357_415_123_000));
        assert_eq!(
            of_double(1_798_761_599.999_999),
            Some(1_798_761_599_999_999)
        );
        assert_eq!(of_double(-62_135_596_800.0), Some(-62_135_596_800_000_000));
        assert_eq!(of_double(f64::INFINITY), None);
        assert_eq!(of_double(f64::NAN), None);
        assert_eq!(of_double(1e300), None);
    }
}
