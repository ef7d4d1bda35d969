//! Values that the sink of an INSERT cannot hold, found where the record is at hand.
//!
//! ```text
//!   rows ──▶ edge ──┬──▶ state ──▶ INSERT a ─┃guard of a┃─▶ sink that holds no NUL
//!             │     └────────────▶ INSERT b ────────────────▶ sink that holds all
//!             └─ guards of a: such a record counts as rejected for a, and has its letter
//! ```
//!
//! What a query yields does not hang on where it goes: a guard concerns the INSERT whose sink it
//! speaks for and no other one, and so it takes no row away that state or another INSERT reads.
//! A column that reaches a sink as it left the sources' workers is looked at twice: where the
//! record is read, to say what became of it, and where the INSERT's rows leave for the sink, to
//! leave them out. Where nobody else reads the edge, both are one.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::FieldRef;
use datafusion_common::Result;

use super::step::{Piece, Turned};
use super::zones::Zone;
use crate::connector::{RefusedValues, refused_values, refuses_values};
use crate::plan::{NodeId, Operator, Pipeline};

/// A column of a node that a sink takes as it is.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    column: usize,
    connector: String,
    /// As the sink's table declares it.
    field: FieldRef,
    table: String,
}

impl Guard {
    /// Turns away the rows of `piece` whose value the sink cannot hold.
    pub fn turn_away(&self, piece: Piece, turned: &mut Vec<Turned>) -> Result<Piece> {
        let Some(refused) = self.refused(&piece.rows) else {
            return Ok(piece);
        };
        let message = format!(
            "`{}` of `{}`: {} cannot hold it, {}",
            self.field.name(),
            self.table,
            self.connector,
            refused.reason
        );
        turned.extend(refused.rows.set_indices().map(|row| Turned::Failed {
            row: piece.origin_of(row),
            message: message.clone(),
        }));
        piece.keep(&BooleanArray::from(!&refused.rows))
    }

    /// The rows whose value the sink can hold. Those of the others are accounted for.
    fn hold_back(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(refused) = self.refused(&rows) else {
            return Ok(rows);
        };
        let kept = BooleanArray::from(!&refused.rows);
        Ok(filter_record_batch(&rows, &kept)?)
    }

    fn refused(&self, rows: &RecordBatch) -> Option<RefusedValues> {
        refused_values(&self.connector, &self.field, rows.column(self.column))
    }
}

/// What stands before the sink of one INSERT.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Vec<Guard>);

impl Gate {
    /// Whether every row passes.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows that pass.
    pub fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
        self.0
            .iter()
            .try_fold(rows, |rows, guard| guard.hold_back(rows))
    }
}

/// What stands before the sink of an INSERT: a guard for each column of it that left the sources'
/// workers as it is. Nothing where `is_only_reader` found that the edge itself is guarded.
pub(super) fn gate(pipeline: &Pipeline, zones: &[Zone], insert: usize) -> Gate {
    let input = pipeline.inserts[insert].input;
    if zones[input].at_source && is_only_reader(pipeline, zones, insert) {
        return Gate::default();
    }
    let guarded = guarded(pipeline, zones, insert).into_iter();
    Gate(guarded.map(|(guard, _)| guard).collect())
}

/// The guards of an INSERT at an edge that its rows leave by.
pub(super) fn guards(
    pipeline: &Pipeline,
    zones: &[Zone],
    insert: usize,
    edge: NodeId,
) -> Vec<Guard> {
    let mut guards = Vec::new();
    for (guard, origins) in guarded(pipeline, zones, insert) {
        let mut columns: Vec<usize> = origins
            .into_iter()
            .filter_map(|(node, column)| (node == edge).then_some(column))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        guards.extend(columns.into_iter().map(|column| Guard {
            column,
            ..guard.clone()
        }));
    }
    guards
}

/// Whether the rows of an INSERT go from an edge straight to the sink, and nothing else reads
/// that edge.
pub(super) fn is_only_reader(pipeline: &Pipeline, zones: &[Zone], insert: usize) -> bool {
    let edge = pipeline.inserts[insert].input;
    let inserts = pipeline.inserts.iter();
    let leaving = inserts.filter(|other| other.input == edge).count();
    let nodes = pipeline.nodes.iter().zip(zones);
    let mut behind = nodes.filter(|(_, zone)| !zone.at_source);
    leaving == 1 && !behind.any(|(node, _)| node.operator.inputs().contains(&edge))
}

/// A guard for each column of an INSERT that left the sources' workers as it is, with the columns
/// of edges that it comes from.
fn guarded(
    pipeline: &Pipeline,
    zones: &[Zone],
    insert: usize,
) -> Vec<(Guard, Vec<(NodeId, usize)>)> {
    let insert = &pipeline.inserts[insert];
    let table = &pipeline.tables[insert.table];
    if !refuses_values(&table.connector) {
        return Vec::new();
    }
    let columns = table.columns.iter().enumerate();
    let guarded = columns.filter_map(|(position, column)| {
        let mut found = Vec::new();
        let guard = Guard {
            column: position,
            connector: table.connector.clone(),
            field: FieldRef::clone(&column.field),
            table: table.name.clone(),
        };
        // Where a branch computes it behind state, leaving rows out would go uncounted.
        let is_traced = trace((pipeline, zones), (insert.input, position), &mut found);
        is_traced.then_some((guard, found))
    });
    guarded.collect()
}

/// Finds the columns of edges that are, unchanged, the column of a node; whether all of it comes
/// from there.
fn trace(
    plan: (&Pipeline, &[Zone]),
    (node, column): (NodeId, usize),
    found: &mut Vec<(NodeId, usize)>,
) -> bool {
    let (pipeline, zones) = plan;
    if zones[node].at_source {
        found.push((node, column));
        return true;
    }
    let mut follow = |input: &NodeId, column: usize| {
        // What an operator adds stands after the columns of its input.
        let is_its = column < pipeline.nodes[*input].schema.fields().len();
        is_its && trace(plan, (*input, column), found)
    };
    match &pipeline.nodes[node].operator {
        // A match's columns are made behind state.
        Operator::Source { .. } | Operator::Match { .. } => false,
        Operator::Filter { input, .. }
        | Operator::Latest { input, .. }
        | Operator::Over { input, .. }
        | Operator::Running { input, .. }
        | Operator::Keep { input, .. }
        | Operator::Lookup { input, .. }
        | Operator::OnTime { input, .. }
        | Operator::Window { input, .. } => follow(input, column),
        Operator::Unnest {
            input,
            column: list,
        } => column != *list && follow(input, column),
        Operator::Union { inputs } => {
            let mut all = true;
            for input in inputs {
                all &= follow(input, column);
            }
            all
        }
        Operator::Join { left, right, .. }
        | Operator::IntervalJoin { left, right, .. }
        | Operator::AsofJoin { left, right, .. } => {
            match column.checked_sub(pipeline.nodes[*left].schema.fields().len()) {
                None => follow(left, column),
                Some(column) => follow(right, column),
            }
        }
        Operator::Project { input, columns } => columns[column]
            .as_column()
            .is_some_and(|column| follow(input, column)),
        Operator::Aggregate { input, keys, .. } => keys
            .get(column)
            .and_then(|key| key.as_column())
            .is_some_and(|column| follow(input, column)),
    }
}

#[cfg(test)]
mod tests;
