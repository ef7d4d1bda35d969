//! How what the nodes of a plan hold is called: in metrics, in `why` and in snapshots.

use std::collections::BTreeSet;

use super::changing::wanted;
use crate::plan::{NodeId, Operator, Pipeline};

/// What a node holds; several nodes may share it.
#[must_use]
pub fn held_by(pipeline: &Pipeline, id: NodeId) -> Vec<String> {
    let operator = &pipeline.nodes[id].operator;
    match operator {
        Operator::Aggregate { .. } => vec![format!("aggregate {id}")],
        Operator::Match { .. } => vec![format!("match {id}")],
        Operator::Running { .. } => vec![format!("running {id}")],
        Operator::Latest { .. } => vec![format!("latest {id}")],
        Operator::Keep { .. } => vec![format!("keep {id}")],
        Operator::IntervalJoin { .. } => vec![format!("interval join {id}")],
        Operator::AsofJoin { .. } => vec![format!("asof join {id}")],
        Operator::Join { .. } | Operator::Over { .. } => {
            let wanted = wanted(operator).into_iter();
            wanted.map(|wanted| wanted.name(pipeline)).collect()
        }
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::OnTime { .. }
        | Operator::Window { .. } => Vec::new(),
    }
}

/// Everything that the nodes of a plan hold, each once.
#[must_use]
pub fn held(pipeline: &Pipeline) -> BTreeSet<String> {
    let nodes = 0..pipeline.nodes.len();
    nodes.flat_map(|id| held_by(pipeline, id)).collect()
}
