//! Casts as PostgreSQL makes them, where Arrow makes them otherwise.
//!
//! * A fraction becomes an integer by rounding, not by cutting off: halves of NUMERIC away from
//!   zero, halves of floats to the even neighbour.
//! * Between floats and NUMERICs, and of lists, see `converted`.
//! * Text becomes UUID or JSON only if it is that.
//! * A text without a unit becomes an INTERVAL of seconds; intervals are compared by their length.
//! * A timestamp becomes text with a space between date and time, an interval as in
//!   `1 day 02:00:00`, a float without a needless `.0`, and BYTEA in hexadecimal behind `\x`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and types, those that differ are named"
)]

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, exec_err};
use datafusion_expr::expr::{AggregateFunction, Case, Cast, TryCast};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::unary;
use super::intervals::{self, INTERVAL};
use super::marked::Unfit;
use super::{arithmetic, converted, identifiers, lists, marked, regexes, texts};
use crate::sql::problem::Problem;
use crate::sql::renamed::under_their_names;
use crate::sql::types::{EXTENSION, UUID, name_of};
use crate::types::interval;

/// Gives every cast of `plan` PostgreSQL's meaning. Its types are coerced already.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        under_their_names(plan, |expr| rewrite_expression(expr, &schema))
    })?;
    Ok(rewritten.data)
}

/// The same of one expression over `schema`.
pub fn rewrite_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        expr if identifiers::any(&expr, schema) => Ok(Transformed::yes(identifiers::read(expr))),
        expr if let Some(compared) = intervals::compared(&expr, schema) => {
            Ok(Transformed::yes(compared))
        }
        Expr::Cast(cast) => {
            refuse_uuid(&cast, schema)?;
            Ok(rewrite_cast(cast, schema))
        }
        Expr::TryCast(cast) => Ok(try_cast(cast, schema)),
        Expr::BinaryExpr(binary) if binary.op == Operator::Divide => Ok(divide(binary, schema)),
        Expr::BinaryExpr(binary) => {
            let (binary, changed) = regexes::matched(binary);
            let expr = Expr::BinaryExpr(binary);
            arithmetic::check_constant(&expr, schema)?;
            Ok(Transformed::new_transformed(expr, changed))
        }
        Expr::AggregateFunction(call) => Ok(only_where_filtered(call)),
        Expr::ScalarFunction(mut call) => {
            super::patterns::translate(call.func.name(), &mut call.args)?;
            let changed = lists::translated(&mut call);
            Ok(Transformed::new_transformed(
                Expr::ScalarFunction(call),
                changed,
            ))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn rewrite_cast(mut cast: Cast, schema: &DFSchema) -> Transformed<Expr> {
    // A reference to an outer query has no type here; DataFusion removes it later.
    let Ok(from) = cast.expr.get_type(schema) else {
        return Transformed::no(Expr::Cast(cast));
    };
    let to = cast.field.data_type();
    let is_round = matches!(cast.expr.as_ref(), Expr::ScalarFunction(call)
        if call.func.name() == ROUND.name());
    if is_fraction(&from) && to.is_integer() && !is_round {
        *cast.expr = ROUND.call(vec![*cast.expr]);
        return Transformed::yes(Expr::Cast(cast));
    }
    if converted::is_ours(&from, to) {
        return Transformed::yes(converted::converted(*cast.expr, to, Unfit::Error));
    }
    if to == &INTERVAL {
        return match intervals::cast(*cast.expr, &from) {
            Ok(cast) => Transformed::yes(cast),
            Err(expr) => {
                Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(expr), cast.field)))
            }
        };
    }
    if has_own_text(&from) && to == &DataType::Utf8 {
        return Transformed::yes(TEXT.call(vec![*cast.expr]));
    }
    if from == DataType::Utf8 && mark_of(&cast.field).is_none() {
        return match texts::cast_text(*cast.expr, &cast.field, Unfit::Error) {
            Ok(cast) => Transformed::yes(cast),
            Err(expr) => {
                Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(expr), cast.field)))
            }
        };
    }
    match mark_to_check(&cast.expr, &cast.field, schema) {
        Some(mark) => match marked::cast(&mark, *cast.expr, Unfit::Error) {
            Ok(checked) => Transformed::yes(checked),
            Err(expr) => {
                Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(expr), cast.field)))
            }
        },
        None => Transformed::no(Expr::Cast(cast)),
    }
}

fn try_cast(cast: TryCast, schema: &DFSchema) -> Transformed<Expr> {
    let to = cast.field.data_type();
    if let Ok(from) = cast.expr.get_type(schema)
        && converted::is_ours(&from, to)
    {
        return Transformed::yes(converted::converted(*cast.expr, to, Unfit::Null));
    }
    if cast
        .expr
        .get_type(schema)
        .is_ok_and(|it| it == DataType::Utf8)
        && mark_of(&cast.field).is_none()
    {
        return match texts::cast_text(*cast.expr, &cast.field, Unfit::Null) {
            Ok(cast) => Transformed::yes(cast),
            Err(expr) => Transformed::no(Expr::TryCast(TryCast::new_from_field(
                Box::new(expr),
                cast.field,
            ))),
        };
    }
    match mark_to_check(&cast.expr, &cast.field, schema) {
        Some(mark) => match marked::cast(&mark, *cast.expr, Unfit::Null) {
            Ok(checked) => Transformed::yes(checked),
            Err(expr) => Transformed::no(Expr::TryCast(TryCast::new_from_field(
                Box::new(expr),
                cast.field,
            ))),
        },
        None => Transformed::no(Expr::TryCast(cast)),
    }
}

