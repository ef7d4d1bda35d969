//! Which part of the plan runs where.
//!
//! ```text
//!   source ─▶ filter ─▶ project ─▶ window ─┃edge┃─▶ aggregate ─▶ having ─▶ sink
//!   └──────── at the source ───────────────┘      └──── after state ────────┘
//! ```
//!
//! Nodes whose ancestors are all stateless run on the source's worker, in one go per batch, so
//! that what is late and what is rejected is decided while the original bytes are at hand. An
//! *edge* is where rows leave that zone. A source that is itself changing leaves at once.

use std::collections::BTreeSet;

use crate::plan::{NodeId, Operator, Pipeline, TableId};

/// What is known of one node.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// It and all its ancestors are stateless.
    pub at_source: bool,
    /// The sources it reads, directly or not.
    pub sources: BTreeSet<TableId>,
    /// Rows leave the source's worker after it.
    pub edge: bool,
}

/// The zone of each node, by index.
#[must_use]
pub fn zones(pipeline: &Pipeline) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::with_capacity(pipeline.nodes.len());
    for node in &pipeline.nodes {
        let inputs = node.operator.inputs();
        let mut sources: BTreeSet<TableId> = inputs
            .iter()
            .flat_map(|&input| zones[input].sources.iter().copied())
            .collect();
        if let Operator::Source { table, .. } = node.operator {
            sources.insert(table);
        }
        // What is different in a table that is read again is nobody's record: nothing is decided of
        // it at the source.
        let is_record = |&input: &NodeId| zones[input].at_source && !pipeline.nodes[input].changing;
        let at_source = !node.operator.is_stateful() && inputs.iter().all(is_record);
        if !at_source {
            for input in inputs {
                zones[input].edge |= zones[input].at_source;
            }
        }
        zones.push(Zone {
            at_source,
            sources,
            edge: false,
        });
    }
    for insert in &pipeline.inserts {
        zones[insert.input].edge |= zones[insert.input].at_source;
    }
    zones
}

/// Every node that `node` depends on, itself included.
#[must_use]
pub fn ancestry(pipeline: &Pipeline, node: NodeId) -> BTreeSet<NodeId> {
    let mut seen = BTreeSet::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if seen.insert(node) {
            open.extend(pipeline.nodes[node].operator.inputs());
        }
    }
    seen
}
