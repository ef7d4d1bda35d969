//! Everything stateless that hangs off one source, run on one arrived batch.
//!
//! ```text
//!   arrived rows ──▶ filter ──▶ project ──▶ window ──▶ edge 0 ─▶ (exchange, state)
//!                 └▶ filter ─────────────────────────▶ edge 1 ─▶ (sink)
//!        and for each INSERT: what became of every record
//! ```
//!
//! What a sink cannot hold is rejected for its INSERT alone (`guard`).
//!
//! Common parts of several INSERTs run once. A record has one fate per INSERT: accepted if it
//! leaves by any edge of that INSERT; else late if some branch found it late; else rejected if
//! an expression failed on it; else filtered. The order is that of what a person would miss:
//! a record that only one of two branches filters out, and the other finds late, is late. The
//! elements of a list are no branches: a record that fails as one of them is taken as none.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use super::assign::Passed;
use super::guard::{Guard, guards, is_only_reader};
use super::lookup::Index;
use super::roles::{counted, with_positions, with_watermarks};
use super::step::{Action, Piece, Turned};
use super::zones::{Zone, ancestry};
use crate::format::Positions;
use crate::plan::{Assign, Node, NodeId, Operator, Pipeline, TableId, WindowKind, read_ttl_us};
use crate::types::{Fates, Span};

/// The reference tables, indexed for the lookups of a pipeline, by node.
pub type Indexes = std::collections::BTreeMap<NodeId, Arc<Index>>;

/// The stateless part of a pipeline below one source.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Vec<Step>,
    edges: Vec<Edge>,
    views: Vec<View>,
}

#[derive(Clone, Debug)]
struct Step {
    node: NodeId,
    /// Steps whose rows it takes; empty for the source itself. More than one for a union.
    inputs: Vec<usize>,
    action: Action,
    schema: SchemaRef,
    /// Whether its rows may be elements of a record's list: a record that fails as one of them is
    /// rejected with all.
    together: bool,
}

/// Where rows leave.
#[derive(Clone, Debug)]
struct Edge {
    step: usize,
    node: NodeId,
    positions: bool,
    /// Whether something forgets its rows.
    watermarks: bool,
    /// The view whose rows alone leave here, and go to its sink at once: what that cannot hold
    /// does not leave.
    only: Option<usize>,
}

/// One INSERT's view of the source.
#[derive(Clone, Debug)]
struct View {
    insert: usize,
    /// The edges by which its records leave, as positions in `edges`.
    edges: Vec<Exit>,
    /// The steps that its records pass.
    steps: Vec<usize>,
    /// A record leaves at most once, by one edge, so that counting rows counts records.
    single: bool,
}

/// An edge by which records of an INSERT leave.
#[derive(Clone, Debug)]
struct Exit {
    /// As a position in `edges`.
    edge: usize,
    /// What its sink takes of the edge as it is is held to what that can hold.
    guards: Vec<Guard>,
}

/// What a chain made of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows per edge, as (node, rows); batches without rows are left out.
    pub rows: Vec<(NodeId, RecordBatch)>,
    /// What became of the rows, per INSERT that reads the source.
    pub fates: Vec<(usize, Fates)>,
    /// Rows that were turned away, with the INSERT that missed them.
    pub turned: Vec<(usize, Turned)>,
}

/// Where the rows of a batch stand in the input, for operators whose result depends on order.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Which partition, unique over the sources of a pipeline.
    pub partition: u32,
    /// What a row's place in its block says of its position.
    pub positions: &'a Positions,
    /// Each row's place in that block.
    pub spans: &'a [Span],
}

impl Place<'_> {
    fn offset_of(&self, row: u32) -> u64 {
        self.positions.of(self.spans[row as usize].start).0
    }
}

