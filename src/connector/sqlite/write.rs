//! The statements that bring one table to the end of an epoch.

use arrow::array::RecordBatch;
use rusqlite::{Connection, Statement};

use super::schema::quoted;
use super::value::Values;
use crate::connector::{SinkTable, TableChanges};

/// Rows per INSERT. Past a few dozen there is nothing left to gain.
const ROWS_PER_STATEMENT: usize = 32;

/// SQLite's limit on parameters of one statement, as it is compiled by default.
const PARAMETERS_MAX: usize = 32_766;

/// Writes one table. The statements are prepared once per connection, by their text.
#[derive(Debug)]
pub(super) struct TableWriter {
    upsert_many: String,
    upsert_one: String,
    delete_one: String,
    rows_per_statement: usize,
}

impl TableWriter {
    pub(super) fn new(table: &SinkTable) -> Self {
        let columns = table.schema.fields().len().max(1);
        let rows_per_statement = (PARAMETERS_MAX / columns).clamp(1, ROWS_PER_STATEMENT);
        Self {
            upsert_many: upsert(table, rows_per_statement),
            upsert_one: upsert(table, 1),
            delete_one: delete(table),
            rows_per_statement,
        }
    }

    /// Applies `change`. Deletes and upserts have no key in common, so their order is free;
    /// deletes go first because they make room.
    pub(super) fn write(
        &self,
        connection: &Connection,
        change: &TableChanges,
    ) -> rusqlite::Result<()> {
        if let Some(keys) = &change.deletes {
            let mut delete = connection.prepare_cached(&self.delete_one)?;
            execute(&mut delete, keys, 1)?;
        }
        if let Some(rows) = &change.upserts {
            let whole = rows.num_rows() - rows.num_rows() % self.rows_per_statement;
            if whole > 0 {
                let mut upsert = connection.prepare_cached(&self.upsert_many)?;
                execute(&mut upsert, &rows.slice(0, whole), self.rows_per_statement)?;
            }
            if whole < rows.num_rows() {
                let mut upsert = connection.prepare_cached(&self.upsert_one)?;
                execute(&mut upsert, &rows.slice(whole, rows.num_rows() - whole), 1)?;
            }
        }
        Ok(())
    }
}

/// Runs `statement` over all rows of `batch`, `at_once` rows each time.
fn execute(
    statement: &mut Statement<'_>,
    batch: &RecordBatch,
    at_once: usize,
) -> rusqlite::Result<()> {
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let columns: Vec<Values> = fields
        .zip(batch.columns())
        .map(|(field, column)| Values::new(field, column))
        .collect();
    for first in (0..batch.num_rows()).step_by(at_once) {
        let mut parameter = 0;
        for row in first..first + at_once {
            for column in &columns {
                parameter += 1;
                column.bind(statement, parameter, row)?;
            }
        }
        statement.raw_execute()?;
    }
    Ok(())
}

fn upsert(table: &SinkTable, rows: usize) -> String {
    let names: Vec<String> = table
        .schema
        .fields()
        .iter()
        .map(|f| quoted(f.name()))
        .collect();
    let row = format!("({})", vec!["?"; names.len()].join(", "));
    let insert = format!(
        "INSERT INTO {} ({}) VALUES {}",
        quoted(&table.target),
        names.join(", "),
        vec![row.as_str(); rows].join(", ")
    );
    if table.key.is_empty() {
        return insert;
    }
    let key: Vec<String> = table.key_names().into_iter().map(quoted).collect();
    let assignments: Vec<String> = names
        .iter()
        .filter(|name| !key.contains(name))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let action = if assignments.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", assignments.join(", "))
    };
    format!("{insert} ON CONFLICT ({}) DO {action}", key.join(", "))
}

fn delete(table: &SinkTable) -> String {
    let key: Vec<String> = table
        .key_names()
        .into_iter()
        .map(|name| format!("{} = ?", quoted(name)))
        .collect();
    format!(
        "DELETE FROM {} WHERE {}",
        quoted(&table.target),
        key.join(" AND ")
    )
}
