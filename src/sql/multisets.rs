//! `INTERSECT ALL` and `EXCEPT ALL`: DataFusion plans them as joins that ask whether a row is
//! there, not how often. Numbered, the copies of a row are different rows.
//!
//! ```text
//!   a SEMI JOIN b   ──▶   columns of a (a, number among its copies SEMI JOIN b, the same)
//! ```

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DataFusionError, JoinType, NullEquality};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::{
    Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
    WindowUDF,
};

type Result<T> = std::result::Result<T, DataFusionError>;

/// Rewrites every such join of a plan that nothing has optimised yet: there, a semi or an anti
/// join is nothing but a set operation.
pub fn count_copies(plan: LogicalPlan, row_number: &Arc<WindowUDF>) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Transformed::no(plan));
        };
        // Of distinct rows there are no copies.
        let is_distinct = matches!(join.left.as_ref(), LogicalPlan::Distinct(_));
        let is_set = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
        if !is_set || is_distinct || join.null_equality != NullEquality::NullEqualsNull {
            return Ok(Transformed::no(plan));
        }
        numbered_join(join, row_number).map(Transformed::yes)
    })?;
    Ok(rewritten.data)
}

fn numbered_join(join: &Join, row_number: &Arc<WindowUDF>) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = join
        .left
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let (left, left_number) = numbered(&join.left, row_number)?;
    let (right, right_number) = numbered(&join.right, row_number)?;
    let mut keys: (Vec<Column>, Vec<Column>) =
        (join.left.schema().columns(), join.right.schema().columns());
    keys.0.push(left_number);
    keys.1.push(right_number);
    LogicalPlanBuilder::from(left)
        .join_detailed(
            right,
            join.join_type,
            keys,
            None,
            NullEquality::NullEqualsNull,
        )?
        .project(columns)?
        .build()
}

/// The rows with their numbers among their copies, and that column.
fn numbered(plan: &LogicalPlan, row_number: &Arc<WindowUDF>) -> Result<(LogicalPlan, Column)> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let function = WindowFunctionDefinition::WindowUDF(Arc::clone(row_number));
    let call = Expr::from(WindowFunction::new(function, Vec::new()))
        .partition_by(columns.collect())
        .build()?;
    let numbered = LogicalPlanBuilder::from(plan.clone())
        .window(vec![call])?
        .build()?;
    let number = Column::from(
        numbered
            .schema()
            .qualified_field(plan.schema().fields().len()),
    );
    Ok((numbered, number))
}
