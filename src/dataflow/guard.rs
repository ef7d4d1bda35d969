//! Values that a sink will not hold, found where the record is at hand.
//!
//! A column that reaches a sink as it left the source's worker is held to what the sink can hold
//! before it leaves: what fails is a reject with its bytes, where behind state it could only end
//! the run.

use arrow::array::BooleanArray;
use arrow::datatypes::FieldRef;
use datafusion_common::Result;

use super::step::{Piece, Turned};
use crate::connector::refused_values;
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
        let values = piece.rows.column(self.column);
        let Some(refused) = refused_values(&self.connector, &self.field, values) else {
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
}

/// The guards of an edge: for each column of it that is a sink's, one per sink.
pub(super) fn guards(pipeline: &Pipeline, edge: NodeId) -> Vec<Guard> {
    let mut guards = Vec::new();
    for insert in &pipeline.inserts {
        let table = &pipeline.tables[insert.table];
        for (position, column) in table.columns.iter().enumerate() {
            let mut found = Vec::new();
            trace(pipeline, (insert.input, position), edge, &mut found);
            found.sort_unstable();
            found.dedup();
            guards.extend(found.into_iter().map(|from| Guard {
                column: from,
                connector: table.connector.clone(),
                field: FieldRef::clone(&column.field),
                table: table.name.clone(),
            }));
        }
    }
    guards
}

/// Which columns of `edge` are, unchanged, the column of a node.
fn trace(
    pipeline: &Pipeline,
    (node, column): (NodeId, usize),
    edge: NodeId,
    found: &mut Vec<usize>,
) {
    if node == edge {
        return found.push(column);
    }
    let mut follow = |input: &NodeId, column: usize| {
        // What an operator adds stands after the columns of its input.
        if column < pipeline.nodes[*input].schema.fields().len() {
            trace(pipeline, (*input, column), edge, found);
        }
    };
    match &pipeline.nodes[node].operator {
        // A match's columns are made behind state.
        Operator::Source { .. } | Operator::Match { .. } => {}
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
        } => {
            if column != *list {
                follow(input, column);
            }
        }
        Operator::Union { inputs } => inputs.iter().for_each(|input| follow(input, column)),
        Operator::Join { left, right, .. }
        | Operator::IntervalJoin { left, right, .. }
        | Operator::AsofJoin { left, right, .. } => {
            match column.checked_sub(pipeline.nodes[*left].schema.fields().len()) {
                None => follow(left, column),
                Some(column) => follow(right, column),
            }
        }
        Operator::Project { input, columns } => {
            if let Some(column) = columns[column].as_column() {
                follow(input, column);
            }
        }
        Operator::Aggregate { input, keys, .. } => {
            if let Some(column) = keys.get(column).and_then(|key| key.as_column()) {
                follow(input, column);
            }
        }
    }
}
