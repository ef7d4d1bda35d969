//! The table of connectors, from which option checks, `tidemark list` and the documentation
//! follow. Adding a connector is one file and one line in `CONNECTORS`.

use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::letters::ReadLetters;
use super::open::{OpenSink, OpenSource};
use super::option::{Absent, ConnectorOption, Side, ValueKind, length, number};
use super::refused::RefusedValues;
use super::{discard, file, generator, kafka, nexmark, sqlite, stdout};
use crate::plan::{RELOAD, Table};

/// One connector and what it can be.
#[derive(Debug)]
pub struct Connector {
    /// What is written in `connector = '..'`.
    pub name: &'static str,
    /// One line for `tidemark list`.
    pub help: &'static str,
    /// The options it takes in `WITH`, besides those of formats.
    pub options: &'static [ConnectorOption],
    /// How it is read, if it can be.
    pub source: Option<SourceEntry>,
    /// How it is written to, if it can be.
    pub sink: Option<SinkEntry>,
}

/// A connector as a source.
#[derive(Debug)]
pub struct SourceEntry {
    /// Whether it may also be looked up as a reference table: it ends, so it can be read whole.
    pub reference: bool,
    /// Whether its records are bytes of some `format`.
    pub takes_format: bool,
    /// Whether that may also be one of columns: its partitions are files.
    pub takes_columns: bool,
    /// Whether its records come with a key, an offset and so on: `METADATA FROM`.
    pub has_metadata: bool,
    /// What is wrong with options that are right by themselves: the option's name and why.
    pub(super) check: fn(&Table) -> Vec<(String, String)>,
    /// Opens it.
    pub(super) open: OpenSource,
}

/// A connector as a sink.
#[derive(Debug)]
pub struct SinkEntry {
    /// What a crash does to its rows.
    pub guarantee: Guarantee,
    /// Whether a table may have a PRIMARY KEY, so that rows are replaced and deleted.
    pub keyed: bool,
    /// Whether it writes rows in some `format`.
    pub takes_format: bool,
    /// Which rows of a column it cannot hold.
    pub(super) refused: fn(&Field, &ArrayRef) -> Option<RefusedValues>,
    /// Reads dead letters back from it, if it can.
    pub(super) letters: Option<ReadLetters>,
    /// Formats that it knows besides those of all connectors.
    pub own_formats: &'static [&'static str],
    /// Opens it.
    pub(super) open: OpenSink,
}

/// What a crash does to a sink's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Nothing: rows and mark move together.
    ExactlyOnce,
    /// It keeps no mark, so the next run writes them again.
    AtLeastOnce,
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ExactlyOnce => "exactly once",
            Self::AtLeastOnce => "at least once",
        })
    }
}

/// Every connector.
pub const CONNECTORS: &[Connector] = &[
    file::CONNECTOR,
    generator::CONNECTOR,
    kafka::CONNECTOR,
    nexmark::CONNECTOR,
    super::postgres::CONNECTOR,
    sqlite::CONNECTOR,
    stdout::CONNECTOR,
    discard::CONNECTOR,
];

/// Options that every connector takes: the planner and the engine follow them.
pub const GENERAL_OPTIONS: &[ConnectorOption] = &[
    ConnectorOption {
        name: "dead.letter",
        help: "the table of this file that gets late and rejected records",
        default: Absent::Means("they are counted only"),
        side: Side::Source,
        kind: ValueKind::Text,
    },
    ConnectorOption {
        name: "reject.limit",
        help: "the share of records that may be rejected, once a thousand were read: more stops \
               the run",
        default: Absent::Means(REJECT_LIMIT),
        side: Side::Source,
        kind: ValueKind::Share,
    },
    ConnectorOption {
        name: "watermark.idle-timeout",
        help: "event time waits no longer than this for a partition of a topic that has been \
               read to its end; `0s` waits for ever",
        default: Absent::Means(IDLE_TIMEOUT),
        side: Side::Source,
        kind: ValueKind::Length,
    },
    ConnectorOption {
        name: "watermark.max-ahead",
        help: "a record whose event time is further than this past the time it was written is \
               rejected: one wild clock must not make everything after it late",
        default: Absent::Means(MAX_AHEAD),
        side: Side::Source,
        kind: ValueKind::Length,
    },
    ConnectorOption {
        name: "upsert.by",
        help: "the column of the query by which the last row of a key is kept",
        default: Absent::Means("the key is a key of the query"),
        side: Side::Sink,
        kind: ValueKind::Text,
    },
];

const REJECT_LIMIT: &str = "1";
const IDLE_TIMEOUT: &str = "15s";
const MAX_AHEAD: &str = "1 day";

/// `reload.interval` of a table that is read again.
#[must_use]
pub fn reload_interval(table: &Table) -> Option<Duration> {
    let text = table.option(RELOAD)?;
    Some(length(text).expect("checked with the other options"))
}

/// `reject.limit` of a source.
#[must_use]
pub fn reject_limit(table: &Table) -> f64 {
    let text = table.option("reject.limit").unwrap_or(REJECT_LIMIT);
    number(text).expect("checked with the other options")
}

/// Whether a source goes on without what retention has removed: `offset.lost`.
#[must_use]
pub fn skips_lost(table: &Table) -> bool {
    table.option("offset.lost") == Some("skip")
}

/// `watermark.idle-timeout` of a source.
#[must_use]
pub fn idle_timeout(table: &Table) -> Option<Duration> {
    let timeout = length_or(table, "watermark.idle-timeout", IDLE_TIMEOUT);
    (!timeout.is_zero()).then_some(timeout)
}

/// `watermark.max-ahead` of a source.
#[must_use]
pub fn max_ahead(table: &Table) -> Duration {
    length_or(table, "watermark.max-ahead", MAX_AHEAD)
}

fn length_or(table: &Table, option: &str, default: &str) -> Duration {
    let text = table.option(option).unwrap_or(default);
    length(text).expect("checked with the other options")
}

/// The connector of this name.
#[must_use]
pub fn connector(name: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().find(|connector| connector.name == name)
}