impl Chain {
    /// The stateless nodes below `table`. `positions` says for which nodes the rows that leave
    /// carry their place in the input as two further columns.
    #[must_use]
    pub fn new(
        pipeline: &Pipeline,
        zones: &[Zone],
        table: TableId,
        indexes: &Indexes,
        positions: &BTreeSet<NodeId>,
    ) -> Self {
        let here = |node: NodeId| zones[node].at_source && zones[node].sources.contains(&table);
        let nodes: Vec<NodeId> = (0..pipeline.nodes.len())
            .filter(|&node| here(node))
            .collect();
        let step_of = |node: NodeId| nodes.iter().position(|&other| other == node);
        let mut steps: Vec<Step> = Vec::with_capacity(nodes.len());
        for &node in &nodes {
            let inputs = pipeline.nodes[node].operator.inputs().into_iter();
            let inputs: Vec<usize> = inputs.filter_map(step_of).collect();
            let action = action(pipeline, node, indexes);
            steps.push(Step {
                node,
                together: matches!(action, Action::Unnest(_))
                    || inputs.iter().any(|&input| steps[input].together),
                inputs,
                action,
                schema: schema_of(&pipeline.nodes[node]),
            });
        }
        let mut edges: Vec<Edge> = nodes
            .iter()
            .enumerate()
            .filter(|&(_, &node)| zones[node].edge)
            .map(|(step, &node)| Edge {
                step,
                node,
                positions: positions.contains(&node),
                watermarks: read_ttl_us(pipeline, node).is_some(),
                only: None,
            })
            .collect();
        let mut views: Vec<View> = Vec::new();
        for insert in 0..pipeline.inserts.len() {
            let Some(view) = view((pipeline, zones), insert, &nodes, &edges) else {
                continue;
            };
            if is_only_reader(pipeline, zones, insert) {
                let mut own = edges.iter_mut();
                let own = own.find(|edge| edge.node == pipeline.inserts[insert].input);
                own.into_iter()
                    .for_each(|edge| edge.only = Some(views.len()));
            }
            views.push(view);
        }
        Self {
            views,
            steps,
            edges,
        }
    }

    /// Runs all steps on the rows of one partition, in their order.
    pub fn run(
        &self,
        rows: &RecordBatch,
        passed: &Passed<'_>,
        place: Place<'_>,
    ) -> Result<Outcome> {
        let mut results: Vec<Results> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let mut pieces = Vec::new();
            let mut turned = Vec::new();
            let arrived = step
                .inputs
                .is_empty()
                .then(|| vec![Piece::whole(rows.clone())]);
            let inputs = arrived
                .iter()
                .chain(step.inputs.iter().map(|&input| &results[input].0));
            for piece in inputs.flatten() {
                let before = turned.len();
                let made = step.action.run(piece, &step.schema, passed, &mut turned)?;
                pieces.push(step.whole_records(made, &turned[before..])?);
            }
            results.push((pieces, turned));
        }
        let mut outcome = Outcome::default();
        let mut held = Vec::with_capacity(self.views.len());
        for view in &self.views {
            let leaving = view.leaving(self, &results)?;
            view.judge(rows.num_rows(), &leaving, &results, &mut outcome);
            held.push(leaving);
        }
        for (position, edge) in self.edges.iter().enumerate() {
            let pieces = match edge.only {
                None => &results[edge.step].0,
                Some(view) => held[view].of(&self.views[view], position),
            };
            for piece in pieces {
                if piece.rows.num_rows() > 0 {
                    let mut rows = match edge.positions {
                        true => located(piece, place)?,
                        false => piece.rows.clone(),
                    };
                    if edge.watermarks {
                        rows = with_watermarks(&rows, of_each(piece, &passed.after_each()));
                    }
                    outcome.rows.push((edge.node, rows));
                }
            }
        }
        Ok(outcome)
    }

    /// The INSERTs that read the source.
    pub fn inserts(&self) -> impl Iterator<Item = usize> + '_ {
        self.views.iter().map(|view| view.insert)
    }

    /// The nodes by which rows leave.
    pub fn edges(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.edges.iter().map(|edge| self.steps[edge.step].node)
    }
}

impl Step {
    /// Of records that failed as one of the elements of their lists, none of these.
    fn whole_records(&self, rows: Piece, turned: &[Turned]) -> Result<Piece> {
        let failed = turned.iter().filter_map(|one| match one {
            Turned::Failed { row, .. } => Some(*row),
            Turned::Late { .. } | Turned::Behind { .. } => None,
        });
        let failed: BTreeSet<u32> = failed.filter(|_| self.together).collect();
        if failed.is_empty() {
            return Ok(rows);
        }
        let count = rows.rows.num_rows();
        let kept = (0..count).map(|row| Some(!failed.contains(&rows.origin_of(row))));
        rows.keep(&kept.collect())
    }
}

