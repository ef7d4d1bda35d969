//! `state.ttl`: which operators forget, which hold what they hold in spite of it.

use super::explain::{describe, duration};
use super::{Emit, NodeId, Operator, Pipeline, Place, TableId};

/// An operator that forgets.
#[derive(Clone, Debug)]
pub struct Forgets {
    /// Where it stands.
    pub place: Place,
    /// What it does.
    pub what: String,
    /// The sources that it reads and that have no event time: by those nothing is ever forgotten.
    pub timeless: Vec<TableId>,
}

/// How long, in microseconds, an operator keeps a key that has no record, if it may forget it:
/// one that keeps something for each key of a source's own records. Rows behind state have no place
/// in event time that does not hang on epochs; and those that are taken back leave with what they
/// are made of.
#[must_use]
pub fn state_ttl_us(pipeline: &Pipeline, id: NodeId) -> Option<i64> {
    let ttl = pipeline.settings.state_ttl?;
    let forgets = match &pipeline.nodes[id].operator {
        Operator::Aggregate {
            input,
            keys,
            window,
            emit,
            ..
        } => {
            let runs = window.is_none() && *emit == Emit::Changes && !keys.is_empty();
            runs && is_of_records(pipeline, *input)
        }
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::Match { .. }
        | Operator::Latest { .. }
        | Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Over { .. }
        | Operator::Running { .. } => false,
    };
    forgets.then(|| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// The same for those who read a node's rows: whether these must say when they came.
#[must_use]
pub fn read_ttl_us(pipeline: &Pipeline, node: NodeId) -> Option<i64> {
    let readers = pipeline.nodes.iter().enumerate();
    let mut readers = readers.filter(|(_, reader)| reader.operator.inputs().contains(&node));
    readers.find_map(|(reader, _)| state_ttl_us(pipeline, reader))
}

/// The operators that forget.
#[must_use]
pub fn forgetting(pipeline: &Pipeline) -> Vec<Forgets> {
    let nodes = 0..pipeline.nodes.len();
    let forgetting = nodes.filter(|id| state_ttl_us(pipeline, *id).is_some());
    forgetting
        .map(|id| {
            let mut timeless = Vec::new();
            sources(pipeline, id, &mut timeless);
            timeless.retain(|table| pipeline.tables[*table].watermark.is_none());
            Forgets {
                place: pipeline.nodes[id].place,
                what: describe(pipeline, id),
                timeless,
            }
        })
        .collect()
}

/// The operators that hold more and more in spite of `state.ttl`: where they stand, and what they
/// do.
#[must_use]
pub fn kept_despite_ttl(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = 0..pipeline.nodes.len();
    let kept = nodes.filter(|id| !is_bounded(pipeline, *id));
    kept.map(|id| (pipeline.nodes[id].place, describe(pipeline, id)))
        .collect()
}

/// Whether rows come from sources without anything in between that holds state.
fn is_of_records(pipeline: &Pipeline, id: NodeId) -> bool {
    let node = &pipeline.nodes[id];
    let inputs = node.operator.inputs();
    !node.operator.is_stateful()
        && !node.changing
        && inputs.iter().all(|input| is_of_records(pipeline, *input))
}

/// Whether what an operator holds does not grow with the input: it lets rows go by time, forgets
/// what is over, or holds rows that are taken back below it.
fn is_bounded(pipeline: &Pipeline, id: NodeId) -> bool {
    match &pipeline.nodes[id].operator {
        Operator::Aggregate { keys, window, .. } => {
            let frees = window.is_some() || keys.is_empty();
            frees || state_ttl_us(pipeline, id).is_some() || is_bounded_below(pipeline, id)
        }
        Operator::Join { .. } | Operator::Over { .. } => is_bounded_below(pipeline, id),
        Operator::Latest { .. } => false,
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Match { .. }
        | Operator::Running { .. } => true,
    }
}

/// Whether an operator holds no more than stands below it, where that is bounded.
fn is_bounded_below(pipeline: &Pipeline, id: NodeId) -> bool {
    let inputs = pipeline.nodes[id].operator.inputs();
    inputs.iter().all(|input| leaves(pipeline, *input))
}

/// Whether the rows of a node are taken back in the end, so that those that stand are bounded.
fn leaves(pipeline: &Pipeline, id: NodeId) -> bool {
    let operator = &pipeline.nodes[id].operator;
    match operator {
        Operator::Aggregate { window, .. } => window.is_none() && is_bounded(pipeline, id),
        Operator::Filter { input, .. }
        | Operator::Project { input, .. }
        | Operator::Unnest { input, .. }
        | Operator::Lookup { input, .. } => leaves(pipeline, *input),
        Operator::Union { inputs } => inputs.iter().all(|input| leaves(pipeline, *input)),
        Operator::Join { .. } | Operator::Over { .. } => is_bounded(pipeline, id),
        // A table that is read again takes back what is gone.
        Operator::Source { counted, .. } => *counted,
        Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::Latest { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Match { .. }
        | Operator::Running { .. } => false,
    }
}

fn sources(pipeline: &Pipeline, id: NodeId, found: &mut Vec<TableId>) {
    if let Operator::Source { table, .. } = &pipeline.nodes[id].operator
        && !found.contains(table)
    {
        found.push(*table);
    }
    for input in pipeline.nodes[id].operator.inputs() {
        sources(pipeline, input, found);
    }
}

/// Until when an aggregate without a window holds its groups.
pub(super) fn held(pipeline: &Pipeline, id: NodeId, what: &str) -> String {
    match state_ttl_us(pipeline, id) {
        Some(ttl) => format!(
            "holds {what} until they have had no record for {} (state.ttl)",
            duration(ttl)
        ),
        None if pipeline.settings.state_ttl.is_some() && is_bounded_below(pipeline, id) => {
            format!("holds {what} while they have rows")
        }
        None => format!("holds all {what}, never freed"),
    }
}
