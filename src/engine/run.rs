//! One run of a pipeline, start to end: the life of a record is wired here, in its order.
//!
//! ```text
//!   open    sources, reference tables, destinations
//!   take    every destination over: its mark says what it holds
//!   resume  marks ──▶ what to replay, where each partition begins
//!   read    threads: partitions ──▶ decoded, checked arrivals
//!   work    workers: stamp, compute, exchange, state, seal       (dataflow::render)
//!   commit  one thread per destination: rows and mark, one transaction per epoch
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::info;

use super::committer::{CrashPoint, commit, failed};
use super::feed::Feed;
use super::intake::Intake;
use super::reference;
use super::threads::spawn_named;
use super::worker::{Placed, WorkerPlan, work};
use crate::connector::{Guarantee, OpenDestination, Source, open_destinations, open_source};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::publish::{Line, PublishSpec};
use crate::dataflow::schedule::Stop;
use crate::dataflow::seal::Lane;
use crate::dataflow::source::{AtEnd, Pace};
use crate::dataflow::zones::zones;
use crate::durability::{Refusal, Resume, resume};
use crate::plan::{Pipeline, Role, TableId};
use crate::types::{Clock, Epoch, Fates, Mark, Offset, PartitionMark, SourceMark, Watermark};

/// How many committed epochs may wait for a destination's thread.
const COMMITS_AHEAD: usize = 4;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads; by default as many as partitions or cores, whichever is fewer.
    pub threads: Option<usize>,
    /// What relative paths in the file are relative to.
    pub base: PathBuf,
    /// When epochs close, if not by `commit.interval`.
    pub pace: Option<Pace>,
    /// Ends the process at this commit: for tests of what survives.
    pub crash_at: Option<u64>,
    /// What the end of the input means.
    pub at_end: AtEnd,
    /// Empties this pipeline's tables and marks first.
    pub fresh: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What became of the records, by INSERT and source.
    pub fates: BTreeMap<(usize, TableId), Fates>,
    /// Transactions committed.
    pub commits: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A source, opened.
struct OpenedSource {
    table: TableId,
    name: String,
    intake: Intake,
    source: Arc<dyn Source>,
    partitions: Arc<Vec<String>>,
}

/// Runs `pipeline` until its input ends or `shared` is asked to stop.
pub fn run(
    pipeline: Arc<Pipeline>,
    options: &RunOptions,
    shared: &Arc<Shared>,
) -> Result<Summary, Failure> {
    let clock = Clock::machine();
    let sources = open_sources(&pipeline, options, &clock)?;
    let (indexes, references) = reference::load(&pipeline, &options.base, &clock)?;
    let mut destinations = open_sinks(&pipeline, options)?;
    for source in &sources {
        shared.has_length(source.table, source.length());
    }
    let mut start = start_of(&sources);
    start.extend(references.clone());
    let (marks, resume) = take_over(&pipeline, options, &mut destinations, &start)?;

    let workers = options.threads.unwrap_or_else(|| default_workers(&sources));
    let feeds = feeds(&sources, workers, shared);
    let (lines, committers) = committers(destinations, options, shared);
    let readers = readers(&feeds, workers);
    let placed = placed(&pipeline, &lines);
    let plan = Arc::new(WorkerPlan {
        zones: zones(&pipeline),
        indexes,
        feeds,
        stops: stops(&sources, &resume),
        start: sources
            .iter()
            .map(|source| start[&source.name].clone())
            .collect(),
        sources: sources.iter().map(OpenedSource::placed).collect(),
        pace: options
            .pace
            .unwrap_or(Pace::Interval(pipeline.settings.commit_interval)),
        at_end: options.at_end,
        specs: specs(&pipeline, (&sources, &references), &lines, marks),
        lines: Mutex::new(lines.into_iter().map(|(_, line)| Some(line)).collect()),
        placed,
        resume,
        clock: clock.clone(),
        shared: Arc::clone(shared),
        pipeline,
    });
    let outcome = execute(&plan, workers);
    plan.feeds.iter().for_each(|feed| feed.close());
    // The committing threads end when the last line to them is gone.
    plan.lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    for thread in readers.into_iter().chain(committers) {
        if thread.join().is_err() {
            shared.fail(Failure::new("a thread of the run panicked"));
        }
    }
    outcome?;
    match shared.failure() {
        Some(failure) => Err(failure),
        None => Ok(Summary {
            fates: shared.fates(),
            commits: shared.commits(),
            elapsed: clock.elapsed(),
        }),
    }
}

fn execute(plan: &Arc<WorkerPlan>, workers: usize) -> Result<(), Failure> {
    let config = match workers {
        1 => timely::Config::thread(),
        _ => timely::Config::process(workers),
    };
    let plan = Arc::clone(plan);
    let guards = timely::execute(config, move |worker| work(&plan, worker))
        .map_err(|error| Failure::new("could not start the workers").because(error))?;
    for result in guards.join() {
        result.map_err(|error| Failure::new("a worker panicked").because(error))?;
    }
    Ok(())
}

