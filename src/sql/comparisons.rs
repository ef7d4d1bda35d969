//! Comparisons of a text with something else, which PostgreSQL refuses.
//!
//! DataFusion would cast the text, and so reject every record whose text is no number: that is
//! found here, before anything is coerced. A text that is written out takes the other's type:
//! `at > '2026-03-01'`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and plans, those that compare are named"
)]

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result};
use datafusion_expr::expr::InList;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Between, BinaryExpr, Expr, ExprSchemable, Like, LogicalPlan, Operator};

use super::errors::place_of_span;
use super::functions::either::EITHER;
use super::problem::Problem;
use super::types::name_of;

/// Refuses what a plan compares and cannot.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        if let LogicalPlan::Join(join) = node {
            for (left, right) in &join.on {
                compare(&schema, left, right)?;
            }
        }
        node.apply_expressions(|expression| {
            check_expression(expression, &schema)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// Refuses what an expression over `schema` compares and cannot.
pub fn check_expression(expression: &Expr, schema: &DFSchema) -> Result<()> {
    expression.apply(|part| {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
                compare(schema, left, right)?;
            }
            Expr::Between(Between {
                expr, low, high, ..
            }) => {
                compare(schema, expr, low)?;
                compare(schema, expr, high)?;
            }
            Expr::InList(InList { expr, list, .. }) => {
                for item in list {
                    compare(schema, expr, item)?;
                }
            }
            Expr::ScalarFunction(call) if EITHER.contains(&call.func.name()) => {
                for (at, one) in call.args.iter().enumerate() {
                    for other in &call.args[at + 1..] {
                        compare(schema, one, other)?;
                    }
                }
            }
            Expr::Like(Like { expr, pattern, .. }) => compare(schema, expr, pattern)?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Whether an operator compares its sides.
pub fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn compare(schema: &DFSchema, left: &Expr, right: &Expr) -> Result<()> {
    let kind = |side: &Expr| side.get_type(schema).ok();
    let (Some(left_type), Some(right_type)) = (kind(left), kind(right)) else {
        return Ok(());
    };
    let is_text = |side: &Expr, data_type: &DataType| {
        is_text(data_type) && !matches!(side, Expr::Literal(..))
    };
    let mixed = (is_text(left, &left_type) && is_other(&right_type))
        || (is_text(right, &right_type) && is_other(&left_type));
    if !mixed {
        return Ok(());
    }
    let (text, other) = if is_other(&right_type) {
        (left, &right_type)
    } else {
        (right, &left_type)
    };
    let message = format!("TEXT and {} cannot be compared", name_of(other));
    let hint = format!(
        "write CAST({text} AS {}), which rejects records where that fails; or put the constant in quotes",
        name_of(other),
        text = shown(text),
    );
    let problem = Problem::of_file(message).hint(hint);
    let place = [left, right].iter().find_map(|side| first_column(side));
    let span = place.and_then(|column| column.spans.first());
    Err(match span {
        Some(span) => problem.or_at(place_of_span(span)),
        None => problem,
    }
    .into())
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// A type with a form of its own, into which DataFusion would cast a text.
fn is_other(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type.is_temporal() || *data_type == DataType::Boolean
}

/// The first column of an expression, which knows its place in the file.
pub fn first_column(expression: &Expr) -> Option<Column> {
    let mut found = None;
    let looked = expression.apply(|part| {
        Ok(match part {
            Expr::Column(column) => {
                found = Some(column.clone());
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    });
    looked.ok().and(found)
}

/// A column by its name, anything else as dots.
fn shown(expression: &Expr) -> &str {
    match expression {
        Expr::Column(column) => &column.name,
        _ => "..",
    }
}
