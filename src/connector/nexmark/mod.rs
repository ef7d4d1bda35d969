//! `connector = 'nexmark'`: the persons, auctions and bids of the Nexmark benchmark.
//!
//! ```text
//!   event  0  1 2 3  4 .. 49 | 50  51 52 53  54 .. 99 | ..     a round of 50 events:
//!          P  A A A  B .. B  |  P   A  A  A   B .. B  | ..     1 person, 3 auctions, 46 bids
//! ```
//!
//! A table shows one kind of event. All of it is a function of the seed and the event's number, so
//! three tables with the same options fit together: bids are on auctions that are open, by persons
//! that are there. Event times rise with the events' numbers. An offset is a row's number in its
//! table; rows are dealt out to partitions as those of `generator` are.

mod columns;
mod events;
mod prices;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use self::columns::Maker;
use self::events::{EventTimes, Kind, Rows};
use super::catalog::{Connector, SourceEntry};
use super::dealt::{Deal, DealtReader, PARTITIONS_MAX};
use super::open::{OpenSource, SourceOrigin, keeps_all, reads_none};
use super::option::{self, Absent, ConnectorOption, Side, ValueKind};
use super::{ConnectorError, Partition, Reader, Source};
use crate::format::{Block, Decoded, Decoder, Wanted};
use crate::plan::{Role, Table};
use crate::types::{Clock, Offset, Span, batch};

/// Blocks of the three tables cover equally many events, so that whoever reads the tables in turn
/// reads none of them ahead of the others. As many as fit a batch of bids.
const BLOCK_ROUNDS: u64 = 178;

const DEFAULT_START: &str = "2026-01-01";
const DEFAULT_EVENTS_PER_SECOND: &str = "10000";

/// Makes the events of an auction house up.
pub(super) const CONNECTOR: Connector = Connector {
    name: "nexmark",
    help: "persons, auctions and bids made up from a seed: the Nexmark benchmark",
    options: &[
        ConnectorOption {
            name: "table",
            help: "which kind of event its rows are",
            default: Absent::Required,
            side: Side::Source,
            kind: ValueKind::OneOf(&["person", "auction", "bid"]),
        },
        ConnectorOption::source("seed", "which events", "0", ValueKind::Count),
        ConnectorOption::source(
            "events",
            "how many, of all three kinds; without it, they never end",
            "unbounded",
            ValueKind::Count,
        ),
        ConnectorOption::source(
            "rate",
            "events of all kinds per second of real time",
            "as fast as possible",
            ValueKind::Rate,
        ),
        ConnectorOption::source(
            "partitions",
            "how many partitions share the rows",
            "1",
            ValueKind::Positive,
        ),
        ConnectorOption::source(
            "start",
            "the event time of the first event",
            DEFAULT_START,
            ValueKind::Timestamp,
        ),
        ConnectorOption::source(
            "events.per.second",
            "events of all kinds per second of event time",
            "`rate`, or 10000",
            ValueKind::Rate,
        ),
    ],
    source: Some(SourceEntry {
        reference: true,
        takes_format: false,
        takes_columns: false,
        has_metadata: false,
        check,
        open: OpenSource {
            inspect: |origin| Nexmark::new(origin).map(drop),
            open: |origin| Ok(Arc::new(Nexmark::new(&origin)?)),
            keeps: keeps_all,
            reads: reads_none,
        },
    }),
    sink: None,
};

/// Columns that the table does not have, and a table to look up in without an end.
fn check(table: &Table) -> Vec<(String, String)> {
    let settings = Settings::new(table);
    let declared = table
        .columns
        .iter()
        .filter(|column| column.computed.is_none());
    let mut problems: Vec<(String, String)> = declared
        .filter_map(|column| Maker::new(&column.field, settings.kind, settings.seed).err())
        .map(|message| ("table".to_owned(), message))
        .collect();
    if table.role == Role::Reference && settings.events.is_none() {
        let message = "a table that is looked up in must have an end: give `events`";
        problems.push(("events".to_owned(), message.to_owned()));
    }
    problems
}

/// A table's options.
#[derive(Clone, Copy, Debug)]
struct Settings {
    kind: Kind,
    seed: u64,
    events: Option<u64>,
    rate: Option<f64>,
    partitions: u64,
    times: EventTimes,
}

