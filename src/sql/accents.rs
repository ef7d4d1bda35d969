//! PostgreSQL's other ways to write what DataFusion knows in one way only.
//!
//! | written | planned |
//! |---|---|
//! | `(s).x`, a field of a STRUCT | `s.x` |
//! | `CROSS JOIN LATERAL unnest(list)` | `CROSS JOIN UNNEST(list)` |
//! | `t AT TIME ZONE z` | `timezone(z, t)` |
//! | `(a, b) = (c, d)` | `a = c AND b = d`, see `rows` |
//! | `x < ANY(list)` | `NOT (x >= ALL(list))` |
//! | `-a ^ b` | `(-a) ^ b` |
//! | `date(x)`, `LIKE ANY (..)` and their like | see `habits` |
//! | `lag(x, 2, d) OVER (..)` | `CASE WHEN lag(1, 2) OVER (..) IS NULL THEN d ELSE lag(x, 2) OVER (..) END` |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the forms above are named"
)]

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, TableFactor, UnaryOperator, Value,
    VisitMut, VisitorMut,
};

use super::functions::zones::TIMEZONE;
use super::{habits, rows, walk};

/// Rewrites them in a query or an expression.
pub fn rewrite(sql: &mut impl VisitMut) {
    let _ = walk::rewrite(sql, &mut Accents);
}

struct Accents;

impl VisitorMut for Accents {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(unnest) = unnest(factor) {
            *factor = unnest;
        }
        habits::name_elements(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let instead = field(expr).or_else(|| with_default(expr));
        let instead = instead.or_else(|| at_time_zone(expr));
        let instead = instead.or_else(|| power_of_negative(expr));
        let instead = instead.or_else(|| habits::meant(expr));
        if let Some(instead) = instead
            .or_else(|| any(expr))
            .or_else(|| rows::compared(expr))
        {
            *expr = instead;
        }
        ControlFlow::Continue(())
    }
}

/// DataFusion knows that a list may hold a NULL where ALL is asked, but not where ANY is. `= ANY`
/// is a function of ours.
fn any(expr: &Expr) -> Option<Expr> {
    let Expr::AnyOp {
        left,
        compare_op,
        right,
        ..
    } = expr
    else {
        return None;
    };
    let opposite = match compare_op {
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return None,
    };
    let all = Expr::AllOp {
        left: left.clone(),
        compare_op: opposite,
        right: right.clone(),
    };
    Some(Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(all))),
    })
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

fn unnest(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Function {
        name,
        args,
        with_ordinality: false,
        alias,
        ..
    } = factor
    else {
        return None;
    };
    if !name.to_string().eq_ignore_ascii_case("unnest") {
        return None;
    }
    let lists = args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(list)) => Some(list.clone()),
        _ => None,
    });
    Some(TableFactor::UNNEST {
        alias: alias.clone(),
        array_exprs: lists.collect::<Option<_>>()?,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
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
