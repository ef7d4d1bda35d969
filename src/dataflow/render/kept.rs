//! Records that are kept until others come, or until event time is so far: each where it was read, or at
//! the owner of its key.

use std::sync::Arc;

use super::{Built, PLANNED};
use crate::dataflow::group::Incoming;
use crate::dataflow::keep::Keep;
use crate::dataflow::latest::Latest;
use crate::dataflow::shell::Edge;
use crate::plan::{Node, NodeId, Operator, state_ttl_us};

impl<'scope> Built<'_, 'scope> {
    /// The last row per key.
    pub(super) fn latest(&self, id: NodeId, node: &Node) -> Edge<'scope> {
        let Operator::Latest { input, keys, by } = &node.operator else {
            panic!("only asked of the last row per key")
        };
        let schema = &self.pipeline.nodes[*input].schema;
        let ttl_us = state_ttl_us(self.pipeline, id);
        let make =
            || Latest::new(Arc::clone(schema), keys.clone(), by.clone(), ttl_us).expect(PLANNED);
        let rows = self.rows_of(*input);
        self.grouped(id, &self.name_of(id), rows, make(), make)
    }

    /// Records that are taken back. No key owns them: they stay where they were read.
    pub(super) fn keep(&self, id: NodeId, input: NodeId, ttl_us: i64) -> Edge<'scope> {
        let rows = (self.rows_of(input), Incoming::Rows);
        let schema = Arc::clone(&self.pipeline.nodes[id].schema);
        self.owned(id, &self.name_of(id), rows, Keep::new(schema, ttl_us))
    }
}