fn open_sources(
    pipeline: &Pipeline,
    options: &RunOptions,
    clock: &Clock,
) -> Result<Vec<OpenedSource>, Failure> {
    let open = |(id, columns): (TableId, &[usize])| {
        let table = &pipeline.tables[id];
        let intake = Intake::new(table, columns);
        let source = open_source(table, &intake.decoded, &options.base, clock)
            .map_err(|error| failed(&format!("cannot read `{}`", table.name), error))?;
        let names = source
            .partitions()
            .iter()
            .map(|partition| partition.name.clone());
        Ok(OpenedSource {
            table: id,
            name: table.name.clone(),

            intake,
            partitions: Arc::new(names.collect()),
            source,
        })
    };
    pipeline.sources().map(open).collect()
}

fn open_sinks(pipeline: &Pipeline, options: &RunOptions) -> Result<Vec<Sink>, Failure> {
    let ids: Vec<TableId> = (0..pipeline.tables.len())
        .filter(|&table| pipeline.tables[table].role == Role::Sink)
        .collect();
    let tables: Vec<_> = ids.iter().map(|&id| &pipeline.tables[id]).collect();
    let opened = open_destinations(&pipeline.name, &tables, &options.base)
        .map_err(|error| failed("cannot open the sinks", error))?;
    let sink = |open: OpenDestination| Sink {
        tables: open.tables.iter().map(|&position| ids[position]).collect(),
        open,
    };
    Ok(opened.into_iter().map(sink).collect())
}

/// A destination with its tables, by their ids.
struct Sink {
    open: OpenDestination,
    tables: Vec<TableId>,
}

/// Where the sources begin, and what their partitions are.
fn start_of(sources: &[OpenedSource]) -> BTreeMap<String, SourceMark> {
    let mark = |source: &OpenedSource| (source.name.clone(), beginning(&*source.source));
    sources.iter().map(mark).collect()
}

/// The beginning of every partition of a source, and what the partitions are.
pub(super) fn beginning(source: &dyn Source) -> SourceMark {
    let partitions = source.partitions().iter().map(|partition| {
        let mark = PartitionMark {
            identity: partition.identity.clone(),
            ..PartitionMark::beginning(Offset(0))
        };
        (partition.name.clone(), mark)
    });
    SourceMark {
        partitions: partitions.collect(),
        watermark: Watermark::START,
    }
}

/// Takes every destination over, decides what to replay, and gives a first mark to those that
/// have none: from here on the start positions are decided.
fn take_over(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &mut [Sink],
    start: &BTreeMap<String, SourceMark>,
) -> Result<(Vec<Mark>, Resume), Failure> {
    if !options.fresh {
        refuse_early(pipeline, sinks, start)?;
    }
    let incarnation = incarnation();
    let mut found = Vec::new();
    for Sink { open, .. } in &mut *sinks {
        let message = format!("cannot take over `{}`", open.name);
        if options.fresh {
            open.destination
                .empty()
                .map_err(|error| failed(&message, error))?;
        }
        let mark = open.destination.take_over(incarnation);
        found.push(mark.map_err(|error| failed(&message, error))?);
    }
    let known: Vec<Mark> = found.iter().flatten().cloned().collect();
    let resume = resume(&pipeline.fingerprint, start, &known)
        .map_err(|refusal| refused(&pipeline.name, &refusal))?;
    let mut marks = Vec::new();
    for (Sink { open, .. }, mark) in sinks.iter_mut().zip(found) {
        let first = || Mark {
            generation: resume.generation,
            incarnation,
            epoch: Epoch(0),
            fingerprint: pipeline.fingerprint.clone(),
            sources: start.clone(),
        };
        let mark = match mark {
            Some(mark) => mark,
            None => {
                let first = first();
                let message = format!("could not write the first mark to `{}`", open.name);
                let written = open.destination.publish(&first, &[]);
                written.map_err(|error| failed(&message, error))?;
                first
            }
        };
        if open.guarantee == Guarantee::ExactlyOnce && mark.epoch > Epoch(0) {
            info!(destination = open.name, epoch = %mark.epoch, "resumes");
        }
        marks.push(mark);
    }
    Ok((marks, resume))
}

/// A start that cannot resume ends before it takes anything over: taking over fences whoever
/// publishes there now.
fn refuse_early(
    pipeline: &Pipeline,
    sinks: &[Sink],
    start: &BTreeMap<String, SourceMark>,
) -> Result<(), Failure> {
    let mut marks = Vec::new();
    for Sink { open, .. } in sinks {
        let mark = open.destination.peek();
        let message = format!("cannot read the mark of `{}`", open.name);
        marks.extend(mark.map_err(|error| failed(&message, error))?);
    }
    for mark in &marks {
        resume(&pipeline.fingerprint, start, std::slice::from_ref(mark))
            .map_err(|refusal| refused(&pipeline.name, &refusal))?;
    }
    Ok(())
}

