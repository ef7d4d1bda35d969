//! The binary run as people run it, and its tables read as people read them.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// Far more than any run of a test takes. A run that reaches it hangs, and is ended.
const LIMIT: Duration = Duration::from_secs(120);

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ended {
    pub how: Exit,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// It crashed where `TIDEMARK_CRASH_AT` said.
    Aborted,
}

/// Runs `tidemark` in `folder`, without a terminal and without input.
///
/// # Panics
/// If it ran into the time limit or was ended by a signal that nobody sent.
pub fn tidemark(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    tidemark_within(LIMIT, folder, arguments, variables)
}

/// As `tidemark`, for runs whose length depends on how much is asked of them.
///
/// # Panics
/// As `tidemark`.
pub fn tidemark_within(
    limit: Duration,
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Ended {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .timeout(limit);
    for (name, value) in variables {
        command.env(name, value);
    }
    let output = command.output().expect("the binary was built and runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let how = match (output.status.code(), signal(output.status)) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(SIGABRT)) => Exit::Aborted,
        (None, signal) => panic!("ended by signal {signal:?} (9: the time limit):\n{stderr}"),
    };
    Ended {
        how,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr,
    }
}

const SIGABRT: i32 = 6;

fn signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// A table as SQLite holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub name: String,
    pub columns: Vec<String>,
    /// In the order of all columns from the left.
    pub rows: Vec<Vec<Value>>,
}

/// The tables that the pipeline keeps in a SQLite file, by name, without the marks.
pub fn tables(file: &Path) -> Vec<Contents> {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .expect("the run made the file");
    let names: Vec<String> = database
        .prepare(
            "select name from sqlite_schema where type = 'table' \
             and name not like 'sqlite_%' and name not like 'tidemark_%' order by name",
        )
        .and_then(|mut q| q.query_map([], |row| row.get(0))?.collect())
        .expect("the schema can be read");
    names
        .into_iter()
        .map(|name| contents(&database, name))
        .collect()
}

fn contents(database: &Connection, name: String) -> Contents {
    let mut query = database
        .prepare(&format!("select * from \"{name}\""))
        .expect("the table is there");
    let columns: Vec<String> = query
        .column_names()
        .iter()
        .map(|c| (*c).to_owned())
        .collect();
    let mut rows: Vec<Vec<Value>> = query
        .query_map([], |row| (0..columns.len()).map(|i| row.get(i)).collect())
        .and_then(Iterator::collect)
        .expect("the rows can be read");
    rows.sort_by(|a, b| compare_rows(a, b));
    Contents {
        name,
        columns,
        rows,
    }
}

fn compare_rows(a: &[Value], b: &[Value]) -> std::cmp::Ordering {
    a.iter()
        .zip(b)
        .map(|(a, b)| compare(a, b))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// SQLite's order of values: NULL, numbers, text, bytes.
fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    let class = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    #[expect(clippy::cast_precision_loss, reason = "only an order to print in")]
    let number = |value: &Value| match value {
        Value::Integer(i) => *i as f64,
        Value::Real(f) => *f,
        Value::Null | Value::Text(_) | Value::Blob(_) => 0.0,
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => class(a)
            .cmp(&class(b))
            .then(number(a).total_cmp(&number(b))),
    }
}

/// What a run says of itself in the file that `--summary` names.
#[derive(Debug, serde::Deserialize)]
pub struct Summary {
    pub inserts: Vec<InsertSummary>,
}

/// The fates of one source's records for one INSERT.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct InsertSummary {
    pub table: String,
    pub source: String,
    pub read: u64,
    pub accepted: u64,
    pub filtered: u64,
    pub late: u64,
    pub rejected: u64,
}

impl Summary {
    /// Reads the file.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("the run wrote its summary");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("summary {text}: {e}"))
    }
}
