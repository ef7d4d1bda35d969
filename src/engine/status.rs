//! How a run is, as `/api/status` says it and `tidemark why` and the page show it.
//!
//! Numbers are for machines, texts for people; the sentences in `waits_for` come from `waits`.
//! Every process of a pipeline knows how far all sources are, because every worker hears every
//! report; what is held and committed is said by the process that does it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::waits::{Sight, Stage, Where, waits_for};
use crate::dataflow::board::{DestinationFacts, Facts, SourceFacts};
use crate::dataflow::named::held_by;
use crate::dataflow::outcome::Shared;
use crate::dataflow::state::OpenWindows;
use crate::dataflow::zones::{Zone, ancestry, zones};
use crate::metrics::LATENCY;
use crate::plan::{Emit, Insert, NodeId, Operator, Pipeline, Role, TableId};
use crate::types::{Fates, Watermark};

/// How long a worker may take for one turn before the process counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `pipeline.name`.
    pub pipeline: String,
    /// Of the program.
    pub version: String,
    /// One word: starting, replaying, live, stopping, ended, failed, or resting (no process that could be asked).
    pub stage: String,
    /// The stage in a sentence.
    pub says: String,
    /// Whether all is restored and every destination is there.
    pub ready: bool,
    /// Whether the workers turn.
    pub healthy: bool,
    /// How long it has been running.
    pub seconds: f64,
    /// The last epoch that is complete.
    pub epoch: u64,
    /// Which process this is. `sources` count what it has read itself, `sinks` what all have read.
    #[serde(default)]
    pub process: usize,
    /// How many there are.
    #[serde(default)]
    pub processes: usize,
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// What holds state.
    pub operators: Vec<OperatorStatus>,
    /// The tables that are written to.
    pub sinks: Vec<SinkStatus>,
    /// What they are kept in.
    pub destinations: Vec<DestinationStatus>,
    /// The views, each with what became of the records in every INSERT that reads it.
    #[serde(default)]
    pub views: Vec<ViewStatus>,
}

/// A view, in one INSERT. It is part of that INSERT's plan and has no counts of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// The table that the INSERT is into.
    pub into: String,
    /// What became of the records that the INSERT reads, by source.
    pub sources: Vec<FateStatus>,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// What `lag` counts. Of files that a topic follows and of the topic both count what is read now: the
    /// files, as long as one has more.
    pub unit: String,
    /// Records read by this process.
    pub read: u64,
    /// How far its end is away, where that is known of all partitions that are read now.
    pub lag: Option<u64>,
    /// How far event time is; `None` if it has none.
    pub watermark: Option<String>,
    /// Decoded bytes that wait.
    pub queued_bytes: usize,
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its name.
    pub name: String,
    /// What its offsets count.
    #[serde(default)]
    pub unit: String,
    /// The next position to read.
    pub offset: u64,
    /// How far its end is away, where that is known.
    pub lag: Option<u64>,
    /// Its watermark.
    pub watermark: String,
    /// Event time does not wait for it.
    pub idle: bool,
    /// It has no more.
    pub ended: bool,
}

/// An operator that holds state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorStatus {
    /// As in `explain` and the metrics.
    pub name: String,
    /// The tables that it works for.
    pub sinks: Vec<String>,
    /// Groups or rows.
    pub rows: usize,
    /// Memory, about.
    pub bytes: usize,
    /// Windows that have not closed; `None` if it has no windows.
    pub windows: Option<usize>,
    /// The end of the next to close.
    pub next_end: Option<String>,
}

/// A table that is written to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Where it is kept.
    pub destination: String,
    /// What became of the records, by source; empty for a table of dead letters.
    pub sources: Vec<FateStatus>,
    /// Groups that wait in open windows.
    pub waiting: usize,
    /// In so many windows.
    pub windows: usize,
    /// Rows inserted or replaced by this process.
    pub upserts: u64,
    /// Rows deleted by this process.
    pub deletes: u64,
    /// What it is waiting for, in a sentence.
    pub waits_for: String,
}

/// What became of one source's records for one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FateStatus {
    /// The source.
    pub source: String,
    /// All of them.
    pub read: u64,
    /// Reached state or the table.
    pub accepted: u64,
    /// Left out by the query.
    pub filtered: u64,
    /// Missed their windows.
    pub late: u64,
    /// Could not be used.
    pub rejected: u64,
}

/// A destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// What messages call it.
    pub name: String,
    /// The last epoch that it holds.
    pub epoch: u64,
    /// Transactions of this process.
    pub commits: u64,
    /// Why it is away, if it is.
    pub away: Option<String>,
    /// Seconds since the last commit of this process.
    pub last_commit_seconds: Option<f64>,
    /// How many starts have taken it over, where its mark was read and no process asked.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Which of them wrote its mark.
    #[serde(default)]
    pub incarnation: Option<String>,
    /// p50, p90, p99, p99.9 from a record's timestamp to its commit, in seconds.
    pub latency_seconds: Option<Vec<f64>>,
}

