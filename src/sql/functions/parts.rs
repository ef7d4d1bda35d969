//! `extract(field FROM x)` and `date_part`, with PostgreSQL's fields.
//!
//! DataFusion cuts the fraction off seconds and milliseconds, and takes the parts of an interval
//! from all of its time; here a second has its fraction, and the difference of two timestamps its
//! days. What there is no such part of is found when the file is checked, not record by record.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of operators and types, those of times are named"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array};
use arrow::compute::{DatePart as Part, date_part};
use arrow::datatypes::{
    DataType, Field, FieldRef, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use datafusion_common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::expr::Cast;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::folded::folded;
use super::intervals::{INTERVAL, is_interval, of_differences};
use crate::sql::problem::Problem;

/// The name of the function.
pub const DATE_PART: &str = "date_part";

/// `date_part(field, x)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateField {
    aliases: Vec<String>,
    signature: Signature,
}

impl Default for DateField {
    fn default() -> Self {
        Self {
            aliases: vec!["datepart".to_owned()],
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

/// A field that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// One that Arrow knows too; of an interval it does not go by Arrow.
    Arrows(Part),
    Decade,
    Century,
    Millennium,
    /// With its fraction: so many of them are a second.
    Seconds(i64),
    Microseconds,
    Epoch,
}

/// The names of a field, the field, and whether an interval has it.
type Named = (&'static [&'static str], Asked, bool);

const FIELDS: &[Named] = &[
    (
        &["year", "years", "y", "yr", "yrs"],
        Asked::Arrows(Part::Year),
        true,
    ),
    (&["quarter", "qtr"], Asked::Arrows(Part::Quarter), true),
    (
        &["month", "months", "mon", "mons"],
        Asked::Arrows(Part::Month),
        true,
    ),
    (&["week", "weeks", "w"], Asked::Arrows(Part::WeekISO), false),
    (&["day", "days", "d"], Asked::Arrows(Part::Day), true),
    (
        &["hour", "hours", "h", "hr", "hrs"],
        Asked::Arrows(Part::Hour),
        true,
    ),
    (
        &["minute", "minutes", "m", "min", "mins"],
        Asked::Arrows(Part::Minute),
        true,
    ),
    (
        &["second", "seconds", "s", "sec", "secs"],
        Asked::Seconds(1),
        true,
    ),
    (
        &["millisecond", "milliseconds", "ms", "msec", "msecs"],
        Asked::Seconds(1000),
        true,
    ),
    (
        &["microsecond", "microseconds", "us", "usec", "usecs"],
        Asked::Microseconds,
        true,
    ),
    (&["epoch"], Asked::Epoch, true),
    (&["isoyear"], Asked::Arrows(Part::YearISO), false),
    (&["dow"], Asked::Arrows(Part::DayOfWeekSunday0), false),
    (&["isodow"], Asked::Arrows(Part::DayOfWeekMonday1), false),
    (&["doy"], Asked::Arrows(Part::DayOfYear), false),
    (&["decade", "decades"], Asked::Decade, true),
    (&["century", "centuries", "c"], Asked::Century, true),
    (&["millennium", "millennia", "mil"], Asked::Millennium, true),
];

/// The field of a name, of what has this type.
fn field(name: Option<&ScalarValue>, of: &DataType) -> Result<Asked> {
    let Some(name) = name.and_then(|name| name.try_as_str().flatten()) else {
        return plan_err!("the field of date_part is a text as it stands, such as 'hour'");
    };
    let name = name.trim_matches(['\'', '"']).to_lowercase();
    let known = FIELDS
        .iter()
        .find(|(names, ..)| names.contains(&name.as_str()));
    let of_interval = is_length(of);
    match known {
        Some((_, asked, has)) if *has || !of_interval => Ok(*asked),
        Some(_) => Err(Problem::of_file(format!("an INTERVAL has no {name}"))
            .hint("its fields are year, month, day, hour, minute, second and epoch")
            .into()),
        None => Err(Problem::of_file(format!("a time has no field `{name}`"))
            .hint("write year, quarter, month, week, day, hour, minute, second, dow, doy or epoch")
            .into()),
    }
}

fn is_length(data_type: &DataType) -> bool {
    is_interval(data_type) || matches!(data_type, DataType::Duration(_))
}

impl ScalarUDFImpl for DateField {
    fn name(&self) -> &str {
        DATE_PART
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        use arrow::datatypes::TimeUnit::Microsecond;
        let [_, time] = arguments else {
            return plan_err!("date_part takes a field and a time");
        };
        let time = match time {
            DataType::Timestamp(_, zone) => DataType::Timestamp(Microsecond, zone.clone()),
            DataType::Utf8 | DataType::Null => DataType::Timestamp(Microsecond, None),
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(Microsecond),
            DataType::Duration(_) => DataType::Duration(Microsecond),
            DataType::Date32 | DataType::Interval(_) => time.clone(),
            _ => return plan_err!("date_part is for dates, times and intervals"),
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of date_part goes by its field")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let ([Some(name), _], [_, time]) = (arguments.scalar_arguments, arguments.arg_fields)
        else {
            return plan_err!("the field of date_part is a text as it stands, such as 'hour'");
        };
        let data_type = match field(Some(*name), time.data_type())? {
            Asked::Seconds(_) | Asked::Epoch => DataType::Float64,
            Asked::Arrows(_)
            | Asked::Decade
            | Asked::Century
            | Asked::Millennium
            | Asked::Microseconds => DataType::Int32,
        };
        Ok(Arc::new(Field::new(
            DATE_PART,
            data_type,
            time.is_nullable(),
        )))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(name), times] = arguments.args.as_slice() else {
            return exec_err!("the field of date_part is a text as it stands, such as 'hour'");
        };
        let asked = field(Some(name), &times.data_type())?;
        folded(&arguments, |rows| of(asked, &times.to_array(rows)?))
    }
}

/// The field of each time.
fn of(asked: Asked, times: &ArrayRef) -> Result<ArrayRef> {
    if is_interval(times.data_type()) {
        return Ok(of_intervals(asked, times.as_primitive()));
    }
    if is_length(times.data_type()) {
        return Ok(of_intervals(asked, &of_differences(times)?));
    }
    let int = |part| -> Result<Int32Array> {
        Ok(date_part(times, part)?.as_primitive::<Int32Type>().clone())
    };
    // Arrow knows no second of a date.
    let is_date = matches!(times.data_type(), DataType::Date32);
    let in_minute = |per_second: i64| -> Result<Float64Array> {
        if is_date {
            return Ok(int(Part::Day)?.unary(|_| 0.0));
        }
        let pairs = int(Part::Second)?;
        let nanos = int(Part::Nanosecond)?;
        let both = pairs.iter().zip(&nanos);
        let micros =
            both.map(|both| Some(i64::from(both.0?) * 1_000_000 + i64::from(both.1?) / 1000));
        Ok(micros.map(|us| us.map(|us| per(us, per_second))).collect())
    };
    Ok(match asked {
        Asked::Arrows(part) => Arc::new(int(part)?),
        // The year 0 is 1 BC: there is none between the centuries.
        Asked::Decade => {
            Arc::new(int(Part::Year)?.unary::<_, Int32Type>(|year| year.div_euclid(10)))
        }
        Asked::Century => {
            Arc::new(int(Part::Year)?.unary::<_, Int32Type>(|year| number(year, 100)))
        }
        Asked::Millennium => {
            Arc::new(int(Part::Year)?.unary::<_, Int32Type>(|year| number(year, 1000)))
        }
        Asked::Seconds(per_second) => Arc::new(in_minute(per_second)?),
        Asked::Microseconds => {
            let micros = in_minute(1_000_000)?;
            Arc::new(micros.unary::<_, Int32Type>(|us| us as i32))
        }
        Asked::Epoch => epoch(times)?,
    })
}

/// Seconds or milliseconds of so many microseconds. One division, so that it is the number that is
/// nearest to the true one.
fn per(us: i64, per_second: i64) -> f64 {
    us as f64 / (1_000_000 / per_second) as f64
}

/// The number of the century or the millennium.
fn number(year: i32, years: i32) -> i32 {
    match year > 0 {
        true => (year - 1) / years + 1,
        false => (year - years + 1) / years - 1,
    }
}

/// Seconds since 1970, or since midnight.
fn epoch(times: &ArrayRef) -> Result<ArrayRef> {
    use arrow::datatypes::{Int64Type, TimeUnit::Microsecond, TimestampMicrosecondType};
    let seconds: Float64Array = if let DataType::Date32 = times.data_type() {
        let days = arrow::compute::cast(times, &DataType::Int32)?;
        days.as_primitive::<Int32Type>()
            .unary(|day| f64::from(day) * 86_400.0)
    } else if let DataType::Time64(_) = times.data_type() {
        let micros = arrow::compute::cast(times, &DataType::Int64)?;
        micros.as_primitive::<Int64Type>().unary(|us| per(us, 1))
    } else {
        let micros = arrow::compute::cast(times, &DataType::Timestamp(Microsecond, None))?;
        let micros = micros.as_primitive::<TimestampMicrosecondType>();
        micros.unary(|us| per(us, 1))
    };
    Ok(Arc::new(seconds))
}

/// The field of each interval: months count into years, nothing else into what is larger.
fn of_intervals(
    asked: Asked,
    intervals: &arrow::array::PrimitiveArray<IntervalMonthDayNanoType>,
) -> ArrayRef {
    let int = |field: fn(IntervalMonthDayNano) -> i64| -> ArrayRef {
        let field = |interval| i32::try_from(field(interval)).ok();
        Arc::new(intervals.unary_opt::<_, Int32Type>(field))
    };
    let float = |field: &dyn Fn(IntervalMonthDayNano) -> f64| -> ArrayRef {
        let fields: Float64Array = intervals.unary(field);
        Arc::new(fields)
    };
    const HOUR_US: i64 = 3_600_000_000;
    let micros = |it: IntervalMonthDayNano| it.nanoseconds / 1000;
    match asked {
        Asked::Arrows(Part::Year) => int(|it| i64::from(it.months / 12)),
        Asked::Arrows(Part::Quarter) => int(|it| i64::from(it.months % 12 / 3 + 1)),
        Asked::Arrows(Part::Month) => int(|it| i64::from(it.months % 12)),
        Asked::Arrows(Part::Day) => int(|it| i64::from(it.days)),
        Asked::Arrows(Part::Hour) => int(|it| it.nanoseconds / 1000 / HOUR_US),
        // The rest has been refused.
        Asked::Arrows(_) => int(|it| it.nanoseconds / 1000 % HOUR_US / 60_000_000),
        Asked::Decade => int(|it| i64::from(it.months / 120)),
        Asked::Century => int(|it| i64::from(it.months / 1200)),
        Asked::Millennium => int(|it| i64::from(it.months / 12_000)),
        Asked::Seconds(per_second) => float(&|it| per(micros(it) % 60_000_000, per_second)),
        Asked::Microseconds => int(|it| it.nanoseconds / 1000 % 60_000_000),
        // A year has 365.25 days here, and a month that makes no year has 30.
        Asked::Epoch => float(&|it| {
            let quarters = i64::from(it.months / 12) * 1461 + i64::from(it.months % 12) * 120;
            let seconds = quarters * 21_600 + i64::from(it.days) * 86_400;
            let us = i128::from(seconds) * 1_000_000 + i128::from(micros(it));
            us as f64 / 1e6
        }),
    }
}

/// Plans EXTRACT, and sums of a date and an interval, which is a TIMESTAMP in PostgreSQL; Arrow
/// would lose the hours.
#[derive(Debug)]
pub struct TimePlanner;

impl ExprPlanner for TimePlanner {
    fn plan_extract(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let function = ScalarUDF::from(DateField::default());
        Ok(PlannerResult::Planned(function.call(arguments)))
    }

    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            _ => return Ok(PlannerResult::Original(with_intervals(raw, schema))),
        };
        let is_part = |side: &Expr| {
            let data_type = side.get_type(schema);
            data_type.is_ok_and(|it| is_length(&it) || it == DataType::Date32)
        };
        // The right side of a long sum is short.
        if !is_part(&raw.right) {
            return Ok(PlannerResult::Original(raw));
        }
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        let sides = match (&left, &right) {
            (DataType::Date32, length) if is_length(length) => (as_timestamp(raw.left), raw.right),
            (length, DataType::Date32) if is_length(length) && op == Operator::Plus => {
                (raw.left, as_timestamp(raw.right))
            }
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let (left, right) = (Box::new(sides.0), Box::new(sides.1));
        let sum = Expr::BinaryExpr(BinaryExpr { left, op, right });
        Ok(PlannerResult::Planned(sum))
    }
}

