//! How an expression reads in SQL: for `explain`, for errors, and for the plan's fingerprint.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what has no form of its own here reads as DataFusion writes it"
)]

use arrow::array::{Array, ArrayRef};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::{BinaryExpr, Case, Expr, Operator};

use crate::sql::functions::arithmetic::DIVIDE;
use crate::sql::functions::converted::{AS, TRY_AS};
use crate::sql::functions::days::{EARLIER, LATER};
use crate::sql::functions::intervals::{self, AS_INTERVAL};
use crate::sql::functions::like_any;
use crate::sql::functions::lists::EQUALS_ANY;
use crate::sql::functions::numerics::MULTIPLY;
use crate::sql::functions::or_null::OR_NULL;
use crate::sql::functions::parts::EXTRACT;
use crate::sql::functions::scaled;
use crate::sql::functions::texts as casts;
use crate::sql::functions::zones::TIMEZONE;
use crate::sql::types::name_of;

/// How an expression reads in SQL.
pub fn text(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => match column.name.rsplit_once('#') {
            Some((name, _)) => name.to_owned(),
            None => column.name.clone(),
        },
        Expr::Literal(value, _) => literal(value),
        Expr::Alias(alias) => text(&alias.expr),
        Expr::BinaryExpr(binary) => of_binary(binary),
        Expr::Not(inner) => format!("NOT {}", bracketed(inner)),
        Expr::Negative(inner) => format!("-{}", bracketed(inner)),
        Expr::IsNull(inner) => format!("{} IS NULL", bracketed(inner)),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", bracketed(inner)),
        Expr::IsTrue(inner) => format!("{} IS TRUE", bracketed(inner)),
        Expr::IsFalse(inner) => format!("{} IS FALSE", bracketed(inner)),
        Expr::IsUnknown(inner) => format!("{} IS UNKNOWN", bracketed(inner)),
        Expr::IsNotTrue(inner) => format!("{} IS NOT TRUE", bracketed(inner)),
        Expr::IsNotFalse(inner) => format!("{} IS NOT FALSE", bracketed(inner)),
        Expr::IsNotUnknown(inner) => format!("{} IS NOT UNKNOWN", bracketed(inner)),
        Expr::Cast(cast) => {
            format!(
                "CAST({} AS {})",
                text(&cast.expr),
                name_of(cast.field.data_type())
            )
        }
        Expr::TryCast(cast) => {
            format!(
                "TRY_CAST({} AS {})",
                text(&cast.expr),
                name_of(cast.field.data_type())
            )
        }
        Expr::ScalarFunction(call) => function(call.func.name(), &call.args),
        Expr::Like(like) => format!(
            "{} {}{} {}",
            bracketed(&like.expr),
            if like.negated { "NOT " } else { "" },
            if like.case_insensitive {
                "ILIKE"
            } else {
                "LIKE"
            },
            text(&like.pattern)
        ),
        Expr::Between(between) => format!(
            "{} {}BETWEEN {} AND {}",
            bracketed(&between.expr),
            if between.negated { "NOT " } else { "" },
            text(&between.low),
            text(&between.high)
        ),
        Expr::InList(list) => format!(
            "{} {}IN ({})",
            bracketed(&list.expr),
            if list.negated { "NOT " } else { "" },
            texts(&list.list)
        ),
        Expr::Case(case) => of_case(case),
        other => other.to_string(),
    }
}

fn of_binary(binary: &BinaryExpr) -> String {
    let BinaryExpr { left, op, right } = binary;
    let side = |side: &Expr| match side {
        Expr::BinaryExpr(inner) if inner.op.precedence() <= op.precedence() => {
            format!("({})", text(side))
        }
        other => text(other),
    };
    // `a AND b AND c` needs no brackets.
    let left = match left.as_ref() {
        Expr::BinaryExpr(inner) if inner.op == *op => text(left),
        left => side(left),
    };
    format!("{left} {op} {}", side(right))
}

fn of_sides(left: &Expr, op: Operator, right: &Expr) -> String {
    let [left, right] = [left, right].map(|side| Box::new(side.clone()));
    of_binary(&BinaryExpr::new(left, op, right))
}

fn of_case(case: &Case) -> String {
    if let Some(values) = coalesced(case) {
        return format!("coalesce({})", values.join(", "));
    }
    let mut out = "CASE".to_owned();
    if let Some(operand) = &case.expr {
        out += &format!(" {}", text(operand));
    }
    for (when, then) in &case.when_then_expr {
        out += &format!(" WHEN {} THEN {}", text(when), text(then));
    }
    if let Some(otherwise) = &case.else_expr {
        out += &format!(" ELSE {}", text(otherwise));
    }
    out + " END"
}

