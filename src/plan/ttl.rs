//! `state.ttl`: which operators forget, which hold what they hold in spite of it.

use super::explain::{duration, told};
use super::over_text::holds_partitions;
use super::{Emit, JoinType, NodeId, Operator, Pipeline, Place, Settings, TableId, Within};

/// An operator that forgets, or does not.
#[derive(Clone, Debug)]
pub struct Forgets {
    /// Where it stands.
    pub place: Place,
    /// What it does.
    pub what: String,
    /// The sources that it reads and that have no event time: by those nothing is ever forgotten.
    pub timeless: Vec<TableId>,
}

/// How long `state.ttl` is, in microseconds, where it is set.
pub(super) fn ttl_us(settings: &Settings) -> Option<i64> {
    let ttl = settings.state_ttl?;
    Some(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// How long, in microseconds, an operator keeps a key that has no record, or a record, if it may
/// forget it: one that keeps something for a source's own records. Rows behind state have no place
/// in event time that does not hang on epochs; and those that are taken back leave with what they
/// are made of.
#[must_use]
pub fn state_ttl_us(pipeline: &Pipeline, id: NodeId) -> Option<i64> {
    let ttl_us = ttl_us(&pipeline.settings)?;
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
        Operator::Latest { input, .. } => {
            is_of_records(pipeline, *input) && is_timed(pipeline, *input)
        }
        Operator::Keep { .. } => true,
        Operator::IntervalJoin { within, .. } => matches!(within, Within::Ttl(_)),
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::Match { .. }
        | Operator::Join { .. }
        | Operator::AsofJoin { .. }
        | Operator::Over { .. }
        | Operator::Running { .. } => false,
    };
    forgets.then_some(ttl_us)
}

/// The same for those who read a node's rows: whether these must say when they came.
#[must_use]
pub fn read_ttl_us(pipeline: &Pipeline, node: NodeId) -> Option<i64> {
    let readers = pipeline.nodes.iter().enumerate();
    let mut readers = readers.filter(|(_, reader)| reader.operator.inputs().contains(&node));
    readers.find_map(|(reader, _)| state_ttl_us(pipeline, reader))
}

/// The operators that forget keys.
#[must_use]
pub fn forgetting(pipeline: &Pipeline) -> Vec<Forgets> {
    let nodes = 0..pipeline.nodes.len();
    let forgetting = nodes.filter(|id| {
        let operator = &pipeline.nodes[*id].operator;
        let of_keys = matches!(
            operator,
            Operator::Aggregate { .. } | Operator::Latest { .. }
        );
        of_keys && state_ttl_us(pipeline, *id).is_some()
    });
    forgetting.map(|id| of_node(pipeline, id)).collect()
}

fn of_node(pipeline: &Pipeline, id: NodeId) -> Forgets {
    let mut timeless = Vec::new();
    sources(pipeline, id, &mut timeless);
    timeless.retain(|table| pipeline.tables[*table].watermark.is_none());
    let (place, what) = told(pipeline, id);
    Forgets {
        place,
        what,
        timeless,
    }
}

/// The operators that read records which are taken back: where they stand, and what they do.
#[must_use]
pub fn taking_back(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let taking_back = nodes.filter(|(_, node)| {
        let mut inputs = node.operator.inputs().into_iter();
        inputs.any(|input| matches!(pipeline.nodes[input].operator, Operator::Keep { .. }))
    });
    taking_back.map(|(id, _)| told(pipeline, id)).collect()
}

/// The joins of records that came within `state.ttl` of each other, whose rows stay: where they
/// stand, and what they do.
#[must_use]
pub fn joined_within(pipeline: &Pipeline) -> Vec<(Place, String)> {
    let nodes = pipeline.nodes.iter().enumerate();
    let within = nodes.filter(|(_, node)| {
        matches!(
            &node.operator,
            Operator::IntervalJoin {
                within: Within::Ttl(_),
                ..
            }
        )
    });
    within.map(|(id, _)| told(pipeline, id)).collect()
}

/// The operators that hold more and more in spite of `state.ttl`: where they stand, and what they
/// do.
#[must_use]
pub fn kept_despite_ttl(pipeline: &Pipeline) -> Vec<Forgets> {
    let nodes = 0..pipeline.nodes.len();
    let kept = nodes.filter(|id| !is_bounded(pipeline, *id));
    kept.map(|id| of_node(pipeline, id)).collect()
}

/// Whether rows come from sources without anything in between that holds state.
pub(super) fn is_of_records(pipeline: &Pipeline, id: NodeId) -> bool {
    let node = &pipeline.nodes[id];
    let inputs = node.operator.inputs();
    !node.operator.is_stateful()
        && !node.changing
        && inputs.iter().all(|input| is_of_records(pipeline, *input))
}

/// Whether all sources that a node reads have event time.
pub(super) fn is_timed(pipeline: &Pipeline, id: NodeId) -> bool {
    let mut read = Vec::new();
    sources(pipeline, id, &mut read);
    read.iter()
        .all(|table| pipeline.tables[*table].watermark.is_some())
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
        Operator::Latest { .. } => state_ttl_us(pipeline, id).is_some(),
        // Something of every key stays, and nothing says when it would be over.
        Operator::AsofJoin { keys, .. } => keys.is_empty(),
        Operator::Match { matching, .. } => {
            let stays = matching.looks_back() > 0 || matching.waits_for_ever();
            !matching.grows() && (!stays || matching.partition == 0)
        }
        Operator::Running {
            partition, calls, ..
        } => partition.is_empty() || !holds_partitions(calls),
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::IntervalJoin { .. }
        | Operator::Keep { .. } => true,
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
        // A pair leaves with either of its rows.
        Operator::Join {
            left, right, kind, ..
        } => {
            let [left, right] = [left, right].map(|side| leaves(pipeline, *side));
            match kind {
                JoinType::Inner | JoinType::Semi => left || right,
                JoinType::Left | JoinType::Anti => left,
                JoinType::Right => right,
                JoinType::Full => left && right,
            }
        }
        Operator::Over { .. } | Operator::Latest { .. } => is_bounded(pipeline, id),
        Operator::Keep { .. } => true,
        // A table that is read again takes back what is gone.
        Operator::Source { counted, .. } => *counted,
        Operator::Window { .. }
        | Operator::OnTime { .. }
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
        None if is_freed_below(pipeline, id) => format!("holds {what} while they have rows"),
        None => format!("holds all {what}, never freed"),
    }
}

/// Until when `upsert.by` holds its rows.
pub(super) fn held_per_key(pipeline: &Pipeline, id: NodeId) -> String {
    match state_ttl_us(pipeline, id) {
        Some(ttl) => format!(
            "holds one row per key until it has had no record for {} (state.ttl)",
            duration(ttl)
        ),
        None => "holds one row per key, never freed".to_owned(),
    }
}

/// Until when an operator holds the rows that it reads.
pub(super) fn held_rows(pipeline: &Pipeline, id: NodeId, what: &str) -> String {
    match is_freed_below(pipeline, id) {
        true => format!("holds {what} until they are taken back"),
        false => format!("holds {what}, never freed"),
    }
}

/// Whether what an operator holds leaves with the rows below it, because of `state.ttl`.
pub(super) fn is_freed_below(pipeline: &Pipeline, id: NodeId) -> bool {
    pipeline.settings.state_ttl.is_some() && is_bounded_below(pipeline, id)
}
