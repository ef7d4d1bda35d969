//! How the operators of a plan are called, and what they hold: in metrics, in `why` and in snapshots.

use std::collections::BTreeSet;

use super::changing::wanted;
use crate::plan::{NodeId, Operator, Pipeline};

/// What an operator behind state is called, in metrics and in `explain`.
#[must_use]
pub fn operator_name(operator: &Operator, id: NodeId) -> String {
    let kind = match operator {
        Operator::Aggregate { .. } => "aggregate",
        Operator::Match { .. } => "match",
        Operator::Running { .. } => "running",
        Operator::Latest { .. } => "latest",
        Operator::Keep { .. } => "keep",
        Operator::IntervalJoin { .. } => "interval join",
        Operator::AsofJoin { .. } => "asof join",
        Operator::Join { .. } => "join",
        Operator::Over { .. } => "over",
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::OnTime { .. }
        | Operator::Window { .. } => "compute",
    };
    format!("{kind} {id}")
}

/// What a node holds; several nodes may share it.
#[must_use]
pub fn held_by(pipeline: &Pipeline, id: NodeId) -> Vec<String> {
    let operator = &pipeline.nodes[id].operator;
    if let Operator::Join { .. } | Operator::Over { .. } = operator {
        let wanted = wanted(operator).into_iter();
        return wanted.map(|wanted| wanted.name(pipeline)).collect();
    }
    let holds = operator.is_stateful();
    holds
        .then(|| operator_name(operator, id))
        .into_iter()
        .collect()
}

/// Everything that the nodes of a plan hold, each once.
#[must_use]
pub fn held(pipeline: &Pipeline) -> BTreeSet<String> {
    let nodes = 0..pipeline.nodes.len();
    nodes.flat_map(|id| held_by(pipeline, id)).collect()
}