fn mark_of(field: &FieldRef) -> Option<&String> {
    field.metadata().get(EXTENSION)
}

/// Refuses to make a UUID of a number, a time or a truth value.
fn refuse_uuid(cast: &Cast, schema: &DFSchema) -> Result<()> {
    let Ok(from) = cast.expr.get_type(schema) else {
        return Ok(());
    };
    let is_other = from.is_numeric() || from.is_temporal() || from == DataType::Boolean;
    if is_other && mark_of(&cast.field).is_some_and(|mark| mark == UUID) {
        let message = format!("{} cannot be cast to UUID", name_of(&from));
        return Err(Problem::of_file(message)
            .hint("a UUID is made of text")
            .into());
    }
    Ok(())
}

/// The mark of UUID or JSON that text gets by a cast, if it does not have it already.
fn mark_to_check(expr: &Expr, to: &FieldRef, schema: &DFSchema) -> Option<String> {
    let wanted = mark_of(to)?;
    let (_, from) = expr.to_field(schema).ok()?;
    let has = from.metadata().get(EXTENSION) == Some(wanted);
    (from.data_type().is_string() && !has).then(|| wanted.clone())
}

/// `sum(x) FILTER (WHERE c)` computes x where c holds, and nowhere else: an x that fails there
/// alone is of no interest.
fn only_where_filtered(mut call: AggregateFunction) -> Transformed<Expr> {
    let Some(filter) = call.params.filter.clone() else {
        return Transformed::no(Expr::AggregateFunction(call));
    };
    let mut changed = false;
    let order = call.params.order_by.iter_mut().map(|key| &mut key.expr);
    for part in call.params.args.iter_mut().chain(order) {
        let is_simple = matches!(part, Expr::Column(_)) || part.column_refs().is_empty();
        if is_simple || guarded_by(part, &filter).is_some() {
            continue;
        }
        let when_then = vec![(filter.clone(), Box::new(std::mem::take(part)))];
        *part = Expr::Case(Case::new(None, when_then, None));
        changed = true;
    }
    let call = Expr::AggregateFunction(call);
    if changed {
        Transformed::yes(call)
    } else {
        Transformed::no(call)
    }
}

/// The `x` of `CASE WHEN filter THEN x END`.
pub fn guarded_by<'a>(expr: &'a Expr, filter: &Expr) -> Option<&'a Expr> {
    match expr {
        Expr::Case(case) if case.expr.is_none() && case.else_expr.is_none() => {
            match case.when_then_expr.as_slice() {
                [(when, then)] if when.as_ref() == filter => Some(then),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A division of floats, which fails of zero. That of NUMERICs has its own function already.
fn divide(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let types = (binary.left.get_type(schema), binary.right.get_type(schema));
    match types {
        (Ok(left @ (DataType::Float64 | DataType::Float32)), Ok(right)) if left == right => {
            Transformed::yes(arithmetic::divide(*binary.left, *binary.right))
        }
        _ => Transformed::no(Expr::BinaryExpr(binary)),
    }
}

/// Whether values of a type may have something after the point.
pub fn is_fraction(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal128(_, 1..) | DataType::Float32 | DataType::Float64
    )
}

/// Whether values of a type read otherwise than Arrow writes them.
pub fn has_own_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, _)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Float32
            | DataType::Float64
            | DataType::Binary
    )
}

static ROUND: LazyLock<ScalarUDF> = LazyLock::new(|| Round(exactly_one()).into());
static TEXT: LazyLock<ScalarUDF> = LazyLock::new(|| Text(exactly_one()).into());

fn exactly_one() -> Signature {
    Signature::any(1, Volatility::Immutable)
}

/// To the nearest integer, in a type that may still hold a fraction.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Round(Signature);

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        "round_to_integer"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(whole_of(&arguments[0]))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        of_argument(self, &arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, to_whole)
    }
}

/// Numbers rounded to whole ones, in a type that may still hold a fraction.
pub fn to_whole(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float32 => rounded::<Float32Type>(array, f32::round_ties_even),
        DataType::Float64 => rounded::<Float64Type>(array, f64::round_ties_even),
        // Arrow rounds halves away from zero between decimals.
        other => arrow::compute::cast(array, &whole_of(other))?,
    })
}

fn whole_of(data_type: &DataType) -> DataType {
    match data_type {
        // Rounding up may add a digit, which the one after the point makes room for.
        DataType::Decimal128(precision, _) => DataType::Decimal128(*precision, 0),
        other => other.clone(),
    }
}

