//! Rows in SESSION windows: a row knows its own time only, and the aggregate above finds out
//! which rows make a session.
//!
//! So nothing between the two may drop a row, or the session would be another one. A condition on
//! what the rows of a session share (its partition, `window_start`, `window_end`) is a condition
//! on the session: it is held back and applied above the aggregate.

use std::collections::BTreeSet;

use datafusion_common::Column;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::Expr;
use datafusion_expr::utils::conjunction;

use crate::plan::{Assign, Place, WindowKind};
use crate::sql::problem::Problem;

use super::aggregate::at_position;
use super::expression::{conjuncts, plain_column};
use super::text::text;
use super::{Ask, Lowering, Result, Rows, WindowColumns, position};
use crate::sql::window::WindowAssign;

/// What an aggregate must know to make sessions of rows.
#[derive(Clone, Debug)]
pub struct Session {
    gap_us: i64,
    open_us: i64,
    /// `window_start` and `window_end` of each row's own session.
    start: usize,
    end: usize,
    /// The columns that the rows of a session share, and their names.
    pub partition: Vec<usize>,
    names: Vec<String>,
    /// What sessions must fulfil, over columns called `session#number`: start, end, partition.
    having: Vec<Expr>,
    place: Place,
}

impl Session {
    /// Of rows with these positions; `None` if the windows are no sessions.
    pub fn new(
        window: &WindowAssign,
        columns: &[usize],
        start: usize,
        open_us: i64,
        ask: Ask,
    ) -> Option<Result<Self>> {
        let WindowKind::Session { gap_us, .. } = window.kind else {
            return None;
        };
        if !ask.session {
            let message = "rows of a SESSION are aggregated, and these are not";
            return Some(Err(Problem::at(window.place, message).hint(
                "write SELECT window_start, window_end, count(*) .. GROUP BY window_start, \
                 window_end, and the columns of PARTITION BY",
            )));
        }
        let schema = window.input.schema();
        let mut session = Self {
            gap_us,
            open_us,
            start,
            end: start + 1,
            partition: Vec::new(),
            names: Vec::new(),
            having: Vec::new(),
            place: window.place,
        };
        for expr in &window.partition {
            let Some(at) = plain_column(expr, schema) else {
                let message = format!("`{}` is not a column", text(expr));
                return Some(Err(Problem::at(window.place, message).hint(
                    "compute it in an inner query, and write its name after PARTITION BY",
                )));
            };
            if !session.partition.contains(&columns[at]) {
                session.partition.push(columns[at]);
                session.names.push(text(expr));
            }
        }
        Some(Ok(session))
    }

    /// As the window of an aggregate.
    pub fn window(&self) -> WindowColumns {
        WindowColumns {
            kind: WindowKind::Session {
                gap_us: self.gap_us,
                partition: self.partition.len(),
            },
            assign: Assign::Windows,
            start: self.start,
            end: self.end,
            open_us: self.open_us,
            of_groups: false,
        }
    }

