//! `connector = 'kafka'`: the partitions of a topic; topics to write to.
//!
//! ```text
//!   settings ──▶ ask (one client: partitions, where they begin and end)
//!            └─▶ consumer (one per worker thread) ──▶ batch (librdkafka) ──▶ blocks
//! ```
//!
//! Partitions are assigned by us, never by a consumer group; offsets are the marks', never the
//! broker's. Only committed records are read. A position that retention has removed is an error,
//! or said and skipped, never passed over in silence.

mod admin;
mod ask;
mod batch;
mod bench;
mod blocks;
mod compaction;
mod consumer;
mod contact;
mod embedded;
mod identity;
mod letters;
mod marks;
mod produce;
mod resend;
mod settings;
mod sink;
mod source;
mod start;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

use super::catalog::{Connector, Guarantee, SinkEntry, SourceEntry};
use super::open::{OpenSink, OpenSource};
use super::option::{Absent, ConnectorOption, Side, ValueKind};
use settings::text;

pub use self::bench::{Feed, KafkaBench};
pub use self::embedded::EmbeddedBroker;
pub use self::letters::places_at;
pub use self::produce::{
    Admission, ProduceInput, ProduceJob, ProduceProgress, make_topic_of, produce,
};
pub use self::resend::{ResendJob, Resent, resend};
pub use self::settings::connection_option;
use self::sink::KafkaSink;
use self::source::KafkaSource;

const fn sink(
    name: &'static str,
    help: &'static str,
    default: &'static str,
    kind: ValueKind,
) -> ConnectorOption {
    ConnectorOption {
        name,
        help,
        default: Absent::Means(default),
        side: Side::Sink,
        kind,
    }
}

/// Reads topics and writes to them.
pub(super) const CONNECTOR: Connector = Connector {
    name: "kafka",
    help: "topics: read as they come; written in transactions, with keys and tombstones",
    options: &[
        ConnectorOption {
            name: "topic",
            help: "the topic",
            default: Absent::Required,
            side: Side::Both,
            kind: ValueKind::Text,
        },
        ConnectorOption {
            name: "bootstrap.servers",
            help: "brokers to ask first, as host:port, with commas between",
            default: Absent::Required,
            side: Side::Both,
            kind: ValueKind::Text,
        },
        ConnectorOption {
            name: settings::TOPIC_ID,
            help: "the id that the topic has now: it has the same records as the one that was read or written before",
            default: Absent::Means("as the mark says"),
            side: Side::Both,
            kind: ValueKind::Text,
        },
        ConnectorOption::source(
            "scan.startup.mode",
            "where the first run begins",
            "earliest",
            ValueKind::OneOf(start::MODES),
        ),
        ConnectorOption::source(
            "scan.startup.timestamp",
            "with mode `timestamp`: a time in UTC, or milliseconds since 1970",
            "none",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "scan.startup.offsets",
            "with mode `offsets`: partition:offset, with commas between; others from their beginning",
            "none",
            ValueKind::Text,
        ),
        ConnectorOption::source(
            "offset.lost",
            "what to do when retention has removed the next record",
            "error",
            ValueKind::OneOf(&["error", "skip"]),
        ),
        ConnectorOption::source(
            "partition.discovery",
            "how often to look for new partitions",
            settings::DISCOVERY,
            ValueKind::Length,
        ),
        ConnectorOption::source(
            "group.id",
            "the consumer group that shows the progress to people; nothing is read from it",
            "`tidemark-` and the table's name",
            ValueKind::Text,
        ),
        sink(
            "key",
            "the columns that are the key of a record, with commas between",
            "the PRIMARY KEY, or no key",
            ValueKind::Text,
        ),
        sink(
            "key.format",
            "what the key is: the one column's text, or an object",
            "`raw` of one column, `json` of several",
            ValueKind::OneOf(&["raw", "json"]),
        ),
        sink(
            "partitions",
            "create the topic with so many partitions, if it is not there",
            "it must be there",
            ValueKind::Positive,
        ),
        sink(
            "replication",
            "create it with so many copies",
            "the broker's",
            ValueKind::Positive,
        ),
        text(
            "security.protocol",
            "how to connect: plaintext, ssl, sasl_plaintext or sasl_ssl",
        ),
        text(
            "sasl.mechanism",
            "how to log in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        ),
        text("sasl.username", "who logs in"),
        text("sasl.password", "the password"),
        text("ssl.ca.location", "file of the certificates to trust"),
        text("ssl.certificate.location", "file of our own certificate"),
        text("ssl.key.location", "file of our own key"),
        text("ssl.key.password", "the key's password"),
        text("kafka.*", "any other setting of librdkafka"),
    ],
    source: Some(SourceEntry {
        reference: false,
        takes_format: true,
        takes_columns: false,
        has_metadata: true,
        check: settings::check,
        open: OpenSource {
            inspect: |origin| KafkaSource::inspect(origin),
            open: |origin| Ok(Arc::new(KafkaSource::open(&origin)?)),
            keeps: compaction::keeps,
            reads: settings::reads,
        },
    }),
    sink: Some(SinkEntry {
        guarantee: Guarantee::ExactlyOnce,
        keyed: true,
        takes_format: true,
        refused: None,
        letters: Some(|table, _, each| letters::read(table, each)),
        own_formats: &[sink::RAW],
        open: OpenSink {
            database: |table, _| sink::database(table),
            open: |origin| Ok(Box::new(KafkaSink::from_origin(&origin)?)),
        },
    }),
};
