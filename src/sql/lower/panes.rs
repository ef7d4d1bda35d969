//! Whether an aggregate over overlapping windows can make them of panes.

use datafusion_common::JoinType;
use datafusion_expr::{Aggregate, Join, LogicalPlan};

use crate::plan::Assign;
use crate::sql::window::WindowAssign;

use super::expression::{plain_column, reads};

/// Panes serve where everything between the window and the aggregate only passes the window
/// columns on.
pub fn assign(aggregate: &Aggregate) -> Assign {
    let mut read = false;
    let columns = window_columns(&aggregate.input, &mut read);
    let schema = aggregate.input.schema();
    let is_window = |at: usize| columns.contains(&at);
    for expr in &aggregate.group_expr {
        read |= plain_column(expr, schema).is_none() && reads(expr, schema, is_window);
    }
    for expr in &aggregate.aggr_expr {
        read |= reads(expr, schema, is_window);
    }
    if read { Assign::Windows } else { Assign::Panes }
}

/// The columns of `plan` that are window columns; `read` becomes true if anything below reads
/// one.
fn window_columns(plan: &LogicalPlan, read: &mut bool) -> Vec<usize> {
    if let LogicalPlan::Extension(extension) = plan
        && let Some(window) = extension.node.as_any().downcast_ref::<WindowAssign>()
    {
        let start = window.input.schema().fields().len();
        return vec![start, start + 1];
    }
    let inputs: Vec<Vec<usize>> = plan
        .inputs()
        .into_iter()
        .map(|input| window_columns(input, read))
        .collect();
    let Some(first) = inputs
        .first()
        .filter(|_| inputs.iter().any(|i| !i.is_empty()))
    else {
        return Vec::new();
    };
    if let LogicalPlan::SubqueryAlias(_) = plan {
        return first.clone();
    }
    if let LogicalPlan::Projection(projection) = plan {
        let schema = projection.input.schema();
        let mut out = Vec::new();
        for (at, expr) in projection.expr.iter().enumerate() {
            match plain_column(expr, schema) {
                Some(from) if first.contains(&from) => out.push(at),
                Some(_) => {}
                None => *read |= reads(expr, schema, |column| first.contains(&column)),
            }
        }
        return out;
    }
    if let LogicalPlan::Filter(filter) = plan {
        let schema = filter.input.schema();
        *read |= reads(&filter.predicate, schema, |column| first.contains(&column));
        return first.clone();
    }
    if let LogicalPlan::Join(join) = plan {
        return joined_window_columns(join, &inputs, read);
    }
    // Unions and what else may be: windows, not panes.
    *read = true;
    Vec::new()
}

/// The window columns of a join, which is a lookup if it is anything.
fn joined_window_columns(join: &Join, inputs: &[Vec<usize>], read: &mut bool) -> Vec<usize> {
    let [left, right] = inputs else {
        *read = true;
        return Vec::new();
    };
    let width = join.left.schema().fields().len();
    let in_left = |column| left.contains(&column);
    let in_right = |column| right.contains(&column);
    for (ours, theirs) in &join.on {
        *read |= reads(ours, join.left.schema(), in_left);
        *read |= reads(theirs, join.right.schema(), in_right);
    }
    if let Some(filter) = &join.filter {
        *read |= reads(filter, join.left.schema(), in_left);
        *read |= reads(filter, join.right.schema(), in_right);
    }
    match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            let right = right.iter().map(|column| column + width);
            left.iter().copied().chain(right).collect()
        }
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.clone(),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.clone(),
    }
}
