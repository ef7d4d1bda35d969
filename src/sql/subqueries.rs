//! Queries inside expressions, in the few forms that DataFusion makes joins of.
//!
//! ```text
//!   EXISTS (q), in a SELECT list or inside OR  ──▶  (SELECT count(*) FROM q) > 0
//!   x IN (q), in the same places               ──▶  CASE WHEN (how many of q are x) > 0 THEN true
//!                                                   WHEN nothing of it is unknown THEN false END
//!   WHERE x NOT IN (q)                         ──▶  NOT EXISTS (q is x) AND nothing of it is unknown
//! ```
//!
//! Something is unknown where `q` holds a NULL, or where `x` is one and `q` holds anything: then IN is
//! neither true nor false, and NOT IN neither. DataFusion knows but true and false there.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and plans, those with a query in them are named"
)]

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DataFusionError, ExprSchema, ScalarValue, Spans};
use datafusion_expr::expr::{AggregateFunction, Exists, InSubquery};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{
    AggregateUDF, Distinct, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Subquery,
    lit, when,
};

use super::catalog::{Catalog, Declared};
use super::functions::or_null::or_null;
use super::problem::Problem;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Rewrites the queries inside the expressions of a plan that nothing has analysed yet.
pub fn rewrite(plan: LogicalPlan, catalog: &Catalog) -> Result<LogicalPlan> {
    let mut asking = Asking {
        count: catalog.count(),
        named: 0,
    };
    let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(filter) => asking.filter(filter).map(Transformed::yes),
        LogicalPlan::Projection(_) => {
            let schema = DFSchema::clone(plan.inputs()[0].schema());
            plan.map_expressions(|expr| {
                let name = expr.schema_name().to_string();
                let rewritten = asking.inside(expr, &schema)?;
                // A column is still called as it was written.
                Ok(rewritten.update_data(|expr| match expr {
                    Expr::Column(_) | Expr::Alias(_) => expr,
                    other if other.schema_name().to_string() == name => other,
                    other => other.alias(name),
                }))
            })
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// Refuses the queries inside expressions that no join was made of.
pub fn refuse_left(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            let is_query = |expr: &Expr| {
                Ok(matches!(
                    expr,
                    Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_)
                ))
            };
            if !expr.exists(is_query)? {
                return Ok(TreeNodeRecursion::Continue);
            }
            let hint = match node {
                LogicalPlan::Aggregate(_) => {
                    "ask below the aggregate: SELECT sum(x) FROM (SELECT CASE WHEN EXISTS (..) THEN 1 \
                     ELSE 0 END AS x, .. FROM ..) AS t"
                }
                _ => {
                    "in WHERE of the inner query, compare its columns by = with those outside; or \
                     write it as a join"
                }
            };
            let message = "a pipeline cannot compute this query inside an expression yet";
            Err(Problem::of_file(message).hint(hint).into())
        })
    })?;
    Ok(())
}

/// Makes the queries that are asked instead.
struct Asking {
    count: Arc<AggregateUDF>,
    /// How many were given a name.
    named: usize,
}

impl Asking {
    /// A filter: what stands by itself or after AND may stay IN and EXISTS.
    fn filter(&mut self, filter: Filter) -> Result<LogicalPlan> {
        let schema = Arc::clone(filter.input.schema());
        let mut parts = Vec::new();
        for part in split_conjunction_owned(filter.predicate) {
            let part = match part {
                Expr::Not(inner) => match *inner {
                    Expr::InSubquery(inside) => Expr::InSubquery(InSubquery {
                        negated: !inside.negated,
                        ..inside
                    }),
                    Expr::Exists(exists) => Expr::Exists(Exists {
                        negated: !exists.negated,
                        ..exists
                    }),
                    other => Expr::Not(Box::new(other)),
                },
                other => other,
            };
            match part {
                Expr::InSubquery(inside) if is_value(&inside.subquery) => {
                    parts.push(self.inside(Expr::InSubquery(inside), &schema)?.data);
                }
                Expr::Exists(exists) if is_value(&exists.subquery) => {
                    parts.push(lit(!exists.negated));
                }
                Expr::InSubquery(inside) if inside.negated => {
                    parts.push(self.not_in(inside, &schema)?);
                }
                Expr::InSubquery(_) | Expr::Exists(_) => parts.push(part),
                other => parts.push(self.inside(other, &schema)?.data),
            }
        }
        let predicate = conjunction(parts).expect("a filter has a condition");
        // What NOT IN became may be several conditions.
        Ok(LogicalPlan::Filter(Filter::try_new(
            predicate,
            filter.input,
        )?))
    }

