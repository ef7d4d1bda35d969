//! What a pipeline holds for every record that it ever read: memory that grows with the input.

use super::explain::told;
use super::ttl::is_freed_below;
use super::{AggregateFunction, Frame, FrameBound, NodeId, Operator, Pipeline, Place, Role};

/// The operators that hold every row of an input for ever: where they stand, and what they do.
#[must_use]
pub fn growing(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let nodes = nodes.filter(|(id, _)| !is_freed_below(pipeline, *id));
    let growing = nodes.filter(|(_, node)| match &node.operator {
        Operator::Join { left, right, .. } => {
            !is_one_per_key(pipeline, *left) || !is_one_per_key(pipeline, *right)
        }
        Operator::Over { input, .. } => !is_one_per_key(pipeline, *input),
        Operator::Aggregate {
            input,
            aggregates,
            window: None,
            ..
        } => {
            let mut functions = aggregates.iter().map(|call| &call.function);
            functions.any(AggregateFunction::keeps_values) && !is_one_per_key(pipeline, *input)
        }
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
        | Operator::Keep { .. } => false,
        Operator::Match { matching, .. } => matching.grows(),
    });
    growing.map(|(id, _)| told(pipeline, id)).collect()
}

/// The patterns that look at the rows before a match, or whose matches may stay open: of every key they hold
/// its last rows for ever.
#[must_use]
pub fn looking_back(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let back = nodes.filter(|(_, node)| {
        let Operator::Match { matching, .. } = &node.operator else {
            return false;
        };
        matching.looks_back() > 0 || (matching.waits_for_ever() && !matching.grows())
    });
    back.map(|(id, _)| told(pipeline, id)).collect()
}

/// The functions over the rows of an interval before each: a commit goes through all that are held of
/// the partitions that it changed.
#[must_use]
pub fn sliding(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let slides = |frame: Frame| frame.start != FrameBound::Unbounded && frame.counts_values();
    let sliding = nodes.filter(|(_, node)| match &node.operator {
        Operator::Running { calls, .. } => calls.iter().any(|call| slides(call.function.frame())),
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::Aggregate { .. }
        | Operator::Match { .. }
        | Operator::Latest { .. }
        | Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Over { .. }
        | Operator::Keep { .. } => false,
    });
    sliding.map(|(id, _)| told(pipeline, id)).collect()
}

/// The joins that find every version of a key: where they stand, what they do, and the table that
/// has the versions.
#[must_use]
pub fn versions_joined(pipeline: &Pipeline) -> Vec<(Place, String, String)> {
    let mut joined = Vec::new();
    for (id, node) in pipeline.nodes.iter().enumerate() {
        let (Operator::Join { left, right, .. } | Operator::IntervalJoin { left, right, .. }) =
            &node.operator
        else {
            continue;
        };
        let versions = [left, right].map(|side| versions(pipeline, *side));
        for table in versions.into_iter().flatten() {
            let (place, what) = told(pipeline, id);
            joined.push((place, what, table));
        }
    }
    joined
}

/// The table whose rows a node has as they are, if they are versions of its keys.
fn versions(pipeline: &Pipeline, id: NodeId) -> Option<String> {
    let operator = &pipeline.nodes[id].operator;
    if let Operator::Source { table, .. } = operator {
        let table = &pipeline.tables[*table];
        let has = table.watermark.is_some() && !table.primary_key.is_empty();
        return (has && table.role == Role::Source).then(|| table.name.clone());
    }
    let is_passed = matches!(
        operator,
        Operator::Filter { .. }
            | Operator::Project { .. }
            | Operator::OnTime { .. }
            | Operator::Keep { .. }
    );
    is_passed.then(|| versions(pipeline, operator.inputs()[0]))?
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
        | Operator::Match { .. }
        | Operator::Keep { .. } => false,
    }
}
