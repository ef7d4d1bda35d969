//! Reference tables: read whole before the first stream row, indexed for their lookups.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::committer::failed;
use super::intake::Intake;
use super::open::beginning;
use crate::connector::{ConnectorError, SharedSource, Source, open_source};
use crate::dataflow::chain::Indexes;
use crate::dataflow::lookup::{DuplicateKey, Index};
use crate::dataflow::outcome::Failure;
use crate::dataflow::step::plain;
use crate::format::value_text;
use crate::plan::{Operator, Pipeline, Table, TableId};
use crate::types::{Clock, Offset, SourceMark};

/// The indexes for every lookup of a pipeline, and what the tables were read from: a mark names
/// it, so that a table that has changed since is refused. A table is read once, however many lookups use
/// it. A record of it that cannot be used ends the run: half a reference table gives wrong
/// results, not fewer.
pub fn load(
    pipeline: &Pipeline,
    base: &Path,
    clock: &Clock,
) -> Result<(Indexes, BTreeMap<String, SourceMark>), Failure> {
    let mut tables: BTreeMap<TableId, RecordBatch> = BTreeMap::new();
    let mut shared: BTreeMap<(TableId, Vec<usize>), Arc<Index>> = BTreeMap::new();
    let mut indexes = Indexes::new();
    let mut marks = BTreeMap::new();
    for (id, node) in pipeline.nodes.iter().enumerate() {
        let Operator::Lookup {
            table,
            reference_keys,
            ..
        } = &node.operator
        else {
            continue;
        };
        let of = &pipeline.tables[*table];
        let key = (*table, reference_keys.clone());
        if !shared.contains_key(&key) {
            let rows = match tables.get(table) {
                Some(rows) => rows.clone(),
                None => {
                    let (rows, mark) = read(of, base, clock)?;
                    marks.insert(of.name.clone(), mark);
                    tables.entry(*table).or_insert(rows).clone()
                }
            };
            shared.insert(key.clone(), Arc::new(index(of, rows, reference_keys)?));
        }
        indexes.insert(id, Arc::clone(&shared[&key]));
    }
    Ok((indexes, marks))
}

/// That a table is not what it should be.
pub(super) fn unreadable(table: &Table) -> Failure {
    Failure::new(format!("cannot use the reference table `{}`", table.name))
}

fn read(table: &Table, base: &Path, clock: &Clock) -> Result<(RecordBatch, SourceMark), Failure> {
    let source = open(table, base, clock)?;
    Ok((rows(table, &*source)?, beginning(&*source)))
}

/// Whether a table can be read, and no two of its rows have one key.
pub(super) fn check(table: &Table, base: &Path, clock: &Clock) -> Result<(), Failure> {
    let (rows, _) = read(table, base, clock)?;
    index(table, rows, &table.primary_key).map(drop)
}

fn index(table: &Table, rows: RecordBatch, key: &[usize]) -> Result<Index, Failure> {
    Index::new(rows.clone(), key)
        .map_err(|error| unreadable(table).because(plain(&error)))?
        .map_err(|twins| duplicate(table, &rows, key, &twins))
}

/// How all columns of a table are read.
fn intake(table: &Table) -> Intake {
    Intake::new(table, &(0..table.columns.len()).collect::<Vec<_>>())
}

fn unread(table: &Table, error: ConnectorError) -> Failure {
    let message = format!("could not read the reference table `{}`", table.name);
    failed(&message, error)
}

/// The source that a table is read from whole.
pub(super) fn open(table: &Table, base: &Path, clock: &Clock) -> Result<SharedSource, Failure> {
    open_source(table, &intake(table).decoded, base, clock).map_err(|error| unread(table, error))
}

/// All rows of a table, all columns. A record that cannot be used is a failure.
pub(super) fn rows(table: &Table, source: &dyn Source) -> Result<RecordBatch, Failure> {
    let intake = intake(table);
    let mut decoder = source.decoder();
    let mut batches = Vec::new();
    for (index, partition) in source.partitions().iter().enumerate() {
        let mut reader = source
            .open(index, Offset(0))
            .map_err(|error| unread(table, error))?;
        while let Some(block) = reader.next().map_err(|error| unread(table, error))? {
            let rows = intake
                .take(&mut *decoder, &block)
                .map_err(|error| unreadable(table).because(plain(&error)))?;
            if let Some(bad) = rows.rejects.first() {
                let place = format!("{}:{}: {}", partition.name, bad.line, bad.reject.message);
                let hint = "a reference table must be whole: mend the record or leave it out";
                return Err(unreadable(table).because(place).hint(hint));
            }
            batches.push(rows.rows);
        }
    }
    concat_batches(&table.schema(), &batches).map_err(|error| unreadable(table).because(error))
}

/// That two rows have one key.
pub(super) fn duplicate(
    table: &Table,
    rows: &RecordBatch,
    key: &[usize],
    twins: &DuplicateKey,
) -> Failure {
    let value = |&column: &usize| {
        let field = table.columns[column].field.name();
        let text = value_text(rows.column(column), twins.rows.1).unwrap_or_default();
        format!("{field} = {text}")
    };
    let values: Vec<String> = key.iter().map(value).collect();
    unreadable(table)
        .because(format!("two rows have the key {}", values.join(", ")))
        .hint("the PRIMARY KEY of a reference table must be unique: remove one of the rows")
}
