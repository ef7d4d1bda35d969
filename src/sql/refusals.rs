//! What a pipeline cannot do, found in the syntax tree, where everything still has its place.
//!
//! DataFusion would drop some of it silently (`FOR SYSTEM_TIME AS OF`), and name most of it in
//! words that nobody typed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, GroupByExpr, JoinOperator, LimitClause, ObjectName, Query, SetExpr, SetOperator,
    Spanned, TableFactor, Visit, Visitor,
};

use crate::plan::Place;

use super::functions::VOLATILE;
use super::problem::Problem;
use super::{normalise, place_of};

/// What was found in a query.
#[derive(Debug, Default)]
pub struct Found {
    pub problems: Vec<Problem>,
    /// Where each table is named first.
    pub mentions: BTreeMap<String, Place>,
}

/// Looks through a query.
pub fn of_query(query: &Query) -> Found {
    let mut found = Found::default();
    let _ = query.visit(&mut found);
    found
}

/// Looks through an expression of a table's declaration.
pub fn of_expression(expr: &Expr) -> Vec<Problem> {
    let mut found = Found::default();
    let _ = expr.visit(&mut found);
    found.problems
}

impl Found {
    fn refuse(&mut self, place: Place, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::at(place, message).hint(hint));
    }

    fn select(&mut self, select: &ast::Select) {
        let place = place_of(select.select_token.0.span);
        if let Some(ast::Distinct::On(_)) = &select.distinct {
            self.refuse(
                place,
                "a pipeline cannot compute DISTINCT ON yet",
                "for the last row per key, give the sink a PRIMARY KEY and 'upsert.by' = 'ts'",
            );
        }
        if select.top.is_some() {
            self.refuse(
                place,
                "a pipeline cannot limit rows that never end",
                "leave TOP out",
            );
        }
        if select.into.is_some() {
            self.refuse(
                place,
                "SELECT INTO has no meaning here",
                "write INSERT INTO t SELECT ..",
            );
        }
        if let GroupByExpr::All(_) = &select.group_by {
            self.refuse(
                place,
                "a pipeline cannot compute GROUP BY ALL yet",
                "name the columns: GROUP BY a, b",
            );
        }
        let joins = select.from.iter().flat_map(|from| &from.joins);
        for join in joins {
            let at = place_of(join.relation.span());
            match &join.join_operator {
                JoinOperator::AsOf { .. } => self.refuse(
                    at,
                    "a pipeline cannot compute ASOF JOIN yet",
                    "join a table that has a PRIMARY KEY and no WATERMARK FOR",
                ),
                JoinOperator::FullOuter(_) => {
                    self.refuse(
                        at,
                        "a pipeline cannot compute FULL JOIN yet",
                        "use LEFT JOIN",
                    );
                }
                _ => {}
            }
        }
    }

    fn function(&mut self, function: &ast::Function) {
        let place = place_of(function.name.span());
        let name = function.name.to_string().to_lowercase();
        if let Some((_, hint)) = VOLATILE
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()))
        {
            let message = format!(
                "{name} is not a function of the input: it would change a result when it is computed again"
            );
            self.refuse(place, message, hint);
        } else if function.over.is_some() {
            let hint = if matches!(name.as_str(), "row_number" | "rank" | "dense_rank") {
                "for the last row per key, give the sink a PRIMARY KEY and 'upsert.by' = 'ts'"
            } else {
                "GROUP BY the window_start of a TUMBLE(..) instead"
            };
            self.refuse(
                place,
                format!("a pipeline cannot compute {name} OVER (..) yet"),
                hint,
            );
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let place = place_of(query.span());
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            self.refuse(
                place,
                "a pipeline cannot compute a recursive query yet",
                "leave RECURSIVE out",
            );
        }
        if let Some(order) = &query.order_by {
            let at = Some(place_of(order.span()))
                .filter(|at| at.line > 0)
                .unwrap_or(place);
            self.refuse(
                at,
                "a pipeline cannot sort rows that never end",
                "leave ORDER BY out: a table has no order",
            );
        }
        let limited = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.is_some() || offset.is_some()
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => true,
            None => false,
        };
        if limited || query.fetch.is_some() {
            self.refuse(
                place,
                "a pipeline cannot limit rows that never end",
                "leave LIMIT out",
            );
        }
        match query.body.as_ref() {
            SetExpr::SetOperation { op, .. } if !matches!(op, SetOperator::Union) => {
                self.refuse(
                    place,
                    format!("a pipeline cannot compute {op} yet"),
                    "of a table with a PRIMARY KEY, write WHERE NOT EXISTS (SELECT ..)",
                );
            }
            SetExpr::Values(_) => self.refuse(
                place,
                "a pipeline cannot insert constant rows",
                "read FROM a table; rows of a file come with connector = 'file'",
            ),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let [part] = relation.0.as_slice()
            && let Some(name) = part.as_ident()
        {
            self.mentions
                .entry(normalise(name))
                .or_insert(place_of(name.span));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let place = place_of(factor.span());
        match factor {
            TableFactor::Table {
                version: Some(_), ..
            } => self.refuse(
                place,
                "a pipeline cannot join FOR SYSTEM_TIME AS OF yet",
                "leave it out: a table that is looked up is fixed for the run",
            ),
            TableFactor::Table {
                sample: Some(_), ..
            } => self.refuse(
                place,
                "a sample is not a function of the input",
                "write a condition on a column, such as mod(id, 100) = 0",
            ),
            TableFactor::MatchRecognize { table, .. } => self.refuse(
                place_of(table.span()),
                "a pipeline cannot compute MATCH_RECOGNIZE yet",
                "aggregate in windows: TUMBLE, HOP or CUMULATE",
            ),
            TableFactor::Pivot { table, .. } | TableFactor::Unpivot { table, .. } => self.refuse(
                place_of(table.span()),
                "a pipeline cannot compute PIVOT",
                "write one aggregate per column: count(*) FILTER (WHERE kind = 'a')",
            ),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let place = place_of(expr.span());
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => self.refuse(
                place,
                "a pipeline cannot compute GROUPING SETS, ROLLUP or CUBE yet",
                "write one INSERT per set of columns",
            ),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }
                if matches!(right.as_ref(), Expr::Subquery(_)) =>
            {
                self.refuse(
                    place,
                    "a pipeline cannot compare with a query yet",
                    "join the table, or use IN (SELECT ..)",
                );
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