fn rounded<T: ArrowPrimitiveType>(array: &ArrayRef, round: fn(T::Native) -> T::Native) -> ArrayRef {
    let array: PrimitiveArray<T> = array.as_primitive::<T>().unary(round);
    Arc::new(array)
}

/// A value as PostgreSQL writes it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Text(Signature);

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        "text"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        of_argument(self, &arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, written)
    }
}

/// Values as PostgreSQL writes them.
pub fn written(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(_, zone) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let zone = if zone.is_some() { "+00" } else { "" };
            let array = arrow::compute::cast(array, &micros)?;
            let values = array.as_primitive::<TimestampMicrosecondType>();
            texts(values.iter(), |out, us| timestamp(out, us, zone))
        }
        DataType::Time64(_) => {
            let array = arrow::compute::cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
            let values = array.as_primitive::<Time64MicrosecondType>();
            texts(values.iter(), time)
        }
        DataType::Interval(_) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>();
            texts(values.iter(), interval::write)
        }
        DataType::Duration(_) => {
            let values = intervals::of_differences(array)?;
            texts(values.iter(), interval::write)
        }
        DataType::Float32 => texts(array.as_primitive::<Float32Type>().iter(), |out, value| {
            float(out, &format!("{value}"), &format!("{value:e}"), 6);
        }),
        DataType::Float64 => texts(array.as_primitive::<Float64Type>().iter(), |out, value| {
            float(out, &format!("{value}"), &format!("{value:e}"), 15);
        }),
        DataType::Binary => texts(array.as_binary::<i32>().iter(), hexadecimal),
        other => exec_err!("text of {other}"),
    }
}

fn texts<T>(
    values: impl Iterator<Item = Option<T>>,
    write: impl Fn(&mut String, T),
) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    let mut text = String::new();
    for value in values {
        match value {
            Some(value) => {
                text.clear();
                write(&mut text, value);
                out.append_value(&text);
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// `\x00ff`.
fn hexadecimal(out: &mut String, bytes: &[u8]) {
    out.push_str("\\x");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("strings take text");
    }
}

/// `2026-01-31 12:00:00.5+00`: as many digits after the second as there are.
fn timestamp(out: &mut String, us: i64, zone: &str) {
    let Some(time) = chrono::DateTime::from_timestamp_micros(us) else {
        return out.push_str("out of range");
    };
    write!(out, "{}", time.format("%Y-%m-%d %H:%M:%S")).expect("strings take text");
    fraction(out, us);
    out.push_str(zone);
}

/// `12:00:00.5`.
fn time(out: &mut String, us: i64) {
    let second = us / 1_000_000;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    write!(out, "{hour:02}:{minute:02}:{:02}", second % 60).expect("strings take text");
    fraction(out, us);
}

/// The digits after the second.
fn fraction(out: &mut String, us: i64) {
    let fraction = us.rem_euclid(1_000_000);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        write!(out, ".{}", digits.trim_end_matches('0')).expect("strings take text");
    }
}

/// The shortest text that reads back the same, with an exponent outside of 1e-4 to 10^digits.
fn float(out: &mut String, plain: &str, scientific: &str, digits: i32) {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        // NaN, inf and -inf have no exponent.
        return out.push_str(&scientific.replace("inf", "Infinity"));
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..digits).contains(&exponent) {
        return out.push_str(plain);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(out, "{mantissa}e{sign}{:02}", exponent.abs()).expect("strings take text");
}

/// What a function of one argument yields: NULL of NULL only.
fn of_argument(function: &dyn ScalarUDFImpl, arguments: &ReturnFieldArgs) -> Result<FieldRef> {
    let argument = &arguments.arg_fields[0];
    let data_type = function.return_type(&[argument.data_type().clone()])?;
    let field = Field::new(function.name(), data_type, argument.is_nullable());
    Ok(Arc::new(field))
}

/// Whether `function` writes values of `from` as text, different ones differently.
pub fn is_lossless_text(function: &str, from: &DataType) -> bool {
    function == TEXT.name() && matches!(from, DataType::Timestamp(_, _))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float_text(value: f64) -> String {
        let mut out = String::new();
        float(&mut out, &format!("{value}"), &format!("{value:e}"), 15);
        out
    }

    #[test]
    fn floats_read_as_in_postgresql() {
        assert_eq!(float_text(1.0), "1");
        assert_eq!(float_text(-0.1), "-0.1");
        assert_eq!(float_text(1e15), "1e+15");
        assert_eq!(float_text(123_456_789_012_345.0), "123456789012345");
        assert_eq!(float_text(0.0001), "0.0001");
        assert_eq!(float_text(0.00001), "1e-05");
        assert_eq!(float_text(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(float_text(f64::NAN), "NaN");
    }

    #[test]
    fn timestamps_show_the_digits_that_they_have() {
        let text = |us, zone| {
            let mut out = String::new();
            timestamp(&mut out, us, zone);
            out
        };

        assert_eq!(text(0, ""), "1970-01-01 00:00:00");
        assert_eq!(text(1_500_000, "+00"), "1970-01-01 00:00:01.5+00");
        assert_eq!(text(-1, ""), "1969-12-31 23:59:59.999999");
    }
}
