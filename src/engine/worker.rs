//! One worker's life: builds its part of the dataflow, then steps until all is committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use timely::dataflow::operators::probe::Handle;
use timely::worker::Worker;
use tracing::{debug, warn};

use super::align::{Alignment, Brake};
use super::crew::Crew;
use super::feed::Reading;
use super::keeper::{Keeper, Word};
use super::mesh::Steps;
use super::meter::Meter;
use crate::connector::{idle_timeout, reject_limit, skips_lost};
use crate::dataflow::arrival::Inbox;
use crate::dataflow::chain::{Chain, Indexes};
use crate::dataflow::outcome::Shared;
use crate::dataflow::publish::{Line, Publish, PublishSpec};
use crate::dataflow::render::{DestinationPart, Parts, SourcePart, positions_needed, render};
use crate::dataflow::report::Positions;
use crate::dataflow::schedule::{Schedule, Stop};
use crate::dataflow::shell::Address;
use crate::dataflow::source::{AtEnd, Followed, Pace, SourceSpec, SourceTask, Start};
use crate::dataflow::state::{State, Vault};
use crate::dataflow::tide::Tide;
use crate::dataflow::zones::Zone;
use crate::durability::{Facts, Resume};
use crate::plan::{Pipeline, TableId};
use crate::types::{Clock, Epoch, Fates, PartitionMark, SourceMark};

/// How long a worker that nobody wakes sleeps before it looks whether the run has failed.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What all workers of a run are built from.
pub struct WorkerPlan {
    /// The plan.
    pub pipeline: Arc<Pipeline>,
    /// Where its nodes run.
    pub zones: Vec<Zone>,
    /// The reference tables.
    pub indexes: Indexes,
    /// The sources, in the order of the plan.
    pub sources: Vec<PlacedSource>,
    /// Where their arrivals come from.
    pub feeds: Vec<Arc<dyn Reading>>,
    /// Who works.
    pub crew: Crew,
    /// How often each worker of this process turned.
    pub steps: Arc<Steps>,
    /// Where their replay stops.
    pub stops: Vec<Vec<Stop>>,
    /// Where their partitions begin.
    pub start: Vec<SourceMark>,
    /// What survived.
    pub resume: Resume,
    /// When epochs close.
    pub pace: Pace,
    /// The sources whose files wait for each other.
    pub aligned: Option<Alignment>,
    /// What the end of the input means.
    pub at_end: AtEnd,
    /// The destinations: their names and what their publishers know.
    pub specs: Vec<(String, PublishSpec)>,
    /// The lines to the committing threads; the home worker takes each.
    pub lines: Mutex<Vec<Option<Line>>>,
    /// Where each sink table is.
    pub placed: BTreeMap<String, Placed>,
    /// Keeps snapshots, where there are any.
    pub keeper: Option<Arc<Keeper>>,
    /// What had become of the records where this run begins.
    pub fates: Vec<(usize, TableId, Fates)>,
    /// Time.
    pub clock: Clock,
    /// What the threads of the run share.
    pub shared: Arc<Shared>,
}

/// A source as all workers know it.
pub struct PlacedSource {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// All its partitions.
    pub partitions: Arc<Vec<String>>,
    /// Which source it is, where that is told.
    pub identity: Option<String>,
    /// How the files of its history become rows.
    pub decoding: BTreeMap<String, String>,
    /// Whether it goes on after this run.
    pub is_live: bool,
    /// Whether event time is told by it, and ends with it: not by a table that is read again.
    pub has_event_time: bool,
    /// Whether it is files in the place of a topic: event time ends with them, whatever is still to be read
    /// of other sources.
    pub is_past: bool,
    /// Whether it has no end in this run: new partitions may come.
    pub goes_on: bool,
    /// Whether all its partitions are to be read, also those that are found only now.
    pub is_whole: bool,
    /// The files that it follows.
    pub history: Option<Followed>,
}

/// Where a sink table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its destination.
    pub destination: usize,
    /// Its place there.
    pub lane: usize,
}

