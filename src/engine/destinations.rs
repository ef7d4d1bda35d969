//! The destinations of a run: the threads that commit to them, and what the workers know of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use super::committer::{Commits, CrashPoint, commit};
use super::keeper::{Keeper, Word};
use super::open::Sink;
use super::threads::spawn_named;
use super::worker::{Placed, PlacedSource};
use crate::dataflow::outcome::Shared;
use crate::dataflow::publish::{Line, MarkedSource, PublishSpec};
use crate::dataflow::seal::Lane;
use crate::plan::{Pipeline, TableId};
use crate::types::{Clock, Mark, SourceMark};

/// How many committed epochs may wait for a destination's thread.
const COMMITS_AHEAD: usize = 4;

/// Starts a thread per destination. A line leads to each.
pub fn committers(
    sinks: Vec<Sink>,
    marks: &[Mark],
    crash: &Arc<CrashPoint>,
    keeper: Option<&Arc<Keeper>>,
    (shared, clock): (&Arc<Shared>, &Clock),
) -> (Vec<Line>, Vec<JoinHandle<()>>) {
    let start = |(destination, Sink { open, .. }): (usize, Sink)| {
        let (sender, jobs) = sync_channel(COMMITS_AHEAD);
        let (line, receipt) = Line::new(sender);
        let (shared, crash, clock) = (Arc::clone(shared), Arc::clone(crash), clock.clone());
        let keeper = keeper.cloned();
        let durable = move |epoch| {
            if let Some(keeper) = &keeper {
                keeper.tell(Word::Durable { destination, epoch });
            }
        };
        let commits = Commits {
            name: open.name,
            destination: open.destination,
            jobs,
            receipt,
            held: marks[destination].epoch,
            durable: Box::new(durable),
        };
        let thread = spawn_named("commit", move || commit(commits, (&shared, &clock), &crash));
        (line, thread)
    };
    sinks.into_iter().enumerate().map(start).unzip()
}

/// Which destination and lane each sink table is; the last of those that share its rows.
pub fn placed(pipeline: &Pipeline, sinks: &[Sink]) -> BTreeMap<String, Placed> {
    let mut placed = BTreeMap::new();
    for (destination, sink) in sinks.iter().enumerate() {
        for (lane, &table) in sink.tables.iter().enumerate() {
            placed.insert(
                pipeline.tables[table].name.clone(),
                Placed { destination, lane },
            );
        }
    }
    placed
}

/// What the publisher of each destination knows from the start, with its name.
pub fn specs(
    pipeline: &Pipeline,
    (sources, references): (&[PlacedSource], &BTreeMap<String, SourceMark>),
    sinks: &[Sink],
    marks: &[Mark],
) -> Vec<(String, PublishSpec)> {
    let sources: BTreeMap<_, _> = sources
        .iter()
        .map(|source| {
            let marked = MarkedSource {
                name: source.name.clone(),
                partitions: Arc::clone(&source.partitions),
                identity: source.identity.clone(),
                decoding: source.decoding.clone(),
            };
            (source.table, marked)
        })
        .collect();
    let lane = |&table: &TableId| {
        let table = &pipeline.tables[table];
        Lane {
            name: table.name.clone(),
            schema: table.schema(),
            key: table.primary_key.clone(),
        }
    };
    let spec = |(sink, mark): (&Sink, &Mark)| {
        let lanes = sink.tables.iter().map(lane).collect();
        (
            sink.open.name.clone(),
            PublishSpec {
                lanes,
                mark: mark.clone(),
                references: references.clone(),
                sources: sources.clone(),
                share: sink.open.share,
            },
        )
    };
    sinks.iter().zip(marks).map(spec).collect()
}
