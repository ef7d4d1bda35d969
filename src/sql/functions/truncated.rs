//! `date_trunc` in microseconds, for all the years that there are: DataFusion counts in nanoseconds,
//! which end in the year 2262. Of a time of day it is DataFusion's.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, those of times are named"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion_common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use super::around::{Around, wrap};
use super::coerced;
use super::folded::folded;
use crate::sql::problem::Problem;

const DAY_US: i64 = 86_400_000_000;
/// The first of January 1970 is a Thursday.
const MONDAY_US: i64 = 4 * DAY_US;

/// `date_trunc`, if `function` is it.
pub fn truncated(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    (function.name() == "date_trunc").then(|| wrap(function, Truncated))
}

/// What a time is cut off at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Multiples of so many microseconds, from a time on.
    Every(i64, i64),
    Months(i32),
    Years(i32),
    /// So many years of which the first is a year 1.
    From1(i32),
}

impl Unit {
    fn of(name: &str) -> Result<Self> {
        Ok(match name.to_lowercase().as_str() {
            "microsecond" | "microseconds" => Self::Every(1, 0),
            "millisecond" | "milliseconds" => Self::Every(1000, 0),
            "second" | "seconds" => Self::Every(1_000_000, 0),
            "minute" | "minutes" => Self::Every(60_000_000, 0),
            "hour" | "hours" => Self::Every(3_600_000_000, 0),
            "day" | "days" => Self::Every(DAY_US, 0),
            "week" | "weeks" => Self::Every(7 * DAY_US, MONDAY_US),
            "month" | "months" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" | "years" => Self::Years(1),
            "decade" | "decades" => Self::Years(10),
            "century" | "centuries" => Self::From1(100),
            "millennium" | "millennia" => Self::From1(1000),
            _ => {
                return Err(Problem::of_file(format!("date_trunc knows no `{name}`"))
                    .hint("write second, minute, hour, day, week, month, quarter or year")
                    .into());
            }
        })
    }

    fn begin(self, us: i64) -> Option<i64> {
        if let Self::Every(width, from) = self {
            return us.checked_sub(us.checked_sub(from)?.rem_euclid(width));
        }
        let date = DateTime::from_timestamp_micros(us)?.date_naive();
        let month = date.month0();
        let (year, month) = match self {
            Self::Every(..) => (date.year(), month),
            Self::Months(months) => (date.year(), month - month % months.unsigned_abs()),
            Self::Years(years) => (date.year().div_euclid(years) * years, 0),
            Self::From1(years) => ((date.year() - 1).div_euclid(years) * years + 1, 0),
        };
        let first = NaiveDate::from_ymd_opt(year, month + 1, 1)?.and_hms_opt(0, 0, 0)?;
        Some(first.and_utc().timestamp_micros())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Truncated;

impl Around for Truncated {
    const TAKES: bool = true;

    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let zone = match arguments {
            [_, DataType::Timestamp(_, zone)] => zone.clone(),
            [_, DataType::Date32 | DataType::Utf8 | DataType::Null] => None,
            _ => return coerced(function, arguments),
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, _: &dyn ScalarUDFImpl, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of date_trunc is that of its time")
    }

    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        let [unit, time] = arguments.arg_fields else {
            return plan_err!("date_trunc takes a unit and a time");
        };
        if let Some(Some(unit)) = arguments.scalar_arguments.first()
            && let Some(Some(unit)) = unit.try_as_str()
            && let DataType::Timestamp(..) = time.data_type()
        {
            // One that is none is found before it runs.
            Unit::of(unit)?;
        }
        let nullable = unit.is_nullable() || time.is_nullable();
        let data_type = time.data_type().clone();
        Ok(Arc::new(Field::new(function.name(), data_type, nullable)))
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(unit), times] = arguments.args.as_slice() else {
            return exec_err!("the unit of date_trunc is a constant");
        };
        let (Some(Some(unit)), DataType::Timestamp(..)) = (unit.try_as_str(), times.data_type())
        else {
            return function.invoke_with_args(arguments);
        };
        let unit = Unit::of(unit)?;
        let begin = |times: &ArrayRef| -> Result<ArrayRef> {
            let zone = match times.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let begin: PrimitiveArray<TimestampMicrosecondType> = times.try_unary(|us| {
                let begin = unit.begin(us);
                begin.ok_or_else(|| exec_datafusion_err!("timestamp out of range"))
            })?;
            Ok(Arc::new(begin.with_timezone_opt(zone)))
        };
        folded(&arguments, |rows| begin(&times.to_array(rows)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_cut_off_at_its_unit() {
        let time = |text: &str| crate::types::moment::timestamp(text).unwrap();
        let begin = |unit: &str, text: &str| Unit::of(unit).unwrap().begin(time(text)).unwrap();

        for (unit, of, expected) in [
            ("hour", "1969-12-31 23:30:00", "1969-12-31 23:00:00"),
            ("week", "2026-03-01 12:00:00", "2026-02-23"),
            ("week", "1960-01-01", "1959-12-28"),
            ("month", "9999-12-31 12:00:00", "9999-12-01"),
            ("quarter", "2026-06-30", "2026-04-01"),
            ("decade", "1999-06-30", "1990-01-01"),
            ("century", "2000-06-30", "1901-01-01"),
            ("millennium", "2001-01-01", "2001-01-01"),
        ] {
            assert_eq!(begin(unit, of), time(expected), "{unit} of {of}");
        }
        assert!(Unit::of("fortnight").is_err());
    }
}
