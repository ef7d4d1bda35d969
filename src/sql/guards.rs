//! The order of conditions joined by AND: those that may fail stay in the order in which they are
//! written, so that one guards those behind it (`t ~ '^[0-9]+$' AND t::int > 5`).
//!
//! DataFusion puts conditions that it takes for cheap, among them casts and divisions, before those
//! that it takes for dear, such as functions and patterns. Here it sees conditions that may fail as
//! calls of a function that is nothing but its argument, which are all alike to it; where it has
//! moved them, the calls are taken away. Comparisons of columns and constants cannot fail: they go
//! first, for whatever stands before them.
//!
//! The conditions of ON come before those of WHERE.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's plans and expressions, those of interest are named"
)]

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, exec_err};
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

/// How many plans deep DataFusion's rule takes conditions at a time: a filter that stays, what it
/// passes, a filter below.
const DEPTH: usize = 3;

/// DataFusion's rule that moves conditions towards the sources, in the order of those that may
/// fail.
#[derive(Debug, Default)]
pub struct InOrder {
    moves: PushDownFilter,
}

impl OptimizerRule for InOrder {
    fn name(&self) -> &str {
        self.moves.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.moves.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(mut filter) = plan else {
            return self.moves.rewrite(plan, config);
        };
        let of_on =
            matches!(filter.input.as_ref(), LogicalPlan::Join(join) if join.filter.is_some());
        if of_on {
            let join = Arc::unwrap_or_clone(filter.input);
            filter.input = Arc::new(self.moves.rewrite(join, config)?.data);
        }
        // What a filter stands on is put into one with it.
        let mut below = filter.input.as_ref();
        let mut may_fail = has_guarded(&filter.predicate);
        while let LogicalPlan::Filter(inner) = below {
            may_fail |= has_guarded(&inner.predicate);
            below = inner.input.as_ref();
        }
        if !may_fail {
            return self.moves.rewrite(LogicalPlan::Filter(filter), config);
        }
        let marked = marked(LogicalPlan::Filter(filter))?;
        let moved = self.moves.rewrite(marked, config)?;
        moved.map_data(|plan| unmarked(plan, DEPTH))
    }
}

/// Whether a condition is nothing but comparisons of columns and constants.
fn is_plain(condition: &Expr) -> bool {
    let beyond = condition.exists(|part| {
        Ok(!match part {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::Between(_)
            | Expr::InList(_) => true,
            Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(
                op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
                    | Operator::IsDistinctFrom
                    | Operator::IsNotDistinctFrom
                    | Operator::And
                    | Operator::Or
            ),
            _ => false,
        })
    });
    !beyond.unwrap_or(true)
}

fn has_guarded(predicate: &Expr) -> bool {
    !split_conjunction(predicate).into_iter().all(is_plain)
}

/// The filters at the top with the conditions that may fail marked, the others before them.
fn marked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Filter(mut filter) = plan else {
        return Ok(plan);
    };
    filter.input = Arc::new(marked(Arc::unwrap_or_clone(filter.input))?);
    let conditions = split_conjunction_owned(filter.predicate.clone());
    let marked = conditions
        .into_iter()
        .map(|condition| match is_plain(&condition) {
            true => condition,
            false => KEPT.call(vec![condition]),
        });
    if let Some(predicate) = conjunction(marked) {
        filter.predicate = predicate;
    }
    Ok(LogicalPlan::Filter(filter))
}

/// A plan without marks, of which there are none deeper than `depth`.
fn unmarked(plan: LogicalPlan, depth: usize) -> Result<LogicalPlan> {
    if depth == 0 {
        return Ok(plan);
    }
    let plan = plan.map_expressions(|expr| {
        expr.transform_up(|part| match part {
            Expr::ScalarFunction(mut call) if call.func.name() == NAME => {
                let inner = call.args.pop().unwrap_or_default();
                Ok(Transformed::yes(inner))
            }
            part => Ok(Transformed::no(part)),
        })
    })?;
    let plan = plan
        .data
        .map_children(|child| unmarked(child, depth - 1).map(Transformed::yes))?;
    Ok(plan.data)
}

/// The name of the mark, which no SQL can write.
const NAME: &str = "kept in order";

/// The mark.
static KEPT: LazyLock<ScalarUDF> = LazyLock::new(|| {
    ScalarUDF::from(Kept {
        signature: Signature::any(1, Volatility::Immutable),
    })
});

/// A function that is its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kept {
    signature: Signature,
}

impl ScalarUDFImpl for Kept {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Boolean))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(argument) => Ok(argument),
            None => exec_err!("there is no condition"),
        }
    }
}