/// Builds and steps one worker until everything is committed, or the run has failed.
pub fn work(plan: &Arc<WorkerPlan>, worker: &mut Worker) {
    let probe = Handle::new();
    let shares = worker.peers() * plan.sources.len().max(1);
    let queue_bytes = plan.pipeline.settings.queue_bytes / shares;
    let (index, peers) = (worker.index(), worker.peers());
    let thread = plan.crew.here(index).expect("it is one of this process");
    let state = State::new(index, peers, plan.vault());
    let counts = plan.sources.iter().map(|s| (s.table, s.partitions.len()));
    let mut tide = Tide::new(Positions::new(counts), plan.resume.done);
    if let (0, Some(keeper)) = (index, &plan.keeper) {
        let (keeper, plan) = (Arc::clone(keeper), Arc::clone(plan));
        let tell = move |epoch, positions: &Positions| {
            keeper.tell(Word::Facts(plan.facts(epoch, positions)));
        };
        tide = tide.with(Box::new(tell));
    }
    let last = tide.clone();
    debug!(worker = index, "restores");
    worker.dataflow_named::<u64, _, _>("pipeline", |scope| {
        let partitions = plan
            .sources
            .iter()
            .map(|s| (s.table, s.partitions.len()))
            .collect();
        let parts = Parts {
            pipeline: &plan.pipeline,
            zones: &plan.zones,
            indexes: &plan.indexes,
            partitions: &partitions,
            shared: &plan.shared,
            sources: plan.source_parts(index, &tide),
            destinations: plan.destination_parts(index),
            state: &state,
            tide,
        };
        render(scope, parts, &probe, queue_bytes);
    });
    debug!(worker = index, "restored");
    if let Some(keeper) = &plan.keeper {
        keeper.restored(plan.crew.threads);
    }
    let mut meter = plan.meter(index, &state, &last);
    let mut passed = Passed::default();
    let aligned = plan.aligned.as_ref().filter(|_| thread == 0);
    let mut brake = aligned.map(|it| Brake::new(it, &plan.feeds));
    while !probe.done() && !plan.shared.has_failed() {
        worker.step_or_park(Some(LOOK_UP));
        passed.tell(plan, thread, &probe);
        if let Some(brake) = &mut brake {
            brake.look(&last);
        }
        plan.steps.turned(thread);
        meter.turn();
    }
    plan.steps.ended(thread);
    meter.end();
    if plan.shared.may_publish() && plan.cuts_at_the_end() {
        let epoch = last.cut_last();
        if let Err(error) = state.cut(epoch) {
            warn!(%error, "could not save the state at the end; the last snapshot stays");
        }
        passed.tell(plan, thread, &probe);
    }
    if plan.shared.has_failed() {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    }
}

/// How far the keeper knows that every operator is.
#[derive(Default)]
struct Passed(Epoch);

impl Passed {
    /// The process's first worker tells the keeper when what was saved last is of an epoch that
    /// every operator has passed: the frontier behind all of them is that of all workers.
    fn tell(&mut self, plan: &WorkerPlan, thread: usize, probe: &Handle<u64>) {
        let (0, Some(keeper)) = (thread, &plan.keeper) else {
            return;
        };
        let saved = keeper.saved_last();
        if saved > self.0 && !probe.less_equal(&saved.0) {
            keeper.tell(Word::Passed(saved));
            self.0 = saved;
        }
    }
}

/// The worker that publishes to a destination: one of process 0.
fn home(destination: usize, crew: Crew) -> usize {
    destination % crew.threads
}

impl WorkerPlan {
    fn vault(&self) -> Option<Arc<dyn Vault>> {
        let keeper = self.keeper.as_ref()?;
        Some(Arc::<Keeper>::clone(keeper))
    }

    /// Whether the next run should find the state of the end: it goes on where this one was, or
    /// would have long to read again.
    fn cuts_at_the_end(&self) -> bool {
        let goes_on = self.sources.iter().any(|source| source.is_live);
        self.keeper.is_some()
            && (goes_on || self.clock.elapsed() > self.pipeline.settings.snapshot_interval)
    }

