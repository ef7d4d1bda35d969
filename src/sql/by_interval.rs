//! Keys and orders of INTERVAL, which are refused.
//!
//! Rows are grouped, joined and put in order by the bytes of their keys. Of intervals these go by
//! months, then days, then time: '1 month' and '30 days' would be two groups, and 25 hours less than
//! a day. Comparisons are right (see `functions::intervals`); for the rest there is the length in
//! seconds. The difference of two timestamps is no INTERVAL yet, and may be a key.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and plans, those that go by keys and orders are named"
)]

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::{AggregateFunction, WindowFunction};
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan};

use super::comparisons::{compares, first_column};
use super::errors::place_of_span;
use super::functions::intervals::{holds_interval, is_interval};
use super::matching::MatchRecognize;
use super::problem::Problem;

/// Refuses what a plan groups, joins or orders by and cannot.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        check_node(node, &schema)?;
        node.apply_expressions(|expression| {
            check_expression(expression, &schema)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn check_node(node: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    match node {
        LogicalPlan::Aggregate(aggregate) => refuse_any(&aggregate.group_expr, schema, "GROUP BY"),
        LogicalPlan::Distinct(Distinct::All(rows)) => {
            let columns = rows.schema().columns().into_iter().map(Expr::Column);
            refuse_any(
                columns.collect::<Vec<_>>().iter(),
                rows.schema(),
                "DISTINCT",
            )
        }
        LogicalPlan::Distinct(Distinct::On(on)) => refuse_any(&on.on_expr, schema, "DISTINCT ON"),
        LogicalPlan::Sort(sort) => {
            refuse_any(sort.expr.iter().map(|key| &key.expr), schema, "ORDER BY")
        }
        LogicalPlan::Join(join) => {
            let sides = join.on.iter().flat_map(|(left, right)| [left, right]);
            refuse_any(sides, schema, "a join")
        }
        LogicalPlan::Extension(extension) => {
            match extension.node.as_any().downcast_ref::<MatchRecognize>() {
                Some(pattern) => refuse_any(&pattern.partition, schema, "PARTITION BY"),
                None => refuse_any(&extension.node.expressions(), schema, "a window or a join"),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses what an expression over `schema` compares by bytes.
pub fn check_expression(expression: &Expr, schema: &DFSchema) -> Result<()> {
    expression.apply(|part| {
        match part {
            Expr::AggregateFunction(call) => aggregate(call, schema)?,
            Expr::WindowFunction(call) => window(call, schema)?,
            Expr::InSubquery(inside) => {
                refuse_any([inside.expr.as_ref()], schema, "IN (SELECT ..)")?
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
                nested([left.as_ref(), right.as_ref()], schema, "a comparison")?;
            }
            Expr::ScalarFunction(call) => match call.func.name() {
                "greatest" | "least" => refuse_any(&call.args, schema, call.func.name())?,
                name if !BY_PLACE.contains(&name) => nested(&call.args, schema, name)?,
                _ => {}
            },
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The functions that take lists and structs and compare nothing in them.
const BY_PLACE: [&str; 14] = [
    "array_append",
    "array_concat",
    "array_element",
    "array_length",
    "array_ndims",
    "array_prepend",
    "array_slice",
    "array_to_string",
    "cardinality",
    "coalesce",
    "empty",
    "get_field",
    "make_array",
    "nullif",
];

/// The aggregates that compare their values.
const COMPARING: [&str; 7] = [
    "min",
    "max",
    "median",
    "percentile_cont",
    "percentile_disc",
    "approx_distinct",
    "approx_percentile_cont",
];

fn aggregate(call: &AggregateFunction, schema: &DFSchema) -> Result<()> {
    let name = call.func.name();
    let keys = call.params.order_by.iter().map(|key| &key.expr);
    refuse_any(keys, schema, "ORDER BY")?;
    match call.params.distinct || COMPARING.contains(&name) {
        true => refuse_any(&call.params.args, schema, name),
        false => Ok(()),
    }
}

fn window(call: &WindowFunction, schema: &DFSchema) -> Result<()> {
    let name = call.fun.name();
    refuse_any(&call.params.partition_by, schema, "PARTITION BY")?;
    let keys = call.params.order_by.iter().map(|key| &key.expr);
    refuse_any(keys, schema, "ORDER BY")?;
    match COMPARING.contains(&name) {
        true => refuse_any(&call.params.args, schema, name),
        false => Ok(()),
    }
}

/// Refuses what is an INTERVAL, or holds one.
fn refuse_any<'a>(
    expressions: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
    what: &str,
) -> Result<()> {
    let is_it = |expr: &&Expr| expr.get_type(schema).is_ok_and(|it| holds_interval(&it));
    match expressions.into_iter().find(is_it) {
        Some(expr) => Err(refusal(expr, what)),
        None => Ok(()),
    }
}

/// Refuses lists and structs that hold an INTERVAL.
fn nested<'a>(
    expressions: impl IntoIterator<Item = &'a Expr>,
    schema: &DFSchema,
    what: &str,
) -> Result<()> {
    let is_nested = |expr: &&Expr| {
        let data_type = expr.get_type(schema);
        data_type.is_ok_and(|it| holds_interval(&it) && !is_interval(&it))
    };
    match expressions.into_iter().find(is_nested) {
        Some(expr) => Err(refusal(expr, what)),
        None => Ok(()),
    }
}

fn refusal(expr: &Expr, what: &str) -> datafusion_common::DataFusionError {
    let column = first_column(expr);
    let name = match expr {
        Expr::Column(column) => column.name.as_str(),
        _ => "x",
    };
    let message = format!("a pipeline cannot compute {what} of INTERVAL");
    let problem = Problem::of_file(message).hint(format!(
        "go by its seconds: extract(epoch FROM {name}); or by the two timestamps that it is between"
    ));
    let span = column.as_ref().and_then(|column| column.spans.first());
    match span {
        Some(span) => problem.or_at(place_of_span(span)),
        None => problem,
    }
    .into()
}
