//! What people write in PostgreSQL, in the words that DataFusion knows.
//!
//! | written | planned |
//! |---|---|
//! | `date(x)` | `CAST(x AS DATE)` |
//! | `date_trunc('day', at, zone)` | `date_trunc('day', at AT TIME ZONE zone) AT TIME ZONE zone` |
//! | `INTERVAL '01:30'` | `CAST('01:30' AS INTERVAL)` |
//! | `substring(t FROM 'pattern')` | `(regexp_match(t, 'pattern'))[1]` |
//! | `x = ANY('{1,2}')`, `x <> ALL('{1,2}')` | `x IN ('1', '2')`, `x NOT IN ('1', '2')` |
//! | `t LIKE 'a!%' ESCAPE '!'` | `t LIKE 'a\%'` |
//! | `items[1].sku` | `get_field(items[1], 'sku')` |
//! | `t ^@ 'a'` | `starts_with(t, 'a')` |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the forms above are named"
)]

use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Interval, Value,
};

use super::accents::call;
use super::functions::texts::items;
use super::functions::zones::TIMEZONE;
use super::normalise;

/// The expression that is meant, if it is one of these.
pub fn meant(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => date(function).or_else(|| truncated(function)),
        Expr::Interval(interval) => clock(interval),
        Expr::Substring {
            expr,
            substring_from: Some(pattern),
            substring_for: None,
            ..
        } if is_text(pattern) => {
            let groups = call(
                "regexp_match",
                [expr.as_ref().clone(), pattern.as_ref().clone()],
            );
            Some(call("array_element", [groups, Expr::value(number(1))]))
        }
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } => of_list(left, right, false),
        Expr::AllOp {
            left,
            compare_op: BinaryOperator::NotEq,
            right,
        } => of_list(left, right, true),
        Expr::Like {
            escape_char: Some(escape),
            any: false,
            ..
        }
        | Expr::ILike {
            escape_char: Some(escape),
            any: false,
            ..
        } => with_backslash(expr, &escape.value),
        Expr::CompoundFieldAccess { root, access_chain } => of_element(root, access_chain),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGStartsWith,
            right,
        } => Some(call(
            "starts_with",
            [left.as_ref().clone(), right.as_ref().clone()],
        )),
        _ => None,
    }
}

fn number(value: u32) -> Value {
    Value::Number(value.to_string(), false)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value)
        if matches!(value.value, Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_)))
}

fn date(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] = list.args.as_slice() else {
        return None;
    };
    let is_date = function.name.to_string().eq_ignore_ascii_case("date");
    is_date.then(|| cast(time.clone(), DataType::Date))
}

/// `date_trunc` where people live.
fn truncated(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let mut arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
        _ => None,
    });
    let is_it = function.name.to_string().eq_ignore_ascii_case("date_trunc");
    let three = is_it && arguments.len() == 3;
    let mut next = || arguments.next().flatten();
    let (unit, time, zone) = three.then(|| Some((next()?, next()?, next()?)))??;
    let local = call(TIMEZONE, [zone.clone(), time]);
    Some(call(TIMEZONE, [zone, call("date_trunc", [unit, local])]))
}

/// An interval as a clock shows it, which DataFusion does not read.
fn clock(interval: &Interval) -> Option<Expr> {
    let Expr::Value(value) = interval.value.as_ref() else {
        return None;
    };
    let Value::SingleQuotedString(text) = &value.value else {
        return None;
    };
    let to = DataType::Interval {
        fields: None,
        precision: None,
    };
    let is_plain = interval.leading_field.is_none() && interval.last_field.is_none();
    (is_plain && text.contains(':')).then(|| cast(interval.value.as_ref().clone(), to))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// A comparison with the elements of a list that is written out.
fn of_list(left: &Expr, list: &Expr, negated: bool) -> Option<Expr> {
    let mut list = list;
    while let Expr::Nested(inside) = list {
        list = inside;
    }
    let Expr::Value(value) = list else {
        return None;
    };
    let Value::SingleQuotedString(text) = &value.value else {
        return None;
    };
    let item = |item: Option<String>| {
        Expr::value(match item {
            Some(text) => Value::SingleQuotedString(text),
            None => Value::Null,
        })
    };
    let list: Vec<Expr> = items(text, false)?.into_iter().map(item).collect();
    if list.is_empty() {
        return Some(Expr::value(Value::Boolean(negated)));
    }
    Some(Expr::Nested(Box::new(Expr::InList {
        expr: Box::new(left.clone()),
        list,
        negated,
    })))
}

/// LIKE with the escape that DataFusion knows.
fn with_backslash(expr: &Expr, escape: &Value) -> Option<Expr> {
    let Value::SingleQuotedString(escape) = escape else {
        return None;
    };
    let mut like = expr.clone();
    let (Expr::Like {
        pattern,
        escape_char,
        ..
    }
    | Expr::ILike {
        pattern,
        escape_char,
        ..
    }) = &mut like
    else {
        return None;
    };
    *escape_char = None;
    let Expr::Value(value) = pattern.as_mut() else {
        return None;
    };
    let Value::SingleQuotedString(written) = &mut value.value else {
        return None;
    };
    let escape = match escape.chars().collect::<Vec<_>>().as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => return None,
    };
    let mut characters = written.chars();
    let mut out = String::new();
    while let Some(c) = characters.next() {
        match c {
            c if Some(c) == escape => out.extend(['\\', characters.next()?]),
            '\\' => out.push_str(r"\\"),
            c => out.push(c),
        }
    }
    *written = out;
    Some(like)
}

/// A field of a STRUCT in a list.
fn of_element(root: &Expr, access: &[AccessExpr]) -> Option<Expr> {
    let is_field = |it: &AccessExpr| matches!(it, AccessExpr::Dot(Expr::Identifier(_)));
    let is_element = |it: &AccessExpr| matches!(it, AccessExpr::Subscript(_));
    let is_inside = matches!(root, Expr::Nested(inside)
        if matches!(inside.as_ref(), Expr::CompoundFieldAccess { .. } | Expr::Function(_)));
    let begins = is_inside || access.first().is_some_and(is_element);
    let known = access.iter().all(|it| is_field(it) || is_element(it));
    if !begins || !known || !access.iter().any(is_field) {
        return None;
    }
    let mut out = root.clone();
    for one in access {
        out = match one {
            AccessExpr::Dot(Expr::Identifier(name)) => {
                let name = Value::SingleQuotedString(normalise(name));
                call("get_field", [out, Expr::value(name)])
            }
            one => Expr::CompoundFieldAccess {
                root: Box::new(out),
                access_chain: vec![one.clone()],
            },
        };
    }
    Some(out)
}