/// How the run of `pipeline` in this process is.
#[must_use]
pub fn status(pipeline: &Pipeline, shared: &Shared) -> Status {
    let facts = shared.board.facts();
    let now = facts
        .clock
        .as_ref()
        .map_or(Duration::ZERO, |clock| clock.elapsed());
    let stage = stage(&facts, shared);
    let turns = |worker: &crate::dataflow::board::WorkerFacts| {
        worker.done || now.saturating_sub(worker.turned) < STUCK
    };
    let away = facts.destinations.iter().any(|known| known.away.is_some());
    let read = shared.progress();
    let sources = facts.sources.iter().map(|(&table, source)| {
        let mut status = source_status(pipeline, table, source);
        status.read = read.get(&table).map_or(0, |progress| progress.records);
        status
    });
    let sinks = sinks(pipeline, &facts, &stage, now);
    Status {
        views: views(pipeline, &sinks),
        stage: stage.word().to_owned(),
        says: stage.sentence(now),
        ready: stage == Stage::Live && !away,
        healthy: facts.workers.values().all(turns),
        seconds: now.as_secs_f64(),
        epoch: facts.complete.0,
        process: facts.process.0,
        processes: facts.process.1,
        sources: sources.collect(),
        operators: operators(pipeline, &facts),
        sinks,
        destinations: destinations(&facts, shared, now),
        ..blank(pipeline)
    }
}

/// A status that says nothing yet.
pub(super) fn blank(pipeline: &Pipeline) -> Status {
    Status {
        pipeline: pipeline.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Status::default()
    }
}

fn stage(facts: &Facts, shared: &Shared) -> Stage {
    if let Some(failure) = shared.failure() {
        return Stage::Failed(failure.message);
    }
    if facts.ended {
        return Stage::Ended;
    }
    if shared.is_stopping() {
        return Stage::Stopping;
    }
    if !facts.begun {
        let now = facts
            .clock
            .as_ref()
            .map_or(Duration::ZERO, |clock| clock.elapsed());
        return match facts.away.first_key_value() {
            None => Stage::Starting,
            Some((what, (since, cause))) => Stage::Waiting {
                what: what.clone(),
                length: now.saturating_sub(*since),
                cause: cause.clone(),
            },
        };
    }
    if facts.complete < facts.replay_to {
        return Stage::Replaying {
            to: facts.replay_to,
            percent: replayed(facts),
        };
    }
    Stage::Live
}

/// How much of the replay is done, in hundredths.
fn replayed(facts: &Facts) -> u64 {
    let (mut done, mut all) = (0, 0);
    for source in facts.sources.values() {
        for (index, to) in source.replay_to.iter().enumerate() {
            let from = source.from.get(index).map_or(0, |from| from.0);
            let to = to.map_or(from, |to| to.0);
            all += to.saturating_sub(from);
            done += source.offset(index).0.min(to).saturating_sub(from);
        }
    }
    (done * 100).checked_div(all).unwrap_or(0)
}

/// What a source's offsets count.
fn unit(pipeline: &Pipeline, table: TableId) -> &'static str {
    let table = &pipeline.tables[table];
    match table.connector.as_str() {
        "file" => unit_of_files(table.option("format")),
        _ => "records",
    }
}

/// What the offsets of files of a format count.
pub(super) fn unit_of_files(format: Option<&str>) -> &'static str {
    match format {
        Some("parquet") => "rows",
        Some(_) | None => "bytes",
    }
}

/// Where a source and its partitions are.
pub(super) fn source_status(
    pipeline: &Pipeline,
    table: TableId,
    source: &SourceFacts,
) -> SourceStatus {
    let own = unit(pipeline, table);
    let partition = |index: usize| {
        let mark = source.marks.get(&index);
        PartitionStatus {
            name: source.name(index),
            unit: source.unit(index, own).to_owned(),
            offset: source.offset(index).0,
            lag: source.lag(index),
            watermark: mark
                .map_or(Watermark::START, |mark| mark.watermark)
                .to_string(),
            idle: mark.is_some_and(|mark| mark.idle),
            ended: mark.is_some_and(|mark| mark.ended),
        }
    };
    let known = &pipeline.tables[table];
    SourceStatus {
        name: known.name.clone(),
        unit: source.unit_now(own).to_owned(),
        read: 0,
        lag: source.lag_now(),
        watermark: known
            .watermark
            .is_some()
            .then(|| source.watermark.to_string()),
        queued_bytes: source.queued,
        partitions: (0..source.partitions()).map(partition).collect(),
    }
}

