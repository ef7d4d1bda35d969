//! TUMBLE, HOP and CUMULATE: the node that assigns windows, over a time that is event time.

use std::sync::Arc;

use arrow::datatypes::Field;

use crate::plan::{Assign, Operator, WindowKind};
use crate::sql::problem::Problem;
use crate::sql::window::{WINDOW_COLUMNS, WindowAssign};

use super::expression::{identity, plain_column};
use super::text::text;
use super::{Ask, Finality, Lowering, Result, Rows, WindowColumns, uses};

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &WindowAssign, ask: Ask) -> Result<Rows> {
        let below = Ask {
            finality: Some(Finality::Above("windows")),
            windows_close: true,
            assign: Assign::Windows,
            window: true,
            time: ask.time,
            first: None,
        };
        let rows = self.rows(&window.input, below)?;
        if self.is_changing(&rows) {
            return Err(self.too_changing("windows"));
        }
        let rows = self.narrow(rows)?;
        if rows.window.is_some() {
            return Err(
                Problem::at(window.place, "these rows are in windows already").hint(
                    "aggregate by the window of the inner query only, or window the table itself",
                ),
            );
        }
        let schema = window.input.schema();
        let is_event_time = plain_column(&window.time, schema)
            .is_some_and(|at| self.graph.facts(rows.node).event_time[rows.columns[at]]);
        if !is_event_time {
            return Err(self.no_event_time(window));
        }
        let over = self.positional(&rows)?;
        let time = self.resolve(&window.time, schema, &rows, &over)?;
        let assign = match window.kind {
            WindowKind::Tumble { .. } => Assign::Windows,
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
        facts.sets = None;
        facts.key_text = None;
        let operator = Operator::Window {
            input: rows.node,
            time,
            kind: window.kind,
            assign,
        };
        let mut columns = rows.columns;
        columns.extend([start, start + 1]);
        Ok(Rows {
            node: self
                .graph
                .add(identity, operator, fields, facts, window.place),
            columns,
            window: ask.window.then_some(WindowColumns {
                kind: window.kind,
                assign,
                start,
                end: start + 1,
                of_groups: false,
            }),
            time: rows.time,
        })
    }

    fn no_event_time(&self, window: &WindowAssign) -> Problem {
        let time = text(&window.time);
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