    /// Every query inside an expression over `schema`.
    fn inside(&mut self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| match expr {
            Expr::Exists(exists) if is_value(&exists.subquery) => {
                Ok(Transformed::yes(lit(!exists.negated)))
            }
            Expr::InSubquery(inside) if is_value(&inside.subquery) => {
                let called = self.called(&inside.subquery.subquery)?;
                let value = Expr::ScalarSubquery(subquery(called));
                Ok(Transformed::yes(match inside.negated {
                    true => (*inside.expr).not_eq(value),
                    false => (*inside.expr).eq(value),
                }))
            }
            Expr::Exists(Exists { subquery, negated }) => {
                refuse_reference(&subquery)?;
                let found = self.counted(&subquery.subquery, None)?;
                Ok(Transformed::yes(match negated {
                    true => found.eq(lit(0i64)),
                    false => found.gt(lit(0i64)),
                }))
            }
            Expr::InSubquery(inside) => {
                refuse_reference(&inside.subquery)?;
                let negated = inside.negated;
                let found = self.is_in(inside, schema)?;
                Ok(Transformed::yes(match negated {
                    true => Expr::Not(Box::new(found)),
                    false => found,
                }))
            }
            Expr::ScalarSubquery(subquery) => {
                refuse_several(&subquery)?;
                let called = self.called(&subquery.subquery)?;
                Ok(Transformed::yes(Expr::ScalarSubquery(Subquery {
                    subquery: Arc::new(called),
                    ..subquery
                })))
            }
            other => Ok(Transformed::no(other)),
        })
    }

    /// `x IN (q)`, which may be neither true nor false.
    fn is_in(&mut self, inside: InSubquery, schema: &DFSchema) -> Result<Expr> {
        let known = self.nothing_unknown(&inside, schema)?;
        let query = self.equal(&inside, schema)?;
        let found = self.counted(&query, None)?.gt(lit(0i64));
        match known {
            None => Ok(found),
            Some(known) => when(found, lit(true))
                .when(known, lit(false))
                .otherwise(Expr::Literal(ScalarValue::Boolean(None), None)),
        }
    }

    /// `x NOT IN (q)` as conditions of a filter.
    fn not_in(&mut self, inside: InSubquery, schema: &DFSchema) -> Result<Expr> {
        if reads_reference(&inside.subquery.subquery) {
            return Ok(Expr::InSubquery(inside));
        }
        let known = self.nothing_unknown(&inside, schema)?;
        if known.is_none() && !is_correlated(&inside.subquery.subquery) {
            return Ok(Expr::InSubquery(inside));
        }
        let none = Expr::Exists(Exists {
            subquery: subquery(self.equal(&inside, schema)?),
            negated: true,
        });
        Ok(conjunction(std::iter::once(none).chain(known)).expect("there is one condition"))
    }

    /// The rows of `q` that are `x`.
    fn equal(&mut self, inside: &InSubquery, schema: &DFSchema) -> Result<LogicalPlan> {
        let (query, value) = self.first(&inside.subquery.subquery)?;
        let is_it = value.eq(outer(inside.expr.as_ref().clone(), schema)?);
        filtered(query, is_it)
    }

    /// The rows of a query, and what it yields first of each. One that looks at the rows outside is
    /// taken apart: under a name of its own it would no longer have what it compares with those.
    fn first(&mut self, query: &Arc<LogicalPlan>) -> Result<(LogicalPlan, Expr)> {
        match query.as_ref() {
            LogicalPlan::Distinct(Distinct::All(all)) if is_correlated(all) => self.first(all),
            LogicalPlan::Projection(projection) if is_correlated(query) => {
                let value = projection.expr[0].clone().unalias_nested().data;
                self.beside(LogicalPlan::clone(&projection.input), value)
            }
            _ => self.named(query),
        }
    }

    /// That `x` may be compared with all of `q`, if there is doubt.
    fn nothing_unknown(&mut self, inside: &InSubquery, schema: &DFSchema) -> Result<Option<Expr>> {
        let query = &inside.subquery.subquery;
        let holds_null = query.schema().field(0).is_nullable();
        let is_null = inside.expr.nullable(schema).unwrap_or(true);
        let mut known = Vec::new();
        if holds_null {
            let (query, column) = self.first(query)?;
            let nulls = self.counted(&query, Some(column.is_null()))?;
            known.push(nulls.eq(lit(0i64)));
        }
        if is_null {
            let all = self.counted(query, None)?;
            known.push(
                inside
                    .expr
                    .as_ref()
                    .clone()
                    .is_not_null()
                    .or(all.eq(lit(0i64))),
            );
        }
        Ok(conjunction(known))
    }

    /// Rows with a value among their columns, and its column. It stands below the filter, so that
    /// there is one filter, of columns.
    fn beside(&mut self, rows: LogicalPlan, value: Expr) -> Result<(LogicalPlan, Expr)> {
        if matches!(value, Expr::Column(_)) {
            return Ok((rows, value));
        }
        let (rows, condition) = match rows {
            LogicalPlan::Filter(Filter {
                input, predicate, ..
            }) => (LogicalPlan::clone(&input), Some(predicate)),
            other => (other, None),
        };
        self.named += 1;
        let name = format!("__value_{}", self.named);
        let columns = rows.schema().columns().into_iter().map(Expr::Column);
        let all: Vec<Expr> = columns.chain([value.alias(&name)]).collect();
        let mut rows = LogicalPlanBuilder::from(rows).project(all)?.build()?;
        if let Some(condition) = condition {
            rows = filtered(rows, condition)?;
        }
        Ok((rows, Expr::Column(Column::new_unqualified(name))))
    }

    /// A query under a name of its own, and its first column.
    fn named(&mut self, query: &Arc<LogicalPlan>) -> Result<(LogicalPlan, Expr)> {
        self.named += 1;
        let name = format!("__in_{}", self.named);
        let query = LogicalPlan::clone(query);
        let query = LogicalPlanBuilder::from(query).alias(name)?.build()?;
        let column = Column::from(query.schema().qualified_field(0));
        Ok((query, Expr::Column(column)))
    }

    /// How many rows a query has, or how many that fulfil a condition.
    fn counted(&mut self, query: &LogicalPlan, condition: Option<Expr>) -> Result<Expr> {
        let mut query = query.clone();
        if let Some(condition) = condition {
            query = filtered(query, condition)?;
        }
        let count = Expr::AggregateFunction(AggregateFunction::new_udf(
            Arc::clone(&self.count),
            vec![lit(1i64)],
            false,
            None,
            Vec::new(),
            None,
        ));
        let query = LogicalPlanBuilder::from(query);
        let counted = query.aggregate(Vec::<Expr>::new(), vec![count])?.build()?;
        Ok(Expr::ScalarSubquery(subquery(self.called(&counted)?)))
    }

    /// The first column of a query that is a value, under a name that nothing outside has. It may
    /// be NULL where the query may have no row, whatever the column is.
    fn called(&mut self, query: &LogicalPlan) -> Result<LogicalPlan> {
        self.named += 1;
        let (qualifier, field) = query.schema().qualified_field(0);
        let mut value = Expr::Column(Column::from((qualifier, field)));
        if !field.is_nullable() && !is_whole(query) {
            value = or_null(value);
        }
        let column = value.alias(format!("__value_{}", self.named));
        LogicalPlanBuilder::from(query.clone())
            .project(vec![column])?
            .build()
    }
}

