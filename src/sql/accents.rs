//! PostgreSQL's other ways to write what DataFusion knows in one way only.
//!
//! | written | planned |
//! |---|---|
//! | `(s).x`, a field of a STRUCT | `s.x` |
//! | `CROSS JOIN LATERAL unnest(list)` | `CROSS JOIN UNNEST(list)` |
//! | `lag(x, 2, d) OVER (..)` | `CASE WHEN lag(1, 2) OVER (..) IS NULL THEN d ELSE lag(x, 2) OVER (..) END` |
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the forms above are named"
)]

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, CaseWhen, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query,
    TableFactor, Value, VisitorMut,
};

use super::walk;

/// Rewrites them in a query.
pub fn rewrite(query: &mut Query) {
    let _ = walk::rewrite(query, &mut Accents);
}

struct Accents;

impl VisitorMut for Accents {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(unnest) = unnest(factor) {
            *factor = unnest;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(instead) = field(expr).or_else(|| with_default(expr)) {
            *expr = instead;
        }
        ControlFlow::Continue(())
    }
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
