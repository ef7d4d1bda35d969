//! The statements of one epoch to one table.

use std::io::Write as _;
use std::ops::Range;

use bytes::BytesMut;
use postgres::types::ToSql;
use postgres::{Client, Error, Statement};

use super::altered::is_as_planned;
use super::column::Slice;
use super::marks;
use super::plan::Plan;
use super::rows::{Most, Ready, Rows};

/// From here on COPY is faster than parameters; below, it costs more per statement.
const COPY_FROM: usize = 2000;

/// What goes into one statement: no more than a server takes in well within `statement.timeout`, over a
/// slow line too.
const PARAMETERS: Most = Most {
    rows: 8192,
    bytes: 32 << 20,
};
const COPY: Most = Most {
    rows: 1 << 16,
    bytes: 32 << 20,
};

/// What is sent at a time.
const COPY_CHUNK: usize = 128 << 10;

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The statements of one table that this connection has prepared.
#[derive(Default)]
pub(super) struct Prepared {
    upsert: Option<Statement>,
    delete: Option<Statement>,
    copy: Option<Statement>,
}

/// Why the changes of a table are not written.
pub(super) enum Unwritten {
    /// It is not the table any more that they were made for.
    Altered,
    Server(Error),
}

impl From<Error> for Unwritten {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

/// Writes the changes of one table. Deletes and upserts have no key in common; deletes go first
/// because they make room.
pub(super) fn write(
    client: &mut Client,
    plan: &Plan,
    prepared: &mut Prepared,
    ready: &Ready,
) -> Result<(), Unwritten> {
    if let Some(rows) = &ready.deletes {
        for range in rows.slices(PARAMETERS) {
            delete(client, plan, prepared, rows, range)?;
        }
    }
    let Some(rows) = &ready.upserts else {
        return Ok(());
    };
    match (&plan.copy, &plan.staging) {
        (Some(copy), staging) if staging.is_some() || rows.len() >= COPY_FROM => {
            if !is_as_planned(client, plan)? {
                return Err(Unwritten::Altered);
            }
            let statement = prepare(client, &mut prepared.copy, copy)?;
            for range in rows.slices(COPY) {
                copy_in(client, &statement, rows, range)?;
            }
        }
        (_, staging) => {
            let most = staging.as_ref().map_or(PARAMETERS, |_| COPY);
            for range in rows.slices(most) {
                upsert(client, plan, prepared, rows, range)?;
            }
        }
    }
    Ok(())
}

fn delete(
    client: &mut Client,
    plan: &Plan,
    prepared: &mut Prepared,
    rows: &Rows,
    range: Range<usize>,
) -> Result<(), Error> {
    let statement = prepare(client, &mut prepared.delete, &plan.delete)?;
    execute(client, &statement, rows, range)
}

/// Inserts or replaces some rows in one statement; what parameters cannot hold, by way of a table of the
/// session.
fn upsert(
    client: &mut Client,
    plan: &Plan,
    prepared: &mut Prepared,
    rows: &Rows,
    range: Range<usize>,
) -> Result<(), Error> {
    let Some(staging) = &plan.staging else {
        let statement = prepare(client, &mut prepared.upsert, &plan.upsert)?;
        return execute(client, &statement, rows, range);
    };
    client.batch_execute(&staging.create)?;
    if range.start > 0 {
        client.batch_execute(&staging.clear)?;
    }
    let copy = client.prepare(&staging.copy)?;
    copy_in(client, &copy, rows, range)?;
    client.batch_execute(&staging.upsert)
}

fn prepare(
    client: &mut Client,
    slot: &mut Option<Statement>,
    sql: &str,
) -> Result<Statement, Error> {
    if let Some(statement) = slot {
        return Ok(statement.clone());
    }
    let statement = client.prepare(sql)?;
    *slot = Some(statement.clone());
    Ok(statement)
}

fn execute(
    client: &mut Client,
    statement: &Statement,
    rows: &Rows,
    range: Range<usize>,
) -> Result<(), Error> {
    let slices: Vec<Slice<'_>> = rows
        .columns
        .iter()
        .zip(&rows.kinds)
        .map(|(column, kind)| Slice {
            column,
            item_oid: kind.pg().oid(),
            rows: range.clone(),
        })
        .collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = slices.iter().map(|slice| slice as _).collect();
    client.execute(statement, &parameters)?;
    Ok(())
}

fn copy_in(
    client: &mut Client,
    statement: &Statement,
    rows: &Rows,
    range: Range<usize>,
) -> Result<(), Error> {
    let mut writer = client.copy_in(statement)?;
    let mut buffer = BytesMut::with_capacity(COPY_CHUNK + (COPY_CHUNK >> 2));
    buffer.extend_from_slice(COPY_HEADER);
    let columns = i16::try_from(rows.columns.len()).expect("a table has at most 1600 columns");
    for row in range {
        buffer.extend_from_slice(&columns.to_be_bytes());
        for column in &rows.columns {
            column.put(row, &mut buffer);
        }
        if buffer.len() >= COPY_CHUNK {
            // The writer only gathers; if the server has given up, `finish` says why.
            if writer.write_all(&buffer).is_err() {
                break;
            }
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&(-1i16).to_be_bytes());
    // As above.
    let _ = writer.write_all(&buffer);
    writer.finish()?;
    Ok(())
}

/// The row whose value the server refuses, found by halves in transactions that are rolled back:
/// what it is called in a message. None if no single row is to blame.
pub(super) fn blame(client: &mut Client, plan: &Plan, ready: &Ready) -> Option<String> {
    let mut prepared = Prepared::default();
    let mut fails = |rows: &Rows, range: Range<usize>, deletes: bool| {
        client.batch_execute(marks::begin(false)).ok()?;
        let outcome = if deletes {
            delete(client, plan, &mut prepared, rows, range)
        } else {
            upsert(client, plan, &mut prepared, rows, range)
        };
        client.batch_execute("rollback").ok()?;
        Some(outcome.is_err())
    };
    let both = [(&ready.deletes, true), (&ready.upserts, false)];
    for (rows, deletes) in both {
        let Some(rows) = rows else { continue };
        for slice in rows.slices(PARAMETERS) {
            let mut range = slice;
            if !fails(rows, range.clone(), deletes)? {
                continue;
            }
            while range.len() > 1 {
                let middle = range.start + range.len() / 2;
                if fails(rows, range.start..middle, deletes)? {
                    range.end = middle;
                } else if fails(rows, middle..range.end, deletes)? {
                    range.start = middle;
                } else {
                    return None;
                }
            }
            return Some(rows.key_of(range.start));
        }
    }
    None
}
