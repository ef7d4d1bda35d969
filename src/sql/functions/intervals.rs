//! Intervals as PostgreSQL compares and makes them.
//!
//! * A month is thirty days long and a day 24 hours, where intervals are compared. Arrow goes by
//!   months first, then by days: a difference of 300 days, counted in nanoseconds, would be less
//!   than two days.
//! * The difference of two timestamps is days and a time of less than a day. DataFusion counts it
//!   in microseconds, and it stays that until it meets an interval.
//! * A text without a unit is seconds.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and operators, those that compare are named"
)]

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimeUnit,
};
use datafusion_common::{DFSchema, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion_expr::expr::InList;
use datafusion_expr::{
    Between, BinaryExpr, Case, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, when,
};

use super::folded::{folded, unary};
use crate::types::interval;

/// What a day has.
const DAY_US: i64 = 86_400_000_000;
const DAY_NS: i128 = 86_400_000_000_000;

/// The type of an INTERVAL.
pub const INTERVAL: DataType = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);

/// Whether a type is INTERVAL as it is written; a difference of timestamps is not yet.
pub fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_))
}

/// Whether there are intervals in values of a type.
pub fn holds_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_interval(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| holds_interval(field.data_type())),
        other => is_interval(other),
    }
}

/// The comparison that is meant, of an expression that compares intervals. Types are coerced.
pub fn compared(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let are = |side: &Expr| side.get_type(schema).is_ok_and(|it| is_interval(&it));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if known(*op).is_some() && are(left) && are(right) =>
        {
            compare(left.as_ref().clone(), *op, right.as_ref().clone())
        }
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) if are(expr) => {
            let side = |op, bound: &Expr| compare(expr.as_ref().clone(), op, bound.clone());
            let within = side(Operator::GtEq, low)?.and(side(Operator::LtEq, high)?);
            Some(not_if(*negated, within))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) if are(expr) => {
            let same = |item: &Expr| compare(expr.as_ref().clone(), Operator::Eq, item.clone());
            let any = list.iter().map(same).collect::<Option<Vec<_>>>()?;
            let any = any.into_iter().reduce(Expr::or)?;
            Some(not_if(*negated, any))
        }
        Expr::Case(case) => {
            let operand = case.expr.as_deref().filter(|operand| are(operand))?;
            let branches = case.when_then_expr.iter().map(|(value, then)| {
                let same = compare(operand.clone(), Operator::Eq, value.as_ref().clone())?;
                Some((Box::new(same), then.clone()))
            });
            let branches = branches.collect::<Option<Vec<_>>>()?;
            Some(Expr::Case(Case::new(
                None,
                branches,
                case.else_expr.clone(),
            )))
        }
        Expr::ScalarFunction(call) if call.func.name() == "nullif" => {
            let [left, right] = call.args.as_slice() else {
                return None;
            };
            let same = are(left).then(|| compare(left.clone(), Operator::Eq, right.clone()))??;
            let null = Expr::Literal(ScalarValue::IntervalMonthDayNano(None), None);
            when(same, null).otherwise(left.clone()).ok()
        }
        _ => None,
    }
}

fn not_if(negated: bool, condition: Expr) -> Expr {
    match negated {
        true => Expr::Not(Box::new(condition)),
        false => condition,
    }
}

/// `left op right`, if it is a comparison.
fn compare(left: Expr, op: Operator, right: Expr) -> Option<Expr> {
    let (_, name, _) = known(op)?;
    let function = ScalarUDF::from(Compare {
        name,
        op,
        signature: Signature::any(2, Volatility::Immutable),
    });
    Some(function.call(vec![left, right]))
}

fn known(op: Operator) -> Option<&'static (Operator, &'static str, Holds)> {
    COMPARISONS.iter().find(|(known, _, _)| *known == op)
}

/// The sign of a comparison of intervals, by the function's name.
pub fn operator(name: &str) -> Option<Operator> {
    let known = COMPARISONS.iter().find(|(_, known, _)| *known == name);
    known.map(|(op, _, _)| *op)
}

type Holds = fn(Ordering) -> bool;

const COMPARISONS: [(Operator, &str, Holds); 8] = [
    (Operator::Eq, "interval_eq", Ordering::is_eq),
    (Operator::NotEq, "interval_ne", Ordering::is_ne),
    (Operator::Lt, "interval_lt", Ordering::is_lt),
    (Operator::LtEq, "interval_le", Ordering::is_le),
    (Operator::Gt, "interval_gt", Ordering::is_gt),
    (Operator::GtEq, "interval_ge", Ordering::is_ge),
    (
        Operator::IsDistinctFrom,
        "interval_distinct",
        Ordering::is_ne,
    ),
    (
        Operator::IsNotDistinctFrom,
        "interval_not_distinct",
        Ordering::is_eq,
    ),
];