/// `CASE WHEN a IS NOT NULL THEN a ELSE b END`, as DataFusion writes `coalesce(a, b)`.
fn coalesced(case: &Case) -> Option<Vec<String>> {
    let last = case.else_expr.as_ref().filter(|_| case.expr.is_none())?;
    let firsts = case.when_then_expr.iter().map(|(when, then)| {
        let is_tested = matches!(when.as_ref(), Expr::IsNotNull(tested) if tested == then);
        is_tested.then(|| text(then))
    });
    firsts.chain([Some(text(last))]).collect()
}

fn bracketed(expr: &Expr) -> String {
    match expr {
        Expr::BinaryExpr(_) => format!("({})", text(expr)),
        other => text(other),
    }
}

/// Expressions with commas between.
pub fn texts(expressions: &[Expr]) -> String {
    let texts: Vec<String> = expressions.iter().map(text).collect();
    texts.join(", ")
}

fn function(name: &str, arguments: &[Expr]) -> String {
    match (name, arguments) {
        ("get_field", [value, Expr::Literal(ScalarValue::Utf8(Some(field)), _)]) => {
            format!("{}.{field}", bracketed(value))
        }
        // Casts that are PostgreSQL's rather than Arrow's.
        ("text", [value]) => format!("CAST({} AS TEXT)", text(value)),
        ("round_to_integer" | OR_NULL, [value]) => text(value),
        ("as_uuid", [value]) => format!("CAST({} AS UUID)", text(value)),
        ("as_json", [value]) => format!("CAST({} AS JSON)", text(value)),
        ("try_uuid", [value]) => format!("TRY_CAST({} AS UUID)", text(value)),
        ("try_json", [value]) => format!("TRY_CAST({} AS JSON)", text(value)),
        (name, [value]) if let Some(to) = name.strip_prefix(AS) => {
            format!("CAST({} AS {to})", text(value))
        }
        (name, [value]) if let Some(to) = name.strip_prefix(TRY_AS) => {
            format!("TRY_CAST({} AS {to})", text(value))
        }
        (LATER, [date, days]) => of_sides(date, Operator::Plus, days),
        (EARLIER, [date, days]) => of_sides(date, Operator::Minus, days),
        (AS_INTERVAL, [value]) => format!("CAST({} AS INTERVAL)", text(value)),
        (EQUALS_ANY, [list, value]) => format!("{} = ANY({})", bracketed(value), text(list)),
        (name, [value, list]) if let Some(like) = like_any::written(name) => {
            format!("{} {like} ANY({})", bracketed(value), text(list))
        }
        (EXTRACT, [Expr::Literal(ScalarValue::Utf8(Some(field)), _), time]) => {
            format!("extract({field} FROM {})", text(time))
        }
        (TIMEZONE, [zone, time]) => format!("{} AT TIME ZONE {}", bracketed(time), text(zone)),
        (DIVIDE, [left, right]) => of_sides(left, Operator::Divide, right),
        (MULTIPLY, [left, right]) => of_sides(left, Operator::Multiply, right),
        (name, [left, right]) if let Some(op) = scaled::operator(name) => of_sides(left, op, right),
        (name, [left, right]) if let Some(op) = intervals::operator(name) => {
            of_sides(left, op, right)
        }
        (name, [value]) if let Some((verb, to)) = casts::written(name) => {
            format!("{verb}({} AS {to})", text(value))
        }
        ("array_element", [value, index]) => {
            let index = match index {
                // A place before the first is none.
                Expr::Case(case) => case.when_then_expr.first().map_or(index, |(_, then)| then),
                index => index,
            };
            format!("{}[{}]", bracketed(value), text(index))
        }
        _ => format!("{name}({})", texts(arguments)),
    }
}

fn literal(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::Date32(_) => format!("DATE '{value}'"),
        ScalarValue::Time64Microsecond(_) => format!("TIME '{}'", shown(value)),
        ScalarValue::TimestampMicrosecond(_, None) => format!("TIMESTAMP '{}'", shown(value)),
        ScalarValue::TimestampMicrosecond(_, Some(_)) => format!("TIMESTAMPTZ '{}'", shown(value)),
        ScalarValue::IntervalMonthDayNano(_) => format!("INTERVAL '{}'", shown(value)),
        // Elements are told apart by how they are written: 'a, b' is one.
        ScalarValue::List(list) => format!("ARRAY[{}]", elements(&list.value(0))),
        other => shown(other),
    }
}

fn elements(values: &ArrayRef) -> String {
    let each = (0..values.len()).map(|at| match ScalarValue::try_from_array(values, at) {
        Ok(value) => literal(&value),
        Err(error) => error.to_string(),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The value as arrow shows it.
fn shown(value: &ScalarValue) -> String {
    value
        .to_array()
        .and_then(|array| Ok(arrow::util::display::array_value_to_string(&array, 0)?))
        .unwrap_or_else(|_: DataFusionError| value.to_string())
}
