//! `age(a, b)`: the years, months, days and time from `b` to `a`, as PostgreSQL counts them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime};
use datafusion_common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::folded::folded;
use super::intervals::INTERVAL;

/// `age(a, b)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Age(Signature);

impl Default for Age {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Age {
    fn name(&self) -> &str {
        "age"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let is_time = |it: &DataType| {
            matches!(
                it,
                DataType::Timestamp(_, _) | DataType::Date32 | DataType::Utf8 | DataType::Null
            )
        };
        if arguments.len() != 2 || !arguments.iter().all(is_time) {
            return plan_err!("age takes two times: age(later, earlier)");
        }
        Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, None); 2])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [later, earlier] = arguments.args.as_slice() else {
            return exec_err!("age takes two times");
        };
        folded(&arguments, |rows| {
            let (later, earlier) = (later.to_array(rows)?, earlier.to_array(rows)?);
            let times =
                |array: &dyn Array| array.as_primitive::<TimestampMicrosecondType>().clone();
            let (later, earlier) = (times(&later), times(&earlier));
            let ages = later.iter().zip(&earlier).map(|pair| match pair {
                (Some(later), Some(earlier)) => age(later, earlier)
                    .map(Some)
                    .ok_or_else(|| exec_datafusion_err!("time out of range")),
                (None, _) | (_, None) => Ok(None),
            });
            let ages: PrimitiveArray<IntervalMonthDayNanoType> = ages.collect::<Result<_>>()?;
            Ok(Arc::new(ages))
        })
    }
}

/// From the earlier of two times on go whole months, as days of the month allow; days are borrowed
/// from the month of the earlier one.
fn age(later: i64, earlier: i64) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let age = age(earlier, later)?;
        return Some(IntervalMonthDayNano::new(
            -age.months,
            -age.days,
            -age.nanoseconds,
        ));
    }
    let time = |us| DateTime::from_timestamp_micros(us).map(|time| time.naive_utc());
    let (later, earlier): (NaiveDateTime, NaiveDateTime) = (time(later)?, time(earlier)?);
    let month = |time: &NaiveDateTime| time.year() * 12 + time.month0().cast_signed();
    let mut months = month(&later) - month(&earlier);
    let mut days = later.day().cast_signed() - earlier.day().cast_signed();
    let mut nanos = (later.time() - earlier.time()).num_nanoseconds()?;
    if nanos < 0 {
        nanos += 86_400_000_000_000;
        days -= 1;
    }
    if days < 0 {
        days += month_days(earlier.date())?;
        months -= 1;
    }
    Some(IntervalMonthDayNano::new(months, days, nanos))
}

fn month_days(date: NaiveDate) -> Option<i32> {
    let next = date.with_day(1)?.checked_add_months(Months::new(1))?;
    let last = next.checked_sub_days(Days::new(1))?;
    Some(last.day().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(later: &str, earlier: &str) -> (i32, i32, i64) {
        let time = |text| crate::types::moment::timestamp(text).unwrap();
        let age = age(time(later), time(earlier)).unwrap();
        (age.months, age.days, age.nanoseconds / 1_000_000_000)
    }

    #[test]
    fn days_are_borrowed_from_the_month_of_the_earlier_time() {
        assert_eq!(of("2001-04-10", "1957-06-13"), (43 * 12 + 9, 27, 0));
        assert_eq!(of("1957-06-13", "2001-04-10"), (-43 * 12 - 9, -27, 0));
        assert_eq!(of("2024-03-01", "2024-01-31"), (1, 1, 0));
        assert_eq!(
            of("2024-03-01 09:00:00", "2024-02-29 10:00:00"),
            (0, 0, 82_800)
        );
    }
}
