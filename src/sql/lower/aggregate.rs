//! GROUP BY: keys and windows; its calls are in `calls`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion_expr::{Aggregate, Expr};

use crate::plan::{
    AggregateCall, AggregateWindow, Assign, Emit, Expression, NodeId, Operator, WindowKind,
};
use crate::sql::functions::casts::guarded_by;
use crate::sql::graph::{Facts, Key};
use crate::sql::problem::Problem;
use crate::sql::window::WINDOW_COLUMNS;

use super::calls::{filter_of, needs_order, read_by, sign};
use super::expression::{Positional, identity, is_constant, unaliased};
use super::panes::assign;
use super::session::{Session, partition_first};
use super::text::text;
use super::windowed::{bounds, group_keys, key_text, lagging};
use super::{Ask, Finality, Lowering, Result, Rows, WindowColumns, name_of, position};

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, ask: Ask) -> Result<Rows> {
        if let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() {
            return self.grouping_sets(aggregate, sets, ask);
        }
        let below = Ask {
            assign: assign(aggregate),
            window: true,
            time: aggregate.aggr_expr.iter().any(needs_order),
            session: true,
            ..Ask::of_rows(ask.finality)
        };
        let rows = self.rows(&aggregate.input, below)?;
        let rows = Rows {
            // Windows of what keeps changing never close: their columns are keys like others.
            window: rows.window.filter(|_| !self.is_changing(&rows)),
            ..rows
        };
        let over = self.positional(&rows)?;
        let schema = aggregate.input.schema();
        let group: Vec<Expr> = aggregate
            .group_expr
            .iter()
            .map(|expr| self.resolve(expr, schema, &rows, &over))
            .collect::<Result<_>>()?;
        let calls: Vec<Expr> = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.resolve(expr, schema, &rows, &over))
            .collect::<Result<_>>()?;
        let window = self.window_of(&group, &rows)?;
        let emit = self.emit(window, ask)?;
        let (rows, group, aggregates) = self.computed_below(rows, &over, group, calls)?;
        let over = self.positional(&rows)?;
        let session = rows.session.clone();
        let window = window.and(session.as_ref().map(Session::window).or(rows.window));

        let mut parts = Parts::new(&rows, window, emit);
        let keys = group.iter().filter(|expr| !parts.is_window(expr)).count();
        let calls = aggregates.len();
        let mut columns = vec![0; group.len()];
        for at in partition_first(&group, session.as_ref()) {
            let expr = &group[at];
            columns[at] = match parts.window_column(expr) {
                Some(column) => keys + calls + column,
                None => {
                    self.key(expr, aggregate.schema.field(at).name(), &over, &mut parts)?;
                    parts.keys.len() - 1
                }
            };
        }
        for (at, expr) in aggregates.iter().enumerate() {
            let call = self.call(expr, &over, &rows, aggregate.group_expr.is_empty())?;
            parts.add_call(call, expr);
            columns.push(keys + at);
        }
        let rows = self.grouped(rows, parts, columns);
        let rows = Rows {
            window: rows.window.filter(|_| ask.window && session.is_none()),
            ..rows
        };
        match session {
            Some(session) => self.having_of_sessions(rows, &session),
            None => Ok(rows),
        }
    }

    /// Has a projection compute what the aggregate reads, unless that is columns only: a row that
    /// fails there is a record still and becomes a reject. What is no column is called as it
    /// reads, so the text of a call stays the same.
    fn computed_below(
        &mut self,
        rows: Rows,
        over: &Positional,
        mut group: Vec<Expr>,
        mut calls: Vec<Expr>,
    ) -> Result<(Rows, Vec<Expr>, Vec<Expr>)> {
        let mut reads: Vec<Expr> = Vec::new();
        for part in parts_of(&mut group, &mut calls) {
            *part = std::mem::take(part).unalias_nested().data;
            if !is_constant(part) && !reads.contains(part) {
                reads.push(part.clone());
            }
        }
        if reads.iter().all(|expr| expr.try_as_col().is_some()) {
            return Ok((rows, group, calls));
        }
        let filters: Vec<Expr> = calls.iter().filter_map(filter_of).cloned().collect();
        let name = |read: &Expr| {
            let read = filters
                .iter()
                .find_map(|filter| guarded_by(read, filter))
                .unwrap_or(read);
            text(read)
        };
        let names: Vec<String> = reads.iter().map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = self.compute(&rows, over, &reads, &names)?;
        let over = self.positional(&rows)?;
        for part in parts_of(&mut group, &mut calls) {
            if let Some(at) = reads.iter().position(|expr| expr == part) {
                *part = over.column(rows.columns[at]);
            }
        }
        Ok((rows, group, calls))
    }

    /// Which window columns the rows are grouped by.
    fn window_of(&self, group: &[Expr], rows: &Rows) -> Result<Option<WindowColumns>> {
        let has = |at: usize| group.iter().any(|expr| at_position(expr) == Some(at));
        if let Some(session) = &rows.session {
            return match session.missing(has) {
                Some(problem) => Err(problem),
                None => Ok(Some(session.window())),
            };
        }
        let Some(window) = rows.window else {
            return Ok(None);
        };
        let enough = match window.kind {
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Session { .. } => {
                has(window.start) || has(window.end)
            }
            // Windows of CUMULATE start together.
            WindowKind::Cumulate { .. } => has(window.end),
        };
        if enough {
            return Ok(Some(window));
        }
        // A record may be in several windows, so to count it in all of them together would be a
        // mistake; what a window came to is there once.
        if window.of_groups {
            return Ok(None);
        }
        let message = match window.kind {
            WindowKind::Cumulate { .. } => "rows in windows are grouped without window_end",
            WindowKind::Tumble { .. } | WindowKind::Hop { .. } | WindowKind::Session { .. } => {
                "rows in windows are grouped by neither window_start nor window_end"
            }
        };
        Err(Problem::at(self.place, message)
            .hint("write GROUP BY window_start, window_end, .. or read FROM the table itself"))
    }

    /// When the aggregate says something; a group that is never final is refused where only
    /// final rows can go.
    fn emit(&self, window: Option<WindowColumns>, ask: Ask) -> Result<Emit> {
        let final_rows = ask.windows_close || ask.finality.is_some();
        if window.is_some() && final_rows {
            return Ok(Emit::OnClose);
        }
        let Some(finality) = ask.finality else {
            return Ok(Emit::Changes);
        };
        let sink = self.sink;
        Err(match finality {
            Finality::AppendOnly => Problem::at(
                self.place,
                format!("`{sink}` has no PRIMARY KEY, so its rows are final; these keep changing"),
            )
            .hint(format!(
                "declare a PRIMARY KEY on `{sink}` to keep it current, or GROUP BY the \
                 window_start of a TUMBLE(..)"
            )),
            Finality::Asked => Problem::at(
                self.place,
                "EMIT ON WINDOW CLOSE without a window: these groups never close",
            )
            .hint("GROUP BY the window_start of a TUMBLE(..), or leave EMIT ON WINDOW CLOSE out"),
            Finality::Latest => Problem::at(
                self.place,
                "'upsert.by' is for rows of a stream; these are groups that keep changing",
            )
            .hint("leave 'upsert.by' out: a group replaces its row by itself"),
            Finality::Above(what) => self.too_changing(what),
        })
    }

    fn key(&self, expr: &Expr, name: &str, over: &Positional, parts: &mut Parts) -> Result<()> {
        let (key, field) = self.compile(expr, over)?;
        parts.text += &format!(" [{}]", identity(expr));
        let name = name_of(name, &key.text);
        parts.fields.push(Arc::new(field.with_name(name)));
        parts.not_null.push(!key.nullable);
        parts.keys.push(key);
        Ok(())
    }

    /// What only takes rows that stay is over rows that may not.
    pub(super) fn too_changing(&self, what: &str) -> Problem {
        let message = format!("a pipeline cannot compute {what} over rows that keep changing");
        Problem::at(self.place, message)
            .hint("read FROM TUMBLE(..) of the table itself, and aggregate by its window")
    }

    pub(super) fn is_changing(&self, rows: &Rows) -> bool {
        self.graph.nodes[rows.node].changing
    }

    /// Keys without the columns that are the same in all rows. DataFusion groups by such a one.
    fn telling_apart(&self, of: Vec<Key>, keys: &[Expression], input: NodeId) -> Vec<Key> {
        let operator = &self.graph.nodes[input].operator;
        let is_fixed = |at: &usize| {
            let key = keys.get(*at);
            key.is_some_and(|key| match (key.as_column(), operator) {
                (Some(at), Operator::Project { columns, .. }) => columns[at].columns().is_empty(),
                (Some(_), _) => false,
                (None, _) => key.columns().is_empty(),
            })
        };
        let mut told = of;
        for key in &mut told {
            key.retain(|part| !part.iter().any(&is_fixed));
        }
        told
    }

    /// Adds the node; its columns are keys, calls and the window's two.
    fn grouped(&mut self, rows: Rows, parts: Parts, columns: Vec<usize>) -> Rows {
        let Parts {
            keys,
            calls,
            mut fields,
            mut not_null,
            window,
            emit,
            text,
            ..
        } = parts;
        for call in &calls {
            fields.push(Arc::clone(&call.output));
            not_null.push(!call.output.is_nullable());
        }
        let start = fields.len();
        if let Some(window) = window {
            for (at, name) in [window.start, window.end].into_iter().zip(WINDOW_COLUMNS) {
                let schema = &self.graph.nodes[rows.node].schema;
                let data_type = schema.field(at).data_type().clone();
                fields.push(Arc::new(Field::new(name, data_type, false)));
                not_null.push(true);
            }
        }
        let is_whole = keys.is_empty() && window.is_none();
        let signs = calls.iter().enumerate();
        let signs = signs.filter_map(|(at, call)| Some((keys.len() + at, sign(call, !is_whole)?)));
        let facts = Facts {
            signs: signs.collect(),
            event_time: vec![false; fields.len()],
            lagging: lagging(window, emit, start),
            bounds: bounds(window, start),
            not_null,
            key_text: Some(key_text(&fields[..keys.len()], window)),
            keys: self.telling_apart(group_keys(keys.len(), window, start), &keys, rows.node),
            ..Facts::default()
        };
        let operator = Operator::Aggregate {
            input: rows.node,
            keys,
            aggregates: calls,
            window: window.map(|window| AggregateWindow {
                kind: window.kind,
                assign: window.assign,
                start: window.start,
                end: window.end,
                lateness_us: window.open_us,
            }),
            emit,
        };
        Rows {
            node: self.graph.add(text, operator, fields, facts, self.place),
            columns,
            window: window.map(|window| WindowColumns {
                assign: Assign::Windows,
                start,
                end: start + 1,
                of_groups: true,
                ..window
            }),
            time: None,
            session: None,
        }
    }
}

