//! `connector = 'generator'`: rows made up from a seed.
//!
//! Row `n` is a function of the seed and of `n`, whatever the threads, the partitions, the blocks
//! or the offset at which reading starts. Partition `p` of `P` makes the rows `p`, `p + P`, `p + 2P`
//! and so on; a row's offset is its number. A block holds no bytes, only from which row to which;
//! the decoder makes the rows.

pub(super) mod draw;
mod field;
mod given;
mod number;
#[cfg(test)]
mod tests;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use std::sync::Arc;

use self::field::{EventTimes, Maker};
use self::given::FieldProblem;
use super::catalog::{Connector, SourceEntry};
use super::dealt::{BLOCK_ROWS, Deal, DealtReader, PARTITIONS_MAX};
use super::open::{OpenSource, SourceOrigin, keeps_all, reads_none};
use super::option::{self, ConnectorOption, ValueKind};
use super::{ConnectorError, Partition, Reader, Source};
use crate::format::{Block, Decoded, Decoder, RejectedRecord, Wanted};
use crate::plan::{Role, Table};
use crate::types::{Clock, Offset, Reason, Reject, Span, batch};

const DEFAULT_START: &str = "2026-01-01";
const DEFAULT_ROWS_PER_SECOND: &str = "1000";

/// Makes rows up.
pub(super) const CONNECTOR: Connector = Connector {
    name: "generator",
    help: "rows made up from a seed: the same seed gives the same rows",
    options: &[
        ConnectorOption::source("seed", "which rows", "0", ValueKind::Count),
        ConnectorOption::source(
            "rows",
            "how many; without it, it never ends",
            "unbounded",
            ValueKind::Count,
        ),
        ConnectorOption::source(
            "rate",
            "rows per second of real time",
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
            "the event time of the first row",
            DEFAULT_START,
            ValueKind::Timestamp,
        ),
        ConnectorOption::source(
            "rows.per.second",
            "rows per second of event time",
            "`rate`, or 1000",
            ValueKind::Rate,
        ),
        ConnectorOption::source(
            "lateness",
            "how far a row's event time may be behind",
            "0s",
            ValueKind::Length,
        ),
        ConnectorOption::source(
            "fields.*.kind",
            "how a column's values are distributed",
            "by type: `uniform`, `random_text` or `time`",
            ValueKind::OneOf(&[
                "uniform",
                "zipf",
                "sequence",
                "normal",
                "choice",
                "random_text",
                "time",
            ]),
        ),
        ConnectorOption::source(
            "fields.*.min",
            "the smallest value",
            "by type",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "fields.*.max",
            "the largest value",
            "by type",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "fields.*.values",
            "what to choose from, with commas between",
            "none",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "fields.*.weights",
            "how often each of the values, with commas between",
            "equally",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "fields.*.exponent",
            "how steep a zipf distribution is",
            "1",
            ValueKind::Rate,
        ),
        ConnectorOption::source(
            "fields.*.mean",
            "the mean of a normal distribution",
            "between min and max",
            ValueKind::Number,
        ),
        ConnectorOption::source(
            "fields.*.deviation",
            "the deviation of a normal distribution",
            "a sixth of the range",
            ValueKind::Rate,
        ),
        ConnectorOption::source(
            "fields.*.length",
            "letters of a random text",
            "8",
            ValueKind::Positive,
        ),
        ConnectorOption::source(
            "fields.*.prefix",
            "what stands before the number in a text column",
            "nothing",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "fields.*.nulls",
            "which share of the values is NULL",
            "0",
            ValueKind::Share,
        ),
    ],
    source: Some(SourceEntry {
        reference: true,
        takes_format: false,
        takes_columns: false,
        has_metadata: false,
        check,
        open: OpenSource {
            inspect: |origin| Generator::new(origin).map(drop),
            open: |origin| Ok(Arc::new(Generator::new(&origin)?)),
            keeps: keeps_all,
            reads: reads_none,
        },
    }),
    sink: None,
};

/// Every option of a field that does not fit its column, and a table to look up in without an end.
fn check(table: &Table) -> Vec<(String, String)> {
    let settings = Settings::new(table);
    let columns = table
        .columns
        .iter()
        .filter(|column| column.computed.is_none());
    let makers =
        columns.map(|column| Maker::new(table, &column.field, settings.seed, settings.times));
    let mut problems: Vec<(String, String)> = makers
        .filter_map(Result::err)
        .map(|problem| (problem.option, problem.message))
        .collect();
    if table.role == Role::Reference && settings.rows.is_none() {
        let message = "a table that is looked up in must have an end: give `rows`";
        problems.push(("rows".to_owned(), message.to_owned()));
    }
    problems
}

/// A table's options.
#[derive(Clone, Copy, Debug)]
struct Settings {
    seed: u64,
    rows: Option<u64>,
    rate: Option<f64>,
    partitions: u64,
    times: EventTimes,
}

