//! Intervals by numbers: `INTERVAL '1 hour' * n`, `(a - b) / 2`.
//!
//! As in PostgreSQL, what is left of a month becomes days of it, thirty, and what is left of a day
//! becomes time; neither ever becomes more than it was.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those of intervals and of numbers are named"
)]

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use datafusion_common::{Result, exec_datafusion_err, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, expr::Cast,
};

use super::folded::folded;
use super::intervals::{INTERVAL, of_differences};

const MONTH_DAYS: f64 = 30.0;
const DAY_SECONDS: f64 = 86_400.0;

static TIMES: LazyLock<ScalarUDF> = LazyLock::new(|| of("interval_times", false));
static DIVIDED: LazyLock<ScalarUDF> = LazyLock::new(|| of("interval_divided", true));

fn of(name: &'static str, divides: bool) -> ScalarUDF {
    ScalarUDF::from(Scaled {
        name,
        divides,
        signature: Signature::any(2, Volatility::Immutable),
    })
}

/// `left op right`, if one of them is an interval and the other a number.
pub fn scaled(left: &Expr, op: Operator, right: &Expr, types: [&DataType; 2]) -> Option<Expr> {
    let number = |number: &Expr| Expr::Cast(Cast::new(Box::new(number.clone()), DataType::Float64));
    let is_number = |data_type: &DataType| data_type.is_numeric();
    let is_length =
        |data_type: &DataType| matches!(data_type, DataType::Interval(_) | DataType::Duration(_));
    let [of_left, of_right] = types;
    match op {
        Operator::Multiply if is_length(of_left) && is_number(of_right) => {
            Some(TIMES.call(vec![left.clone(), number(right)]))
        }
        Operator::Multiply if is_number(of_left) && is_length(of_right) => {
            Some(TIMES.call(vec![right.clone(), number(left)]))
        }
        Operator::Divide if is_length(of_left) && is_number(of_right) => {
            Some(DIVIDED.call(vec![left.clone(), number(right)]))
        }
        _ => None,
    }
}

/// An interval by a count.
pub fn divided(interval: Expr, count: Expr) -> Expr {
    let count = Expr::Cast(Cast::new(Box::new(count), DataType::Float64));
    DIVIDED.call(vec![interval, count])
}

/// The sign that a function stands for.
pub fn operator(name: &str) -> Option<Operator> {
    match name {
        "interval_times" => Some(Operator::Multiply),
        "interval_divided" => Some(Operator::Divide),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    name: &'static str,
    divides: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [intervals, numbers] = arguments.args.as_slice() else {
            return exec_err!("{} takes an interval and a number", self.name);
        };
        folded(&arguments, |rows| {
            let intervals = as_intervals(&intervals.to_array(rows)?)?;
            let numbers = cast(&numbers.to_array(rows)?, &DataType::Float64)?;
            let pairs = intervals.iter().zip(numbers.as_primitive::<Float64Type>());
            let scaled = pairs.map(|pair| match pair {
                (Some(interval), Some(number)) => self.one(interval, number).map(Some),
                _ => Ok(None),
            });
            let scaled: PrimitiveArray<IntervalMonthDayNanoType> = scaled.collect::<Result<_>>()?;
            Ok(Arc::new(scaled))
        })
    }
}

fn as_intervals(array: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    match array.data_type() {
        DataType::Duration(_) => of_differences(array),
        _ => Ok(cast(array, &INTERVAL)?.as_primitive().clone()),
    }
}

impl Scaled {
    fn one(&self, interval: IntervalMonthDayNano, number: f64) -> Result<IntervalMonthDayNano> {
        if self.divides && number == 0.0 {
            return exec_err!("division by zero");
        }
        let by = |value: f64| match self.divides {
            true => value / number,
            false => value * number,
        };
        let parts = [f64::from(interval.months), f64::from(interval.days)].map(by);
        let [months, days] = parts.map(f64::trunc);
        let left_of_months = to_micros((parts[0] - months) * MONTH_DAYS);
        let days_of_months = left_of_months.trunc();
        let mut seconds =
            to_micros((parts[1] - days + left_of_months - days_of_months) * DAY_SECONDS);
        let mut days = days + days_of_months;
        if seconds.abs() >= DAY_SECONDS {
            let more = (seconds / DAY_SECONDS).trunc();
            days += more;
            seconds -= more * DAY_SECONDS;
        }
        let micros = (interval.nanoseconds / 1000) as f64;
        let micros = (by(micros) + seconds * 1e6).round_ties_even();
        let made = whole(months).zip(whole(days)).zip(nanos(micros));
        let made =
            made.map(|((months, days), nanos)| IntervalMonthDayNano::new(months, days, nanos));
        made.ok_or_else(|| exec_datafusion_err!("interval out of range"))
    }
}

/// Without what is less than a millionth, which is an error of the calculation.
fn to_micros(value: f64) -> f64 {
    (value * 1e6).round_ties_even() / 1e6
}

fn whole(value: f64) -> Option<i32> {
    let fits = value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX);
    fits.then_some(value as i32)
}

fn nanos(micros: f64) -> Option<i64> {
    // 2^53 microseconds are some three hundred years, which is all that nanoseconds hold.
    let fits = micros.abs() < i64::MAX as f64 / 1000.0;
    fits.then_some(micros as i64)
        .and_then(|us| us.checked_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(interval: (i32, i32, i64), number: f64) -> (i32, i32, i64) {
        let scaled = Scaled {
            name: "",
            divides: false,
            signature: Signature::any(2, Volatility::Immutable),
        };
        let (months, days, nanos) = interval;
        let made = scaled.one(IntervalMonthDayNano::new(months, days, nanos), number);
        let made = made.unwrap();
        (made.months, made.days, made.nanoseconds)
    }

    #[test]
    fn what_is_left_of_a_month_is_days_and_of_a_day_is_time() {
        let hour = 3_600_000_000_000;

        assert_eq!(times((1, 0, 0), 1.5), (1, 15, 0));
        assert_eq!(times((0, 1, 0), 0.5), (0, 0, 12 * hour));
        assert_eq!(times((0, 0, hour), 30.0), (0, 0, 30 * hour));
        assert_eq!(times((1, 1, 0), -0.5), (0, -15, -12 * hour));
        assert_eq!(times((0, 3, 0), 0.1), (0, 0, 72 * hour / 10));
    }
}
