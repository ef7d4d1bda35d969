//! `FROM t CROSS JOIN UNNEST(t.tags) AS x(tag)`: DataFusion plans it as a join with a sub-query
//! that refers to `t`, and cannot run that. It is an unnest of `t` itself.
//!
//! ```text
//!   Join                             Project t.*, .. AS x.tag
//!   ├ t                      ──▶     └ Unnest list
//!   └ Subquery: Unnest(outer t.tags)   └ Project t.*, t.tags AS list
//! ```
//!
//! Of `LEFT JOIN .. ON true` a list without elements yields NULL.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of joins, those with the rows of a list are named"
)]

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DataFusionError, JoinType, TableReference};
use datafusion_expr::logical_plan::Unnest;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, lit};

use super::functions::zipped::at_least_null;
use super::lower::expression::substitute;
use super::problem::Problem;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Rewrites every such join of `plan`.
pub fn unnest_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Transformed::no(plan));
        };
        match lateral(&join.right) {
            Some((unnest, columns)) => unnest_join(join, unnest, columns?).map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        }
    })?;
    Ok(rewritten.data)
}

fn unnest_join(join: &Join, unnest: &Unnest, columns: Vec<Expr>) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(lists) = unnest.input.as_ref() else {
        return Err(unsupported());
    };
    let [list] = lists.expr.as_slice() else {
        return Err(unsupported());
    };
    let list = own_columns(list.clone().unalias_nested().data)?;
    let (list, filter) = match (join.join_type, condition(join)) {
        (JoinType::Inner, filter) => (list, filter),
        // Of no element every column is NULL, and so is an element, or a part of it, that is not there.
        (JoinType::Left, None) if columns.iter().all(is_of_item) => (at_least_null(list), None),
        (JoinType::Left, Some(_)) => return Err(conditional()),
        _ => return Err(unsupported()),
    };
    let left = join.left.schema().columns();
    let mut exprs: Vec<Expr> = left.iter().cloned().map(Expr::Column).collect();
    // A qualifier of its own: the stream may have a column of this name.
    let qualifier = Some(TableReference::bare("__unnest"));
    let name = join.right.schema().field(0).name().clone();
    exprs.push(list.alias_qualified(qualifier.clone(), &name));
    let unnested = LogicalPlanBuilder::from(join.left.as_ref().clone())
        .project(exprs)?
        .unnest_column_with_options(Column::new(qualifier, name), unnest.options.clone())?
        .build()?;
    let item = Expr::Column(Column::from(unnested.schema().qualified_field(left.len())));
    let mut exprs: Vec<Expr> = left.into_iter().map(Expr::Column).collect();
    let fields = join.right.schema().iter();
    for (column, (qualifier, field)) in columns.into_iter().zip(fields) {
        let column = substitute(column, &unnest.schema, std::slice::from_ref(&item))?;
        exprs.push(column.alias_qualified(qualifier.cloned(), field.name()));
    }
    let joined = LogicalPlanBuilder::from(unnested).project(exprs)?;
    match filter {
        Some(filter) => joined.filter(filter)?.build(),
        None => joined.build(),
    }
}

/// Whether a column is the element, or a field of it.
fn is_of_item(column: &Expr) -> bool {
    match column {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_of_item(&alias.expr),
        Expr::ScalarFunction(call) if call.name() == "get_field" => {
            call.args.first().is_some_and(is_of_item)
        }
        _ => false,
    }
}

/// What a join asks for, if it asks for anything.
fn condition(join: &Join) -> Option<Expr> {
    let equal = join.on.iter();
    let equal = equal.map(|(left, right)| left.clone().eq(right.clone()));
    conjunction(
        equal
            .chain(join.filter.clone())
            .filter(|it| it != &lit(true)),
    )
}

fn conditional() -> DataFusionError {
    Problem::of_file("a pipeline cannot compute a LEFT JOIN LATERAL with a condition yet")
        .hint("write LEFT JOIN LATERAL unnest(t.list) AS x(item) ON true")
        .into()
}

fn unsupported() -> DataFusionError {
    Problem::of_file("a pipeline cannot compute this LATERAL join yet")
        .hint("write FROM t CROSS JOIN UNNEST(t.list) AS x(item)")
        .into()
}

/// The unnest under a lateral sub-query, and the sub-query's columns as expressions over it.
/// `None` if the plan is not lateral.
fn lateral(plan: &LogicalPlan) -> Option<(&Unnest, Result<Vec<Expr>>)> {
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return lateral(&alias.input);
    }
    if let LogicalPlan::Subquery(subquery) = plan {
        return unnest_under(&subquery.subquery);
    }
    None
}

fn unnest_under(plan: &LogicalPlan) -> Option<(&Unnest, Result<Vec<Expr>>)> {
    if let LogicalPlan::Unnest(unnest) = plan {
        let columns = unnest.schema.columns();
        return Some((unnest, Ok(columns.into_iter().map(Expr::Column).collect())));
    }
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return unnest_under(&alias.input);
    }
    if let LogicalPlan::Subquery(subquery) = plan {
        return unnest_under(&subquery.subquery);
    }
    if let LogicalPlan::Projection(projection) = plan {
        let (unnest, columns) = unnest_under(&projection.input)?;
        let columns = columns.and_then(|columns| {
            let exprs = projection.expr.iter().cloned();
            exprs
                .map(|expr| substitute(expr, projection.input.schema(), &columns))
                .collect()
        });
        return Some((unnest, columns));
    }
    None
}

/// References to the outer query's columns as columns.
fn own_columns(expr: Expr) -> Result<Expr> {
    let own = expr.transform_up(|expr| {
        if let Expr::OuterReferenceColumn(_, column) = expr {
            Ok(Transformed::yes(Expr::Column(column)))
        } else {
            Ok(Transformed::no(expr))
        }
    })?;
    Ok(own.data)
}
