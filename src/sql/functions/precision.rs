//! `CAST(x AS TIMESTAMP(3))`: times and intervals to so many digits after the second, rounded.
//!
//! DataFusion leaves the digits that a type names out; here such a cast is one to the type, and a
//! call around it. The halves between two timestamps go away from the year 2000, as in PostgreSQL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those that have digits after the second are named"
)]

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion_sql::sqlparser::ast::{
    DataType as Sql, Expr, TypedString, Value, ValueWithSpan, VisitMut,
};

use super::folded::unary;
use crate::sql::accents::call;
use crate::sql::walk;

/// The name of the function around the cast.
const ROUND: &str = "round_to_digits";

/// The microseconds from 1970 to 2000.
const YEAR_2000_US: i64 = 946_684_800_000_000;
const DAY_US: i64 = 86_400_000_000;
/// All the digits that there are.
const DIGITS: u64 = 6;

/// Writes the digits of types in casts as a call.
pub fn rewrite(sql: &mut impl VisitMut) {
    let _ = walk::expressions(sql, &mut |expr| {
        let digits = match expr {
            Expr::Cast {
                data_type,
                array: false,
                ..
            }
            | Expr::TypedString(TypedString { data_type, .. }) => digits(data_type),
            _ => None,
        };
        if let Some(digits) = digits {
            let null = Expr::Value(ValueWithSpan::from(Value::Null));
            let whole = std::mem::replace(expr, null);
            let digits = Value::Number(digits.to_string(), false);
            *expr = call(ROUND, [whole, Expr::Value(digits.into())]);
        }
        ControlFlow::Continue(())
    });
}

/// Takes the digits out of a type, where they are fewer than there are.
fn digits(sql: &mut Sql) -> Option<u64> {
    let digits = match sql {
        Sql::Timestamp(digits, _) | Sql::Time(digits, _) | Sql::Datetime(digits) => digits,
        Sql::Interval { precision, .. } => precision,
        _ => return None,
    };
    digits.take_if(|digits| *digits < DIGITS)
}

/// `round_to_digits(x, 3)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Rounded(Signature);

impl Default for Rounded {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Rounded {
    fn name(&self) -> &str {
        ROUND
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [time, _] = arguments else {
            return plan_err!("{ROUND} takes a time and how many digits");
        };
        let time = match time {
            DataType::Timestamp(_, zone) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
            DataType::Interval(_) | DataType::Duration(_) => super::intervals::INTERVAL,
            _ => return plan_err!("{ROUND} is for times and intervals"),
        };
        Ok(vec![time, DataType::Int64])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [
            _,
            ColumnarValue::Scalar(ScalarValue::Int64(Some(digits @ 0..=6))),
        ] = arguments.args.as_slice()
        else {
            return exec_err!("{ROUND} keeps 0 to 6 digits");
        };
        let unit = 10i64.pow(6 - u32::try_from(*digits).unwrap_or(0));
        unary(&arguments, |times| rounded(times, unit))
    }
}

fn rounded(times: &ArrayRef, unit: i64) -> Result<ArrayRef> {
    let beyond = || exec_datafusion_err!("time out of range");
    Ok(match times.data_type() {
        DataType::Timestamp(_, zone) => {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let rounded: PrimitiveArray<TimestampMicrosecondType> = times.try_unary(|us| {
                let since = us
                    .checked_sub(YEAR_2000_US)
                    .and_then(|us| nearest(us, unit));
                since
                    .and_then(|us| us.checked_add(YEAR_2000_US))
                    .ok_or_else(beyond)
            })?;
            Arc::new(rounded.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(_) => {
            let times = times.as_primitive::<Time64MicrosecondType>();
            let rounded: PrimitiveArray<Time64MicrosecondType> = times.try_unary(|us| {
                let rounded = nearest(us, unit).filter(|us| *us < DAY_US);
                rounded.ok_or_else(beyond)
            })?;
            Arc::new(rounded)
        }
        _ => {
            let intervals = times.as_primitive::<IntervalMonthDayNanoType>();
            let rounded: PrimitiveArray<IntervalMonthDayNanoType> =
                intervals.try_unary(|interval| {
                    let nanos = nearest(interval.nanoseconds, unit * 1000).ok_or_else(beyond)?;
                    let IntervalMonthDayNano { months, days, .. } = interval;
                    Ok::<_, datafusion_common::DataFusionError>(IntervalMonthDayNano::new(
                        months, days, nanos,
                    ))
                })?;
            Arc::new(rounded)
        }
    })
}

/// The nearest multiple of `unit`, halves away from zero.
fn nearest(value: i64, unit: i64) -> Option<i64> {
    let half = if value < 0 { -(unit / 2) } else { unit / 2 };
    Some(value.checked_add(half)? / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero() {
        assert_eq!(nearest(1500, 1000), Some(2000));
        assert_eq!(nearest(1499, 1000), Some(1000));
        assert_eq!(nearest(-1500, 1000), Some(-2000));
        assert_eq!(nearest(-1499, 1000), Some(-1000));
        assert_eq!(nearest(7, 1), Some(7));
        assert_eq!(nearest(i64::MAX, 1000), None);
    }
}
