//! Steps above a UNION ALL of records and of rows of state stand above each of its branches.
//!
//! ```text
//!   records ──┐                             records ──▶ project ──┐
//!             ├──▶ union ──▶ project   ──▶                        ├──▶ union
//!   groups ───┘                             groups ───▶ project ──┘
//! ```
//!
//! A record that a step fails on is a reject, which is decided where its bytes are at hand. Beside
//! rows of state it would be nobody's record any more, and end the run. So the steps come first,
//! as they do for whoever writes them into each branch.

use super::{Node, NodeId, Operator, Pipeline};

/// The graph while it is made anew.
#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    /// By node: whether its rows are records, or made of one each where it was read.
    of_records: Vec<bool>,
}

/// Moves filters and projections below the unions that are meant.
pub fn compute_by_branch(pipeline: &mut Pipeline) {
    let mut growing = Growing::default();
    // By node of the old graph: where it is now.
    let mut moved: Vec<NodeId> = Vec::new();
    for mut node in std::mem::take(&mut pipeline.nodes) {
        for input in node.operator.inputs_mut() {
            *input = moved[*input];
        }
        moved.push(growing.take(node));
    }
    pipeline.nodes = growing.nodes;
    renumber(pipeline, &moved);
    drop_unread(pipeline);
}

/// The INSERTs read what their nodes have become.
pub(super) fn renumber(pipeline: &mut Pipeline, moved: &[NodeId]) {
    for insert in &mut pipeline.inserts {
        insert.input = moved[insert.input];
        for narrowed in &mut insert.narrowed {
            narrowed.node = moved[narrowed.node];
        }
    }
}

impl Growing {
    /// Adds a node, or the same by branch.
    fn take(&mut self, node: Node) -> NodeId {
        let branches = match &node.operator {
            Operator::Filter { input, .. } | Operator::Project { input, .. } => {
                self.branches(*input)
            }
            Operator::Source { .. }
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
            | Operator::Running { .. }
            | Operator::Keep { .. } => None,
        };
        let Some(branches) = branches else {
            return self.add(node);
        };
        let steps = branches.into_iter().map(|branch| {
            let mut step = node.clone();
            for input in step.operator.inputs_mut() {
                *input = branch;
            }
            step.changing = self.nodes[branch].changing;
            self.add(step)
        });
        let operator = Operator::Union {
            inputs: steps.collect(),
        };
        self.add(Node { operator, ..node })
    }

    fn add(&mut self, node: Node) -> NodeId {
        let inputs = node.operator.inputs();
        let of_records = !node.operator.is_stateful()
            && !node.changing
            && inputs.iter().all(|&input| self.of_records[input]);
        self.of_records.push(of_records);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The branches of a union of records and of other rows.
    fn branches(&self, node: NodeId) -> Option<Vec<NodeId>> {
        let Operator::Union { inputs } = &self.nodes[node].operator else {
            return None;
        };
        let within = |&input: &NodeId| self.branches(input).unwrap_or_else(|| vec![input]);
        let branches: Vec<NodeId> = inputs.iter().flat_map(within).collect();
        let records = branches.iter().filter(|&&branch| self.of_records[branch]);
        let records = records.count();
        (records > 0 && records < branches.len()).then_some(branches)
    }
}

/// Unions that nobody reads any more go: rows that leave the source for one would count as taken.
fn drop_unread(pipeline: &mut Pipeline) {
    let mut read = vec![false; pipeline.nodes.len()];
    for insert in &pipeline.inserts {
        read[insert.input] = true;
    }
    for (id, node) in pipeline.nodes.iter().enumerate().rev() {
        read[id] |= !matches!(node.operator, Operator::Union { .. });
        if read[id] {
            let inputs = node.operator.inputs();
            inputs.into_iter().for_each(|input| read[input] = true);
        }
    }
    let mut moved: Vec<NodeId> = Vec::new();
    let mut nodes: Vec<Node> = Vec::new();
    for (mut node, read) in std::mem::take(&mut pipeline.nodes).into_iter().zip(read) {
        moved.push(nodes.len());
        if read {
            for input in node.operator.inputs_mut() {
                *input = moved[*input];
            }
            nodes.push(node);
        }
    }
    pipeline.nodes = nodes;
    renumber(pipeline, &moved);
}
