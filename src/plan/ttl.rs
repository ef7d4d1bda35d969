//! `state.ttl`: which operators forget, and when: the one option that gives it up that results are
//! a function of the input alone.

use super::explain::{describe, duration};
use super::{Emit, NodeId, Operator, Pipeline, Place, TableId};

/// How long, in microseconds, an operator keeps a group that does not change, if it may forget
/// it. A running aggregate by key does; over rows that are taken back it need not: they are
/// taken back when they are forgotten themselves.
#[must_use]
pub fn state_ttl_us(pipeline: &Pipeline, id: NodeId) -> Option<i64> {
    let ttl = pipeline.settings.state_ttl?;
    let Operator::Aggregate {
        input,
        keys,
        window: None,
        emit: Emit::Changes,
        ..
    } = &pipeline.nodes[id].operator
    else {
        return None;
    };
    let forgets = !keys.is_empty() && !pipeline.nodes[*input].changing;
    forgets.then(|| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// The operators that forget: where they stand, what they do, and the sources without event time
/// that they read, by which nothing is ever forgotten.
#[must_use]
pub fn forgetting(pipeline: &Pipeline) -> Vec<(Place, String, Vec<TableId>)> {
    let nodes = 0..pipeline.nodes.len();
    let forgetting = nodes.filter(|id| state_ttl_us(pipeline, *id).is_some());
    forgetting
        .map(|id| {
            let mut timeless = Vec::new();
            sources(pipeline, id, &mut timeless);
            timeless.retain(|table| pipeline.tables[*table].watermark.is_none());
            let node = &pipeline.nodes[id];
            (node.place, describe(pipeline, id), timeless)
        })
        .collect()
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
            "holds {what} until they have not changed for {} (state.ttl)",
            duration(ttl)
        ),
        None => format!("holds all {what}, never freed"),
    }
}