/// What an aggregate node is put together of.
struct Parts {
    keys: Vec<Expression>,
    calls: Vec<AggregateCall>,
    fields: Vec<FieldRef>,
    not_null: Vec<bool>,
    window: Option<WindowColumns>,
    emit: Emit,
    /// The node's identity so far.
    text: String,
}

impl Parts {
    fn new(rows: &Rows, window: Option<WindowColumns>, emit: Emit) -> Self {
        Self {
            keys: Vec::new(),
            calls: Vec::new(),
            fields: Vec::new(),
            not_null: Vec::new(),
            window,
            emit,
            text: format!("aggregate {} {window:?} {emit:?}:", rows.node),
        }
    }

    fn add_call(&mut self, call: AggregateCall, expr: &Expr) {
        self.text += &format!(
            " {{{} AS {}: {:?}}}",
            identity(expr),
            call.output.name(),
            call.order_by
        );
        self.calls.push(call);
    }

    /// 0 for `window_start`, 1 for `window_end`.
    fn window_column(&self, expr: &Expr) -> Option<usize> {
        let (window, at) = (self.window?, at_position(expr)?);
        [window.start, window.end]
            .into_iter()
            .position(|column| column == at)
    }

    fn is_window(&self, expr: &Expr) -> bool {
        self.window_column(expr).is_some()
    }
}

pub(super) fn at_position(expr: &Expr) -> Option<usize> {
    unaliased(expr)
        .try_as_col()
        .and_then(|column| position(&column.name))
}

/// What an aggregate evaluates per row: its group key, then what its calls read.
fn parts_of<'a>(
    group: &'a mut [Expr],
    calls: &'a mut [Expr],
) -> impl Iterator<Item = &'a mut Expr> {
    group.iter_mut().chain(calls.iter_mut().flat_map(read_by))
}
