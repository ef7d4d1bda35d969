//! Joins by event time: two append streams, each at the owners of its keys.

use std::sync::Arc;

use super::{Built, PLANNED};
use crate::dataflow::aggregate::routes;
use crate::dataflow::asof::{AsofJoin, AsofPlan};
use crate::dataflow::changing::Codec;
use crate::dataflow::outcome::Failure;
use crate::dataflow::shell::{self, Edge};
use crate::dataflow::sided::{Joined, Sided, joined};
use crate::dataflow::spread::{Hashes, Spread};
use crate::plan::{Node, NodeId, Operator};

impl<'scope> Built<'_, 'scope> {
    /// A join with the newest row at a time.
    pub(super) fn asof_join(&self, id: NodeId, node: &Node) -> Edge<'scope> {
        let Operator::AsofJoin {
            left,
            right,
            keys,
            kind,
            asof,
        } = &node.operator
        else {
            panic!("only asked of as-of joins")
        };
        let plan = AsofPlan {
            kind: *kind,
            asof: *asof,
            located: self.zones[*right].at_source,
            output: Arc::clone(&node.schema),
        };
        let name = self.name_of(id);
        self.sided(id, &name, ([*left, *right], keys), |codecs| {
            AsofJoin::new(plan, codecs)
        })
    }

    /// A join of two nodes by these keys, on the state that is held under `name`.
    pub(super) fn sided<J: Sided + 'static>(
        &self,
        id: NodeId,
        name: &str,
        (sides, keys): ([NodeId; 2], &[(usize, usize)]),
        make: impl FnOnce([Arc<Codec>; 2]) -> J,
    ) -> Edge<'scope> {
        let (of_left, of_right) = keys.iter().copied().unzip();
        let codec = |node: NodeId, keys: Vec<usize>| {
            let schema = Arc::clone(&self.pipeline.nodes[node].schema);
            Arc::new(Codec::new(schema, keys, Vec::new()).expect(PLANNED))
        };
        let codecs = [codec(sides[0], of_left), codec(sides[1], of_right)];
        let state = match self.state.hold(name, make(codecs.clone())) {
            Ok(state) => state,
            Err(error) => {
                let failure = Failure::new(format!("could not restore the state of {name}"));
                self.shared.fail(failure.because(error));
                // Whoever sees the failure takes this part of the dataflow down again.
                return self.rows_of(sides[0]);
            }
        };
        let [left_codec, right_codec] = codecs;
        let rows = [
            self.by_key(name, sides[0], left_codec),
            self.by_key(name, sides[1], right_codec),
        ];
        let shared = Arc::clone(self.shared);
        let core = Joined::new(name.to_owned(), state, self.positions(id), shared);
        joined(rows, self.reports.clone(), name, core)
    }

    /// The rows of a node at the owners of their keys.
    pub(super) fn by_key(&self, name: &str, node: NodeId, codec: Arc<Codec>) -> Edge<'scope> {
        let rows = self.rows_of(node);
        let peers = rows.scope().peers();
        if peers == 1 {
            return rows;
        }
        let hashes: Hashes = Box::new(move |rows| Ok(routes(&codec.keys(rows)?)));
        let core = Spread::new(name.to_owned(), hashes, peers);
        shell::spread(rows, core, Arc::clone(self.shared))
    }
}
