//! Tables: which of them a plan reads as streams and which it looks up, and the source nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion_expr::{LogicalPlan, TableScan};

use crate::plan::{Operator, RELOAD, Table, TableId};
use crate::sql::catalog::Declared;
use crate::sql::graph::{Facts, Key};
use crate::sql::problem::Problem;

use super::sides::Sides;
use super::{Ask, Finality, Lowering, Result, Rows};

/// What a plan reads.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// The columns of each table that is read as a stream.
    pub columns: BTreeMap<TableId, BTreeSet<usize>>,
    /// The tables that are looked up.
    pub references: BTreeSet<TableId>,
}

/// What `plan` reads of `tables`.
pub fn uses(plan: &LogicalPlan, tables: &[Table]) -> Uses {
    let mut uses = Uses::default();
    collect(plan, tables, &mut uses);
    uses
}

fn collect(plan: &LogicalPlan, tables: &[Table], uses: &mut Uses) {
    if let LogicalPlan::TableScan(scan) = plan
        && let Some(table) = table_of(scan)
    {
        let columns = uses.columns.entry(table).or_default();
        columns.extend(columns_of(scan));
    }
    if let LogicalPlan::Join(join) = plan
        && let Some(sides) = Sides::of(join, tables)
    {
        uses.references.insert(sides.reference.table);
        collect(sides.stream, tables, uses);
        return;
    }
    for input in plan.inputs() {
        collect(input, tables, uses);
    }
}

/// The declared table that a scan reads.
pub fn table_of(scan: &TableScan) -> Option<TableId> {
    scan.source
        .downcast_ref::<Declared>()
        .map(|declared| declared.table)
}

/// The positions of the columns that a scan yields.
pub fn columns_of(scan: &TableScan) -> Vec<usize> {
    match &scan.projection {
        Some(columns) => columns.clone(),
        None => (0..scan.source.schema().fields().len()).collect(),
    }
}

/// The key of a source's rows: where nothing is read again, two rows may have the same.
fn key_of(table: &Table, columns: &[usize]) -> Option<Key> {
    let known = table.is_reloaded() && !table.primary_key.is_empty();
    let place = |at: &usize| columns.binary_search(at).ok().map(|place| vec![place]);
    known.then(|| table.primary_key.iter().map(place).collect())?
}

impl Lowering<'_> {
    /// Refuses a table that is read again where rows are wanted that stay.
    fn never_final(&self, table: &Table, finality: Finality) -> Problem {
        let (name, sink) = (&table.name, self.sink);
        let interval = table.option(RELOAD).unwrap_or_default();
        let read = format!("`{name}` is read again every {interval}, so its rows are not final");
        let fixed = format!("leave '{RELOAD}' out, which fixes `{name}` for the run");
        let (why, hint) = match finality {
            Finality::AppendOnly => (
                format!("`{sink}` has no PRIMARY KEY to replace rows by"),
                format!("declare a PRIMARY KEY on `{sink}` to keep it current, or {fixed}"),
            ),
            Finality::Asked => (
                "EMIT ON WINDOW CLOSE asks for rows that are".to_owned(),
                format!("leave EMIT ON WINDOW CLOSE out, or {fixed}"),
            ),
            Finality::Latest => (
                "'upsert.by' is for rows of a stream".to_owned(),
                format!("leave 'upsert.by' out: `{sink}` is kept current by its key; or {fixed}"),
            ),
            Finality::Above(what) => (
                format!("{what} must have rows that are"),
                format!("put {what} below the join, or {fixed}"),
            ),
        };
        Problem::at(self.place_of(name), format!("{read}, and {why}")).hint(hint)
    }

    /// One node per source, whatever each query reads of it.
    pub(super) fn scan(&mut self, scan: &TableScan, ask: Ask) -> Result<Rows> {
        let (Some(table), true, None) = (table_of(scan), scan.filters.is_empty(), scan.fetch)
        else {
            return Err(self
                .cannot("limit rows that never end")
                .hint("leave LIMIT out"));
        };
        let Some(columns) = self.sources.get(&table) else {
            return Err(Problem::at(
                self.place,
                format!("`{}` is no source", scan.table_name),
            ));
        };
        let columns: Vec<usize> = columns.iter().copied().collect();
        let declared = &self.tables[table];
        if let (true, Some(finality)) = (declared.is_reloaded(), ask.finality) {
            return Err(self.never_final(declared, finality));
        }
        let event_time = declared
            .watermark
            .as_ref()
            .map(|watermark| watermark.column);
        let fields = columns
            .iter()
            .map(|at| Arc::clone(&declared.columns[*at].field))
            .collect();
        let facts = Facts {
            not_null: columns
                .iter()
                .map(|at| !declared.columns[*at].field.is_nullable())
                .collect(),
            event_time: columns.iter().map(|at| event_time == Some(*at)).collect(),
            keys: key_of(declared, &columns).into_iter().collect(),
            ..Facts::default()
        };
        let decoded = |at: usize| {
            columns
                .binary_search(&at)
                .expect("the columns of a source are those of all its scans and its event time")
        };
        let wanted = columns_of(scan).into_iter().map(decoded).collect();
        let time = event_time.filter(|_| ask.time).map(decoded);
        let operator = Operator::Source {
            table,
            columns,
            counted: declared.is_reloaded(),
        };
        let text = format!("source {table}");
        Ok(Rows {
            node: self
                .graph
                .add(text, operator, fields, facts, declared.place),
            columns: wanted,
            window: None,
            time,
            session: None,
        })
    }
}
