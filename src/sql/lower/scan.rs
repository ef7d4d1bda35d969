//! Tables: which of them a plan reads as streams and which it looks up, and the source nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion_expr::{LogicalPlan, TableScan};

use crate::plan::{Operator, Table, TableId};
use crate::sql::catalog::Declared;
use crate::sql::graph::Facts;
use crate::sql::problem::Problem;

use super::sides::Sides;
use super::{Ask, Lowering, Result, Rows};

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

impl Lowering<'_> {
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
            ..Facts::default()
        };
        let decoded = |at: usize| {
            columns
                .binary_search(&at)
                .expect("the columns of a source are those of all its scans and its event time")
        };
        let wanted = columns_of(scan).into_iter().map(decoded).collect();
        let time = event_time.filter(|_| ask.time).map(decoded);
        let operator = Operator::Source { table, columns };
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