/// A text that a difference of timestamps is compared with is an INTERVAL.
fn with_intervals(mut raw: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let compares = matches!(
        raw.op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    );
    let is_text = |side: &Expr| matches!(side, Expr::Literal(ScalarValue::Utf8(_), _));
    let is_time = |side: &Expr| side.get_type(schema).is_ok_and(|it| is_length(&it));
    let text = match (is_text(&raw.left), is_text(&raw.right)) {
        (true, false) if compares && is_time(&raw.right) => &mut raw.left,
        (false, true) if compares && is_time(&raw.left) => &mut raw.right,
        _ => return raw,
    };
    *text = Expr::Cast(Cast::new(Box::new(std::mem::take(text)), INTERVAL));
    raw
}

fn as_timestamp(date: Expr) -> Expr {
    let microsecond = arrow::datatypes::TimeUnit::Microsecond;
    let to = DataType::Timestamp(microsecond, None);
    Expr::Cast(Cast::new(Box::new(date), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centuries_and_millennia_begin_with_the_year_one() {
        assert_eq!(number(2000, 100), 20);
        assert_eq!(number(2001, 100), 21);
        assert_eq!(number(2001, 1000), 3);
        assert_eq!(number(1, 100), 1);
        assert_eq!(number(0, 100), -1);
    }
}
