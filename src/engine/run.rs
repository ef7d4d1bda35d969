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
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{info, warn};

use super::committer::{CrashPoint, commit, failed};
use super::crew::Crew;
use super::feed::{Feed, Reading};
use super::intake::Intake;
use super::keeper::{Keeper, KeeperSpec, Word};
use super::live_feed::LiveFeed;
use super::meter::{Seen, announce};
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
use crate::durability::{
    Beginning, Manifest, Refusal, Resume, Snapshots, Store, first_positions, resume,
};
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
    /// Whether what the sources hold now is all that is read.
    pub until_caught_up: bool,
    /// What the end of the input means.
    pub at_end: AtEnd,
    /// Where snapshots are kept, if not beside the pipeline.
    pub state: Option<PathBuf>,
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
    /// Where each partition ends for this run, if it goes on and this run does not.
    ends: Option<Vec<Offset>>,
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
    let snapshots = open_snapshots(&pipeline, options, &destinations)?;
    let taken = take_over(
        &pipeline,
        options,
        &mut destinations,
        (&sources, &references),
        snapshots.as_ref(),
    )?;
    let Taken {
        marks,
        life,
        resume,
        start,
        begin,
    } = taken;
    let threads = options.threads.unwrap_or_else(|| default_workers(&sources));
    let crew = Crew::alone(threads);
    let queue_bytes = pipeline.settings.queue_bytes / sources.len().max(1);
    let fates = begin.iter().flat_map(|manifest| &manifest.facts.fates);
    let fates = known_fates(&pipeline, fates);
    for &(insert, table, fates) in &fates {
        shared.count(insert, table, fates);
    }
    let crash = Arc::new(CrashPoint::new(options.crash_at));
    let (keeper, keeping) = snapshots
        .map(|snapshots| {
            let spec = KeeperSpec {
                fingerprint: pipeline.fingerprint.clone(),
                life,
                parts: stateful(&pipeline) * crew.workers(),
                destinations: destinations.len(),
                interval: pipeline.settings.snapshot_interval,
            };
            Keeper::start(snapshots, begin, spec, &crash, (shared, &clock))
        })
        .unzip();
    announce(
        &pipeline,
        &sources.iter().map(OpenedSource::seen).collect::<Vec<_>>(),
        (&start, resume.stops.last()),
        &seen_destinations(&destinations, &marks),
        &fates,
        (shared, &clock),
    );
    let feed = |source: &OpenedSource| source.feed(&start, crew, queue_bytes, (shared, &clock));
    let feeds: Vec<Arc<dyn Reading>> = sources.iter().map(feed).collect();
    let (lines, committers) = committers(
        destinations,
        &marks,
        &crash,
        keeper.as_ref(),
        (shared, &clock),
    );
    let readers = readers(&feeds, threads);
    let placed = placed(&pipeline, &lines);
    let plan = Arc::new(WorkerPlan {
        zones: zones(&pipeline),
        indexes,
        feeds,
        crew,
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
        keeper: keeper.clone(),
        fates,
        clock: clock.clone(),
        shared: Arc::clone(shared),
        pipeline,
    });
    let outcome = execute(&plan, threads);
    plan.feeds.iter().for_each(|feed| feed.close());
    // The committing threads end when the last line to them is gone.
    plan.lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    join(readers.into_iter().chain(committers), shared);
    if let Some(keeper) = &keeper {
        keeper.close();
    }
    join(keeping, shared);
    shared.board.write(|facts| facts.ended = true);
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

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>, shared: &Shared) {
    for thread in threads {
        if thread.join().is_err() {
            shared.fail(Failure::new("a thread of the run panicked"));
        }
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
        let ends = source
            .live()
            .filter(|_| options.until_caught_up)
            .map(|live| live.ends())
            .transpose()
            .map_err(|error| failed(&format!("cannot find where `{}` ends", table.name), error))?;
        Ok(OpenedSource {
            table: id,
            name: table.name.clone(),
            ends,
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

/// Where the sources begin, and what their partitions are: a source that goes on began where its
/// first run said.
fn beginnings(sources: &[OpenedSource], marks: &[Mark]) -> Result<Beginning, Failure> {
    let mut beginnings = Beginning::default();
    for source in sources {
        let Some(live) = source.source.live() else {
            let beginning = beginning(&*source.source);
            beginnings.sources.insert(source.name.clone(), beginning);
            continue;
        };
        beginnings.growing.insert(source.name.clone());
        let first = match first_positions(&source.name, marks) {
            Some(known) => known,
            None => {
                let message = format!("cannot find where `{}` begins", source.name);
                let offsets = live.beginning().map_err(|error| failed(&message, error))?;
                let marks = offsets.into_iter().map(PartitionMark::beginning);
                SourceMark {
                    partitions: source.partitions.iter().cloned().zip(marks).collect(),
                    watermark: Watermark::START,
                }
            }
        };
        beginnings.sources.insert(source.name.clone(), first);
    }
    Ok(beginnings)
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

/// What taking over came to.
struct Taken {
    /// What each destination holds.
    marks: Vec<Mark>,
    life: u64,
    resume: Resume,
    /// Where the sources begin, and the reference tables.
    start: BTreeMap<String, SourceMark>,
    /// The snapshot that holds the state there.
    begin: Option<Manifest>,
}

/// Takes every destination over, decides what to replay, and gives a first mark to those that
/// have none: from here on the start positions are decided.
fn take_over(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &mut [Sink],
    (sources, references): (&[OpenedSource], &BTreeMap<String, SourceMark>),
    snapshots: Option<&Snapshots>,
) -> Result<Taken, Failure> {
    let marks = if options.fresh {
        Vec::new()
    } else {
        peek(sinks)?
    };
    let mut beginning = beginnings(sources, &marks)?;
    beginning.sources.extend(references.clone());
    let decide = |done, marks: &[Mark]| {
        resume(&pipeline.fingerprint, &beginning, done, marks)
            .map_err(|refusal| refused(&pipeline.name, &refusal))
    };
    // A start that cannot resume ends before it takes anything over: taking over fences whoever
    // publishes there now.
    for mark in &marks {
        decide(Epoch(0), std::slice::from_ref(mark))?;
    }
    let incarnation = random();
    let found = take_over_all(sinks, incarnation, options.fresh)?;
    if let Some(snapshots) = snapshots.filter(|_| options.fresh) {
        let message = "could not delete the snapshots of an earlier life";
        snapshots
            .clear()
            .map_err(|error| Failure::new(message).because(error))?;
    }
    let known: Vec<Mark> = found.iter().flatten().cloned().collect();
    let begin = snapshots
        .map(|snapshots| newest(snapshots, pipeline, sinks, &found))
        .transpose()?
        .flatten();
    let done = begin.as_ref().map_or(Epoch(0), |begin| begin.facts.epoch);
    let resume = decide(done, &known)?;
    let life = known.iter().map(|mark| mark.life).max();
    let first = Mark {
        generation: resume.generation,
        incarnation,
        life: life.unwrap_or_else(random),
        epoch: Epoch(0),
        fingerprint: pipeline.fingerprint.clone(),
        sources: beginning.sources,
    };
    let mut marks = Vec::new();
    for (Sink { open, .. }, mark) in sinks.iter_mut().zip(found) {
        marks.push(first_mark(open, mark, &first, done)?);
    }
    let mut start = first.sources;
    for (name, source) in begin.iter().flat_map(|begin| &begin.facts.sources) {
        let known = start.entry(name.clone()).or_default();
        known.partitions.extend(source.partitions.clone());
        known.watermark = source.watermark;
    }
    Ok(Taken {
        marks,
        life: first.life,
        resume,
        start,
        begin,
    })
}

fn take_over_all(
    sinks: &mut [Sink],
    incarnation: u64,
    fresh: bool,
) -> Result<Vec<Option<Mark>>, Failure> {
    let take_over = |Sink { open, .. }: &mut Sink| {
        let emptied = if fresh {
            open.destination.empty()
        } else {
            Ok(())
        };
        let mark = emptied.and_then(|()| open.destination.take_over(incarnation));
        mark.map_err(|error| failed(&format!("cannot take over `{}`", open.name), error))
    };
    sinks.iter_mut().map(take_over).collect()
}

/// The newest snapshot that is whole and that every destination is at or past.
fn newest(
    snapshots: &Snapshots,
    pipeline: &Pipeline,
    sinks: &[Sink],
    found: &[Option<Mark>],
) -> Result<Option<Manifest>, Failure> {
    let keeps_mark = |sink: &&Sink| sink.open.guarantee == Guarantee::ExactlyOnce;
    let held = sinks.iter().zip(found);
    let held = held.filter(|(sink, _)| keeps_mark(sink));
    let held: Vec<Option<Mark>> = held.map(|(_, mark)| mark.clone()).collect();
    let unreadable = |error| Failure::new("could not list the snapshots").because(error);
    for (epoch, manifest) in snapshots.list().map_err(unreadable)? {
        let verified = manifest.and_then(|manifest| {
            let serves = manifest.serves(&pipeline.fingerprint, &held);
            if serves {
                snapshots.verify(&manifest)?;
            }
            Ok(serves.then_some(manifest))
        });
        match verified {
            Ok(Some(manifest)) => {
                info!(%epoch, rows = manifest.rows(), "begins with a snapshot");
                return Ok(Some(manifest));
            }
            Ok(None) => {}
            Err(error) => warn!(%epoch, %error, "cannot use this snapshot; trying an older one"),
        }
    }
    Ok(None)
}

/// The mark of a destination: the one that was there, or the first.
fn first_mark(
    open: &mut OpenDestination,
    found: Option<Mark>,
    first: &Mark,
    done: Epoch,
) -> Result<Mark, Failure> {
    let Some(mark) = found else {
        // What keeps no mark goes on where the state does.
        let first = &Mark {
            epoch: match open.guarantee {
                Guarantee::ExactlyOnce => Epoch(0),
                Guarantee::AtLeastOnce => done,
            },
            ..first.clone()
        };
        let message = format!("could not write the first mark to `{}`", open.name);
        let written = open.destination.publish(first, &[]);
        written.map_err(|error| failed(&message, error))?;
        return Ok(first.clone());
    };
    if open.guarantee == Guarantee::ExactlyOnce && mark.epoch > Epoch(0) {
        info!(destination = open.name, epoch = %mark.epoch, "resumes");
    }
    Ok(mark)
}

/// The marks that are there, nothing being taken over.
fn peek(sinks: &[Sink]) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    for Sink { open, .. } in sinks {
        let mark = open.destination.peek();
        let message = format!("cannot read the mark of `{}`", open.name);
        marks.extend(mark.map_err(|error| failed(&message, error))?);
    }
    Ok(marks)
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

/// Where the pipeline's snapshots are. Without a destination that keeps a mark there are none: no
/// run could begin with one.
fn open_snapshots(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &[Sink],
) -> Result<Option<Snapshots>, Failure> {
    let keeps_mark = |sink: &Sink| sink.open.guarantee == Guarantee::ExactlyOnce;
    if !sinks.iter().any(keeps_mark) {
        return Ok(None);
    }
    let folder = state_folder(pipeline, &options.base, options.state.as_deref());
    Ok(Some(Snapshots::new(Store::at(&folder))))
}

/// The folder of a pipeline's snapshots.
#[must_use]
pub fn state_folder(pipeline: &Pipeline, base: &Path, given: Option<&Path>) -> PathBuf {
    let root = given.map_or_else(|| base.join(".tidemark"), Path::to_owned);
    root.join(pipeline.name.replace('/', "_"))
}

/// How many operators keep state.
fn stateful(pipeline: &Pipeline) -> usize {
    let zones = zones(pipeline);
    let keeps = |(id, node): &(usize, &crate::plan::Node)| {
        !zones[*id].at_source && node.operator.keeps_state()
    };
    pipeline.nodes.iter().enumerate().filter(keeps).count()
}

/// The fates that a snapshot knows, by the tables of this plan.
fn known_fates<'a>(
    pipeline: &Pipeline,
    fates: impl Iterator<Item = &'a (usize, String, Fates)>,
) -> Vec<(usize, TableId, Fates)> {
    let known = fates.filter_map(|(insert, name, fates)| {
        let table = pipeline.tables.iter().position(|table| table.name == *name);
        Some((*insert, table?, *fates))
    });
    known.collect()
}

/// A number that no other start has.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // SQLite and JSON hold it as a signed or floating number elsewhere: keep it in 53 bits.
    RandomState::new().hash_one(std::process::id()) >> 11
}

fn default_workers(sources: &[OpenedSource]) -> usize {
    let partitions: usize = sources.iter().map(|source| source.partitions.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    partitions.clamp(1, cores)
}

fn readers(feeds: &[Arc<dyn Reading>], threads: usize) -> Vec<JoinHandle<()>> {
    let all = feeds
        .iter()
        .flat_map(|feed| (0..threads).map(move |thread| (feed, thread)));
    let spawn = |(feed, thread): (&Arc<dyn Reading>, usize)| {
        let feed = Arc::clone(feed);
        spawn_named(&format!("read-{thread}"), move || feed.read(thread))
    };
    all.map(spawn).collect()
}

fn seen_destinations<'a>(
    sinks: &[Sink],
    marks: &'a [Mark],
) -> Vec<(String, Vec<TableId>, &'a Mark)> {
    let seen =
        |(sink, mark): (&Sink, &'a Mark)| (sink.open.name.clone(), sink.tables.clone(), mark);
    sinks.iter().zip(marks).map(seen).collect()
}

type Lines = Vec<((String, Vec<TableId>), Line)>;

fn committers(
    sinks: Vec<Sink>,
    marks: &[Mark],
    crash: &Arc<CrashPoint>,
    keeper: Option<&Arc<Keeper>>,
    (shared, clock): (&Arc<Shared>, &Clock),
) -> (Lines, Vec<JoinHandle<()>>) {
    let start = |(destination, Sink { open, tables }): (usize, Sink)| {
        let (sender, jobs) = sync_channel(COMMITS_AHEAD);
        let (line, receipt) = Line::new(sender);
        let (shared, crash, clock) = (Arc::clone(shared), Arc::clone(crash), clock.clone());
        let name = open.name.clone();
        let (held, keeper) = (marks[destination].epoch, keeper.cloned());
        let durable = move |epoch| {
            if let Some(keeper) = &keeper {
                keeper.tell(Word::Durable { destination, epoch });
            }
        };
        let thread = spawn_named("commit", move || {
            commit(
                &open.name,
                open.destination,
                &jobs,
                &receipt,
                &shared,
                &crash,
                &clock,
                (held, durable),
            );
        });
        (((name, tables), line), thread)
    };
    sinks.into_iter().enumerate().map(start).unzip()
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
    fn feed(
        &self,
        start: &BTreeMap<String, SourceMark>,
        crew: Crew,
        queue_bytes: usize,
        (shared, clock): (&Arc<Shared>, &Clock),
    ) -> Arc<dyn Reading> {
        let (source, intake) = (Arc::clone(&self.source), self.intake.clone());
        let partitions = &start[&self.name].partitions;
        let known = self
            .partitions
            .iter()
            .map_while(|name| partitions.get(name));
        let from: Vec<Offset> = known.map(|mark| mark.offset).collect();
        if self.source.live().is_none() {
            let feed = Feed::new(&self.name, source, intake, &from, crew, Arc::clone(shared));
            return Arc::new(feed);
        }
        let ends = self.ends.clone();
        let world = (Arc::clone(shared), clock.clone());
        Arc::new(LiveFeed::new(
            &self.name,
            (source, intake),
            &from,
            ends,
            crew,
            queue_bytes,
            world,
        ))
    }

    fn seen(&self) -> Seen {
        let partitions = Arc::clone(&self.partitions);
        (self.table, partitions, Arc::clone(&self.source))
    }

    fn length(&self) -> Option<u64> {
        self.source
            .partitions()
            .iter()
            .map(|partition| partition.length)
            .sum()
    }

    fn placed(&self) -> super::worker::PlacedSource {
        super::worker::PlacedSource {
            is_live: self.source.live().is_some(),
            goes_on: self.source.live().is_some() && self.ends.is_none(),
            table: self.table,
            name: self.name.clone(),
            partitions: Arc::clone(&self.partitions),
        }
    }
}
