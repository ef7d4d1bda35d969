//! The first rows in an order, in the words that DataFusion has no plan of its own for.
//!
//! ```text
//!   SELECT DISTINCT ON (a) .. ORDER BY a, b   ──▶  .. QUALIFY row_number() OVER (PARTITION BY a ORDER BY a, b) = 1
//!   .. ORDER BY b FETCH FIRST 3 ROWS ONLY     ──▶  .. ORDER BY b LIMIT 3
//!   .. ORDER BY b FETCH FIRST 3 ROWS WITH TIES ──▶  .. QUALIFY rank() OVER (ORDER BY b) <= 3
//! ```
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's plans and expressions, those of interest are named"
)]

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DataFusionError};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::logical_plan::DistinctOn;
use datafusion_expr::{
    Distinct, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
    WindowUDF, lit,
};
use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, Ident, LimitClause, Offset, OrderByKind, Query, SelectItem, SetExpr,
    Spanned, Value, VisitMut, VisitorMut,
};

use super::place_of;
use super::problem::Problem;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Makes row numbers of every DISTINCT ON of a plan that nothing has optimised yet.
pub fn number_distinct_on(plan: LogicalPlan, row_number: &Arc<WindowUDF>) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Distinct(Distinct::On(on)) => numbered(on, row_number).map(Transformed::yes),
        LogicalPlan::Limit(limit) if is_first_of_each(&limit.input) => Err(Problem::of_file(
            "a pipeline cannot limit the rows of DISTINCT ON",
        )
        .hint("put it into brackets: SELECT .. FROM (SELECT DISTINCT ON ..) ORDER BY .. LIMIT 10")
        .into()),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// What DISTINCT ON calls its row numbers.
const NUMBER: &str = "__distinct_on";

/// Whether a plan is what `numbered` made.
fn is_first_of_each(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(projection) = plan else {
        return false;
    };
    matches!(projection.input.as_ref(), LogicalPlan::Filter(filter)
        if filter.predicate.column_refs().iter().any(|column| column.name == NUMBER))
}

fn numbered(on: DistinctOn, row_number: &Arc<WindowUDF>) -> Result<LogicalPlan> {
    let Some(order) = on.sort_expr.filter(|order| !order.is_empty()) else {
        return Err(
            Problem::of_file("DISTINCT ON without an order takes any row of each")
                .hint("say which is the first: ORDER BY the same columns, and then others")
                .into(),
        );
    };
    let function = WindowFunctionDefinition::WindowUDF(Arc::clone(row_number));
    let call = Expr::from(WindowFunction::new(function, Vec::new()))
        .partition_by(on.on_expr)
        .order_by(order)
        .build()?;
    let names = on
        .schema
        .iter()
        .map(|(qualifier, field)| (qualifier.cloned(), field.name().clone()));
    let columns: Vec<Expr> = on
        .select_expr
        .into_iter()
        .zip(names)
        .map(|(expr, (qualifier, name))| match expr {
            Expr::Column(_) | Expr::Alias(_) => expr,
            other => other.alias_qualified(qualifier, name),
        })
        .collect();
    LogicalPlanBuilder::from(Arc::unwrap_or_clone(on.input))
        .window(vec![call.alias(NUMBER)])?
        .filter(Expr::Column(Column::new_unqualified(NUMBER)).eq(lit(1u64)))?
        .project(columns)?
        .build()
}

/// Writes every FETCH FIRST of a query as LIMIT, or as a rank.
pub fn rewrite_fetch(query: &mut Query) -> Result<()> {
    match VisitMut::visit(query, &mut Fetches) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(problem) => Err((*problem).into()),
    }
}

struct Fetches;

impl VisitorMut for Fetches {
    type Break = Box<Problem>;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let Some(fetch) = query.fetch.take() else {
            return ControlFlow::Continue(());
        };
        let place = place_of(query.span());
        let refuse = |message: &str, hint: &str| {
            ControlFlow::Break(Box::new(Problem::at(place, message).hint(hint)))
        };
        if fetch.percent {
            return refuse(
                "a pipeline cannot fetch a share of rows that never end",
                "write a number: FETCH FIRST 10 ROWS ONLY",
            );
        }
        let count = fetch.quantity.unwrap_or_else(|| number("1"));
        let offset = match query.limit_clause.take() {
            None => None,
            Some(LimitClause::LimitOffset {
                limit: None,
                offset,
                ..
            }) => offset,
            Some(LimitClause::LimitOffset { .. } | LimitClause::OffsetCommaLimit { .. }) => {
                return refuse(
                    "LIMIT and FETCH FIRST say the same",
                    "leave one of them out",
                );
            }
        };
        if !fetch.with_ties {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset,
                limit_by: Vec::new(),
            });
            return ControlFlow::Continue(());
        }
        let skipped = offset.map(|Offset { value, .. }| value);
        match with_ties(query, count, skipped) {
            true => ControlFlow::Continue(()),
            false => refuse(
                "WITH TIES is there for a plain SELECT with ORDER BY",
                "put the rest into brackets: SELECT * FROM (SELECT ..) t ORDER BY .. FETCH FIRST 3 ROWS WITH TIES",
            ),
        }
    }
}

/// Has a SELECT keep the rows up to a rank; says whether it could.
fn with_ties(query: &mut Query, count: ast::Expr, skipped: Option<ast::Expr>) -> bool {
    let Some(OrderByKind::Expressions(mut order)) = query.order_by.take().map(|order| order.kind)
    else {
        return false;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    if select.qualify.is_some() || select.distinct.is_some() {
        return false;
    }
    for key in &mut order {
        if let Some(item) = ordinal(&key.expr, &select.projection) {
            key.expr = item;
        }
    }
    let last = match &skipped {
        None => count,
        Some(skipped) => binary(skipped.clone(), BinaryOperator::Plus, count),
    };
    let ranked = binary(over("rank", order.clone()), BinaryOperator::LtEq, last);
    select.qualify = Some(match skipped {
        None => ranked,
        Some(skipped) => {
            let numbered = binary(over("row_number", order), BinaryOperator::Gt, skipped);
            binary(ranked, BinaryOperator::And, numbered)
        }
    });
    true
}

/// What stands at the place of the SELECT that `ORDER BY 2` means.
fn ordinal(key: &ast::Expr, items: &[SelectItem]) -> Option<ast::Expr> {
    let ast::Expr::Value(value) = key else {
        return None;
    };
    let Value::Number(text, _) = &value.value else {
        return None;
    };
    let at = text.parse::<usize>().ok()?.checked_sub(1)?;
    match items.get(at)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

fn over(name: &str, order_by: Vec<ast::OrderByExpr>) -> ast::Expr {
    ast::Expr::Function(ast::Function {
        name: vec![Ident::new(name)].into(),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: Vec::new(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: Some(ast::WindowType::WindowSpec(ast::WindowSpec {
            window_name: None,
            partition_by: Vec::new(),
            order_by,
            window_frame: None,
        })),
        within_group: Vec::new(),
    })
}

fn binary(left: ast::Expr, op: BinaryOperator, right: ast::Expr) -> ast::Expr {
    ast::Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

fn number(text: &str) -> ast::Expr {
    ast::Expr::value(Value::Number(text.to_owned(), false))
}
