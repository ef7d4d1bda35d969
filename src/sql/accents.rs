//! PostgreSQL's other ways to write what DataFusion knows in one way only.
//!
//! | written | planned |
//! |---|---|
//! | `(s).x`, a field of a STRUCT | `s.x` |
//! | `LATERAL unnest(list)`, `SELECT unnest(list)` and their like | see `series` |
//! | `t AT TIME ZONE z` | `timezone(z, t)` |
//! | `(a, b) = (c, d)` | `a = c AND b = d`, see `rows` |
//! | `x < ANY(list)`, `LIKE ANY (..)` and their like | see `quantified` |
//! | `-row_number() OVER (..)` | `-CAST(row_number() OVER (..) AS BIGINT)` |
//! | `make_interval(days => n)` | `make_interval(0, 0, 0, n, 0, 0, 0)` |
//! | `-a ^ b` | `(-a) ^ b` |
//! | `date(x)` and its like | see `habits` |
//! | `lag(x, 2, d) OVER (..)` | `CASE WHEN lag(1, 2) OVER (..) IS NULL THEN d ELSE lag(x, 2) OVER (..) END` |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the forms above are named"
)]

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Select,
    TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::functions::NUMBERS_OVER;
use super::functions::made::MAKE_INTERVAL;
use super::functions::zones::TIMEZONE;
use super::{habits, quantified, rows, series, walk};

/// Rewrites them in a query or an expression.
pub fn rewrite(sql: &mut impl VisitMut) {
    let _ = walk::rewrite(sql, &mut Accents);
}

struct Accents;

impl VisitorMut for Accents {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        series::into_from(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(rows) = series::rows_of(factor) {
            *factor = rows;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let instead = field(expr).or_else(|| with_default(expr));
        let instead = instead.or_else(|| at_time_zone(expr));
        let instead = instead.or_else(|| power_of_negative(expr));
        let instead = instead.or_else(|| negated_number(expr));
        let instead = instead.or_else(|| interval_of_parts(expr));
        let instead = instead.or_else(|| habits::meant(expr));
        if let Some(instead) = instead
            .or_else(|| quantified::meant(expr))
            .or_else(|| rows::compared(expr))
        {
            *expr = instead;
        }
        ControlFlow::Continue(())
    }
}

/// A number of a row, which has no sign to DataFusion, with one before a minus.
fn negated_number(expr: &Expr) -> Option<Expr> {
    let Expr::UnaryOp {
        op: op @ UnaryOperator::Minus,
        expr,
    } = expr
    else {
        return None;
    };
    let mut expr = expr.clone();
    give_sign(&mut expr).then_some(Expr::UnaryOp { op: *op, expr })
}

/// Whether there was something to give it to.
fn give_sign(expr: &mut Expr) -> bool {
    match expr {
        Expr::Nested(inner) => give_sign(inner),
        Expr::BinaryOp { left, right, .. } => {
            let changed = give_sign(left);
            give_sign(right) || changed
        }
        Expr::Function(call) if call.over.is_some() => {
            let name = call.name.to_string().to_lowercase();
            let numbers =
                NUMBERS_OVER.contains(&name.as_str()) && !IN_PARTS.contains(&name.as_str());
            if numbers {
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(expr.clone()),
                    data_type: DataType::BigInt(None),
                    array: false,
                    format: None,
                };
            }
            numbers
        }
        _ => false,
    }
}

/// Functions OVER a partition that say what part of it comes before a row.
const IN_PARTS: [&str; 2] = ["percent_rank", "cume_dist"];

/// `make_interval` with all of its parts in their order: those that are not given are nothing.
fn interval_of_parts(expr: &Expr) -> Option<Expr> {
    const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let Expr::Function(call) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let is_it = call.name.to_string().eq_ignore_ascii_case(MAKE_INTERVAL);
    let is_whole = |argument: &FunctionArg| matches!(argument, FunctionArg::Unnamed(_));
    if !is_it || list.args.len() == PARTS.len() && list.args.iter().all(is_whole) {
        return None;
    }
    let zero = || Expr::value(Value::Number("0".to_owned(), false));
    let mut parts = [(); PARTS.len()].map(|()| zero());
    let place = |name: &Ident| {
        let mut known = PARTS.iter();
        known.position(|known| name.value.eq_ignore_ascii_case(known))
    };
    for (at, argument) in list.args.iter().enumerate() {
        let (at, part) = match argument {
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(part),
                ..
            } => (place(name)?, part),
            // `days := 3`, as PostgreSQL wrote it once.
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp {
                left,
                op: BinaryOperator::Assignment,
                right,
            })) => match left.as_ref() {
                Expr::Identifier(name) => (place(name)?, right.as_ref()),
                _ => return None,
            },
            FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) => (at, part),
            _ => return None,
        };
        *parts.get_mut(at)? = part.clone();
    }
    Some(self::call(MAKE_INTERVAL, parts))
}

/// PostgreSQL's minus belongs to the number before it is raised to a power; sqlparser's does not.
fn power_of_negative(expr: &Expr) -> Option<Expr> {
    fn negated(expr: &Expr) -> Expr {
        match expr {
            Expr::BinaryOp {
                left,
                op: op @ BinaryOperator::PGExp,
                right,
            } => Expr::BinaryOp {
                left: Box::new(negated(left)),
                op: op.clone(),
                right: right.clone(),
            },
            other => Expr::Nested(Box::new(Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(other.clone()),
            })),
        }
    }
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } if matches!(
            **expr,
            Expr::BinaryOp {
                op: BinaryOperator::PGExp,
                ..
            }
        ) =>
        {
            Some(negated(expr))
        }
        _ => None,
    }
}

fn at_time_zone(expr: &Expr) -> Option<Expr> {
    let Expr::AtTimeZone {
        timestamp,
        time_zone,
    } = expr
    else {
        return None;
    };
    Some(call(
        TIMEZONE,
        [time_zone, timestamp].map(|it| it.as_ref().clone()),
    ))
}

/// The call of a function.
pub fn call<const N: usize>(name: &str, arguments: [Expr; N]) -> Expr {
    let arguments = arguments.map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `lag` and `lead` with what to say where there is no such row.
fn with_default(expr: &Expr) -> Option<Expr> {
    let Expr::Function(call) = expr else {
        return None;
    };
    let name = call.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let [
        value,
        distance,
        FunctionArg::Unnamed(FunctionArgExpr::Expr(default)),
    ] = list.args.as_slice()
    else {
        return None;
    };
    if call.over.is_none() || !matches!(name.as_str(), "lag" | "lead") {
        return None;
    }
    let of = |value: FunctionArg| {
        let mut call = call.clone();
        if let FunctionArguments::List(list) = &mut call.args {
            list.args = vec![value, distance.clone()];
        }
        Expr::Function(call)
    };
    let one = Expr::value(Value::Number("1".to_owned(), false));
    let one = FunctionArg::Unnamed(FunctionArgExpr::Expr(one));
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::IsNull(Box::new(of(one))),
            result: default.clone(),
        }],
        else_result: Some(Box::new(of(value.clone()))),
    })
}

fn field(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return None;
    };
    let Expr::Nested(inner) = root.as_ref() else {
        return None;
    };
    let mut path = match inner.as_ref() {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(path) => path.clone(),
        _ => return None,
    };
    for access in access_chain {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) => path.push(name.clone()),
            _ => return None,
        }
    }
    Some(Expr::CompoundIdentifier(path))
}
