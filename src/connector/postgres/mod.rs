//! `connector = 'postgres'`: keeps tables in a PostgreSQL database, exactly once, and reads some whole
//! (`table`).
//!
//! ```text
//!   BEGIN; UPDATE tidemark_marks SET epoch, mark WHERE pipeline AND incarnation    one row, or fenced
//!   DELETE .. USING unnest; INSERT .. SELECT FROM unnest ON CONFLICT; COPY         every table
//!   SELECT 1; COMMIT
//! ```
//!
//! All tables that one pipeline keeps in one database move by this one transaction, together with
//! the mark. The mark's UPDATE comes first: it holds the row until the end, so whoever takes over
//! waits for this commit and sees it, or is first and makes this match no row.
//!
//! A commit is not waited for on the server's disk. A crash of the server may lose the last epochs,
//! rows and mark together; `make_durable` is the line below which none can be lost.
//!
//! ```text
//!   connected ──error──▶ rolled back, same connection
//!       │
//!    connection lost ──▶ was the epoch applied? ──next publish: confirm──▶ mark at it: applied
//!                                                                          mark before it: write it
//!                                                                          mark further back: rewound
//!                                                                          an older start's: rewound
//!                                                                          another's: fenced
//!                                                                          none: looked for again
//! ```

mod address;
mod admit;
mod altered;
mod bench;
mod column;
mod destination;
mod empty;
mod error;
mod facts;
mod hold;
mod json;
mod kind;
mod letters;
mod marks;
mod numeric;
mod options;
mod plan;
mod read;
mod rows;
mod secrets;
mod session;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod write;

pub use bench::copy_again;
pub use destination::Postgres;
pub use read::{reach, read};

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use self::column::Column;
use self::kind::Kind;
use super::RefusedValues;
use super::catalog::{Connector, Guarantee, SinkEntry, SourceEntry};
use super::lanes;
use super::open::{OpenSink, OpenSource, keeps_all};
use super::option::{Absent, ConnectorOption, Side, ValueKind};

/// An option of the connection or the table.
const fn both(
    name: &'static str,
    help: &'static str,
    default: Absent,
    kind: ValueKind,
) -> ConnectorOption {
    ConnectorOption {
        name,
        help,
        default,
        side: Side::Both,
        kind,
    }
}

/// An option of a table that is written.
const fn option(
    name: &'static str,
    help: &'static str,
    default: Absent,
    kind: ValueKind,
) -> ConnectorOption {
    ConnectorOption {
        side: Side::Sink,
        ..both(name, help, default, kind)
    }
}

/// Keeps tables in a PostgreSQL database.
pub(super) const CONNECTOR: Connector = Connector {
    name: "postgres",
    help: "tables in a PostgreSQL database; those that are written are made if they are missing",
    options: &[
        both(
            "url",
            "the database, as in postgres://user@host/database; '${DATABASE_URL}' keeps it out of the file",
            Absent::Required,
            ValueKind::Text,
        ),
        both(
            "table",
            "the name of the table there, or schema.name",
            Absent::Means("the table's name here"),
            ValueKind::Text,
        ),
        option(
            "indexes",
            "indexes to make: columns with commas, indexes with semicolons between",
            Absent::Means("the primary key's"),
            ValueKind::Text,
        ),
        option(
            "fillfactor",
            "how full a table's pages are made, in percent from 10 to 100, if it is made",
            Absent::Means("70 for a table whose rows are replaced, else 100"),
            ValueKind::Positive,
        ),
        both(
            "statement.timeout",
            "a statement that takes longer is given up, and done again",
            Absent::Means("60s"),
            ValueKind::Length,
        ),
        both(
            "lock.timeout",
            "as statement.timeout, for waiting for a lock",
            Absent::Means("10s"),
            ValueKind::Length,
        ),
        option(
            lanes::OPTION,
            "how many transactions write a table without a key side by side, outside the consistent cut",
            Absent::Means("1: it moves with the other tables"),
            ValueKind::Positive,
        ),
        both(
            "sslmode",
            "how the connection is encrypted, as in libpq",
            Absent::Means("what `url` says, else prefer"),
            ValueKind::OneOf(address::SSL_MODES),
        ),
        both(
            "sslrootcert",
            "the file with the certificate of the authority that signed the server's",
            Absent::Means("what `url` says, else the system's authorities"),
            ValueKind::Text,
        ),
        super::reload::OPTION,
    ],
    source: Some(SourceEntry {
        reference: true,
        takes_format: false,
        takes_columns: false,
        has_metadata: false,
        check: table::check,
        open: OpenSource {
            inspect: table::inspect,
            open: |origin| Ok(Arc::new(table::open(origin)?)),
            keeps: keeps_all,
            reads: table::reads,
        },
    }),
    sink: Some(SinkEntry {
        guarantee: Guarantee::ExactlyOnce,
        keyed: true,
        takes_format: false,
        refused: Some(refused),
        letters: Some(|table, _, each| letters::read(table, each)),
        own_formats: &[],
        open: OpenSink {
            database: |table, _| options::database(table),
            open: |origin| Ok(Box::new(Postgres::from_origin(&origin)?)),
        },
    }),
};

/// Which rows of a column PostgreSQL cannot hold.
fn refused(field: &Field, array: &ArrayRef) -> Option<RefusedValues> {
    let kind = Kind::of(field)?;
    let (rows, reason) = Column::new(&kind, field, array).refused()?;
    Some(RefusedValues { rows, reason })
}

/// A name as SQL: any character may stand in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