#[derive(Debug, PartialEq, Eq, Hash)]
struct Compare {
    name: &'static str,
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Compare {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return exec_err!("a comparison has two sides");
        };
        let (_, _, holds) = known(self.op).expect("only what is in the list is made a function");
        let nulls_are_equal = matches!(
            self.op,
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
        );
        let compare = |(left, right): (Option<i128>, Option<i128>)| match (left, right) {
            (Some(left), Some(right)) => Some(holds(left.cmp(&right))),
            (left, right) if nulls_are_equal => Some(holds(left.cmp(&right))),
            _ => None,
        };
        folded(&arguments, |rows| {
            let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
            let result: BooleanArray = lengths(&left).zip(lengths(&right)).map(compare).collect();
            Ok(Arc::new(result))
        })
    }
}

/// How long each interval is, in nanoseconds.
fn lengths(intervals: &ArrayRef) -> impl Iterator<Item = Option<i128>> {
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    intervals.iter().map(|interval| interval.map(length_ns))
}

fn length_ns(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * DAY_NS + i128::from(interval.nanoseconds)
}

/// The name of the cast to INTERVAL.
pub const AS_INTERVAL: &str = "as_interval";

static CAST: LazyLock<ScalarUDF> =
    LazyLock::new(|| AsInterval(Signature::any(1, Volatility::Immutable)).into());

/// The cast of a text, a time of day or a difference of timestamps to INTERVAL, if `from` is the type of one.
pub fn cast(value: Expr, from: &DataType) -> Result<Expr, Expr> {
    match from {
        DataType::Utf8 | DataType::Duration(_) | DataType::Time64(_) => Ok(CAST.call(vec![value])),
        _ => Err(value),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsInterval(Signature);

impl ScalarUDFImpl for AsInterval {
    fn name(&self) -> &str {
        AS_INTERVAL
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |array| match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>().iter();
                let read = texts.map(|text| text.map(of_text).transpose());
                let read: PrimitiveArray<IntervalMonthDayNanoType> = read.collect::<Result<_>>()?;
                Ok(Arc::new(read))
            }
            DataType::Time64(_) => Ok(Arc::new(of_times(array)?)),
            _ => Ok(Arc::new(of_differences(array)?)),
        })
    }
}

/// Times of day as what has passed since midnight.
fn of_times(array: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    let micros = arrow::compute::cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
    let micros = micros.as_primitive::<Time64MicrosecondType>();
    Ok(micros.unary(|us| IntervalMonthDayNano::new(0, 0, us * 1000)))
}

/// The interval that a text stands for.
pub fn of_text(text: &str) -> Result<IntervalMonthDayNano> {
    let last = text
        .split_ascii_whitespace()
        .next_back()
        .unwrap_or_default();
    let has_unit = last.contains(|c: char| c.is_ascii_alphabetic() || c == ':');
    let read = match has_unit {
        true => interval::read(text),
        false => interval::read(&format!("{text} seconds")),
    };
    read.ok_or_else(|| exec_datafusion_err!("'{text}' is not INTERVAL"))
}

/// Differences of timestamps as days and what is left of a day.
pub fn of_differences(array: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    let micros = arrow::compute::cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
    let micros = micros.as_primitive::<DurationMicrosecondType>();
    micros.try_unary(|us| {
        let days = i32::try_from(us / DAY_US);
        let days = days.map_err(|_| exec_datafusion_err!("interval out of range"))?;
        Ok(IntervalMonthDayNano::new(0, days, us % DAY_US * 1000))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_as_long_as_thirty_days_and_a_day_as_24_hours() {
        let hour = 3_600_000_000_000;
        let interval = IntervalMonthDayNano::new;

        assert_eq!(length_ns(interval(1, 0, 0)), length_ns(interval(0, 30, 0)));
        assert_eq!(
            length_ns(interval(0, 1, hour)),
            length_ns(interval(0, 0, 25 * hour))
        );
        assert!(length_ns(interval(0, 2, 0)) < length_ns(interval(0, 0, 300 * 24 * hour)));
    }

    #[test]
    fn a_text_without_a_unit_is_seconds() {
        let interval = IntervalMonthDayNano::new;

        assert_eq!(of_text("5").unwrap(), interval(0, 0, 5_000_000_000));
        assert_eq!(
            of_text("1 day 02:00:00").unwrap(),
            interval(0, 1, 7_200_000_000_000)
        );
        assert!(of_text("soon").is_err());
    }
}
