//! Dead letters out of a PostgreSQL table.

use arrow::datatypes::DataType;
use postgres::fallible_iterator::FallibleIterator as _;

use super::options::{address_of, limits_of};
use super::{error, quoted, session};
use crate::connector::ConnectorError;
use crate::connector::letters::{EachLetter, KeptLetter, PAYLOAD};
use crate::plan::{Column, Table};

/// Reads all that one statement sees.
pub(super) fn read(table: &Table, each: &mut EachLetter<'_>) -> Result<(), ConnectorError> {
    let address = address_of(table)?;
    let mut client = session::connect(&address, limits_of(table), "dead-letters")?.client;
    let failed = |error: postgres::Error| match error::converted("read", &address, &error) {
        ConnectorError::Permanent { message, hint } => ConnectorError::Permanent {
            message,
            hint: hint.or(Some(
                "has the pipeline run here? it makes the table".to_owned(),
            )),
        },
        other @ (ConnectorError::Transient(_)
        | ConnectorError::Away { .. }
        | ConnectorError::Fenced { .. }
        | ConnectorError::Rewound { .. }) => other,
    };
    // Reading takes as long as there are letters.
    client
        .batch_execute("set statement_timeout = 0")
        .map_err(failed)?;
    let none: [i32; 0] = [];
    let mut rows = client.query_raw(&query(table), none).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let mut letter = KeptLetter::default();
        for (at, column) in table.columns.iter().enumerate() {
            if column.field.name() == PAYLOAD {
                letter.payload = row.try_get(at).map_err(failed)?;
            } else {
                letter.set(column.field.name(), row.try_get(at).map_err(failed)?);
            }
        }
        if each(letter)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn query(table: &Table) -> String {
    let column = |column: &Column| {
        let name = quoted(column.field.name());
        match (column.field.name().as_str(), column.field.data_type()) {
            (PAYLOAD, DataType::Binary) => name,
            (PAYLOAD, _) => format!("convert_to({name}::text, 'UTF8')"),
            (_, _) => format!("{name}::text"),
        }
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    let target = table.option("table").unwrap_or(&table.name);
    let target: Vec<String> = target.splitn(2, '.').map(quoted).collect();
    format!("select {} from {}", columns.join(", "), target.join("."))
}