impl Settings {
    fn new(table: &Table) -> Self {
        // `validate` has seen them, so what does not parse was not given.
        let count = |name| table.option(name).and_then(option::count);
        let rate = table.option("rate").and_then(option::number);
        let rows_per_second = table
            .option("rows.per.second")
            .and_then(option::number)
            .or(rate);
        let start = table.option("start").and_then(option::timestamp);
        let lateness = table
            .option("lateness")
            .and_then(option::length)
            .unwrap_or_default();
        Self {
            seed: count("seed").unwrap_or(0),
            rows: count("rows"),
            rate,
            partitions: count("partitions").unwrap_or(1).max(1),
            times: EventTimes {
                start_us: start
                    .or_else(|| option::timestamp(DEFAULT_START))
                    .expect("the default is a date"),
                rows_per_second: rows_per_second
                    .or_else(|| option::number(DEFAULT_ROWS_PER_SECOND))
                    .expect("the default is a number"),
                lateness_us: u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX - 1),
            },
        }
    }
}

/// Made-up rows.
pub struct Generator {
    settings: Settings,
    partitions: Vec<Partition>,
    makers: Arc<Vec<Maker>>,
    wanted: Wanted,
    clock: Clock,
}

impl Generator {
    fn new(origin: &SourceOrigin<'_>) -> Result<Self, ConnectorError> {
        let settings = Settings::new(origin.table);
        if settings.partitions > PARTITIONS_MAX {
            return Err(ConnectorError::permanent(format!(
                "cannot make {} partitions: {PARTITIONS_MAX} are the most",
                settings.partitions
            )));
        }
        let makers = makers(origin, settings).map_err(|problem| {
            ConnectorError::permanent(format!(
                "cannot follow option `{}`: {}",
                problem.option, problem.message
            ))
        })?;
        let partition = |index: u64| Partition {
            name: index.to_string(),
            // The rows of another seed are others, and so are those of other options.
            identity: Some(identity(origin.table)),
            length: settings.rows,
        };
        Ok(Self {
            settings,
            partitions: (0..settings.partitions).map(partition).collect(),
            makers: Arc::new(makers),
            wanted: origin.wanted.clone(),
            clock: origin.clock.clone(),
        })
    }
}

fn makers(origin: &SourceOrigin<'_>, settings: Settings) -> Result<Vec<Maker>, FieldProblem> {
    let fields = origin.wanted.schema.fields();
    fields
        .iter()
        .map(|field| Maker::new(origin.table, field, settings.seed, settings.times))
        .collect()
}

/// The options of which rows are a function; not their number nor their pace, which may change
/// between two runs.
fn identity(table: &Table) -> String {
    let options: Vec<String> = table
        .options
        .iter()
        .filter(|(name, _)| !["rows", "rate", "dead.letter"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", value.text))
        .collect();
    format!(
        "xxh3 {:016x}",
        xxhash_rust::xxh3::xxh3_64(options.join("\n").as_bytes())
    )
}

impl Source for Generator {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let deal = Deal {
            index: index as u64,
            partitions: self.settings.partitions,
            rows: self.settings.rows,
            rate: self.settings.rate,
            block_rows: BLOCK_ROWS,
        };
        Ok(Box::new(DealtReader::new(&deal, from, &self.clock)))
    }

    fn is_dealt(&self) -> bool {
        true
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(GeneratorDecoder {
            makers: Arc::clone(&self.makers),
            wanted: self.wanted.clone(),
            step: self.settings.partitions,
        })
    }
}

/// Makes the rows of a block.
struct GeneratorDecoder {
    makers: Arc<Vec<Maker>>,
    wanted: Wanted,
    step: u64,
}

impl Decoder for GeneratorDecoder {
    fn decode(&mut self, block: &Block) -> Decoded {
        let step = usize::try_from(self.step).expect("partitions are few");
        let numbers: Vec<u64> = (block.start.0..block.end.0).step_by(step).collect();
        let columns = self
            .makers
            .iter()
            .map(|maker| maker.make(&numbers))
            .collect();
        let fields: Vec<_> = self
            .wanted
            .schema
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true))
            .collect();
        let loose = Arc::new(arrow::datatypes::Schema::new(fields));
        let rows =
            batch(loose, columns, numbers.len()).expect("the makers have the types of the columns");
        self.reject_missing(&numbers, block.start, &rows)
    }
}

impl GeneratorDecoder {
    /// Takes out the rows with a NULL that may not be.
    fn reject_missing(&self, numbers: &[u64], start: Offset, rows: &RecordBatch) -> Decoded {
        let span = |row: usize| Span {
            start: u32::try_from(numbers[row] - start.0).expect("a block is short"),
            len: 0,
        };
        let fields = self.wanted.schema.fields();
        let must: Vec<usize> = (0..fields.len())
            .filter(|&column| !fields[column].is_nullable() && rows.column(column).null_count() > 0)
            .collect();
        let mut rejects = Vec::new();
        let mut spans = Vec::with_capacity(numbers.len());
        let mut keep = Vec::with_capacity(numbers.len());
        for row in 0..numbers.len() {
            let missing = must
                .iter()
                .find(|&&column| rows.column(column).is_null(row));
            keep.push(missing.is_none());
            match missing {
                None => spans.push(span(row)),
                Some(&column) => rejects.push(RejectedRecord {
                    span: span(row),
                    line: 0,
                    reject: Reject::column(
                        Reason::Missing,
                        fields[column].name(),
                        "the column is NOT NULL",
                    ),
                    at: None,
                }),
            }
        }
        let kept =
            filter_record_batch(rows, &BooleanArray::from(keep)).expect("one answer per row");
        let schema = Arc::clone(&self.wanted.schema);
        let rows = batch(schema, kept.columns().to_vec(), spans.len())
            .expect("rows without a value have been taken out");
        Decoded {
            rows,
            spans,
            rejects,
        }
    }
}
