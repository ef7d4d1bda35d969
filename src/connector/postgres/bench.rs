//! PostgreSQL by itself, for benchmarks: how fast it takes the rows of a table by COPY.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use postgres::{Client, NoTls};

use super::quoted;
use crate::connector::ConnectorError;
use crate::types::Clock;

/// Copies the rows of `table` into a table beside it, which is dropped again: how many rows, how many
/// bytes of text, and how long the COPY took, to its commit.
pub fn copy_again(
    url: &str,
    table: &str,
    clock: &Clock,
) -> Result<(u64, u64, Duration), ConnectorError> {
    let failed = |error: postgres::Error| {
        // Not the URL, which may hold a password.
        ConnectorError::permanent(format!("could not measure COPY: {error}"))
    };
    let mut client = Client::connect(url, NoTls).map_err(failed)?;
    let (from, to) = (quoted(table), quoted(&format!("{table}_copy")));
    let mut text = Vec::new();
    {
        let mut rows = client
            .copy_out(&format!("copy {from} to stdout"))
            .map_err(failed)?;
        let read = rows.read_to_end(&mut text);
        read.map_err(|error| ConnectorError::permanent(format!("could not read: {error}")))?;
    }
    let make = format!("drop table if exists {to}; create table {to} (like {from} including all)");
    client.batch_execute(&make).map_err(failed)?;
    let began = clock.elapsed();
    let mut copy = client
        .copy_in(&format!("copy {to} from stdin"))
        .map_err(failed)?;
    let written = copy.write_all(&text);
    written.map_err(|error| ConnectorError::permanent(format!("could not write: {error}")))?;
    let rows = copy.finish().map_err(failed)?;
    let took = clock.elapsed() - began;
    client
        .batch_execute(&format!("drop table {to}"))
        .map_err(failed)?;
    Ok((rows, text.len() as u64, took))
}
