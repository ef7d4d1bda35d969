//! Reads a SQLite file while a pipeline writes it: for people who watch.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::connector::{Answer, ConnectorError};

/// Asks `query` of the file at `path`, which is not changed. What it sees is one commit.
pub fn read(path: &Path, query: &str) -> Result<Answer, ConnectorError> {
    ask(path, query).map_err(|error| {
        ConnectorError::Transient(format!("could not read `{}`: {error}", path.display()))
    })
}

fn ask(path: &Path, query: &str) -> rusqlite::Result<Answer> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    let mut statement = connection.prepare(query)?;
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let cells = (0..columns.len()).map(|column| Ok(text(row.get_ref(column)?)));
        rows.push(cells.collect::<rusqlite::Result<_>>()?);
    }
    Ok(Answer { columns, rows })
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_text_with_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, NULL)")
            .unwrap();

        let answer = read(&path, "SELECT a, b FROM t").unwrap();

        assert_eq!(answer.columns, ["a", "b"]);
        assert_eq!(answer.rows, [["1", ""]]);
    }
}
