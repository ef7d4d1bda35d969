//! `connector = 'sqlite'`: keeps tables in a SQLite file, exactly once.
//!
//! ```text
//!   BEGIN IMMEDIATE
//!   UPDATE tidemark_marks SET epoch, mark WHERE pipeline AND incarnation    one row, or fenced
//!   INSERT .. ON CONFLICT DO UPDATE, DELETE                                 every table of the epoch
//!   COMMIT
//! ```
//!
//! All tables that one pipeline keeps in one file move by this one transaction, together with the
//! mark. A crash before COMMIT leaves the epoch before it, a crash after it leaves this one; there
//! is no third state, so nothing here needs repair at a start.
//!
//! `tidemark_marks` holds one row per pipeline, `tidemark_tables` says which pipeline keeps which
//! table. A start takes over by writing its incarnation into the row; whoever's incarnation is not
//! in the row any more matches no row and is fenced. SQLite has one writer at a time, so the
//! UPDATE sees every commit before it.
//!
//! The file is in WAL mode, so that readers never wait, with `synchronous = NORMAL`: a commit is
//! not flushed to the disk. A crash of the process loses nothing. A loss of power may lose the last
//! commits, rows and mark alike, and the next start reads that input again from the older mark.

mod letters;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use read::read;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use self::schema::{Admission, Facts};
use self::write::TableWriter;
use super::catalog::{Connector, Guarantee, SinkEntry};
use super::open::{OpenSink, SinkOrigin, missing_folder, required, resolve, sink_table};
use super::option::{Absent, ConnectorOption, Side, ValueKind};
use super::sink::Refusal;
use super::{ConnectorError, Destination, Finding, SinkTable, TableChanges};
use crate::types::{Epoch, Mark};

/// How long to wait for another writer of the same file. A pipeline's transaction takes
/// milliseconds; whoever holds the lock longer has forgotten a transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The names that start with this are ours.
const OWN_PREFIX: &str = "tidemark_";

