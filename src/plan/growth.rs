//! What a pipeline holds for every record that it ever read: memory that grows with the input.

use super::explain::describe;
use super::{NodeId, Operator, Pipeline, Place};

/// The operators that hold every row of an input for ever: where they stand, and what they do.
#[must_use]
pub fn growing(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let growing = nodes.filter(|(_, node)| match &node.operator {
        Operator::Join { left, right, .. } => {
            !is_one_per_key(pipeline, *left) || !is_one_per_key(pipeline, *right)
        }
        Operator::Over { input, .. } => !is_one_per_key(pipeline, *input),
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::Aggregate { .. }
        | Operator::Latest { .. }
        | Operator::OnTime { .. }
        | Operator::IntervalJoin { .. }
        | Operator::Running { .. }
        | Operator::AsofJoin { .. }
        | Operator::Match { .. } => false,
    });
    growing
        .map(|(id, node)| (node.place, describe(pipeline, id)))
        .collect()
}

/// Whether a node's rows are as many as there are keys, however many records come.
fn is_one_per_key(pipeline: &Pipeline, id: NodeId) -> bool {
    match &pipeline.nodes[id].operator {
        Operator::Aggregate { window, .. } => window.is_none(),
        Operator::Latest { .. } => true,
        // A table that is read again has its PRIMARY KEY.
        Operator::Source { counted, .. } => *counted,
        Operator::Over { input, first, .. } => first.is_some() || is_one_per_key(pipeline, *input),
        Operator::Filter { input, .. }
        | Operator::Project { input, .. }
        | Operator::Lookup { input, .. } => is_one_per_key(pipeline, *input),
        Operator::Union { inputs } => inputs.iter().all(|input| is_one_per_key(pipeline, *input)),
        Operator::Join { left, right, .. } => {
            is_one_per_key(pipeline, *left) && is_one_per_key(pipeline, *right)
        }
        Operator::Window { .. }
        | Operator::Unnest { .. }
        | Operator::OnTime { .. }
        | Operator::IntervalJoin { .. }
        | Operator::Running { .. }
        | Operator::AsofJoin { .. }
        | Operator::Match { .. } => false,
    }
}