/// The stateless operator of a node, ready to run.
#[must_use]
pub fn action(pipeline: &Pipeline, node: NodeId, indexes: &Indexes) -> Action {
    match &pipeline.nodes[node].operator {
        Operator::Source { .. } | Operator::Union { .. } => Action::Pass,
        Operator::Filter { predicate, .. } => Action::Filter(predicate.clone()),
        Operator::Project { columns, .. } => Action::Project(columns.clone()),
        Operator::Unnest { column, .. } => Action::Unnest(*column),
        Operator::Lookup {
            keys,
            kind,
            residual,
            ..
        } => Action::Lookup {
            index: Arc::clone(&indexes[&node]),
            keys: keys.clone(),
            kind: *kind,
            residual: residual.clone(),
        },
        Operator::Window {
            time, kind, assign, ..
        } => Action::Window {
            time: time.clone(),
            kind: *kind,
            assign: *assign,
            lateness_us: lateness_us(pipeline),
        },
        Operator::OnTime { time, .. } => Action::OnTime {
            time: *time,
            lateness_us: lateness_us(pipeline),
        },
        Operator::Aggregate { .. }
        | Operator::Match { .. }
        | Operator::Latest { .. }
        | Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Over { .. }
        | Operator::Running { .. }
        | Operator::Keep { .. } => {
            panic!("node {node} holds state, so it is no step")
        }
    }
}

/// What rows of a node at the source look like: those of a table that is read again have counts.
fn schema_of(node: &Node) -> SchemaRef {
    if let Operator::Source { counted: true, .. } = node.operator {
        counted(&node.schema)
    } else {
        Arc::clone(&node.schema)
    }
}

fn lateness_us(pipeline: &Pipeline) -> i64 {
    let lateness = pipeline.settings.allowed_lateness.as_micros();
    i64::try_from(lateness).unwrap_or(i64::MAX / 4)
}

