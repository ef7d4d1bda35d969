//! Dead letters out of a SQLite file, in the order in which they were written.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::BUSY_TIMEOUT;
use crate::connector::ConnectorError;
use crate::connector::letters::{EachLetter, KeptLetter, PAYLOAD};
use crate::connector::open::{required, resolve};
use crate::plan::Table;

/// Reads all that one commit left.
pub(super) fn read(
    table: &Table,
    base: &Path,
    each: &mut EachLetter<'_>,
) -> Result<(), ConnectorError> {
    let path = resolve(required(table, "path")?, base);
    let failed = |error: rusqlite::Error| {
        ConnectorError::hinted(
            format!(
                "cannot read `{}` in `{}`: {error}",
                table.name,
                path.display()
            ),
            "has the pipeline run here? it makes the table",
        )
    };
    let connection =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.field.name().as_str())
        .collect();
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let list: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let target = table.option("table").unwrap_or(&table.name);
    let sql = format!("SELECT {} FROM {}", list.join(", "), quoted(target));
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let mut letter = KeptLetter::default();
        for (at, name) in names.iter().enumerate() {
            let bytes = match row.get_ref(at).map_err(failed)? {
                ValueRef::Null => continue,
                ValueRef::Integer(number) => number.to_string().into_bytes(),
                ValueRef::Real(number) => number.to_string().into_bytes(),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
            };
            if *name == PAYLOAD {
                letter.payload = Some(bytes);
            } else {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                letter.set(name, Some(text));
            }
        }
        if each(letter)?.is_break() {
            break;
        }
    }
    Ok(())
}
