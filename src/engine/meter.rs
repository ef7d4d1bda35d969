//! Writes on the board what a worker, a committing thread and a source's end know: for people.
//!
//! | who | writes |
//! |---|---|
//! | `Meter`, one per worker | that it turns, what its operators hold, how far event time is |
//! | `Tally`, one per destination | what is being committed and was, how old its records were |
//! | `announce`, at the start | who there is; then a thread per topic: where its partitions end |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;

use super::feed::Reading;
use super::open::{OpenedSource, Sink};
use super::start::Decision;
use super::status::unit_of_files;
use super::threads::spawn_named;
use super::worker::PlacedSource;
use crate::connector::{Source, TableChanges};
use crate::dataflow::board::{DestinationFacts, Facts, SourceFacts, TableFacts, WorkerFacts};
use crate::dataflow::outcome::Shared;
use crate::dataflow::publish::Job;
use crate::dataflow::state::State;
use crate::dataflow::tide::Tide;
use crate::metrics;
use crate::plan::{Pipeline, TableId};
use crate::types::{Clock, Epoch, Fates, Mark, Offset, SourceMark};

/// How often a worker writes on the board.
const LOOK: Duration = Duration::from_millis(200);

/// How often the operators are asked for their sizes: that costs a walk through their groups.
const WEIGH: Duration = Duration::from_secs(1);

/// How often a source is asked where it ends.
const ENDS: Duration = Duration::from_secs(2);

/// One worker's.
pub struct Meter<'a> {
    shared: &'a Shared,
    clock: &'a Clock,
    worker: usize,
    state: State,
    tide: Tide,
    feeds: Vec<(TableId, Arc<dyn Reading>)>,
    look_at: Duration,
    weigh_at: Duration,
    known: WorkerFacts,
}

impl<'a> Meter<'a> {
    /// The meter of `worker`.
    pub fn new(
        (shared, clock): (&'a Shared, &'a Clock),
        worker: usize,
        (state, tide): (State, Tide),
        feeds: Vec<(TableId, Arc<dyn Reading>)>,
    ) -> Self {
        Self {
            shared,
            clock,
            worker,
            state,
            tide,
            feeds,
            look_at: Duration::ZERO,
            weigh_at: Duration::ZERO,
            known: WorkerFacts::default(),
        }
    }

    /// The worker has turned once more.
    pub fn turn(&mut self) {
        if self.shared.board.is_watched() {
            let now = self.clock.elapsed();
            if now >= self.look_at {
                self.look_at = now + LOOK;
                self.write(now);
            }
        }
    }

    /// The worker has nothing more to do.
    pub fn end(mut self) {
        self.known.done = true;
        self.weigh_at = Duration::ZERO;
        self.write(self.clock.elapsed());
    }

    fn write(&mut self, now: Duration) {
        if now >= self.weigh_at {
            self.weigh_at = now + WEIGH;
            self.known.held = self.state.sizes();
        }
        self.known.turned = now;
        let known = self.known.clone();
        self.shared.board.write(|facts| {
            facts.workers.insert(self.worker, known);
            facts.reached(&self.tide, now);
            for (table, feed) in &self.feeds {
                if let Some(source) = facts.sources.get_mut(table) {
                    source.queued = feed.queued_bytes();
                    source.caught_up.extend(feed.caught_up());
                }
            }
        });
    }
}

/// One destination's.
pub struct Tally<'a> {
    shared: &'a Shared,
    clock: &'a Clock,
    name: &'a str,
    tables: Vec<String>,
    began: Duration,
}

impl<'a> Tally<'a> {
    /// The tally of the destination `name`.
    pub fn new(shared: &'a Shared, clock: &'a Clock, name: &'a str) -> Self {
        let mut tables = Vec::new();
        shared.board.destination(name, |known| {
            tables = known
                .tables
                .iter()
                .map(|table| table.name.clone())
                .collect();
        });
        shared.metrics.add(&metrics::COMMITS, &[name], 0);
        for table in &tables {
            for change in ["upsert", "delete"] {
                let labels = [name, table, change];
                shared.metrics.add(&metrics::COMMITTED_ROWS, &labels, 0);
            }
        }
        Self {
            shared,
            clock,
            name,
            tables,
            began: Duration::ZERO,
        }
    }

    /// A commit begins.
    pub fn begin(&mut self, epoch: Epoch) {
        self.began = self.clock.elapsed();
        let busy = Some((epoch, self.began));
        self.write(|known| known.busy = busy);
    }

    fn write(&self, write: impl FnOnce(&mut DestinationFacts)) {
        self.shared.board.destination(self.name, write);
    }

