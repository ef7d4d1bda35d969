//! Builds a worker's dataflow from a plan: every worker builds the same, in the same order.
//!
//! ```text
//!   sources ──edges──▶ (stateful, compute)* ──▶ publishers, one per destination ──▶ probe
//!      └──reports──────────┴───────────────────────┘
//! ```

mod counted;
mod kept;
mod sided;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use timely::dataflow::Scope;
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::scheduling::activate::SyncActivator;

use super::aggregate::{AggregateError, Aggregation, Input};
use super::arrival::Inbox;
use super::chain::{Indexes, action};
use super::changing::{self, Codec, Index, IndexParts, Join, JoinPlan, Over, Wanted, wanted};
use super::compute::Compute;
use super::credit::Credit;
use super::framed::Calls;
use super::group::{Grouped, Groups, Incoming, Local, PreGroups};
use super::guard::gate;
use super::interval::{IntervalJoin, IntervalPlan};
use super::matching::Matches;
use super::named::operator_name;
use super::outcome::{Failure, Shared};
use super::publish::Publish;
use super::report::Positions;
use super::running::Running;
use super::share::Shares;
use super::shell::{self, Address, Edge, SourceShell};
use super::source::SourceTask;
use super::spread::{Hashes, Spread};
use super::state::{State, StateError};
use super::tide::Tide;
use super::withheld::Withheld;
use super::zones::{Zone, zones};
use crate::connector::Share;
use crate::plan::{Interval, Node, NodeId, Operator, Pipeline, TableId, Within, state_ttl_us};
use counted::takes_counts;

/// How many groups a worker holds back before it sends them to their owners.
const LOCAL_GROUPS: usize = 1 << 16;

/// What a worker brings to the dataflow of a plan.
pub struct Parts<'a, I> {
    /// The plan.
    pub pipeline: &'a Pipeline,
    /// Where its nodes run.
    pub zones: &'a [Zone],
    /// The reference tables.
    pub indexes: &'a Indexes,
    /// How many partitions each source has.
    pub partitions: &'a BTreeMap<TableId, usize>,
    /// What the threads of the run share.
    pub shared: &'a Arc<Shared>,
    /// The sources, in the order of their tables.
    pub sources: Vec<SourcePart<I>>,
    /// The destinations, the same on every worker.
    pub destinations: Vec<DestinationPart>,
    /// The state of this worker.
    pub state: &'a State,
    /// How far event time is, for this worker's sources.
    pub tide: Tide,
}

/// A source on this worker.
pub struct SourcePart<I> {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// The core.
    pub task: SourceTask<I>,
    /// The nodes by which its rows leave.
    pub edges: Vec<NodeId>,
    /// Which destination takes its dead letters, and where in it.
    pub letters_to: Option<(usize, Address)>,
    /// Takes the operator's activator.
    pub waker: Box<dyn FnOnce(SyncActivator)>,
}

/// A destination as seen from this worker.
pub struct DestinationPart {
    /// Its name in logs.
    pub name: String,
    /// The worker that publishes.
    pub home: usize,
    /// Each INSERT into it, by its place in the file, and the lane of its table.
    pub inserts: Vec<(usize, usize)>,
    /// What of their rows it takes, if not all.
    pub share: Option<Share>,
    /// Makes the core, on the home worker.
    pub core: Box<dyn FnOnce(SyncActivator) -> Option<Publish>>,
}

/// Which nodes' rows must carry their place in the input, because what reads them depends on
/// order.
#[must_use]
pub fn positions_needed(pipeline: &Pipeline) -> BTreeSet<NodeId> {
    let zones = zones(pipeline);
    let needs = |node: &Node| match &node.operator {
        Operator::Aggregate { input, .. } => aggregation(pipeline, &zones, node)
            .expect(PLANNED)
            .positions_needed()
            .then_some(*input),
        Operator::Latest { input, .. } => Some(*input),
        Operator::Match { input, .. } | Operator::AsofJoin { right: input, .. } => {
            zones[*input].at_source.then_some(*input)
        }
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::OnTime { .. }
        | Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::Over { .. }
        | Operator::Running { .. }
        | Operator::Keep { .. }
        | Operator::Window { .. } => None,
    };
    pipeline.nodes.iter().filter_map(needs).collect()
}

