//! As-of joins: the two times, the columns that must be equal, and how late rows may come.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's plans and expressions, those of interest are named"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_common::{DFSchema, NullEquality};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{
    BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator as Op, Projection,
};

use crate::plan::{Asof, JoinKind, JoinType, Operator};
use crate::sql::asof::AsofJoin;
use crate::sql::errors::list;
use crate::sql::problem::Problem;

use super::expression::{conjuncts, is_always_true, plain_column, unaliased};
use super::join::{Further, Sides};
use super::lookup::only_table;
use super::text::text;
use super::{Ask, Finality, Lowering, Result, Rows};

/// What a join compares, by side.
struct Compared {
    times: [Expr; 2],
    older: bool,
    keys: [Vec<Expr>; 2],
}

/// Whether a filter is right above an as-of join, and some of it about the left alone.
pub(super) fn is_of_asof(filter: &Filter) -> bool {
    let parts = || conjuncts(&filter.predicate).into_iter();
    below(filter).is_some_and(|(join, _)| parts().any(|part| is_of(part, join.left.schema())))
}

/// The join, and what leaves out columns between the two.
fn below(filter: &Filter) -> Option<(&AsofJoin, Option<&Projection>)> {
    let (plan, projection) = match filter.input.as_ref() {
        LogicalPlan::Projection(projection) => (projection.input.as_ref(), Some(projection)),
        plan => (plan, None),
    };
    let mut columns = projection.iter().flat_map(|projection| &projection.expr);
    match plan {
        LogicalPlan::Extension(extension) if columns.all(|expr| expr.try_as_col().is_some()) => {
            let join = extension.node.as_any().downcast_ref()?;
            Some((join, projection))
        }
        _ => None,
    }
}

impl Lowering<'_> {
    /// A filter of an as-of join's rows: what is about the left alone goes before the join.
    pub(super) fn above_asof(&mut self, filter: &Filter, ask: Ask) -> Result<Rows> {
        let (join, projection) = below(filter).expect("it was asked");
        let (mut plan, rest) = filtered(join, &filter.predicate);
        if let Some(projection) = projection {
            let projected = Projection::try_new(projection.expr.clone(), Arc::new(plan));
            plan = LogicalPlan::Projection(projected.map_err(|error| self.datafusion(&error))?);
        }
        let rows = self.rows(&plan, ask)?;
        match rest {
            Some(rest) => self.filter(rows, filter.input.schema(), &rest),
            None => Ok(rows),
        }
    }

    pub(super) fn asof(&mut self, join: &AsofJoin, ask: Ask) -> Result<Rows> {
        if ask.finality == Some(Finality::Latest) {
            return Err(Problem::at(
                self.place,
                "'upsert.by' is for rows of a stream; these are joined from two",
            )
            .hint(
                "leave 'upsert.by' out, and take the last row per key in the query: WHERE \
                   row_number() OVER (PARTITION BY key ORDER BY ts DESC) = 1",
            ));
        }
        let compared = compared(join)?;
        if join.form.versions {
            self.check_versions(join, &compared.keys[1])?;
        }
        let below = Ask::of_rows(Some(Finality::Above("ASOF JOIN")));
        let [left_keys, right_keys] = &compared.keys;
        let [left_time, right_time] = &compared.times;
        let (left, left_keys, (l, left_behind)) =
            self.asof_side(join, &join.left, (left_keys, left_time), below)?;
        let (right, right_keys, (r, right_behind)) =
            self.asof_side(join, &join.right, (right_keys, right_time), below)?;
        self.check_ties(join, (&right, &right_keys, r))?;
        let gone = join.gone.as_ref();
        let gone = gone.and_then(|gone| plain_column(gone, join.right.schema()));
        let asof = Asof {
            times: [l, r],
            older: compared.older,
            gone: gone.map(|at| right.columns[at]),
            behind_us: [left_behind, right_behind],
        };
        let mut sides = Sides {
            left,
            right,
            keys: left_keys.into_iter().zip(right_keys).collect(),
        };
        sides.left.node = self.on_time(sides.left.node, l);
        sides.right.node = self.on_time(sides.right.node, r);
        self.asof_join(join.form.kind, sides, asof)
    }

    fn asof_join(&mut self, kind: JoinKind, sides: Sides, asof: Asof) -> Result<Rows> {
        let joined = match kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
        };
        let (fields, mut facts) = self.of_join(&sides, joined, NullEquality::NullEqualsNothing);
        // A row of the left finds one row at most.
        let of_left = self.graph.facts(sides.left.node);
        facts.keys = of_left.keys.clone();
        facts.key_text = of_left.key_text.clone();
        facts.lagging = [(asof.times[0], asof.lag_us())].into();
        let text = format!(
            "asof join {} {} {kind:?} {:?} {asof:?}",
            sides.left.node, sides.right.node, sides.keys
        );
        let operator = Operator::AsofJoin {
            left: sides.left.node,
            right: sides.right.node,
            keys: sides.keys.clone(),
            kind,
            asof,
        };
        let node = self.graph.add(text, operator, fields, facts, self.place);
        self.out_of(sides, joined, node, Further::Nothing)
    }

    /// The rows of a side, with the positions of its keys and of its time, and how far before the
    /// watermark a row may come with that.
    fn asof_side(
        &mut self,
        join: &AsofJoin,
        plan: &LogicalPlan,
        (keys, time): (&[Expr], &Expr),
        ask: Ask,
    ) -> Result<(Rows, Vec<usize>, (usize, i64))> {
        let (rows, keys) = self.side(plan, keys, ask)?;
        if self.is_changing(&rows) {
            return Err(self.too_changing("ASOF JOIN"));
        }
        let column = plain_column(time, plan.schema()).map(|at| rows.columns[at]);
        let behind_us = column.and_then(|column| self.behind_us(rows.node, column));
        match column.zip(behind_us) {
            Some(time) => Ok((rows, keys, time)),
            None => Err(self.no_event_time(time, plan, (join.place, "an ASOF JOIN"), &rows)),
        }
    }

    /// Of two right rows at one time, the one that stands later in the input counts; behind state
    /// rows stand nowhere, so there must not be two.
    fn check_ties(
        &self,
        join: &AsofJoin,
        (right, keys, time): (&Rows, &[usize], usize),
    ) -> Result<()> {
        let is_compared =
            |part: &Vec<usize>| part.iter().any(|at| *at == time || keys.contains(at));
        let mut known = self.graph.facts(right.node).keys.iter();
        if !self.is_behind_state(right.node) || known.any(|key| key.iter().all(is_compared)) {
            return Ok(());
        }
        let message = "the rows on the right of this ASOF JOIN were made by windows or joins, and \
                       several of them may have one key and one time: none of them is the newest";
        Err(Problem::at(join.place, message).hint(
            "aggregate them first: GROUP BY the columns that are compared and a window, and \
             compare with window_end; or join a table that is read",
        ))
    }

    /// The columns of the right that are compared are its PRIMARY KEY: a version holds for one.
    fn check_versions(&self, join: &AsofJoin, keys: &[Expr]) -> Result<()> {
        let table = only_table(&join.right).ok_or_else(|| {
            let message = "FOR SYSTEM_TIME AS OF reads a declared table, and nothing made of one";
            Problem::at(join.place, message).hint("of any other rows, write ASOF JOIN")
        })?;
        let table = &self.tables[table];
        let names = table.primary_key.iter();
        let names: Vec<&str> = names
            .map(|at| table.columns[*at].field.name().as_str())
            .collect();
        let compared = keys
            .iter()
            .map(|key| key.try_as_col().map(|key| &*key.name));
        let compared: BTreeSet<Option<&str>> = compared.collect();
        if compared == names.iter().map(|name| Some(*name)).collect() {
            return Ok(());
        }
        let conditions: Vec<String> = names
            .iter()
            .map(|name| format!("{}.{name} = ..", table.name))
            .collect();
        Err(Problem::at(
            join.place,
            format!(
                "a version of `{}` is found by its whole PRIMARY KEY and nothing else: {}",
                table.name,
                list(&names)
            ),
        )
        .hint(format!(
            "write ON {}, and any other condition in WHERE",
            conditions.join(" AND ")
        )))
    }
}