fn view(
    (pipeline, zones): (&Pipeline, &[Zone]),
    insert: usize,
    nodes: &[NodeId],
    edges: &[Edge],
) -> Option<View> {
    let ancestry = &ancestry(pipeline, pipeline.inserts[insert].input);
    let position = |node: &NodeId| nodes.iter().position(|other| other == node);
    let steps: Vec<usize> = ancestry.iter().filter_map(position).collect();
    let reads_it = |edge: &Edge| {
        ancestry.contains(&edge.node)
            && (pipeline.inserts[insert].input == edge.node
                || ancestry.iter().any(|&reader| {
                    let operator = &pipeline.nodes[reader].operator;
                    // A step's reading of it is no leaving.
                    !nodes.contains(&reader) && operator.inputs().contains(&edge.node)
                }))
    };
    let edges: Vec<Exit> = (0..edges.len())
        .filter(|&position| reads_it(&edges[position]))
        .map(|edge| Exit {
            edge,
            guards: guards(pipeline, zones, insert, edges[edge].node),
        })
        .collect();
    if edges.is_empty() {
        return None;
    }
    let multiplies = |&step: &usize| match &pipeline.nodes[nodes[step]].operator {
        Operator::Union { .. } | Operator::Unnest { .. } => true,
        Operator::Window {
            kind: WindowKind::Tumble { .. } | WindowKind::Session { .. },
            ..
        } => false,
        Operator::Window { assign, .. } => *assign == Assign::Windows,
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Lookup { .. }
        | Operator::Aggregate { .. }
        | Operator::Match { .. }
        | Operator::Latest { .. }
        | Operator::OnTime { .. }
        | Operator::Join { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Over { .. }
        | Operator::Running { .. }
        | Operator::Keep { .. } => false,
    };
    let single = edges.len() == 1 && !steps.iter().any(multiplies);
    Some(View {
        insert,
        edges,
        steps,
        single,
    })
}

/// What leaves for an INSERT, by its exits, and what its sink cannot hold of it.
#[derive(Debug, Default)]
struct Leaving {
    pieces: Vec<Vec<Piece>>,
    turned: Vec<Turned>,
}

impl Leaving {
    /// What leaves by an edge.
    fn of(&self, view: &View, edge: usize) -> &Vec<Piece> {
        let exit = view.edges.iter().position(|exit| exit.edge == edge);
        &self.pieces[exit.expect("an edge is only its who leaves by it")]
    }
}

impl View {
    /// What leaves for it, as its sink can hold it.
    fn leaving(&self, chain: &Chain, results: &[Results]) -> Result<Leaving> {
        let mut leaving = Leaving::default();
        for exit in &self.edges {
            let step = chain.edges[exit.edge].step;
            let pieces = results[step].0.iter().cloned();
            let held = pieces.map(|piece| {
                let before = leaving.turned.len();
                let mut guards = exit.guards.iter();
                let held = guards.try_fold(piece, |piece, guard| {
                    guard.turn_away(piece, &mut leaving.turned)
                })?;
                chain.steps[step].whole_records(held, &leaving.turned[before..])
            });
            let held = held.collect::<Result<_>>()?;
            leaving.pieces.push(held);
        }
        Ok(leaving)
    }

    fn judge(&self, total: usize, held: &Leaving, results: &[Results], outcome: &mut Outcome) {
        let turned = || {
            let steps = self.steps.iter().flat_map(|&step| &results[step].1);
            steps.chain(&held.turned)
        };
        let leaving = || held.pieces.iter().flatten();
        let mut fates = Fates::default();
        if self.single {
            fates.accepted = leaving().map(|piece| piece.rows.num_rows() as u64).sum();
            for one in turned() {
                count(&mut fates, one);
                outcome.turned.push((self.insert, one.clone()));
            }
        } else {
            // 0 filtered, 1 rejected, 2 late, 3 accepted: the largest wins.
            let mut best = vec![0u8; total];
            let mut raise = |row: u32, fate: u8| {
                let current = &mut best[row as usize];
                *current = fate.max(*current);
            };
            turned().for_each(|one| raise(one.row(), fate_of(one)));
            for piece in leaving() {
                (0..piece.rows.num_rows()).for_each(|row| raise(piece.origin_of(row), 3));
            }
            let count_of = |fate: u8| best.iter().filter(|&&other| other == fate).count() as u64;
            (fates.rejected, fates.late, fates.accepted) = (count_of(1), count_of(2), count_of(3));
            let mut told = BTreeSet::new();
            for one in turned() {
                if best[one.row() as usize] == fate_of(one) && told.insert(one.row()) {
                    outcome.turned.push((self.insert, one.clone()));
                }
            }
        }
        fates.filtered = total as u64 - fates.accepted - fates.late - fates.rejected;
        outcome.fates.push((self.insert, fates));
    }
}

/// What a step made of a batch: the rows, and those that it turned away.
type Results = (Vec<Piece>, Vec<Turned>);

fn fate_of(turned: &Turned) -> u8 {
    match turned {
        Turned::Failed { .. } => 1,
        Turned::Late { .. } | Turned::Behind { .. } => 2,
    }
}

fn count(fates: &mut Fates, turned: &Turned) {
    match turned {
        Turned::Failed { .. } => fates.rejected += 1,
        Turned::Late { .. } | Turned::Behind { .. } => fates.late += 1,
    }
}

/// What is said of each row, given that of the rows that arrived.
fn of_each(piece: &Piece, arrived: &[i64]) -> Vec<i64> {
    let rows = 0..piece.rows.num_rows();
    rows.map(|row| arrived[piece.origin_of(row) as usize])
        .collect()
}

/// The rows with their partition and offset as two further columns.
fn located(piece: &Piece, place: Place<'_>) -> Result<RecordBatch> {
    let count = piece.rows.num_rows();
    let offsets = (0..count).map(|row| place.offset_of(piece.origin_of(row)));
    let offsets: ArrayRef = Arc::new(UInt64Array::from_iter_values(offsets));
    let partition: ArrayRef = Arc::new(UInt32Array::from(vec![place.partition; count]));
    let schema = with_positions(&piece.rows.schema());
    let mut columns = piece.rows.columns().to_vec();
    columns.extend([partition, offsets]);
    Ok(RecordBatch::try_new(schema, columns)?)
}
