//! Which side of a join is looked up: the one that only filters and projects a table that has a
//! PRIMARY KEY and no event time, and is read once.

use datafusion_common::{Column, DataFusionError, JoinType};
use datafusion_expr::{Expr, Join, LogicalPlan};

use crate::plan::{JoinKind, Table, TableId};

use super::expression::{is_always_true, is_never_true, substitute};
use super::scan::{columns_of, table_of};

/// A join, seen as a stream that looks something up.
pub struct Sides<'a> {
    pub stream: &'a LogicalPlan,
    pub reference: Reference<'a>,
    /// Equal expressions: the stream's, the reference's.
    pub pairs: Vec<(&'a Expr, &'a Expr)>,
    pub stream_is_left: bool,
    pub output: Output,
}

/// Which rows and columns of a join come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Matching rows, all columns.
    Inner,
    /// All rows of the stream, all columns.
    Left,
    /// Matching rows, the stream's columns: IN and EXISTS.
    Semi,
    /// Rows without a match, the stream's columns: NOT IN and NOT EXISTS.
    Anti,
}

/// A reference table behind filters and projections.
pub struct Reference<'a> {
    pub table: TableId,
    pub plan: &'a LogicalPlan,
    /// What each column of `plan` is, over columns called `#position` of the table.
    pub columns: Vec<Expr>,
    /// What rows of the table must fulfil, over the same.
    pub filters: Vec<Expr>,
}

impl<'a> Sides<'a> {
    /// Which side is looked up, if one can be.
    pub fn of(join: &'a Join, tables: &[Table]) -> Option<Self> {
        let right = Reference::of(&join.right, tables);
        let left = Reference::of(&join.left, tables);
        let (stream_is_left, output) = match (join.join_type, right.is_some(), left.is_some()) {
            (JoinType::Inner, true, _) => (true, Output::Inner),
            (JoinType::Inner, false, true) => (false, Output::Inner),
            (JoinType::Left, true, _) => (true, Output::Left),
            (JoinType::Right, _, true) => (false, Output::Left),
            (JoinType::LeftSemi, true, _) => (true, Output::Semi),
            (JoinType::RightSemi, _, true) => (false, Output::Semi),
            (JoinType::LeftAnti, true, _) => (true, Output::Anti),
            (JoinType::RightAnti, _, true) => (false, Output::Anti),
            (
                JoinType::Inner
                | JoinType::Left
                | JoinType::Right
                | JoinType::Full
                | JoinType::LeftSemi
                | JoinType::RightSemi
                | JoinType::LeftAnti
                | JoinType::RightAnti
                | JoinType::LeftMark
                | JoinType::RightMark,
                ..,
            ) => return None,
        };
        let (stream, reference) = if stream_is_left {
            (&join.left, right)
        } else {
            (&join.right, left)
        };
        let pairs = join.on.iter().map(|(left, right)| {
            if stream_is_left {
                (left, right)
            } else {
                (right, left)
            }
        });
        Some(Self {
            stream,
            reference: reference?,
            pairs: pairs.collect(),
            stream_is_left,
            output,
        })
    }

    /// Whether no row of the stream can match, as the conditions stand.
    pub fn is_never_true(&self, join: &Join) -> bool {
        let of_stream = matches!(self.stream, LogicalPlan::Filter(filter)
            if is_never_true(&filter.predicate));
        let mut others = join.filter.iter().chain(&self.reference.filters);
        of_stream || others.any(is_never_true)
    }

    /// Which rows of the stream the lookup keeps.
    pub fn kind(&self) -> JoinKind {
        match self.output {
            Output::Inner | Output::Semi => JoinKind::Inner,
            Output::Left | Output::Anti => JoinKind::Left,
        }
    }
}

impl<'a> Reference<'a> {
    fn of(plan: &'a LogicalPlan, tables: &[Table]) -> Option<Self> {
        let (table, columns, filters) = reference(plan, tables)?;
        Some(Self {
            table,
            plan,
            columns,
            filters,
        })
    }
}

/// The table, columns and filters of a plan that only filters and projects a reference table.
fn reference(plan: &LogicalPlan, tables: &[Table]) -> Option<(TableId, Vec<Expr>, Vec<Expr>)> {
    if let LogicalPlan::TableScan(scan) = plan {
        let table = table_of(scan)?;
        let declared = &tables[table];
        let is_fixed = !declared.is_reloaded() && declared.watermark.is_none();
        if declared.primary_key.is_empty() || !is_fixed {
            return None;
        }
        let column = |at: &usize| Expr::Column(Column::new_unqualified(format!("#{at}")));
        let columns = columns_of(scan).iter().map(column).collect();
        return Some((table, columns, scan.filters.clone()));
    }
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return reference(&alias.input, tables);
    }
    if let LogicalPlan::Projection(projection) = plan {
        let (table, columns, filters) = reference(&projection.input, tables)?;
        let schema = projection.input.schema();
        let columns: std::result::Result<Vec<Expr>, DataFusionError> = projection
            .expr
            .iter()
            .map(|e| substitute(e.clone().unalias_nested().data, schema, &columns))
            .collect();
        return Some((table, columns.ok()?, filters));
    }
    if let LogicalPlan::Filter(filter) = plan {
        let (table, columns, mut filters) = reference(&filter.input, tables)?;
        let schema = filter.input.schema();
        if is_always_true(&filter.predicate) {
            return Some((table, columns, filters));
        }
        filters.push(substitute(filter.predicate.clone(), schema, &columns).ok()?);
        return Some((table, columns, filters));
    }
    None
}
