//! Where records are kept for `state.ttl` and then taken back: before joins and functions over
//! partitions, which would hold them for ever.
//!
//! ```text
//!   orders ────▶ join                 orders ──▶ keep 7 days ──▶ join
//!     └────────▶ over        ──▶                      └────────▶ over
//! ```
//!
//! A stream that several of them read is kept once. A join that only adds rows becomes one that
//! takes rows back, and so does what stands above it. Where that may not be, because a table
//! without a PRIMARY KEY or a window is to take its rows, it joins records that came within the time
//! of each other, and its rows stay.

use std::sync::Arc;

use super::branches::renumber;
use super::ttl::{is_of_records, is_timed, ttl_us};
use super::{AggregateFunction, Emit, Node, NodeId, Operator, Pipeline, Within};

/// Puts a `Keep` before whatever holds records for ever. Without `state.ttl` nothing changes.
pub fn keep_records(pipeline: &mut Pipeline) {
    let Some(ttl_us) = ttl_us(&pipeline.settings) else {
        return;
    };
    let takes = takes_changes(pipeline);
    join_within(pipeline, &takes, ttl_us);
    let keeps = kept(pipeline, &takes);
    if keeps.iter().all(Vec::is_empty) {
        return;
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(pipeline.nodes.len());
    // By node of the old graph: where it is now, and where its rows are kept.
    let mut moved: Vec<NodeId> = Vec::new();
    let mut kept: Vec<Option<NodeId>> = vec![None; pipeline.nodes.len()];
    for (mut node, keeps) in std::mem::take(&mut pipeline.nodes).into_iter().zip(keeps) {
        for &input in &keeps {
            if kept[input].is_none() {
                kept[input] = Some(nodes.len());
                nodes.push(Node {
                    operator: Operator::Keep {
                        input: moved[input],
                        ttl_us,
                    },
                    schema: Arc::clone(&nodes[moved[input]].schema),
                    changing: true,
                    place: node.place,
                });
            }
        }
        for input in node.operator.inputs_mut() {
            let keep = kept[*input].filter(|_| keeps.contains(input));
            *input = keep.unwrap_or(moved[*input]);
        }
        node.changing = node.operator.is_changing(|input| nodes[input].changing);
        moved.push(nodes.len());
        nodes.push(node);
    }
    pipeline.nodes = nodes;
    renumber(pipeline, &moved);
}

/// Bounds the joins of records whose rows must stay.
fn join_within(pipeline: &mut Pipeline, takes: &[bool], ttl_us: i64) {
    for (id, takes_changes) in takes.iter().enumerate() {
        let node = &pipeline.nodes[id];
        let Operator::Join {
            left,
            right,
            keys,
            nulls_match: false,
            kind,
            residual,
        } = &node.operator
        else {
            continue;
        };
        let stays = !node.changing && !takes_changes && !keys.is_empty();
        if stays && is_kept(pipeline, *left) && is_kept(pipeline, *right) {
            pipeline.nodes[id].operator = Operator::IntervalJoin {
                left: *left,
                right: *right,
                keys: keys.clone(),
                kind: *kind,
                within: Within::Ttl(ttl_us),
                residual: residual.clone(),
            };
        }
    }
}

/// Whether the rows of a node are records that can be kept for a time.
fn is_kept(pipeline: &Pipeline, id: NodeId) -> bool {
    is_of_records(pipeline, id) && is_timed(pipeline, id)
}

/// By node: those of its inputs that it is to read from a `Keep`.
fn kept(pipeline: &Pipeline, takes: &[bool]) -> Vec<Vec<NodeId>> {
    let keeps = |(id, node): (NodeId, &Node)| {
        let holds = match &node.operator {
            Operator::Over { .. } => true,
            Operator::Join { .. } => node.changing || takes[id],
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
            | Operator::IntervalJoin { .. }
            | Operator::AsofJoin { .. }
            | Operator::Running { .. }
            | Operator::Keep { .. } => false,
        };
        let mut inputs = node.operator.inputs();
        inputs.retain(|input| holds && is_kept(pipeline, *input));
        inputs
    };
    pipeline.nodes.iter().enumerate().map(keeps).collect()
}

/// By node: whether everything that reads its rows could also take them back.
fn takes_changes(pipeline: &Pipeline) -> Vec<bool> {
    let mut takes = vec![true; pipeline.nodes.len()];
    for insert in &pipeline.inserts {
        takes[insert.input] &= !pipeline.tables[insert.table].primary_key.is_empty();
    }
    // Whoever reads a node stands behind it.
    for (id, node) in pipeline.nodes.iter().enumerate().rev() {
        let reads = match &node.operator {
            Operator::Filter { .. }
            | Operator::Project { .. }
            | Operator::Union { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup { .. } => takes[id],
            Operator::Join { .. } => node.changing || takes[id],
            Operator::Over { .. } => true,
            Operator::Aggregate {
                aggregates,
                window,
                emit,
                ..
            } => {
                let mut functions = aggregates.iter().map(|call| &call.function);
                let estimates = functions.any(|f| matches!(f, AggregateFunction::ApproxDistinct));
                window.is_none() && *emit == Emit::Changes && !estimates
            }
            Operator::Source { .. }
            | Operator::Window { .. }
            | Operator::OnTime { .. }
            | Operator::Match { .. }
            | Operator::Latest { .. }
            | Operator::IntervalJoin { .. }
            | Operator::AsofJoin { .. }
            | Operator::Running { .. }
            | Operator::Keep { .. } => false,
        };
        for input in node.operator.inputs() {
            takes[input] &= reads;
        }
    }
    takes
}