const CREATE_OWN_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tidemark_marks (
        pipeline TEXT NOT NULL PRIMARY KEY,
        generation INTEGER NOT NULL,
        incarnation TEXT NOT NULL,
        epoch INTEGER,
        mark TEXT
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tidemark_tables (
        table_name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
        pipeline TEXT NOT NULL,
        created_by_pipeline INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// Keeps tables in a SQLite file.
pub(super) const CONNECTOR: Connector = Connector {
    name: "sqlite",
    help: "tables in a SQLite file, made if they are missing",
    options: &[
        ConnectorOption {
            name: "path",
            help: "the SQLite file; it is made if it is missing",
            default: Absent::Required,
            side: Side::Sink,
            kind: ValueKind::Text,
        },
        ConnectorOption {
            name: "table",
            help: "the name of the table there",
            default: Absent::Means("the table's name here"),
            side: Side::Sink,
            kind: ValueKind::Text,
        },
    ],
    source: None,
    sink: Some(SinkEntry {
        guarantee: Guarantee::ExactlyOnce,
        keyed: true,
        takes_format: false,
        refused: None,
        letters: Some(letters::read),
        own_formats: &[],
        open: OpenSink {
            database: |table, base| {
                let path = table.option("path").unwrap_or_default();
                resolve(path, base).display().to_string()
            },
            open: |origin| Ok(Box::new(Sqlite::from_origin(&origin)?)),
        },
    }),
};

/// The tables that one pipeline keeps in one SQLite file.
pub struct Sqlite {
    path: PathBuf,
    pipeline: String,
    tables: Vec<SinkTable>,
    writers: Vec<TableWriter>,
    session: Option<Session>,
}

/// What there is once this start has taken over.
struct Session {
    connection: Connection,
    incarnation: String,
    /// Which file was opened.
    file: Option<FileNumber>,
}

/// What tells a file from another one that takes its name: device and inode.
type FileNumber = (u64, u64);

fn file_number(path: &Path) -> Option<FileNumber> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

impl Sqlite {
    /// Touches nothing yet: the file is made by `take_over`.
    #[must_use]
    pub fn new(path: PathBuf, pipeline: &str, tables: Vec<SinkTable>) -> Self {
        Self {
            path,
            pipeline: pipeline.to_owned(),
            writers: tables.iter().map(TableWriter::new).collect(),
            tables,
            session: None,
        }
    }

    fn from_origin(origin: &SinkOrigin<'_>) -> Result<Self, ConnectorError> {
        let mut tables: Vec<SinkTable> = Vec::new();
        let mut path = PathBuf::new();
        for table in &origin.tables {
            path = resolve(required(table, "path")?, origin.base);
            let target = table.option("table").unwrap_or(&table.name);
            let twin = tables
                .iter()
                .find(|other| other.target.eq_ignore_ascii_case(target));
            if let Some(twin) = twin {
                return Err(ConnectorError::hinted(
                    format!(
                        "`{}` and `{}` are the same table `{target}`",
                        twin.name, table.name
                    ),
                    "insert into one of them twice, or give one of them another `table`",
                ));
            }
            tables.push(sink_table(table, target));
        }
        Ok(Self::new(path, origin.pipeline, tables))
    }

    fn connect(&self) -> Result<Connection, ConnectorError> {
        let connection = Connection::open(&self.path).map_err(|e| self.error("open", e))?;
        configure(&connection, self.tables.len()).map_err(|e| self.error("open", e))?;
        Ok(connection)
    }

    /// What SQLite said, as ours: whoever else holds the file may let go of it, a full disk may
    /// be emptied; everything else stays as it is.
    fn error(&self, doing: &str, error: rusqlite::Error) -> ConnectorError {
        use rusqlite::ErrorCode;
        let path = self.path.display();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ConnectorError::Transient(
                format!("could not {doing} `{path}`: another process is writing to it"),
            ),
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
                ConnectorError::Transient(format!("could not {doing} `{path}`: {error}"))
            }
            Some(ErrorCode::NotADatabase) => ConnectorError::hinted(
                format!("cannot {doing} `{path}`: it is not a SQLite file"),
                "give `path` the name of a SQLite file, or of a file that does not exist yet",
            ),
            Some(ErrorCode::CannotOpen) => ConnectorError::hinted(
                format!("cannot {doing} `{path}`: {error}"),
                "the folder must exist and you must be allowed to write to it",
            ),
            _ => ConnectorError::permanent(format!("cannot {doing} `{path}`: {error}")),
        }
    }
}

impl Destination for Sqlite {
    fn take_over(&mut self, incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        // Hexadecimal text: SQLite's integers are signed, and people read this table.
        let incarnation_text = format!("{incarnation:016x}");
        let mut connection = self.connect()?;
        let transaction = begin(&mut connection).map_err(|e| self.error("write to", e))?;

        let row = MarkRow::read(&transaction, &self.pipeline).map_err(|e| self.error("read", e))?;
        for table in &self.tables {
            let facts = Facts::gather(&transaction, &self.pipeline, table, row.as_ref())
                .map_err(|e| self.error("read", e))?;
            let admission = schema::admit(table, &facts).map_err(Refusal::into_error)?;
            if admission == Admission::Create {
                transaction
                    .execute_batch(&schema::create_table(table))
                    .map_err(|e| self.error("create a table in", e))?;
            }
            schema::register(&transaction, &self.pipeline, table, admission)
                .map_err(|e| self.error("write to", e))?;
        }
        let generation = row.as_ref().map_or(1, |row| row.generation + 1);
        transaction
            .execute(
                "INSERT INTO tidemark_marks (pipeline, generation, incarnation) VALUES (?, ?, ?)
                 ON CONFLICT (pipeline) DO UPDATE
                 SET generation = excluded.generation, incarnation = excluded.incarnation",
                params![self.pipeline, generation, incarnation_text],
            )
            .map_err(|e| self.error("write to", e))?;
        let mark = match row.and_then(|row| row.mark) {
            Some(text) => {
                let mark = self.parse_mark(&text)?;
                // The row is newer than the text in it: it says who writes from now on.
                let generation = u64::try_from(generation).expect("generations count from 1");
                Some(Mark {
                    generation,
                    incarnation,
                    ..mark
                })
            }
            None => None,
        };
        transaction
            .commit()
            .and_then(|()| hurry(&connection))
            .map_err(|e| self.error("write to", e))?;

        self.session = Some(Session {
            connection,
            incarnation: incarnation_text,
            file: file_number(&self.path),
        });
        Ok(mark)
    }

