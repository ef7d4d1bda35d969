//! Tables that are read again and again: the option that says so, and what it asks of a table.

use std::time::Duration;

use super::catalog::reload_interval;
use super::option::{ConnectorOption, ValueKind};
use crate::plan::{RELOAD, Role, Table};

/// Reading takes the whole table each time.
const LEAST: Duration = Duration::from_secs(1);

/// The option of a connector whose tables can be read whole.
pub(super) const OPTION: ConnectorOption = ConnectorOption::source(
    RELOAD,
    "how often a table with a PRIMARY KEY is read again, whole: what it is joined with is \
     corrected when it has changed",
    "it is read once, and fixed for the run",
    ValueKind::Length,
);

/// What of a table does not go with being read again: the option that is wrong, if it is one, why,
/// and what to do.
pub(super) fn refusals(table: &Table) -> Vec<(Option<&'static str>, String, String)> {
    if !table.is_reloaded() || table.role == Role::Sink {
        return Vec::new();
    }
    let name = &table.name;
    let mut refusals = Vec::new();
    if table.primary_key.is_empty() {
        let message =
            format!("`{name}` is read again, but has no PRIMARY KEY to tell rows apart by");
        let hint = format!("declare a PRIMARY KEY on `{name}`, or leave '{RELOAD}' out");
        refusals.push((None, message, hint));
    }
    if table.watermark.is_some() {
        let message = format!("`{name}` is read again, so its rows have no event time");
        let hint = format!(
            "leave WATERMARK FOR out; or leave '{RELOAD}' out, and join its versions with FOR \
             SYSTEM_TIME AS OF"
        );
        refusals.push((None, message, hint));
    }
    if table.option("watch") == Some("true") {
        let message = format!("`{name}` is read again whole, with the files that are there then");
        refusals.push((Some("watch"), message, "leave 'watch' out".to_owned()));
    }
    // A length that is none has been refused as such.
    if refusals.is_empty() && is_length(table) && reload_interval(table) < Some(LEAST) {
        let message = format!("option `{RELOAD}` is too short: the whole table is read each time");
        refusals.push((
            Some(RELOAD),
            message,
            "write 1s or more, such as 30s".to_owned(),
        ));
    }
    refusals
}

fn is_length(table: &Table) -> bool {
    let text = table.option(RELOAD).unwrap_or_default();
    ValueKind::Length.mismatch(text).is_none()
}