const PLANNED: &str = "checked when the file was planned";

/// How an `Operator::Aggregate` computes.
pub fn aggregation(
    pipeline: &Pipeline,
    zones: &[Zone],
    node: &Node,
) -> Result<Aggregation, AggregateError> {
    let Operator::Aggregate {
        input,
        keys,
        aggregates,
        window,
        emit,
    } = &node.operator
    else {
        panic!("only asked of aggregates")
    };
    let (input, output) = (Input::of(pipeline, zones, *input), Arc::clone(&node.schema));
    Aggregation::new(input, keys, aggregates, *window, *emit, output)
}

/// Builds the dataflow; the probe's frontier says which epochs are committed everywhere. Each
/// source may have `queue_bytes` on their way.
pub fn render<'scope, I: Inbox + 'static>(
    scope: Scope<'scope, u64>,
    parts: Parts<'_, I>,
    probe: &Handle<u64>,
    queue_bytes: usize,
) {
    let Parts {
        pipeline,
        zones,
        shared,
        ..
    } = parts;
    let mut streams: BTreeMap<NodeId, Vec<Edge<'scope>>> = BTreeMap::new();
    let (mut reports, mut letters) = (Vec::new(), Vec::new());
    for part in parts.sources {
        let shell = SourceShell {
            edges: part.edges,
            letters_to: part.letters_to.map(|(_, address)| address),
            // Each its own: a source that is ahead must not spend what another one needs to
            // come to its stop.
            credit: Credit::new(probe.clone(), queue_bytes),
            shared: Arc::clone(shared),
            waker: part.waker,
        };
        let out = shell::source(scope, &part.name, part.task, shell);
        for (node, edge) in out.rows {
            streams.entry(node).or_default().push(edge);
        }
        reports.push(out.reports);
        let destination = part.letters_to.map(|(destination, _)| destination);
        letters.extend(destination.map(|destination| (destination, out.letters)));
    }
    let reports = scope.concatenate(reports);
    shell::tide(reports.clone(), parts.tide);
    let mut built = Built {
        scope,
        pipeline,
        zones,
        indexes: parts.indexes,
        partitions: parts.partitions,
        shared,
        state: parts.state,
        reports: reports.clone(),
        streams,
        arranged: BTreeMap::new(),
    };
    for (id, node) in pipeline.nodes.iter().enumerate() {
        if !zones[id].at_source {
            let edge = built.node(id, node);
            built.streams.insert(id, vec![edge]);
        }
    }
    let streams = built.streams;
    let mut shares = Shares::new(Arc::clone(shared));
    for (position, part) in parts.destinations.into_iter().enumerate() {
        let DestinationPart {
            name,
            home,
            inserts,
            share,
            core,
        } = part;
        let mut lanes = Vec::new();
        for (insert, lane) in inserts {
            let node = pipeline.inserts[insert].input;
            let edges = streams.get(&node).cloned().unwrap_or_default();
            let rows = (node, &pipeline.nodes[node].schema);
            let to = Address { target: home, lane };
            let addressed = shares.addressed(rows, edges, share, to);
            let gated = |rows| shell::gated(rows, gate(pipeline, zones, insert), shared);
            lanes.extend(addressed.into_iter().map(gated));
        }
        let here = letters.iter();
        let here = here.filter(|(destination, _)| *destination == position);
        lanes.extend(here.map(|(_, edge)| edge.clone()));
        lanes.push(reports.clone());
        shell::publish(scope.concatenate(lanes), &name, core).probe_with(probe);
    }
}