fn refused(pipeline: &str, refusal: &Refusal) -> Failure {
    let hint = match refusal {
        Refusal::OtherPlan { .. } => {
            "restore the earlier file, or start over with --fresh, which empties its tables"
        }
        Refusal::PartitionGone { .. }
        | Refusal::PartitionNew { .. }
        | Refusal::PartitionChanged { .. } => {
            "put the files back as they were, or start over with --fresh, which empties its tables"
        }
    };
    Failure::new(format!("cannot resume `{pipeline}`"))
        .because(refusal)
        .hint(hint)
}

/// A number that no other start has.
fn incarnation() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // SQLite and JSON hold it as a signed or floating number elsewhere: keep it in 53 bits.
    RandomState::new().hash_one(std::process::id()) >> 11
}

fn default_workers(sources: &[OpenedSource]) -> usize {
    let partitions: usize = sources.iter().map(|source| source.partitions.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    partitions.clamp(1, cores)
}

fn feeds(sources: &[OpenedSource], workers: usize, shared: &Arc<Shared>) -> Vec<Arc<Feed>> {
    let feed = |opened: &OpenedSource| {
        let OpenedSource {
            name,
            source,
            intake,
            partitions,
            ..
        } = opened;
        let start = vec![Offset(0); partitions.len()];
        let (source, shared) = (Arc::clone(source), Arc::clone(shared));
        Arc::new(Feed::new(
            name,
            source,
            intake.clone(),
            &start,
            workers,
            shared,
        ))
    };
    sources.iter().map(feed).collect()
}

fn readers(feeds: &[Arc<Feed>], workers: usize) -> Vec<JoinHandle<()>> {
    let threads = feeds
        .iter()
        .flat_map(|feed| (0..workers).map(move |index| (feed, index)));
    let spawn = |(feed, index): (&Arc<Feed>, usize)| {
        let feed = Arc::clone(feed);
        spawn_named(&format!("read-{index}"), move || feed.read())
    };
    threads.map(spawn).collect()
}

type Lines = Vec<((String, Vec<TableId>), Line)>;

fn committers(
    sinks: Vec<Sink>,
    options: &RunOptions,
    shared: &Arc<Shared>,
) -> (Lines, Vec<JoinHandle<()>>) {
    let crash = Arc::new(CrashPoint::new(options.crash_at));
    let start = |Sink { open, tables }: Sink| {
        let (sender, jobs) = sync_channel(COMMITS_AHEAD);
        let (line, receipt) = Line::new(sender);
        let (shared, crash) = (Arc::clone(shared), Arc::clone(&crash));
        let name = open.name.clone();
        let thread = spawn_named("commit", move || {
            commit(
                &open.name,
                open.destination,
                &jobs,
                &receipt,
                &shared,
                &crash,
            );
        });
        (((name, tables), line), thread)
    };
    sinks.into_iter().map(start).unzip()
}

/// Which destination and lane each sink table is.
fn placed(pipeline: &Pipeline, lines: &Lines) -> BTreeMap<String, Placed> {
    let mut placed = BTreeMap::new();
    for (destination, ((_, tables), _)) in lines.iter().enumerate() {
        for (lane, &table) in tables.iter().enumerate() {
            placed.insert(
                pipeline.tables[table].name.clone(),
                Placed { destination, lane },
            );
        }
    }
    placed
}

fn stops(sources: &[OpenedSource], resume: &Resume) -> Vec<Vec<Stop>> {
    let of = |source: &OpenedSource| {
        let stop = |mark: &Mark| {
            let known = mark.sources.get(&source.name);
            let place = |name: &String| known.and_then(|known| known.partitions.get(name)).cloned();
            Stop {
                epoch: mark.epoch,
                partitions: source.partitions.iter().map(place).collect(),
                watermark: known.map_or(Watermark::START, |known| known.watermark),
            }
        };
        resume.stops.iter().map(stop).collect()
    };
    sources.iter().map(of).collect()
}

fn specs(
    pipeline: &Pipeline,
    (sources, references): (&[OpenedSource], &BTreeMap<String, SourceMark>),
    lines: &Lines,
    marks: Vec<Mark>,
) -> Vec<(String, PublishSpec)> {
    let sources: BTreeMap<_, _> = sources
        .iter()
        .map(|source| {
            (
                source.table,
                (source.name.clone(), Arc::clone(&source.partitions)),
            )
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
    let spec = |(((name, tables), _), mark): (&((String, Vec<TableId>), Line), Mark)| {
        let lanes = tables.iter().map(lane).collect();
        (
            name.clone(),
            PublishSpec {
                lanes,
                mark,
                references: references.clone(),
                sources: sources.clone(),
            },
        )
    };
    lines.iter().zip(marks).map(spec).collect()
}

impl OpenedSource {
    fn length(&self) -> Option<u64> {
        self.source
            .partitions()
            .iter()
            .map(|partition| partition.length)
            .sum()
    }

    fn placed(&self) -> super::worker::PlacedSource {
        super::worker::PlacedSource {
            table: self.table,
            name: self.name.clone(),
            partitions: Arc::clone(&self.partitions),
        }
    }
}