    fn publish(&mut self, mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        self.is_in_place()?;
        // An error on the way drops the transaction, which rolls it back; the connection stays.
        let mut session = self
            .session
            .take()
            .expect("a destination is taken over before it publishes");
        let outcome = self
            .write(&mut session, mark, changes)
            .and_then(|transaction| transaction.commit().map_err(|e| self.error("write to", e)));
        self.session = Some(session);
        outcome
    }

    fn make_durable(&mut self) -> Result<(), ConnectorError> {
        self.is_in_place()?;
        let session = self.session.as_ref().expect("it was taken over");
        let flush = || -> rusqlite::Result<usize> {
            // The log is flushed as a whole, so what was committed before is on the disk too.
            session
                .connection
                .pragma_update(None, "synchronous", "full")?;
            let matched = session.connection.execute(
                "UPDATE tidemark_marks SET epoch = epoch WHERE pipeline = ? AND incarnation = ?",
                params![self.pipeline, session.incarnation],
            );
            hurry(&session.connection)?;
            matched
        };
        match flush().map_err(|e| self.error("write to", e))? {
            1 => Ok(()),
            _ => Err(self.fenced(Epoch(0))),
        }
    }

    fn empty(&mut self) -> Result<(), ConnectorError> {
        if !self.path.exists() {
            return Ok(());
        }
        self.session = None;
        let mut connection = self.connect()?;
        let transaction = begin(&mut connection).map_err(|e| self.error("write to", e))?;
        schema::empty(&transaction, &self.pipeline, &self.tables)
            .and_then(|()| transaction.commit())
            .map_err(|e| self.error("empty", e))
    }

    fn peek(&self) -> Result<Option<Mark>, ConnectorError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|e| self.error("open", e))?;
        let row = MarkRow::read(&connection, &self.pipeline).map_err(|e| self.error("read", e))?;
        let text = row.and_then(|row| row.mark);
        text.map(|text| self.parse_mark(&text)).transpose()
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        if !self.path.exists() {
            return self.inspect_folder();
        }
        let connection = open_untouched(&self.path).map_err(|e| self.error("open", e))?;
        let look = || -> rusqlite::Result<Vec<Finding>> {
            let row = MarkRow::read(&connection, &self.pipeline)?;
            let mut findings = Vec::new();
            for (index, table) in self.tables.iter().enumerate() {
                let facts = Facts::gather(&connection, &self.pipeline, table, row.as_ref())?;
                if let Err(refusal) = schema::admit(table, &facts) {
                    findings.push(refusal.into_finding(index));
                }
            }
            Ok(findings)
        };
        look().map_err(|e| self.error("read", e))
    }
}

impl Sqlite {
    /// Whether the file that was opened is still the one of its name: SQLite goes on with one that was
    /// removed or replaced, and nobody would read it.
    fn is_in_place(&self) -> Result<(), ConnectorError> {
        let opened = self.session.as_ref().and_then(|session| session.file);
        if opened == file_number(&self.path) {
            return Ok(());
        }
        Err(ConnectorError::hinted(
            format!(
                "`{}` was removed or replaced while it was written",
                self.path.display()
            ),
            "start the pipeline again, which computes what the file lacks now",
        ))
    }

