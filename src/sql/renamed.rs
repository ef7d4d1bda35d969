//! Rewrites the expressions of a node, which keep the names that others know them by.

use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode as _};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{Expr, LogicalPlan};

/// Rewrites each expression of a plan's first node.
pub fn under_their_names(
    plan: LogicalPlan,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let mut named = |expr: Expr| {
        let name = names.save(&expr);
        let expr = rewrite(expr)?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    };
    plan.map_expressions(|expr| {
        // It shows as many columns as it has expressions; under a name it would be one.
        if matches!(expr, Expr::GroupingSet(_)) {
            return expr.map_children(&mut named);
        }
        named(expr)
    })
}