    /// The columns that it needs.
    pub fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        [self.start, self.end]
            .into_iter()
            .chain(self.partition.iter().copied())
    }

    /// The same where a column has another position.
    pub fn moved(&self, mut to: impl FnMut(usize, &str) -> usize) -> Self {
        let names = self.names.iter();
        Self {
            start: to(self.start, "window_start"),
            end: to(self.end, "window_end"),
            partition: self
                .partition
                .iter()
                .zip(names)
                .map(|(at, name)| to(*at, name))
                .collect(),
            ..self.clone()
        }
    }

    /// Which columns the group must have, and does not.
    pub fn missing(&self, has: impl Fn(usize) -> bool) -> Option<Problem> {
        if !has(self.start) && !has(self.end) {
            let message = "sessions are grouped by neither window_start nor window_end";
            return Some(Problem::at(self.place, message).hint(format!("write {}", self.usage())));
        }
        let mut columns = self.partition.iter().zip(&self.names);
        let (_, name) = columns.find(|(at, _)| !has(**at))?;
        let message = format!("sessions of each `{name}` are grouped without it");
        Some(Problem::at(self.place, message).hint(format!("write {}", self.usage())))
    }

    fn usage(&self) -> String {
        let columns = ["window_start", "window_end"].into_iter();
        let columns: Vec<&str> = columns
            .chain(self.names.iter().map(String::as_str))
            .collect();
        format!("GROUP BY {}", columns.join(", "))
    }

    /// What rows may be turned away by, and what is left for later.
    fn split(&mut self, predicate: &Expr) -> Result<Option<Expr>> {
        let mut now = Vec::new();
        for part in conjuncts(predicate) {
            let refs = part.column_refs();
            let read: Option<Vec<usize>> = refs.iter().map(|c| position(&c.name)).collect();
            let read = read.unwrap_or_default();
            let is_partition = |at: &usize| self.partition.contains(at);
            let is_shared = |at: &usize| is_partition(at) || [self.start, self.end].contains(at);
            if read.iter().all(is_partition) {
                now.push(part.clone());
            } else if read.iter().all(is_shared) {
                self.having.push(self.virtually(part));
            } else {
                let message = format!(
                    "`{}` would keep rows from their SESSION after it was made",
                    text(part)
                );
                return Err(self.drops_rows(&message));
            }
        }
        Ok(conjunction(now))
    }

    fn drops_rows(&self, message: &str) -> Problem {
        Problem::at(self.place, message).hint(
            "filter what SESSION reads: FROM SESSION((SELECT .. FROM t WHERE ..) PARTITION BY ..); \
             or count only some rows: count(*) FILTER (WHERE ..)",
        )
    }

    /// The same over columns called `session#number`.
    fn virtually(&self, part: &Expr) -> Expr {
        let columns: Vec<usize> = self.columns().collect();
        let renamed = part.clone().transform_up(|expr| {
            let at = expr.try_as_col().and_then(|column| position(&column.name));
            Ok(
                match at.and_then(|at| columns.iter().position(|column| *column == at)) {
                    Some(number) => Transformed::yes(session_column(number)),
                    None => Transformed::no(expr),
                },
            )
        });
        renamed.expect("renaming does not fail").data
    }
}

fn session_column(number: usize) -> Expr {
    Expr::Column(Column::from_name(format!("session#{number}")))
}

/// The places of a group's keys, those that sessions are partitioned by first and in their order.
pub fn partition_first(group: &[Expr], session: Option<&Session>) -> Vec<usize> {
    let mut places: Vec<usize> = (0..group.len()).collect();
    if let Some(session) = session {
        // Of a key that is there twice, the first is the partition's.
        let mut seen = BTreeSet::new();
        let ranks: Vec<usize> = group
            .iter()
            .map(|expr| {
                let part = session.partition.iter();
                let rank = part.clone().position(|at| at_position(expr) == Some(*at));
                rank.filter(|rank| seen.insert(*rank)).unwrap_or(part.len())
            })
            .collect();
        places.sort_by_key(|at| ranks[*at]);
    }
    places
}

impl Lowering<'_> {
    /// What is to be filtered by now; conditions on whole sessions are held back.
    pub(super) fn filter_of_sessions(
        &self,
        rows: &mut Rows,
        predicate: Expr,
    ) -> Result<Option<Expr>> {
        match &mut rows.session {
            None => Ok(Some(predicate)),
            Some(session) => session.split(&predicate),
        }
    }

    /// Refuses what drops or copies rows of sessions.
    pub(super) fn refuse_sessions(&self, rows: &Rows, what: &str) -> Result<()> {
        match &rows.session {
            None => Ok(()),
            Some(session) => Err(session.drops_rows(&format!(
                "{what} would change rows of a SESSION after it was made"
            ))),
        }
    }

    /// The aggregate's rows of those sessions that fulfil what was held back.
    pub(super) fn having_of_sessions(&mut self, rows: Rows, session: &Session) -> Result<Rows> {
        let Some(predicate) = conjunction(session.having.iter().cloned()) else {
            return Ok(rows);
        };
        let over = self.positional(&rows)?;
        let start = self.graph.fields(rows.node).len() - 2;
        let predicate = predicate.transform_up(|expr| {
            let number = (0..session.columns().count()).find(|at| expr == session_column(*at));
            Ok(match number {
                None => Transformed::no(expr),
                // The keys begin with the partition, the last two columns are the window's.
                Some(window @ 0..2) => Transformed::yes(over.column(start + window)),
                Some(key) => Transformed::yes(over.column(key - 2)),
            })
        });
        let predicate = predicate.expect("renaming does not fail").data;
        let node = self.keep_if(rows.node, &predicate, &over)?;
        Ok(Rows { node, ..rows })
    }
}