    /// The commit is done.
    pub fn done(&self, job: &Job) {
        let (now, wall) = (self.clock.elapsed(), self.clock.wall());
        let took = now.saturating_sub(self.began);
        let metrics = &self.shared.metrics;
        metrics.add(&metrics::COMMITS, &[self.name], 1);
        metrics.observe(&metrics::COMMIT_DURATION, &[self.name], took, 1, now);
        if let Some(witness) = self.shared.witness.get() {
            witness.commit(took, wall, &job.written);
        }
        for (written, count) in job.written.times() {
            let age = u64::try_from(wall.saturating_sub(written)).unwrap_or(0);
            let age = Duration::from_micros(age);
            metrics.observe(&metrics::LATENCY, &[self.name], age, count, now);
        }
        for change in &job.changes {
            let (upserts, deletes) = rows(change);
            let table = self.tables.get(change.table).map_or("", String::as_str);
            for (kind, rows) in [("upsert", upserts), ("delete", deletes)] {
                metrics.add(&metrics::COMMITTED_ROWS, &[self.name, table, kind], rows);
            }
        }
        self.write(|known| {
            known.committed = job.mark.epoch;
            known.commits += 1;
            known.busy = None;
            known.last = Some(now);
            for change in &job.changes {
                let (upserts, deletes) = rows(change);
                if let Some(table) = known.tables.get_mut(change.table) {
                    table.upserts += upserts;
                    table.deletes += deletes;
                }
            }
        });
    }
}

fn rows(change: &TableChanges) -> (u64, u64) {
    let count = |rows: &Option<RecordBatch>| rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
    (count(&change.upserts), count(&change.deletes))
}

/// The run begins: who there is goes on the board. A process that does not write knows no sinks.
pub fn announce(
    pipeline: &Pipeline,
    (sources, placed, sinks): (&[OpenedSource], &[PlacedSource], &[Sink]),
    (decision, fates): (&Decision, &[(usize, TableId, Fates)]),
    (shared, clock): (&Arc<Shared>, &Clock),
) {
    let replay = decision.resume.stops.last();
    let source = |(opened, placed): (&OpenedSource, &PlacedSource)| {
        let names = &placed.partitions;
        let before = fates.iter().filter(|(_, of, _)| *of == opened.table);
        let from = offsets(decision.start.get(&opened.name), names);
        // A generator deals its row numbers out to its partitions.
        let connector = pipeline.tables[opened.table].connector.as_str();
        let is_dealt = ["generator", "nexmark"].contains(&connector);
        let facts = SourceFacts {
            stride: if is_dealt { names.len() as u64 } else { 1 },
            names: Arc::clone(names),
            files: files(opened),
            from: from.into_iter().map(Option::unwrap_or_default).collect(),
            replay_to: offsets(
                replay.and_then(|mark| mark.sources.get(&opened.name)),
                names,
            ),
            ends: opened.ends(decision),
            before: before.map(|&(insert, _, fates)| (insert, fates)).collect(),
            ..SourceFacts::default()
        };
        (opened.table, facts)
    };
    let table = |&table: &TableId| TableFacts {
        table,
        name: pipeline.tables[table].name.clone(),
        ..TableFacts::default()
    };
    let destination = |(sink, mark): (&Sink, &Mark)| DestinationFacts {
        name: sink.open.name.clone(),
        committed: mark.epoch,
        tables: sink.tables.iter().map(table).collect(),
        ..DestinationFacts::default()
    };
    let mut run = 0;
    shared.board.write(|facts| {
        run = facts.run + 1;
        *facts = Facts {
            run,
            clock: Some(clock.clone()),
            begun: true,
            sources: sources.iter().zip(placed).map(source).collect(),
            destinations: sinks.iter().zip(&decision.marks).map(destination).collect(),
            replay_to: replay.map_or(Epoch(0), |mark| mark.epoch),
            generation: decision.resume.generation,
            ..Facts::default()
        };
    });
    // Where a run ends that stops there is known from the start.
    let goes_on = |opened: &&OpenedSource| {
        opened.has_end() && decision.ends.is_none() && shared.board.is_watched()
    };
    for opened in sources.iter().filter(goes_on) {
        let (table, source) = (
            (opened.table, opened.followed()),
            Arc::clone(&opened.source),
        );
        let (shared, clock) = (Arc::clone(shared), clock.clone());
        spawn_named("ends", move || {
            watch_ends(table, &*source, (&shared, &clock), run)
        });
    }
}

/// The places of the files that a topic follows, and what their offsets count.
fn files(opened: &OpenedSource) -> BTreeMap<usize, &'static str> {
    let format = opened.files().and_then(|it| it.decoding.get("format"));
    let unit = unit_of_files(format.map(String::as_str));
    let places = 0..opened.followed();
    places.map(|index| (index, unit)).collect()
}

fn offsets(mark: Option<&SourceMark>, names: &[String]) -> Vec<Option<Offset>> {
    let at = |name: &String| Some(mark?.partitions.get(name)?.offset);
    names.iter().map(at).collect()
}

/// Asks a source that goes on now and then where its partitions end, until the run has ended.
/// Who cannot say it now is asked again later: reading is what waits for a broker, not this.
/// Files that it follows stand before them.
fn watch_ends(
    (table, files): (TableId, usize),
    source: &dyn Source,
    (shared, clock): (&Shared, &Clock),
    run: u64,
) {
    let Some(live) = source.live() else { return };
    while shared.board.runs(run) {
        if let Ok(ends) = live.ends() {
            shared.board.write(|facts| {
                if let Some(known) = facts.sources.get_mut(&table) {
                    known.ends.truncate(files);
                    known.ends.extend(ends.into_iter().map(Some));
                }
            });
        }
        clock.wait_until(clock.elapsed() + ENDS);
    }
}
