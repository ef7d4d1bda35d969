//! Connectors: where records come from and where rows go.
//!
//! ```text
//!   Source ──▶ Reader (one per partition, in order) ──▶ Block ──▶ Decoder ──▶ rows
//!   changes of an epoch + mark ──▶ Destination (one per database) ──▶ one transaction
//! ```
//!
//! A connector knows nothing of timely and nothing of SQL. Each is one file and one line in
//! `CONNECTORS`, from which the option checks, `tidemark list` and the documentation follow.

mod catalog;
mod dealt;
mod discard;
mod file;
#[cfg(test)]
mod fixtures;
mod generator;
mod history;
mod kafka;
mod lanes;
mod letters;
mod list;
mod live;
mod nexmark;
mod open;
mod option;
mod postgres;
mod refused;
mod reload;
mod sink;
mod sqlite;
mod stdout;
mod validate;

pub use self::postgres::{Postgres, copy_again, reach as reach_postgres, read as postgres_answer};
pub use catalog::{
    CONNECTORS, Connector, GENERAL_OPTIONS, Guarantee, SinkEntry, SourceEntry, connector,
    idle_timeout, max_ahead, reject_limit, reload_interval, skips_lost,
};
pub use discard::Discard;
pub use file::{FileSink, FileSource, is_watched, parquet_columns};
pub use generator::Generator;
pub use history::{NoHistory, can_follow, history_table, moment};
pub use kafka::{
    Admission, EmbeddedBroker, Feed, KafkaBench, ProduceInput, ProduceJob, ProduceProgress,
    ResendJob, Resent, connection_option, make_topic_of, places_at, produce, resend,
};
pub use lanes::{Share, lanes};
pub use letters::{EachLetter, KeptLetter, LetterFilter, are_letters_read, read_letters};
pub use list::list;
pub use live::{Consumer, Fetched, Following, Live, Reads};
pub use open::{
    Keeps, OpenDestination, inspect_source, keeps, open_destinations, open_source, reads,
};
pub use option::{Absent, ConnectorOption, Side, ValueKind};
pub use refused::{RefusedValues, refused_values, refuses_values};
pub use sink::{Finding, SinkTable};
pub use sqlite::{Sqlite, read as sqlite_answer};
pub use stdout::Stdout;
pub use validate::{OptionProblem, validate};

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::format::{Block, Decoder};
use crate::types::{Epoch, Mark, Offset};

/// A source that can be read: its partitions are fixed for the run.
pub trait Source: Send + Sync {
    /// The partitions, in an order that does not depend on the machine or the moment.
    fn partitions(&self) -> &[Partition];

    /// Starts reading partition `index` at `from`. Blocks come in order and their cuts are a
    /// function of the partition's bytes and `from`.
    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError>;

    /// A decoder of this source's blocks, for one thread.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Whether its partitions are hands of one sequence of rows, and an offset is a row's place in
    /// that: who reads them in the order of their offsets has the rows as they were made.
    fn is_dealt(&self) -> bool {
        false
    }

    /// The other way to read it, for a source that goes on; then `open` is not called.
    fn live(&self) -> Option<&dyn Live> {
        None
    }
}

/// One partition of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Stable over runs: the path of a file as found, the number of a generator's stream.
    pub name: String,
    /// What must not have changed for an offset to mean the same: size and checksum of a file.
    pub identity: Option<String>,
    /// How long it is, in the unit of `Offset`, where that is known: for progress bars.
    pub length: Option<u64>,
}

/// Reads one partition from a position on.
pub trait Reader: Send {
    /// The next whole records, or the end. Cheap where records are bytes: it cuts, it does not decode.
    fn next(&mut self) -> Result<Option<Block>, ConnectorError>;

    /// What lies before `to` was read by an earlier run: whoever keeps to a rate kept to it then.
    fn again_up_to(&mut self, _to: Offset) {}
}

/// Everything the pipeline keeps in one database (or file, or terminal): moves forward by one
/// transaction per epoch.
pub trait Destination: Send {
    /// The mark that is there, without taking over: what a start that may yet be refused looks
    /// at first, so that it does not fence a healthy process.
    fn peek(&self) -> Result<Option<Mark>, ConnectorError> {
        Ok(None)
    }

    /// Takes over: creates missing tables, sets a generation one past the highest, and returns
    /// the mark that is there. From here on an older process cannot publish any more.
    fn take_over(&mut self, incarnation: u64) -> Result<Option<Mark>, ConnectorError>;

    /// Writes `changes` and `mark` in one transaction. Epochs come in order, each at most once.
    /// After an error nothing of the epoch is there, and the same epoch may be published again.
    fn publish(&mut self, mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError>;

    /// Everything published so far survives a crash of the destination from here on. Nothing to
    /// do where `publish` promises that already.
    fn make_durable(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Removes this pipeline's rows and mark, in one transaction; for `--fresh`, before
    /// `take_over`. A process that still publishes here is fenced by it.
    fn empty(&mut self) -> Result<(), ConnectorError>;

    /// What `take_over` would refuse, for `check`: looks, and changes nothing.
    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError>;
}

/// Changes of one epoch to one table, consolidated: a key occurs once. Many may come in several
/// parts; no key is in two of them.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// Position in the list of tables that the destination was opened with.
    pub table: usize,
    /// Rows to insert; where the table has a key, to insert or replace. All columns.
    pub upserts: Option<RecordBatch>,
    /// Keys to delete: the key columns only, in key order. Disjoint from the upserts' keys.
    pub deletes: Option<RecordBatch>,
}

/// What a connector says when the world is not as it should be. Lower case, no full stop.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// It will not work however often it is tried: a wrong option, a missing file.
    #[error("{message}")]
    Permanent {
        /// One sentence.
        message: String,
        /// What to type.
        hint: Option<String>,
    },
    /// It may work next time.
    #[error("{0}")]
    Transient(String),
    /// Nobody answers there: it may be back later, or the address is wrong.
    #[error("{message}")]
    Away {
        /// One sentence.
        message: String,
        /// What to look at.
        hint: String,
    },
    /// Another process has taken this destination over.
    #[error("another process took over `{destination}` at epoch {epoch}")]
    Fenced {
        /// Which.
        destination: String,
        /// Where this process was.
        epoch: Epoch,
    },
    /// The destination lost epochs that it had acknowledged, rows and mark together: its machine
    /// crashed, or an older state of it was brought back. The mark is right; whoever writes has to
    /// go back to it.
    #[error("`{destination}` went back from epoch {acknowledged} to {found}")]
    Rewound {
        /// Which.
        destination: String,
        /// What it had acknowledged.
        acknowledged: Epoch,
        /// What it holds.
        found: Epoch,
    },
}

/// The answer to a query, as text: the names of its columns, then its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Column names.
    pub columns: Vec<String>,
    /// Values; NULL is empty.
    pub rows: Vec<Vec<String>>,
}

/// An open source or destination, by the connector table.
pub type SharedSource = Arc<dyn Source>;