/// The operators that hold state, over the workers of this process: rows, bytes and windows.
fn held(facts: &Facts) -> BTreeMap<String, (usize, usize, Option<OpenWindows>)> {
    let mut all: BTreeMap<String, (usize, usize, Option<OpenWindows>)> = BTreeMap::new();
    for size in facts.workers.values().flat_map(|worker| &worker.held) {
        let (rows, bytes, windows) = all.entry(size.operator.clone()).or_default();
        *rows += size.rows;
        *bytes += size.bytes;
        *windows = match (*windows, size.windows) {
            (None, other) | (other, None) => other,
            // Workers share the windows and split the keys.
            (Some(a), Some(b)) => Some(OpenWindows {
                count: a.count.max(b.count),
                next_end: a.next_end.min(b.next_end),
                lateness_us: a.lateness_us,
            }),
        };
    }
    all
}

fn operators(pipeline: &Pipeline, facts: &Facts) -> Vec<OperatorStatus> {
    let held = held(facts);
    let mut seen = BTreeSet::new();
    let nodes = pipeline.nodes.iter().enumerate();
    let named = nodes.flat_map(|(id, node)| {
        let names = held_by(pipeline, id).into_iter();
        names.map(move |name| (id, node, name))
    });
    // Several operators may share what they hold.
    let named = named.filter(|(_, _, name)| seen.insert(name.clone()));
    let status = |(id, node, name): (NodeId, &crate::plan::Node, String)| {
        let &(rows, bytes, windows) = held.get(&name)?;
        let inserts = pipeline.inserts.iter();
        let reads = inserts.filter(|insert| ancestry(pipeline, insert.input).contains(&id));
        let has_windows = matches!(
            &node.operator,
            Operator::Aggregate {
                window: Some(_),
                ..
            }
        );
        Some(OperatorStatus {
            name,
            sinks: reads
                .map(|insert| pipeline.tables[insert.table].name.clone())
                .collect(),
            rows,
            bytes,
            windows: has_windows.then(|| windows.map_or(0, |windows| windows.count)),
            next_end: windows.map(|windows| Watermark::behind(windows.next_end, 0).to_string()),
        })
    };
    named.filter_map(status).collect()
}

fn sinks(pipeline: &Pipeline, facts: &Facts, stage: &Stage, now: Duration) -> Vec<SinkStatus> {
    let zones = zones(pipeline);
    let held = held(facts);
    let status = |(id, table): (TableId, &crate::plan::Table)| {
        let kept = |known: &DestinationFacts| known.tables.iter().position(|t| t.table == id);
        let known = facts.destinations.iter();
        let kept: Vec<_> = known
            .filter_map(|known| Some((known, &known.tables[kept(known)?])))
            .collect();
        // Of several lanes, the one that is waited for.
        let destination = kept.iter().map(|(known, _)| *known);
        let destination =
            destination.min_by_key(|it| (it.away.is_none(), it.busy.is_none(), it.committed));
        let all = gather(pipeline, (id, &zones), facts, &held);
        let place = |table: &TableId| place(pipeline, *table, facts);
        let sight = Sight {
            stage,
            now,
            destination,
            sources: all.sources.keys().filter_map(place).collect(),
            next: all.next,
            on_close: all.on_close,
            fates: all.sources.values().fold(Fates::default(), plus),
            is_letters: all.sources.is_empty(),
        };
        let waits_for = waits_for(&sight);
        let fates = all.sources.iter();
        SinkStatus {
            name: table.name.clone(),
            destination: destination.map_or_else(String::new, |known| known.name.clone()),
            sources: fates
                .map(|(&source, &fates)| fate_status(pipeline, source, fates))
                .collect(),
            waiting: all.waiting,
            windows: all.windows,
            upserts: kept.iter().map(|(_, rows)| rows.upserts).sum(),
            deletes: kept.iter().map(|(_, rows)| rows.deletes).sum(),
            waits_for,
        }
    };
    let tables = pipeline.tables.iter().enumerate();
    let sinks = tables.filter(|(_, table)| table.role == Role::Sink);
    sinks.map(status).collect()
}

fn views(pipeline: &Pipeline, sinks: &[SinkStatus]) -> Vec<ViewStatus> {
    let mut views = Vec::new();
    for insert in &pipeline.inserts {
        let into = &pipeline.tables[insert.table].name;
        let sink = sinks.iter().find(|sink| sink.name == *into);
        views.extend(insert.views.iter().map(|name| ViewStatus {
            name: name.clone(),
            into: into.clone(),
            sources: sink.map_or_else(Vec::new, |sink| sink.sources.clone()),
        }));
    }
    views.sort_by(|a, b| (&a.name, &a.into).cmp(&(&b.name, &b.into)));
    views
}

