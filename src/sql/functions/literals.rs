//! Operators with a text that is written out, which takes the type that the other side asks for,
//! and those of intervals and numbers.
//!
//! | written | planned |
//! |---|---|
//! | `at + '1 day'`, `time - '1 hour'`, `i + '1 hour'` of times and intervals | INTERVAL |
//! | `at - '2026-03-01'`, `number * '5'` | the type of the other side |
//! | `price * '1.5'` of a NUMERIC | a NUMERIC of the digits that are written |
//! | `is_open = 'true'`, `tags = '{a,b}'` | the type of the other side |
//! | `at < day`, `at - day` | the day is a TIMESTAMP |
//! | `day + time`, `at + time` | a TIMESTAMP |
//! | `substring(bytes FROM 2 FOR 3)` | see `binary` |
//! | `INTERVAL '1 hour' * n`, `(a - b) / 2` | see `scaled` |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of operators and types, those that a text can stand beside are named"
)]

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::Cast;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, binary_expr};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::either::moment;
use super::intervals::INTERVAL;
use super::{binary, scaled};

/// Plans them.
#[derive(Debug)]
pub struct LiteralPlanner;

impl ExprPlanner for LiteralPlanner {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Some(scaled) = with_number(&raw, schema) {
            return Ok(PlannerResult::Planned(scaled));
        }
        if let Some(sum) = with_time(&raw, schema) {
            return Ok(PlannerResult::Planned(sum));
        }
        if as_timestamps(&mut raw, schema) {
            return Ok(PlannerResult::Original(raw));
        }
        let (text, other) = match (is_text(&raw.left), is_text(&raw.right)) {
            (true, false) => (&mut raw.left, &raw.right),
            (false, true) => (&mut raw.right, &raw.left),
            _ => return Ok(PlannerResult::Original(raw)),
        };
        if let Ok(other) = other.get_type(schema)
            && let Some(typed) = typed(text, &raw.op, &other)
        {
            *text = typed;
        }
        Ok(PlannerResult::Original(raw))
    }

    fn plan_substring(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(substring(arguments)))
    }
}

/// Makes a date beside a timestamp one.
fn as_timestamps(raw: &mut RawBinaryExpr, schema: &DFSchema) -> bool {
    if !(compares(&raw.op) || raw.op == BinaryOperator::Minus) {
        return false;
    }
    let of = |side: &Expr| side.get_type(schema).unwrap_or(DataType::Null);
    // The right side of a long difference is short.
    let of_right = of(&raw.right);
    if !matches!(of_right, DataType::Date32 | DataType::Timestamp(..)) {
        return false;
    }
    let types = [of_right, of(&raw.left)];
    let Some(to) = moment(&types) else {
        return false;
    };
    for (side, of) in [&mut raw.right, &mut raw.left].into_iter().zip(types) {
        if of == DataType::Date32 {
            *side = Expr::Cast(Cast::new(Box::new(std::mem::take(side)), to.clone()));
        }
    }
    true
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(
        op,
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq
    )
}

/// A date or a timestamp, and a time of day.
fn with_time(raw: &RawBinaryExpr, schema: &DFSchema) -> Option<Expr> {
    let BinaryOperator::Plus = raw.op else {
        return None;
    };
    // What is long is long on its left.
    let of_right = raw.right.get_type(schema).ok()?;
    let (day, of_day, time) = match of_right {
        DataType::Time64(_) => (&raw.left, raw.left.get_type(schema).ok()?, &raw.right),
        DataType::Date32 | DataType::Timestamp(..) => (&raw.right, of_right, &raw.left),
        _ => return None,
    };
    let is_time = matches!(time.get_type(schema).ok()?, DataType::Time64(_));
    let to = match of_day {
        DataType::Date32 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(..) => of_day,
        _ => return None,
    };
    let day = Expr::Cast(Cast::new(Box::new(day.clone()), to));
    let time = Expr::Cast(Cast::new(Box::new(time.clone()), INTERVAL));
    is_time.then(|| binary_expr(day, Operator::Plus, time))
}

/// `substring`, of text and of BYTEA.
fn substring(arguments: Vec<Expr>) -> Expr {
    let theirs = datafusion_functions::unicode::substr();
    let function = binary::of_bytes(&theirs).unwrap_or(theirs);
    function.call(arguments)
}

/// An interval by a number.
fn with_number(raw: &RawBinaryExpr, schema: &DFSchema) -> Option<Expr> {
    let op = match raw.op {
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        _ => return None,
    };
    // A product of numbers that is long is long on its left, and the product of an interval is a
    // call.
    if let Expr::BinaryExpr(BinaryExpr {
        op: Operator::Multiply | Operator::Divide | Operator::Modulo,
        ..
    }) = &raw.left
    {
        let right = raw.right.get_type(schema).ok()?;
        let is_length = matches!(right, DataType::Interval(_) | DataType::Duration(_));
        is_length.then_some(())?;
    }
    let types = [
        raw.left.get_type(schema).ok()?,
        raw.right.get_type(schema).ok()?,
    ];
    scaled::scaled(&raw.left, op, &raw.right, [&types[0], &types[1]])
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

/// The text with the type that it has beside a value of type `other`.
fn typed(text: &Expr, op: &BinaryOperator, other: &DataType) -> Option<Expr> {
    use BinaryOperator as Op;
    let cast = |to: DataType| Some(Expr::Cast(Cast::new(Box::new(text.clone()), to)));
    let compares = compares(op);
    match (op, other) {
        (Op::Plus, DataType::Timestamp(_, _) | DataType::Time64(_)) => cast(INTERVAL),
        (Op::Plus | Op::Minus, DataType::Interval(_) | DataType::Duration(_)) => cast(INTERVAL),
        (Op::Minus, DataType::Timestamp(_, _) | DataType::Time64(_) | DataType::Date32) => {
            cast(other.clone())
        }
        (
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo,
            DataType::Decimal128(_, _),
        ) => decimal(text),
        (Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo, other)
            if other.is_numeric() =>
        {
            cast(other.clone())
        }
        (_, DataType::Boolean | DataType::List(_)) if compares => cast(other.clone()),
        _ => None,
    }
}

/// A text of digits as a NUMERIC of so many.
fn decimal(text: &Expr) -> Option<Expr> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = text else {
        return None;
    };
    let text = text.trim();
    let (whole, after) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{after}");
    let value: i128 = digits.parse().ok()?;
    let scale = i8::try_from(after.len()).ok()?;
    let precision = u8::try_from(digits.len()).ok()?.max(scale.unsigned_abs());
    let fits = precision <= 38;
    let value = ScalarValue::Decimal128(Some(value), precision, scale);
    fits.then_some(Expr::Literal(value, None))
}

#[cfg(test)]
mod tests {
    use datafusion_expr::lit;

    use super::*;

    #[test]
    fn a_text_of_digits_is_a_numeric_of_so_many() {
        let of = |text: &str| match decimal(&lit(text)) {
            Some(Expr::Literal(ScalarValue::Decimal128(value, precision, scale), _)) => {
                value.map(|value| (value, precision, scale))
            }
            _ => None,
        };

        assert_eq!(of("1.50"), Some((150, 3, 2)));
        assert_eq!(of("-7"), Some((-7, 2, 0)));
        assert_eq!(of("a"), None);
        assert_eq!(of(""), None);
    }
}