impl Settings {
    fn new(table: &Table) -> Self {
        // `validate` has seen them, so what does not parse was not given.
        let count = |name| table.option(name).and_then(option::count);
        let rate = table.option("rate").and_then(option::number);
        let events_per_second = table.option("events.per.second").and_then(option::number);
        let start = table.option("start").and_then(option::timestamp);
        Self {
            kind: match table.option("table") {
                Some("person") => Kind::Person,
                Some("auction") => Kind::Auction,
                Some(_) | None => Kind::Bid,
            },
            seed: count("seed").unwrap_or(0),
            events: count("events"),
            rate,
            partitions: count("partitions").unwrap_or(1).max(1),
            times: EventTimes {
                start_us: start
                    .or_else(|| option::timestamp(DEFAULT_START))
                    .expect("the default is a date"),
                events_per_second: events_per_second
                    .or(rate)
                    .or_else(|| option::number(DEFAULT_EVENTS_PER_SECOND))
                    .expect("the default is a number"),
            },
        }
    }
}

/// The events of one kind.
struct Nexmark {
    settings: Settings,
    partitions: Vec<Partition>,
    makers: Arc<Vec<Maker>>,
    wanted: Wanted,
    clock: Clock,
}

impl Nexmark {
    fn new(origin: &SourceOrigin<'_>) -> Result<Self, ConnectorError> {
        let settings = Settings::new(origin.table);
        if settings.partitions > PARTITIONS_MAX {
            return Err(ConnectorError::permanent(format!(
                "cannot make {} partitions: {PARTITIONS_MAX} are the most",
                settings.partitions
            )));
        }
        let fields = origin.wanted.schema.fields();
        let makers: Result<Vec<Maker>, String> = fields
            .iter()
            .map(|field| Maker::new(field, settings.kind, settings.seed))
            .collect();
        let partition = |index: u64| Partition {
            name: index.to_string(),
            // The rows of another seed are others, and so are those of other options.
            identity: Some(identity(&settings)),
            length: settings.events.map(|events| settings.kind.among(events)),
        };
        Ok(Self {
            settings,
            partitions: (0..settings.partitions).map(partition).collect(),
            makers: Arc::new(makers.map_err(ConnectorError::permanent)?),
            wanted: origin.wanted.clone(),
            clock: origin.clock.clone(),
        })
    }
}

/// What rows are a function of; not their number nor their pace, which may change between two runs.
fn identity(settings: &Settings) -> String {
    format!(
        "{:?} of seed {} in {} from {} at {}",
        settings.kind,
        settings.seed,
        settings.partitions,
        settings.times.start_us,
        settings.times.events_per_second
    )
}

impl Source for Nexmark {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let Settings { kind, events, .. } = self.settings;
        let deal = Deal {
            index: index as u64,
            partitions: self.settings.partitions,
            rows: events.map(|events| kind.among(events)),
            rate: self.settings.rate.map(|rate| rate * kind.share()),
            block_rows: BLOCK_ROUNDS * kind.per_round(),
        };
        Ok(Box::new(DealtReader::new(&deal, from, &self.clock)))
    }

    fn is_dealt(&self) -> bool {
        true
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(NexmarkDecoder {
            settings: self.settings,
            makers: Arc::clone(&self.makers),
            wanted: self.wanted.clone(),
        })
    }
}

/// Makes the rows of a block.
struct NexmarkDecoder {
    settings: Settings,
    makers: Arc<Vec<Maker>>,
    wanted: Wanted,
}

impl Decoder for NexmarkDecoder {
    fn decode(&mut self, block: &Block) -> Decoded {
        let (start, end) = (block.start.0, block.end.0);
        let step = usize::try_from(self.settings.partitions).expect("partitions are few");
        let span = |row: u64| Span {
            start: u32::try_from(row - start).expect("a block is short"),
            len: 0,
        };
        let spans: Vec<Span> = (start..end).step_by(step).map(span).collect();
        let rows = Rows::new(
            self.settings.kind,
            self.settings.times,
            (start..end).step_by(step),
        );
        let columns = self.makers.iter().map(|maker| maker.make(&rows)).collect();
        let schema = Arc::clone(&self.wanted.schema);
        Decoded {
            rows: batch(schema, columns, spans.len())
                .expect("the makers have the types of the columns, and make no NULL"),
            spans,
            rejects: Vec::new(),
        }
    }
}
