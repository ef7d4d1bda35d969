//! Which append streams come with counts: those of a join, where whoever reads them takes them.
//!
//! The pairs of a key are as many as its rows multiplied, and where nobody reads what tells them
//! apart they are equal. With a count, they are one row for an aggregate above. A sink and what
//! keeps rows by their times take each row by itself.

use crate::plan::{NodeId, Operator, Pipeline, WindowKind};

/// Whether all that read a node's rows take each as often as a count behind it says.
pub(super) fn takes_counts(pipeline: &Pipeline, node: NodeId) -> bool {
    let is_written = pipeline.inserts.iter().any(|insert| insert.input == node);
    let mut readers = pipeline.nodes.iter().enumerate();
    !is_written
        && readers.all(|(reader, of)| {
            let reads = of.operator.inputs().contains(&node);
            !reads || counts(pipeline, reader)
        })
}

/// Whether what a reader makes of rows with counts is what it makes of as many rows.
fn counts(pipeline: &Pipeline, reader: NodeId) -> bool {
    match &pipeline.nodes[reader].operator {
        Operator::Aggregate { window, .. } => {
            let sessions = |kind| matches!(kind, WindowKind::Session { .. });
            !window.is_some_and(|window| sessions(window.kind))
        }
        // An arrangement holds a count of each row anyway.
        Operator::Join { .. } | Operator::Over { .. } => true,
        Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Unnest { .. }
        | Operator::Union { .. } => takes_counts(pipeline, reader),
        Operator::Source { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::Match { .. }
        | Operator::Latest { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Running { .. }
        | Operator::Keep { .. } => false,
    }
}