    fn meter(&self, worker: usize, state: &State, tide: &Tide) -> Meter<'_> {
        let feeds = self.sources.iter().map(|source| source.table);
        let feeds = feeds.zip(self.feeds.iter().cloned()).collect();
        let known = (state.clone(), tide.clone());
        Meter::new((&self.shared, &self.clock), worker, known, feeds)
    }

    /// Where everything stands at the end of an epoch.
    fn facts(&self, epoch: Epoch, positions: &Positions) -> Facts {
        let mark = |source: &PlacedSource| {
            let mark = positions.source_mark(source.table, &source.partitions);
            let mark = SourceMark {
                identity: source.identity.clone(),
                decoding: source.decoding.clone(),
                ..mark
            };
            (source.name.clone(), mark)
        };
        let mut fates: BTreeMap<(usize, TableId), Fates> = BTreeMap::new();
        for &(insert, table, before) in &self.fates {
            *fates.entry((insert, table)).or_default() += before;
        }
        for source in &self.sources {
            for (&insert, &now) in positions.fates(source.table) {
                *fates.entry((insert, source.table)).or_default() += now;
            }
        }
        let named = fates.into_iter().map(|((insert, table), fates)| {
            (insert, self.pipeline.tables[table].name.clone(), fates)
        });
        Facts {
            epoch,
            sources: self.sources.iter().map(mark).collect(),
            fates: named.collect(),
        }
    }

    fn source_parts(&self, worker: usize, tide: &Tide) -> Vec<SourcePart<Box<dyn Inbox>>> {
        let positions = positions_needed(&self.pipeline);
        let inserts = self.pipeline.inserts.iter();
        let names = inserts.map(|insert| self.pipeline.tables[insert.table].name.clone());
        let names: Arc<Vec<String>> = Arc::new(names.collect());
        let part = |(position, source): (usize, &PlacedSource)| {
            let table = &self.pipeline.tables[source.table];
            let (zones, indexes) = (&self.zones, &self.indexes);
            let chain = Chain::new(&self.pipeline, zones, source.table, indexes, &positions);
            let letters = table.option("dead.letter").map(|name| self.placed[name]);
            let lane = |placed: Placed| &self.specs[placed.destination].1.lanes[placed.lane];
            let spec = SourceSpec {
                table: source.table,
                name: source.name.clone(),
                bound_us: table
                    .watermark
                    .as_ref()
                    .map_or(0, |watermark| watermark.bound_us),
                partitions: Arc::clone(&source.partitions),
                letters: letters.map(|placed| Arc::clone(&lane(placed).schema)),
                inserts: Arc::clone(&names),
                pace: self.pace,
                at_end: match (source.has_event_time, source.is_past) {
                    (true, false) => self.at_end,
                    (true, true) => AtEnd::Close,
                    (false, _) => AtEnd::Wait,
                },
                idle_after: idle_timeout(table).filter(|_| source.has_event_time),
                reject_limit: reject_limit(table),
                skips_lost: skips_lost(table),
                goes_on: source.goes_on,
                expected: self.expected(source, worker),
                history: source.history,
                chain: chain.clone(),
            };
            let feed = &self.feeds[position];
            let waker = Arc::clone(feed);
            let thread = self.crew.here(worker).expect("it is one of this process");
            SourcePart {
                table: source.table,
                name: source.name.clone(),
                task: self.task(position, spec, worker, feed, tide),
                edges: chain.edges().collect(),
                letters_to: letters.map(|placed| {
                    let target = home(placed.destination, self.crew);
                    (
                        placed.destination,
                        Address {
                            target,
                            lane: placed.lane,
                        },
                    )
                }),
                waker: Box::new(move |activator| waker.set_waker(thread, activator)),
            }
        };
        self.sources.iter().enumerate().map(part).collect()
    }

    /// How many partitions of a source a worker has, all of which it reads.
    fn expected(&self, source: &PlacedSource, worker: usize) -> usize {
        let all = if source.is_whole {
            source.partitions.len()
        } else {
            0
        };
        let own = (0..all).filter(|&partition| self.crew.owner(partition) == worker);
        own.count()
    }

    fn task(
        &self,
        position: usize,
        spec: SourceSpec,
        worker: usize,
        feed: &Arc<dyn Reading>,
        tide: &Tide,
    ) -> SourceTask<Box<dyn Inbox>> {
        let marks = &self.start[position].partitions;
        let known = spec.partitions.iter().map_while(|name| marks.get(name));
        let own = known.enumerate();
        let own = own.filter(|&(partition, _)| self.crew.owner(partition) == worker);
        let start: BTreeMap<usize, PartitionMark> = own
            .map(|(partition, mark)| (partition, mark.clone()))
            .collect();
        let stops = self.stops[position].clone();
        let schedule = Schedule::new(self.resume.done, stops, self.resume.highest);
        let thread = self.crew.here(worker).expect("it is one of this process");
        let inbox = Arc::clone(feed).inbox(thread);
        let shared = Arc::clone(&self.shared);
        let start = Start {
            partitions: start,
            watermark: self.start[position].watermark,
            tide: tide.clone(),
        };
        SourceTask::new(spec, inbox, start, schedule, shared, self.clock.clone())
    }

    fn destination_parts(self: &Arc<Self>, worker: usize) -> Vec<DestinationPart> {
        let part = |(position, (name, spec)): (usize, &(String, PublishSpec))| {
            let plan = Arc::clone(self);
            let home = home(position, self.crew);
            DestinationPart {
                name: format!("publish {name}"),
                home,
                inserts: self.inserts_of(position),
                share: spec.share,
                core: Box::new(move |waker| {
                    if home != worker {
                        return None;
                    }
                    let mut lines = plan.lines.lock().unwrap_or_else(PoisonError::into_inner);
                    let line = lines[position].take().expect("one home takes it once");
                    let spec = plan.specs[position].1.clone();
                    Some(Publish::new(spec, line, Arc::clone(&plan.shared), waker))
                }),
            }
        };
        self.specs.iter().enumerate().map(part).collect()
    }

    fn inserts_of(&self, destination: usize) -> Vec<(usize, usize)> {
        let lanes = &self.specs[destination].1.lanes;
        let inserts = self.pipeline.inserts.iter().enumerate();
        let inserts = inserts.filter_map(|(position, insert)| {
            let table = &self.pipeline.tables[insert.table].name;
            let lane = lanes.iter().position(|lane| lane.name == *table)?;
            Some((position, lane))
        });
        inserts.collect()
    }
}