/// The join with that part of a filter before it that is about the left alone, and what remains
/// of the filter.
fn filtered(join: &AsofJoin, predicate: &Expr) -> (LogicalPlan, Option<Expr>) {
    let parts = conjuncts(predicate).into_iter().cloned();
    let (before, after): (Vec<Expr>, Vec<Expr>) =
        parts.partition(|part| is_of(part, join.left.schema()));
    let left = match conjunction(before) {
        Some(before) => LogicalPlan::Filter(Filter::new(before, Arc::new(join.left.clone()))),
        None => join.left.clone(),
    };
    let node = Arc::new(join.of_left(left));
    (
        LogicalPlan::Extension(Extension { node }),
        conjunction(after),
    )
}

/// Whether an expression reads columns of this side, and no others.
fn is_of(expr: &Expr, side: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|column| side.has_column(column))
}

/// The two expressions of a comparison, the left's first. The optimiser, which turns some of them
/// around, keeps how they read before as a name.
fn sides_of(join: &AsofJoin, expr: &Expr) -> Option<(Expr, Op, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = unaliased(expr) else {
        return None;
    };
    let (ours, theirs) = (join.left.schema(), join.right.schema());
    if is_of(left, ours) && is_of(right, theirs) {
        return Some((left.as_ref().clone(), *op, right.as_ref().clone()));
    }
    let swapped = op.swap()?;
    let is_swapped = is_of(right, ours) && is_of(left, theirs);
    is_swapped.then(|| (right.as_ref().clone(), swapped, left.as_ref().clone()))
}

fn compared(join: &AsofJoin) -> Result<Compared> {
    let (left, op, right) = sides_of(join, &join.times).ok_or_else(|| {
        let message = format!(
            "`{}` does not compare a time of the one side with a time of the other",
            text(&join.times)
        );
        Problem::at(join.place, message).hint("write a.ts >= b.ts")
    })?;
    if !matches!(op, Op::GtEq | Op::Gt) {
        let message = "an ASOF JOIN takes the newest row at or before a time, and none after it";
        return Err(Problem::at(join.place, message)
            .hint("write a.ts >= b.ts, or a.ts > b.ts for a row that is older"));
    }
    let mut keys = [Vec::new(), Vec::new()];
    for part in join
        .on
        .iter()
        .filter(|part| !is_always_true(unaliased(part)))
    {
        match sides_of(join, part) {
            Some((ours, Op::Eq, theirs)) => {
                keys[0].push(ours);
                keys[1].push(theirs);
            }
            Some(_) | None => {
                let message = format!(
                    "ON of an ASOF JOIN says what is equal, and `{}` does not",
                    text(part)
                );
                return Err(Problem::at(join.place, message).hint(
                    "write it in WHERE; or in a sub-query, to choose among rows that fulfil it",
                ));
            }
        }
    }
    Ok(Compared {
        times: [left, right],
        older: op == Op::Gt,
        keys,
    })
}
