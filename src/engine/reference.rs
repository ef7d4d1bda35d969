//! Reference tables: read whole before the first stream row, indexed for their lookups.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::committer::failed;
use super::intake::Intake;
use super::open::beginning;
use crate::connector::open_source;
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
            let index = Index::new(rows.clone(), reference_keys)
                .map_err(|error| unreadable(of).because(plain(&error)))?
                .map_err(|twins| duplicate(of, &rows, reference_keys, &twins))?;
            shared.insert(key.clone(), Arc::new(index));
        }
        indexes.insert(id, Arc::clone(&shared[&key]));
    }
    Ok((indexes, marks))
}

fn unreadable(table: &Table) -> Failure {
    Failure::new(format!("cannot use the reference table `{}`", table.name))
}

fn read(table: &Table, base: &Path, clock: &Clock) -> Result<(RecordBatch, SourceMark), Failure> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let intake = Intake::new(table, &columns);
    let message = format!("could not read the reference table `{}`", table.name);
    let source = open_source(table, &intake.decoded, base, clock)
        .map_err(|error| failed(&message, error))?;
    let mut decoder = source.decoder();
    let mut batches = Vec::new();
    for (index, partition) in source.partitions().iter().enumerate() {
        let mut reader = source
            .open(index, Offset(0))
            .map_err(|error| failed(&message, error))?;
        while let Some(block) = reader.next().map_err(|error| failed(&message, error))? {
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
    let rows = concat_batches(&table.schema(), &batches)
        .map_err(|error| unreadable(table).because(error))?;
    Ok((rows, beginning(&*source)))
}

fn duplicate(table: &Table, rows: &RecordBatch, key: &[usize], twins: &DuplicateKey) -> Failure {
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