/// The rows that fulfil a condition too. Of several filters DataFusion would find but one that looks
/// at the rows outside.
fn filtered(query: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
    let (input, condition) = match query {
        LogicalPlan::Filter(Filter {
            input, predicate, ..
        }) => (input, predicate.and(condition)),
        other => (Arc::new(other), condition),
    };
    Ok(LogicalPlan::Filter(Filter::try_new(condition, input)?))
}

/// Whether a query that looks at the rows outside has one row, whatever it finds: an aggregate of
/// everything. As a join it would have none where nothing is found.
fn is_value(query: &Subquery) -> bool {
    is_whole(&query.subquery) && is_correlated(&query.subquery)
}

/// Whether a query is an aggregate of everything, which has one row always.
fn is_whole(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_whole(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_whole(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// Whether a query looks at the rows outside.
fn is_correlated(query: &LogicalPlan) -> bool {
    !query.all_out_ref_exprs().is_empty()
}

fn subquery(query: LogicalPlan) -> Subquery {
    Subquery {
        outer_ref_columns: query.all_out_ref_exprs(),
        subquery: Arc::new(query),
        spans: Spans::new(),
    }
}

/// An expression over `schema`, as a query inside sees it.
fn outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let seen = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(seen.data)
}

/// Refuses a query that should be a value and may be several.
fn refuse_several(subquery: &Subquery) -> Result<()> {
    refuse_reference(subquery)?;
    if subquery.subquery.max_rows() == Some(1) || !subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    Err(Problem::of_file("a query that is a value may have several rows here")
        .hint("aggregate it: (SELECT max(x) FROM ..), or take one: (SELECT x FROM .. ORDER BY y LIMIT 1)")
        .into())
}

/// A table that is looked up has no rows of its own to count.
fn refuse_reference(subquery: &Subquery) -> Result<()> {
    if !reads_reference(&subquery.subquery) {
        return Ok(());
    }
    Err(
        Problem::of_file("a pipeline cannot look a table up inside an expression yet")
            .hint(
                "write IN (SELECT ..) or EXISTS in WHERE, or LEFT JOIN the table and ask whether \
                 its key IS NOT NULL; of a table with 'reload.interval', CROSS JOIN (SELECT \
                 count(*) AS n FROM ..) AS t",
            )
            .into(),
    )
}

fn reads_reference(plan: &LogicalPlan) -> bool {
    let is_reference = |node: &LogicalPlan| {
        Ok(matches!(node, LogicalPlan::TableScan(scan)
            if scan.source.downcast_ref::<Declared>().is_some_and(|declared| declared.is_reference)))
    };
    plan.exists(is_reference).unwrap_or(false)
}
