//! ASOF JOIN, and JOIN of a table FOR SYSTEM_TIME AS OF: one extension node in the logical plan.
//!
//! A row of the left is joined with the newest row of the right at its time. So a condition on
//! the right's columns above the join must stay there: below it, it would make another row the
//! newest one.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM, one form is of interest"
)]

pub mod joins;
pub mod tokens;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion_common::{Column, DFSchemaRef, JoinType, Result};
use datafusion_expr::logical_plan::builder::build_join_schema;
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{
    Join, JoinConstraint, JoinOperator, Spanned, TableFactor, TableWithJoins,
};

use crate::plan::{JoinKind, Place};

use super::catalog::Declared;
use super::place_of;
use super::problem::Problem;
use joins::Form;

/// Joins each row of `left` with the newest row of `right`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsofJoin {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// The comparison of the two times.
    pub times: Expr,
    /// What must be equal.
    pub on: Vec<Expr>,
    /// Which right rows say that there is none from their time on.
    pub gone: Option<Expr>,
    pub form: Form,
    /// Where the right table stands.
    pub place: Place,
    schema: DFSchemaRef,
}

// DataFusion asks for an order and never uses it.
impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.place.partial_cmp(&other.place)
    }
}

impl AsofJoin {
    fn try_new(
        [left, right]: [LogicalPlan; 2],
        times: Expr,
        (on, gone): (Vec<Expr>, Option<Expr>),
        form: Form,
        place: Place,
    ) -> Result<Self> {
        let kind = match form.kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
        };
        Ok(Self {
            schema: Arc::new(build_join_schema(left.schema(), right.schema(), &kind)?),
            left,
            right,
            times,
            on,
            gone,
            form,
            place,
        })
    }

    /// The same join of other rows of the left.
    pub fn of_left(&self, left: LogicalPlan) -> Self {
        Self {
            left,
            ..self.clone()
        }
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let times = [self.times.clone()].into_iter();
        times
            .chain(self.on.iter().chain(&self.gone).cloned())
            .collect()
    }

    /// All: DataFusion would put a condition before both inputs.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let columns = self.schema.columns().into_iter();
        columns.map(|column: Column| column.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsofJoin by {}", self.times)
    }

    fn with_exprs_and_inputs(
        &self,
        mut expressions: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let gone = self.gone.as_ref().and_then(|_| expressions.pop());
        let on = expressions.split_off(1);
        let times = expressions.swap_remove(0);
        let right = inputs.swap_remove(1);
        let left = inputs.swap_remove(0);
        Self::try_new([left, right], times, (on, gone), self.form, self.place)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let mut needed: Vec<usize> = output.to_vec();
        for column in self.expressions().iter().flat_map(Expr::column_refs) {
            needed.push(self.schema.index_of_column(column).ok()?);
        }
        if may_share_place(&self.right) {
            needed.extend(width..self.schema.fields().len());
        }
        needed.sort_unstable();
        needed.dedup();
        let (left, right): (Vec<usize>, Vec<usize>) =
            needed.into_iter().partition(|at| *at < width);
        Some(vec![left, right.into_iter().map(|at| at - width).collect()])
    }
}

/// Whether several rows may have one place in the input. Of two at one time all columns say which
/// one is joined: which of them a query reads must not.
fn may_share_place(rows: &LogicalPlan) -> bool {
    match rows {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            rows.inputs().into_iter().any(may_share_place)
        }
        // Groups have no two rows of one key and time, or are refused.
        LogicalPlan::TableScan(_) | LogicalPlan::Aggregate(_) => false,
        _ => true,
    }
}

/// Plans as-of joins in FROM.
#[derive(Debug)]
pub struct AsofPlanner;

impl RelationPlanner for AsofPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let is_one = matches!(&relation, TableFactor::NestedJoin { table_with_joins, .. }
            if joins::is_one(table_with_joins));
        match relation {
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } if is_one => {
                let plan = LogicalPlan::Extension(Extension {
                    node: Arc::new(node(*table_with_joins, context)?),
                });
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
                    plan, alias,
                ))))
            }
            relation => Ok(RelationPlanning::Original(Box::new(relation))),
        }
    }
}

/// The column that says which versions of a table end one and begin none.
fn tombstone(table: &LogicalPlan) -> Option<Expr> {
    let scan = match table {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        plan => plan,
    };
    let LogicalPlan::TableScan(scan) = scan else {
        return None;
    };
    let name = scan.source.downcast_ref::<Declared>()?.tombstone.as_ref()?;
    let at = table.schema().index_of_column_by_name(None, name)?;
    Some(Expr::Column(Column::from(
        table.schema().qualified_field(at),
    )))
}

fn node(tables: TableWithJoins, context: &mut dyn RelationPlannerContext) -> Result<AsofJoin> {
    let TableWithJoins {
        relation,
        mut joins,
    } = tables;
    let Some(Join {
        relation: joined,
        join_operator:
            JoinOperator::AsOf {
                match_condition,
                constraint,
            },
        ..
    }) = joins.pop()
    else {
        panic!("only asked of as-of joins")
    };
    let (form, comparison) = Form::of(match_condition).expect("it was given one");
    let place = place_of(joined.span());
    let (left, right) = (context.plan(relation)?, context.plan(joined)?);
    let schema = build_join_schema(left.schema(), right.schema(), &JoinType::Inner)?;
    let times = context.sql_to_expr(comparison, &schema)?;
    let on = match constraint {
        JoinConstraint::On(on) => split_conjunction_owned(context.sql_to_expr(on, &schema)?),
        JoinConstraint::None => Vec::new(),
        JoinConstraint::Using(_) | JoinConstraint::Natural => {
            let message = "an ASOF JOIN keeps the columns of both sides";
            return Err(Problem::at(place, message)
                .hint("write ON a.key = b.key instead of USING")
                .into());
        }
    };
    let gone = form.versions.then(|| tombstone(&right)).flatten();
    AsofJoin::try_new([left, right], times, (on, gone), form, place)
}
