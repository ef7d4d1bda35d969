//! TUMBLE, HOP, CUMULATE and SESSION: the node that assigns windows, over a time that is event time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};

use crate::plan::{Assign, Emit, NodeId, Operator, Place, WindowKind};
use datafusion_expr::{Expr, LogicalPlan};

use crate::sql::graph::{Facts, Key};
use crate::sql::problem::Problem;
use crate::sql::window::{WINDOW_COLUMNS, WindowAssign};

use super::expression::{identity, plain_column};
use super::session::Session;
use super::text::text;
use super::{Ask, Finality, Lowering, Result, Rows, WindowColumns, uses};

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &WindowAssign, ask: Ask) -> Result<Rows> {
        let below = Ask {
            window: true,
            time: ask.time,
            ..Ask::of_rows(Some(Finality::Above("windows")))
        };
        let rows = self.rows(&window.input, below)?;
        if self.is_changing(&rows) {
            return Err(self.too_changing("windows"));
        }
        let schema = window.input.schema();
        let open_us = self.open_us(
            &window.time,
            &window.input,
            (window.place, "a window"),
            &rows,
        )?;
        let rows = self.narrow(Rows {
            window: None,
            ..rows
        })?;
        let over = self.positional(&rows)?;
        let time = self.resolve(&window.time, schema, &rows, &over)?;
        let assign = assigned(window.kind, ask);
        let identity = format!(
            "window {} by {}: {:?} {assign:?}",
            rows.node,
            identity(&time),
            window.kind
        );
        let (time, field) = self.compile(&time, &over)?;
        let (fields, mut facts) = self.with_window_columns(rows.node, field.data_type());
        let start = fields.len() - 2;
        facts.windows = lags_of(window.kind, start, open_us);
        // A row may come out several times.
        facts.keys.clear();
        facts.sets = None;
        facts.key_text = None;
        let operator = Operator::Window {
            input: rows.node,
            time,
            kind: window.kind,
            assign,
        };
        let session = Session::new(window, &rows.columns, start, open_us, ask).transpose()?;
        let mut columns = rows.columns;
        columns.extend([start, start + 1]);
        let shown = ask.window && session.is_none();
        Ok(Rows {
            node: self
                .graph
                .add(identity, operator, fields, facts, window.place),
            columns,
            window: shown.then_some(WindowColumns {
                kind: window.kind,
                assign,
                start,
                end: start + 1,
                open_us,
                of_groups: false,
            }),
            time: rows.time,
            session,
        })
    }

    /// The fields and facts of a node, and the two columns that a window adds.
    pub(super) fn with_window_columns(
        &self,
        node: NodeId,
        time: &DataType,
    ) -> (Vec<FieldRef>, Facts) {
        let mut fields = self.graph.fields(node);
        let mut facts = self.graph.facts(node).clone();
        for name in WINDOW_COLUMNS {
            fields.push(Arc::new(Field::new(name, time.clone(), false)));
            facts.not_null.push(true);
            facts.event_time.push(false);
        }
        (fields, facts)
    }

    /// How long after their end windows stay open: rows of the source may be late, those of closed
    /// windows come as late as they do.
    pub(super) fn open_us(
        &self,
        time: &Expr,
        input: &LogicalPlan,
        (place, what): (Place, &str),
        rows: &Rows,
    ) -> Result<i64> {
        let facts = self.graph.facts(rows.node);
        let column = plain_column(time, input.schema()).map(|at| rows.columns[at]);
        let Some(lag) = column.and_then(|at| facts.lag(at)) else {
            return Err(self.no_event_time(time, input, (place, what), rows));
        };
        if !column.is_some_and(|at| facts.event_time[at]) {
            return Ok(lag);
        }
        if rows.window.is_some() {
            return Err(
                Problem::at(place, "these rows are in windows already").hint(
                    "aggregate by the window of the inner query only, or window the table itself",
                ),
            );
        }
        Ok(self.lateness_us)
    }

    pub(super) fn no_event_time(
        &self,
        time: &Expr,
        input: &LogicalPlan,
        (place, what): (Place, &str),
        rows: &Rows,
    ) -> Problem {
        let time = text(time);
        if rows.window.is_some() || !self.graph.facts(rows.node).lagging.is_empty() {
            return Problem::at(
                place,
                format!("`{time}` is not a time that windows of windows can be made by"),
            )
            .hint("take window_end of the inner query, or window_start unless it is a SESSION");
        }
        let message =
            format!("the time of {what} must be a WATERMARK FOR column, and `{time}` is not");
        let mut hint = format!(
            "declare it on the table: WATERMARK FOR {time} AS {time} - INTERVAL '5' SECOND"
        );
        let sources = uses(input, self.tables);
        for table in sources.columns.keys() {
            if let Some(watermark) = &self.tables[*table].watermark {
                let name = self.tables[*table].columns[watermark.column].field.name();
                hint = format!(
                    "the event time of `{}` is `{name}`",
                    self.tables[*table].name
                );
            }
        }
        if joins(input) {
            hint = "rows of a join have one if its ON bounds it: a.at BETWEEN b.at - INTERVAL '1' HOUR \
                    AND b.at + INTERVAL '1' HOUR"
                .to_owned();
        }
        Problem::at(place, message).hint(hint)
    }
}

