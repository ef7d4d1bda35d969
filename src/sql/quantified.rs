//! Comparisons with any or all elements of a list.
//!
//! | written | planned |
//! |---|---|
//! | `x = ANY(list)`, `x <> ALL(list)` | `array_has(list, x)`, `NOT array_has(list, x)`: see `functions/lists` |
//! | `x < ANY(list)` | `NOT (x >= ALL(list))` |
//! | `t LIKE ANY (ARRAY['a%', 'b%'])` | `t LIKE 'a%' OR t LIKE 'b%'` |
//! | `t LIKE ALL (ARRAY['a%', 'b%'])` | `t LIKE 'a%' AND t LIKE 'b%'` |
//! | `t LIKE ANY (list)` | `like_any(t, list)` |
//! | `t ~~ ANY (..)`, `t ~ ANY (ARRAY[..])` | the same with these operators |
//!
//! DataFusion knows that a list may hold a NULL where ALL is asked, but not where ANY is.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of expressions and operators, those above are named"
)]

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value,
};

use super::accents::call;
use super::functions::like_any;
use super::functions::texts::items;

/// Of how many elements it has to be true.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Any,
    All,
}

/// The expression that is meant, if it is one of these.
pub fn meant(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => operator(left, compare_op, right, Of::Any),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => operator(left, compare_op, right, Of::All),
        Expr::Like {
            negated,
            any,
            expr: text,
            pattern,
            ..
        } => like(expr, (text, pattern, *any), (*negated, false)),
        Expr::ILike {
            negated,
            any,
            expr: text,
            pattern,
            ..
        } => like(expr, (text, pattern, *any), (*negated, true)),
        _ => None,
    }
}

fn operator(left: &Expr, op: &BinaryOperator, right: &Expr, of: Of) -> Option<Expr> {
    use BinaryOperator as Op;
    let list = without_brackets(right);
    if matches!(list, Expr::Subquery(_)) {
        return None;
    }
    let form = match op {
        Op::PGLikeMatch => Some((false, false)),
        Op::PGILikeMatch => Some((false, true)),
        Op::PGNotLikeMatch => Some((true, false)),
        Op::PGNotILikeMatch => Some((true, true)),
        _ => None,
    };
    let is_pattern = matches!(
        op,
        Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch
    );
    if form.is_some() || is_pattern {
        let one = |pattern: &Expr| match form {
            Some((negated, folds)) => like_one(left, pattern, negated, folds),
            None => binary(left.clone(), op.clone(), pattern.clone()),
        };
        return match (written(list), form) {
            (Some(patterns), _) => Some(each(&patterns, of, one)),
            (None, Some(form)) => Some(of_list(left, list, form, of)),
            (None, None) => None,
        };
    }
    let has = |left: &Expr| call("array_has", [list.clone(), left.clone()]);
    match (op, of) {
        (Op::Eq, Of::Any) => Some(has(left)),
        (Op::NotEq, Of::All) => Some(not(has(left))),
        (_, Of::Any) => {
            let opposite = match op {
                Op::NotEq => Op::Eq,
                Op::Lt => Op::GtEq,
                Op::LtEq => Op::Gt,
                Op::Gt => Op::LtEq,
                Op::GtEq => Op::Lt,
                _ => return None,
            };
            Some(not(Expr::AllOp {
                left: Box::new(left.clone()),
                compare_op: opposite,
                right: Box::new(right.clone()),
            }))
        }
        (_, Of::All) => None,
    }
}

/// LIKE of several patterns: with ANY, or with ALL, which the parser takes for a function.
fn like(
    expr: &Expr,
    (text, pattern, any): (&Expr, &Expr, bool),
    form: (bool, bool),
) -> Option<Expr> {
    let (list, of) = match any {
        true => (pattern, Of::Any),
        false => (all(pattern)?, Of::All),
    };
    let list = without_brackets(list);
    if matches!(list, Expr::Subquery(_)) {
        return None;
    }
    let one = |one: &Expr| {
        let mut like = expr.clone();
        if let Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. } = &mut like {
            (*any, **pattern) = (false, one.clone());
        }
        like
    };
    let escape = match expr {
        Expr::Like { escape_char, .. } | Expr::ILike { escape_char, .. } => escape_char.is_some(),
        _ => false,
    };
    Some(match written(list) {
        Some(patterns) => each(&patterns, of, one),
        None if escape => return None,
        None => of_list(text, list, form, of),
    })
}

/// The list of `ALL (list)`.
fn all(pattern: &Expr) -> Option<&Expr> {
    let Expr::Function(call) = pattern else {
        return None;
    };
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(list))] = list.args.as_slice() else {
        return None;
    };
    let is_all = call.name.to_string().eq_ignore_ascii_case("all");
    is_all.then_some(list)
}

fn without_brackets(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inside) = expr {
        expr = inside;
    }
    expr
}

/// The elements of a list that is written out.
fn written(list: &Expr) -> Option<Vec<Expr>> {
    match list {
        Expr::Array(array) => Some(array.elem.clone()),
        Expr::Tuple(patterns) => Some(patterns.clone()),
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &value.value else {
                return None;
            };
            let element = |item: Option<String>| {
                Expr::value(item.map_or(Value::Null, Value::SingleQuotedString))
            };
            Some(items(text, false)?.into_iter().map(element).collect())
        }
        _ => None,
    }
}

/// What `one` makes of each element, joined by OR or AND.
fn each(elements: &[Expr], of: Of, one: impl Fn(&Expr) -> Expr) -> Expr {
    let op = match of {
        Of::Any => BinaryOperator::Or,
        Of::All => BinaryOperator::And,
    };
    let joined = elements
        .iter()
        .map(one)
        .reduce(|left, right| binary(left, op.clone(), right));
    match joined {
        Some(joined) => Expr::Nested(Box::new(joined)),
        // Nothing is one of none, and all of none are anything.
        None => Expr::value(Value::Boolean(of == Of::All)),
    }
}

/// LIKE of the elements of a list that only the record knows.
fn of_list(text: &Expr, list: &Expr, (negated, folds): (bool, bool), of: Of) -> Expr {
    let any = |negated| call(like_any::name(negated, folds), [text.clone(), list.clone()]);
    match of {
        Of::Any => any(negated),
        Of::All => not(any(!negated)),
    }
}

fn like_one(text: &Expr, pattern: &Expr, negated: bool, folds: bool) -> Expr {
    let (any, escape_char) = (false, None);
    let [expr, pattern] = [text, pattern].map(|it| Box::new(it.clone()));
    match folds {
        false => Expr::Like {
            negated,
            any,
            expr,
            pattern,
            escape_char,
        },
        true => Expr::ILike {
            negated,
            any,
            expr,
            pattern,
            escape_char,
        },
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(expr))),
    }
}