    /// The transaction of an epoch, all but its commit.
    fn write<'c>(
        &self,
        session: &'c mut Session,
        mark: &Mark,
        changes: &[TableChanges],
    ) -> Result<Transaction<'c>, ConnectorError> {
        let text = serde_json::to_string(mark).expect("a mark is plain data");
        let epoch = i64::try_from(mark.epoch.0).expect("epochs are far below 2^63");
        let failed = |e| self.error("write to", e);

        let transaction = session
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let matched = transaction
            .prepare_cached(
                "UPDATE tidemark_marks SET epoch = ?, mark = ?
                 WHERE pipeline = ? AND incarnation = ?",
            )
            .and_then(|mut update| {
                update.execute(params![epoch, text, self.pipeline, session.incarnation])
            })
            .map_err(failed)?;
        if matched != 1 {
            return Err(self.fenced(mark.epoch));
        }
        for change in changes {
            self.writers[change.table]
                .write(&transaction, change)
                .map_err(failed)?;
        }
        Ok(transaction)
    }

    fn fenced(&self, epoch: Epoch) -> ConnectorError {
        ConnectorError::Fenced {
            destination: self.path.display().to_string(),
            epoch,
        }
    }

    fn parse_mark(&self, text: &str) -> Result<Mark, ConnectorError> {
        serde_json::from_str(text).map_err(|error| {
            ConnectorError::hinted(
                format!(
                    "cannot read the mark of pipeline `{}` in `{}`: {error}",
                    self.pipeline,
                    self.path.display()
                ),
                "it was written by another version, or by hand; start over with --fresh",
            )
        })
    }

    /// The file is not there: would it be possible to make it?
    fn inspect_folder(&self) -> Result<Vec<Finding>, ConnectorError> {
        let Some(folder) = missing_folder(&self.path) else {
            return Ok(Vec::new());
        };
        let finding = |table| Finding {
            table,
            message: format!("the folder `{folder}` does not exist"),
            hint: Some("create it, or change `path`".to_owned()),
        };
        Ok((0..self.tables.len()).map(finding).collect())
    }
}

/// The pipeline's row in `tidemark_marks`.
struct MarkRow {
    generation: i64,
    /// None until the first publish.
    mark: Option<String>,
}

impl MarkRow {
    fn read(connection: &Connection, pipeline: &str) -> rusqlite::Result<Option<Self>> {
        if schema::exists(connection, "tidemark_marks")?.is_none() {
            return Ok(None);
        }
        connection
            .query_row(
                "SELECT generation, mark FROM tidemark_marks WHERE pipeline = ?",
                [pipeline],
                |row| {
                    Ok(Self {
                        generation: row.get(0)?,
                        mark: row.get(1)?,
                    })
                },
            )
            .optional()
    }
}

/// What is committed is on the disk.
fn configure(connection: &Connection, tables: usize) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Every table has three statements, and there are a few more.
    connection.set_prepared_statement_cache_capacity(3 * tables + 8);
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")
}

/// From here on commits do not wait for the disk. They stay whole: a log keeps them so, and where a file
/// system cannot do that, a rollback journal does, if it is flushed.
fn hurry(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous = if mode == "wal" { "normal" } else { "full" };
    connection.pragma_update(None, "synchronous", synchronous)
}

/// Begins a transaction that holds the file's one write lock from the start, so that nothing it
/// reads can be out of date when it writes.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(CREATE_OWN_TABLES)?;
    Ok(transaction)
}

/// Opens a file to look at it. A file in WAL mode that nobody has open would get two companions
/// even from a reader; `immutable` leaves the folder as it is.
fn open_untouched(path: &Path) -> rusqlite::Result<Connection> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match path.to_str() {
        Some(text) if !Path::new(&wal).exists() => {
            let escaped = text
                .replace('%', "%25")
                .replace('?', "%3f")
                .replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        _ => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