/// What the nodes behind state are built from.
struct Built<'a, 'scope> {
    scope: Scope<'scope, u64>,
    pipeline: &'a Pipeline,
    zones: &'a [Zone],
    indexes: &'a Indexes,
    partitions: &'a BTreeMap<TableId, usize>,
    shared: &'a Arc<Shared>,
    state: &'a State,
    reports: Edge<'scope>,
    /// By node: the streams that bring its rows.
    streams: BTreeMap<NodeId, Vec<Edge<'scope>>>,
    /// By name: the arrangements made so far.
    arranged: BTreeMap<String, Index<'scope>>,
}

impl<'scope> Built<'_, 'scope> {
    /// The rows of a node.
    fn rows_of(&self, node: NodeId) -> Edge<'scope> {
        let streams = self.streams.get(&node).cloned().unwrap_or_default();
        self.scope.concatenate(streams)
    }

    /// What a node's operator is called.
    fn name_of(&self, id: NodeId) -> String {
        operator_name(&self.pipeline.nodes[id].operator, id)
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Edge<'scope> {
        let inputs = node.operator.inputs().into_iter();
        match &node.operator {
            Operator::Join { .. } | Operator::Over { .. } => self.changing(id, node),
            Operator::IntervalJoin { .. } => self.interval_join(id, node),
            Operator::AsofJoin { .. } => self.asof_join(id, node),
            Operator::Aggregate { input: from, .. } => {
                let input = self.rows_of(*from);
                let plan = self.aggregation(id, node);
                let name = self.name_of(id);
                let aggregates = plan.aggregates();
                let aggregates = aggregates.on_worker(self.scope.index(), self.scope.peers());
                if self.pipeline.nodes[*from].changing {
                    let hashes: Hashes = Box::new(move |rows| Ok(plan.hashes(rows)?));
                    return self.spread(id, &name, input, aggregates, hashes);
                }
                if let (Some(groups), Some(before)) = (plan.sessions(), plan.session_partials()) {
                    return self.grouped(id, &name, input, groups, || before);
                }
                let peers = self.scope.peers();
                let partials = || plan.partials().among(peers);
                self.grouped(id, &name, input, aggregates, partials)
            }
            Operator::Match {
                input: from,
                matching,
            } => {
                let input = self.rows_of(*from);
                let make = || {
                    let schema = Arc::clone(&self.pipeline.nodes[*from].schema);
                    let located = self.zones[*from].at_source;
                    Matches::new(matching, schema, Arc::clone(&node.schema), located)
                        .expect(PLANNED)
                };
                let keys = make();
                let hashes: Hashes = Box::new(move |rows| keys.hashes(rows));
                self.spread(id, &self.name_of(id), input, make(), hashes)
            }
            Operator::Running { .. } => self.running(id, node),
            Operator::Latest { .. } => self.latest(id, node),
            Operator::Keep { input, ttl_us } => self.keep(id, *input, *ttl_us),
            Operator::Source { .. } => panic!("a source is always at the source"),
            Operator::Union { .. }
            | Operator::Filter { .. }
            | Operator::Project { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup { .. }
            | Operator::OnTime { .. }
            | Operator::Window { .. } => {
                let rows: Vec<_> = inputs.map(|input| self.rows_of(input)).collect();
                let input = self.scope.concatenate(rows);
                let from = node.operator.inputs()[0];
                let width = self.pipeline.nodes[from].schema.fields().len();
                let action = action(self.pipeline, id, self.indexes);
                let name = self.name_of(id);
                // Not through the door: while anything is withheld, no snapshot is taken.
                let withheld = node.changing.then(|| {
                    let withheld = Withheld::new(&name, Arc::clone(self.shared));
                    Rc::new(RefCell::new(withheld))
                });
                let core = Compute::new(action, width, Arc::clone(&node.schema), withheld);
                shell::compute(input, &name, core, Arc::clone(self.shared))
            }
        }
    }

    fn aggregation(&self, id: NodeId, node: &Node) -> Aggregation {
        let plan = aggregation(self.pipeline, self.zones, node).expect(PLANNED);
        let plan = plan.forgetting_after(state_ttl_us(self.pipeline, id));
        plan.expect(PLANNED)
    }

    /// An operator that reads arrangements.
    fn changing(&mut self, id: NodeId, node: &Node) -> Edge<'scope> {
        let mut indexes = Vec::new();
        for wanted in wanted(&node.operator) {
            match self.index(&wanted) {
                Ok(index) => indexes.push(index),
                Err(error) => {
                    let name = wanted.name(self.pipeline);
                    let failure = Failure::new(format!("could not restore the state of {name}"));
                    self.shared.fail(failure.because(error));
                    // Whoever sees the failure takes this part of the dataflow down again.
                    return self.rows_of(wanted.input);
                }
            }
        }
        match (&node.operator, indexes.as_slice()) {
            (Operator::Join { .. }, [left, right]) => {
                let name = self.name_of(id);
                let core = self.join(id, &name, [left, right]);
                changing::join(left, right, &name, core, self.shared)
            }
            (
                Operator::Over {
                    calls,
                    first,
                    order,
                    ..
                },
                [index],
            ) => {
                let (output, codec) = (Arc::clone(&node.schema), index.codec());
                let name = self.name_of(id);
                let calls = Calls::new(calls.clone(), order, codec.schema()).expect(PLANNED);
                let withheld = Withheld::new(&name, Arc::clone(self.shared));
                let core = Over::new(codec, calls, *first, output, withheld);
                changing::over(index, &name, core, self.shared)
            }
            (other, _) => panic!("{other:?} reads no arrangement"),
        }
    }

    fn join(&self, id: NodeId, name: &str, sides: [&Index<'scope>; 2]) -> Join {
        let node = &self.pipeline.nodes[id];
        let Operator::Join {
            nulls_match,
            kind,
            residual,
            ..
        } = &node.operator
        else {
            panic!("only asked of joins")
        };
        let codecs = sides.map(Index::codec);
        let both = both(codecs.iter().map(|codec| codec.schema()));
        let plan = JoinPlan {
            kind: *kind,
            nulls_match: *nulls_match,
            residual: residual.clone(),
            both,
            output: Arc::clone(&node.schema),
            changing: node.changing,
            counted: node.changing || takes_counts(self.pipeline, id),
        };
        Join::new(plan, codecs, Withheld::new(name, Arc::clone(self.shared)))
    }

    /// Functions over partitions that let rows go by time.
    fn running(&self, id: NodeId, node: &Node) -> Edge<'scope> {
        let Operator::Running {
            input,
            partition,
            order,
            calls,
            time,
            behind_us,
        } = &node.operator
        else {
            panic!("only asked of functions over append streams")
        };
        let schema = Arc::clone(&self.pipeline.nodes[*input].schema);
        let codec = Codec::new(schema, partition.clone(), order.clone()).expect(PLANNED);
        let codec = Arc::new(codec);
        let (output, by) = (Arc::clone(&node.schema), (*time, *behind_us));
        let core = Running::new(Arc::clone(&codec), calls, order, by, output).expect(PLANNED);
        let name = self.name_of(id);
        let rows = self.by_key(&name, *input, codec);
        self.owned(id, &name, (rows, Incoming::Rows), core)
    }

    /// A join that lets rows go by time.
    fn interval_join(&self, id: NodeId, node: &Node) -> Edge<'scope> {
        let Operator::IntervalJoin {
            left,
            right,
            keys,
            kind,
            within,
            residual,
        } = &node.operator
        else {
            panic!("only asked of interval joins")
        };
        let schemas = [left, right].map(|&side| &self.pipeline.nodes[side].schema);
        let (interval, by_watermarks) = match within {
            Within::Times(interval) => (*interval, false),
            // No record is still to come that was read before event time got here.
            Within::Ttl(ttl_us) => (Interval::within(*ttl_us), true),
        };
        let plan = IntervalPlan {
            kind: *kind,
            interval,
            by_watermarks,
            residual: residual.clone(),
            both: both(schemas.into_iter()),
            output: Arc::clone(&node.schema),
        };
        let name = self.name_of(id);
        self.sided(id, &name, ([*left, *right], keys), |codecs| {
            IntervalJoin::new(plan, codecs)
        })
    }

    /// An arrangement of a node's rows; an equal one is used again.
    fn index(&mut self, wanted: &Wanted) -> Result<Index<'scope>, StateError> {
        let name = wanted.name(self.pipeline);
        if let Some(index) = self.arranged.get(&name) {
            return Ok(index.clone());
        }
        let schema = Arc::clone(&self.pipeline.nodes[wanted.input].schema);
        let parts = IndexParts {
            name: &name,
            codec: Codec::new(schema, wanted.keys.clone(), wanted.order.clone())?,
            nulls: wanted.nulls,
            state: self.state,
            reports: self.reports.clone(),
            positions: self.positions(wanted.input),
            shared: self.shared,
        };
        let index = changing::index(self.rows_of(wanted.input), parts)?;
        self.arranged.insert(name, index.clone());
        Ok(index)
    }

    /// Where the sources of a node are, as far as nothing is known.
    fn positions(&self, id: NodeId) -> Positions {
        let sources = self.zones[id].sources.iter();
        Positions::new(sources.map(|&table| (table, self.partitions[&table])))
    }

    /// Groups of rows that are grouped where they were read before they are sent to their owner.
    fn grouped<G: Groups + 'static, P: PreGroups + 'static>(
        &self,
        id: NodeId,
        name: &str,
        input: Edge<'scope>,
        groups: G,
        before: impl FnOnce() -> P,
    ) -> Edge<'scope> {
        let peers = input.scope().peers();
        if peers == 1 {
            return self.owned(id, name, (input, Incoming::Rows), groups);
        }
        let shared = Arc::clone(self.shared);
        let core = Local::new(name.to_owned(), before(), LOCAL_GROUPS, peers, shared);
        let rows = shell::local(input, &format!("{name}, before the exchange"), core);
        self.owned(id, name, (rows, Incoming::Partials), groups)
    }

    /// Groups of rows that are sent to their owner as they are.
    fn spread<G: Groups + 'static>(
        &self,
        id: NodeId,
        name: &str,
        input: Edge<'scope>,
        groups: G,
        hashes: Hashes,
    ) -> Edge<'scope> {
        let peers = input.scope().peers();
        if peers == 1 {
            return self.owned(id, name, (input, Incoming::Rows), groups);
        }
        let core = Spread::new(name.to_owned(), hashes, peers);
        let rows = shell::spread(input, core, Arc::clone(self.shared));
        self.owned(id, name, (rows, Incoming::Rows), groups)
    }

    /// The groups of this worker.
    fn owned<G: Groups + 'static>(
        &self,
        id: NodeId,
        name: &str,
        (rows, incoming): (Edge<'scope>, Incoming),
        groups: G,
    ) -> Edge<'scope> {
        let groups = match self.state.hold(name, groups) {
            Ok(groups) => groups,
            Err(error) => {
                let failure = Failure::new(format!("could not restore the state of {name}"));
                self.shared.fail(failure.because(error));
                // Whoever sees the failure takes this part of the dataflow down again.
                return rows;
            }
        };
        let positions = self.positions(id);
        let core = Grouped::new(
            name.to_owned(),
            groups,
            incoming,
            positions,
            Arc::clone(self.shared),
        );
        shell::grouped(rows, self.reports.clone(), name, core)
    }
}

/// The columns of both sides of a join. Without a match, those of a side are NULL.
fn both<'a>(sides: impl Iterator<Item = &'a SchemaRef>) -> SchemaRef {
    let fields = sides.flat_map(|schema| schema.fields());
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
