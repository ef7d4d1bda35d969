//! TUMBLE, HOP, CUMULATE and SESSION: the node that assigns windows, over a time that is event time.

use std::sync::Arc;

use arrow::datatypes::Field;

use crate::plan::{Assign, Operator, WindowKind};
use crate::sql::problem::Problem;
use crate::sql::window::{WINDOW_COLUMNS, WindowAssign};

use super::expression::{identity, plain_column};
use super::session::Session;
use super::text::text;
use super::{Ask, Finality, Lowering, Result, Rows, WindowColumns, uses};

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &WindowAssign, ask: Ask) -> Result<Rows> {
        let below = Ask {
            finality: Some(Finality::Above("windows")),
            assign: Assign::Windows,
            window: true,
            time: ask.time,
            session: false,
        };
        let rows = self.rows(&window.input, below)?;
        let schema = window.input.schema();
        let facts = self.graph.facts(rows.node);
        let column = plain_column(&window.time, schema).map(|at| rows.columns[at]);
        let lag = column.and_then(|at| facts.lag(at));
        // Rows of the source may be late; those of closed windows come as late as they do.
        let of_source = column.is_some_and(|at| facts.event_time[at]);
        let open_us = match (lag, of_source) {
            (Some(_), true) => self.lateness_us,
            (Some(lag), false) => lag,
            (None, _) => return Err(self.no_event_time(window, &rows)),
        };
        if rows.window.is_some() && of_source {
            return Err(
                Problem::at(window.place, "these rows are in windows already").hint(
                    "aggregate by the window of the inner query only, or window the table itself",
                ),
            );
        }
        let rows = self.narrow(Rows {
            window: None,
            ..rows
        })?;
        let over = self.positional(&rows)?;
        let time = self.resolve(&window.time, schema, &rows, &over)?;
        let assign = match window.kind {
            WindowKind::Tumble { .. } | WindowKind::Session { .. } => Assign::Windows,
            WindowKind::Hop { .. } | WindowKind::Cumulate { .. } => ask.assign,
        };
        let identity = format!(
            "window {} by {}: {:?} {assign:?}",
            rows.node,
            identity(&time),
            window.kind
        );
        let (time, field) = self.compile(&time, &over)?;
        let mut fields = self.graph.fields(rows.node);
        let start = fields.len();
        for name in WINDOW_COLUMNS {
            fields.push(Arc::new(Field::new(name, field.data_type().clone(), false)));
        }
        let mut facts = self.graph.facts(rows.node).clone();
        facts.not_null.extend([true, true]);
        facts.event_time.extend([false, false]);
        // A row may come out several times.
        facts.keys.clear();
        facts.key_text = None;
        let operator = Operator::Window {
            input: rows.node,
            time,
            kind: window.kind,
            assign,
        };
        let session = Session::new(window, &rows.columns, start, open_us).transpose()?;
        if session.is_some() && !ask.session {
            let message = "rows of a SESSION are aggregated, and these are not";
            return Err(Problem::at(window.place, message).hint(
                "write SELECT window_start, window_end, count(*) .. GROUP BY window_start, \
                 window_end, and the columns of PARTITION BY",
            ));
        }
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
            }),
            time: rows.time,
            session,
        })
    }

    fn no_event_time(&self, window: &WindowAssign, rows: &Rows) -> Problem {
        let time = text(&window.time);
        if rows.window.is_some() || !self.graph.facts(rows.node).lagging.is_empty() {
            return Problem::at(
                window.place,
                format!("`{time}` is not a time that windows of windows can be made by"),
            )
            .hint("take window_end of the inner query, or window_start unless it is a SESSION");
        }
        let message =
            format!("the time of a window must be a WATERMARK FOR column, and `{time}` is not");
        let mut hint = format!(
            "declare it on the table: WATERMARK FOR {time} AS {time} - INTERVAL '5' SECOND"
        );
        let sources = uses(&window.input, self.tables);
        for table in sources.columns.keys() {
            if let Some(watermark) = &self.tables[*table].watermark {
                let name = self.tables[*table].columns[watermark.column].field.name();
                hint = format!(
                    "the event time of `{}` is `{name}`",
                    self.tables[*table].name
                );
            }
        }
        Problem::at(window.place, message).hint(hint)
    }
}