/// Whether rows are of a join, or of nothing but what is made of those.
fn joins(plan: &LogicalPlan) -> bool {
    let passes = matches!(
        plan,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_)
    );
    matches!(plan, LogicalPlan::Join(_)) || passes && plan.inputs().into_iter().any(joins)
}

/// How far behind the watermark windows come when they close. How long a session is, nobody knows.
pub(super) fn lagging(
    window: Option<WindowColumns>,
    emit: Emit,
    start: usize,
) -> BTreeMap<usize, i64> {
    let Some(window) = window.filter(|_| emit == Emit::OnClose) else {
        return BTreeMap::new();
    };
    lags_of(window.kind, start, window.open_us)
}

/// How far behind the watermark the two columns of a window may be that stays open for `open_us`.
fn lags_of(kind: WindowKind, start: usize, open_us: i64) -> BTreeMap<usize, i64> {
    let length = match kind {
        WindowKind::Tumble { size_us }
        | WindowKind::Hop { size_us, .. }
        | WindowKind::Cumulate { size_us, .. } => Some(size_us),
        WindowKind::Session { .. } => None,
    };
    let of_start = length.map(|length| (start, open_us.saturating_add(length)));
    let lags = of_start.into_iter().chain([(start + 1, open_us)]);
    lags.collect()
}

/// The keys of an aggregate's rows: its group key with what names the window.
pub(super) fn group_keys(keys: usize, window: Option<WindowColumns>, start: usize) -> Vec<Key> {
    let group: Key = (0..keys).map(|at| vec![at]).collect();
    let with = |at: usize| {
        let mut key = group.clone();
        key.push(vec![at]);
        key
    };
    match window.map(|window| window.kind) {
        None => vec![group],
        Some(WindowKind::Cumulate { .. }) => vec![with(start + 1)],
        Some(WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Session { .. }) => {
            vec![with(start), with(start + 1)]
        }
    }
}

/// The columns of a window's bounds, if each says what the other is.
pub(super) fn bounds(window: Option<WindowColumns>, start: usize) -> BTreeSet<(usize, usize)> {
    let both = window.filter(|window| match window.kind {
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } => true,
        WindowKind::Cumulate { .. } | WindowKind::Session { .. } => false,
    });
    both.map(|_| (start, start + 1)).into_iter().collect()
}

/// How the key of an aggregate's rows reads.
pub(super) fn key_text(keys: &[FieldRef], window: Option<WindowColumns>) -> String {
    let window = window.map(|window| match window.kind {
        WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Session { .. } => {
            "window_start"
        }
        WindowKind::Cumulate { .. } => "window_end",
    });
    let names = keys.iter().map(|field| field.name().as_str());
    let names: Vec<&str> = window.into_iter().chain(names).collect();
    names.join(", ")
}

/// What the window columns hold: panes only make windows that overlap.
fn assigned(kind: WindowKind, ask: Ask) -> Assign {
    match kind {
        WindowKind::Tumble { .. } | WindowKind::Session { .. } => Assign::Windows,
        WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => ask.assign,
    }
}