fn plus(mut all: Fates, more: &Fates) -> Fates {
    all += *more;
    all
}

/// What all INSERTs into one table come to.
#[derive(Default)]
struct Gathered {
    /// What became of the records, by source.
    sources: BTreeMap<TableId, Fates>,
    /// Groups in open windows, and how many windows.
    waiting: usize,
    windows: usize,
    /// The window that closes next.
    next: Option<OpenWindows>,
    /// Rows come when a window closes, and not before.
    on_close: bool,
}

fn gather(
    pipeline: &Pipeline,
    (sink, zones): (TableId, &[Zone]),
    facts: &Facts,
    held: &BTreeMap<String, (usize, usize, Option<OpenWindows>)>,
) -> Gathered {
    let mut all = Gathered::default();
    let inserts = pipeline.inserts.iter().enumerate();
    for (number, insert) in inserts.filter(|(_, insert)| insert.table == sink) {
        for &source in &zones[insert.input].sources {
            let known = facts.sources.get(&source);
            let fates = known.and_then(|known| known.fates.get(&number));
            let sum = all.sources.entry(source).or_default();
            *sum = plus(*sum, fates.unwrap_or(&Fates::default()));
        }
        let (groups, open) = open_windows(pipeline, insert, held);
        all.waiting += groups;
        all.on_close |= comes_on_close(pipeline, insert);
        all.windows += open.map_or(0, |open| open.count);
        all.next = match (all.next, open) {
            (None, other) | (other, None) => other,
            (Some(a), Some(b)) => Some(if a.next_end <= b.next_end { a } else { b }),
        };
    }
    all
}

/// Whether an INSERT's rows come when a window closes, and not before.
fn comes_on_close(pipeline: &Pipeline, insert: &Insert) -> bool {
    ancestry(pipeline, insert.input)
        .into_iter()
        .any(|id| match &pipeline.nodes[id].operator {
            Operator::Aggregate { emit, .. } => *emit == Emit::OnClose,
            Operator::Match { .. } | Operator::Running { .. } | Operator::AsofJoin { .. } => true,
            Operator::Source { .. }
            | Operator::Filter { .. }
            | Operator::Project { .. }
            | Operator::Union { .. }
            | Operator::Unnest { .. }
            | Operator::Lookup { .. }
            | Operator::Window { .. }
            | Operator::OnTime { .. }
            | Operator::Join { .. }
            | Operator::IntervalJoin { .. }
            | Operator::Over { .. }
            | Operator::Latest { .. }
            | Operator::Keep { .. } => false,
        })
}

/// The groups in windows that an INSERT's operators hold, and the window that closes next.
fn open_windows(
    pipeline: &Pipeline,
    insert: &Insert,
    held: &BTreeMap<String, (usize, usize, Option<OpenWindows>)>,
) -> (usize, Option<OpenWindows>) {
    let nodes = ancestry(pipeline, insert.input).into_iter();
    let names = nodes.flat_map(|id| held_by(pipeline, id));
    let mut found = (0, None);
    for &(rows, _, windows) in names.filter_map(|name| held.get(&name)) {
        if let Some(open) = windows {
            found.0 += rows;
            found.1 = Some(open);
        }
    }
    found
}

fn place<'a>(pipeline: &'a Pipeline, table: TableId, facts: &'a Facts) -> Option<Where<'a>> {
    let known = &pipeline.tables[table];
    Some(Where {
        name: &known.name,
        unit: unit(pipeline, table),
        has_event_time: known.watermark.is_some(),
        idle_after: crate::connector::idle_timeout(known),
        facts: facts.sources.get(&table)?,
        stale: facts.away.get(&known.name),
    })
}

fn fate_status(pipeline: &Pipeline, source: TableId, fates: Fates) -> FateStatus {
    FateStatus {
        source: pipeline.tables[source].name.clone(),
        read: fates.read(),
        accepted: fates.accepted,
        filtered: fates.filtered,
        late: fates.late,
        rejected: fates.rejected,
    }
}

fn destinations(facts: &Facts, shared: &Shared, now: Duration) -> Vec<DestinationStatus> {
    let status = |known: &DestinationFacts| {
        let latency = shared.metrics.quantiles(&LATENCY, &[&known.name], now);
        let ago = |last: Duration| now.saturating_sub(last).as_secs_f64();
        DestinationStatus {
            name: known.name.clone(),
            epoch: known.committed.0,
            commits: known.commits,
            away: known.away.as_ref().map(|(_, cause)| cause.clone()),
            last_commit_seconds: known.last.map(ago),
            latency_seconds: latency.map(|all| all.iter().map(Duration::as_secs_f64).collect()),
            ..DestinationStatus::default()
        }
    };
    facts.destinations.iter().map(status).collect()
}
