//! A whole file, planned.

use std::time::Duration;

use crate::types::Recipe;

use super::{Narrowed, Node, NodeId, Operator, Place, Table, TableId};

/// What a pipeline file means.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `pipeline.name`, by default the file's stem: marks are keyed by it.
    pub name: String,
    /// What `SET` said.
    pub settings: Settings,
    /// Every `CREATE TABLE`, in the order of the file.
    pub tables: Vec<Table>,
    /// The graph. A node's inputs come before it.
    pub nodes: Vec<Node>,
    /// Every `INSERT INTO`, in the order of the file.
    pub inserts: Vec<Insert>,
    /// What rows are computed by; marks carry it, and snapshots its fingerprint.
    pub recipe: Recipe,
}

impl Pipeline {
    /// The sources that are read as streams, with the columns that are wanted of each.
    pub fn sources(&self) -> impl Iterator<Item = (TableId, &[usize])> {
        self.nodes.iter().filter_map(|node| {
            if let Operator::Source { table, columns, .. } = &node.operator {
                Some((*table, columns.as_slice()))
            } else {
                None
            }
        })
    }

    /// What a column of a node is called.
    #[must_use]
    pub fn column_name(&self, node: NodeId, at: usize) -> &str {
        self.nodes[node].schema.field(at).name()
    }
}

/// One `INSERT INTO`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The sink.
    pub table: TableId,
    /// What goes into it: the columns of the sink, in its order, of its types.
    pub input: NodeId,
    /// Where it stands.
    pub place: Place,
    /// The views that it reads, itself or by way of others, by name.
    pub views: Vec<String>,
    /// Columns of the sink that take less than what the query yields.
    pub narrowed: Vec<Narrowed>,
}

/// Options of the whole pipeline, set by `SET 'name' = 'value'` or `--set name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `commit.interval`: how often an epoch closes.
    pub commit_interval: Duration,
    /// `allowed.lateness`: how long after its end a window still takes rows.
    pub allowed_lateness: Duration,
    /// `state.ttl`: how long running aggregates keep what does not change; `None` is for ever.
    pub state_ttl: Option<Duration>,
    /// `snapshot.interval`: how often state is saved.
    pub snapshot_interval: Duration,
    /// `timezone`: what times without a zone mean. Never the machine's.
    pub timezone: String,
    /// `queue.bytes`: how many bytes of input may be on their way through the dataflow.
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(100),
            allowed_lateness: Duration::ZERO,
            state_ttl: None,
            snapshot_interval: Duration::from_secs(10),
            timezone: "UTC".to_owned(),
            queue_bytes: 64 << 20,
        }
    }
}
