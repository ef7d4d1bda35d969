//! One run of a pipeline, start to end: the life of a record is wired here, in its order.
//!
//! ```text
//!   open    sources, reference tables, destinations
//!   decide  take every destination over; marks and snapshots ──▶ where to begin, what to replay
//!   read    threads: partitions ──▶ decoded, checked arrivals
//!   work    workers: stamp, compute, exchange, state, seal       (dataflow::render)
//!   commit  one thread per destination: rows and mark, one transaction per epoch
//!   keep    one thread: snapshots of state
//! ```
//!
//! With several processes, process 0 decides and commits; all of them read and work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, warn};

use super::align::Alignment;
use super::committer::CrashPoint;
use super::crew::Crew;
use super::destinations::{committers, placed, specs};
use super::feed::Reading;
use super::history::pacing;
use super::keeper::{Keeper, KeeperSpec, Others, Word};
use super::mesh::{self, Control, Duty, Link, Member, Steps, Unmet, end_process};
use super::meter::announce;
use super::open::{
    OpenedSource, Sink, default_workers, open_sinks, open_sources, show_progress, stops,
};
use super::options::{Ends, RunOptions};
use super::reference;
use super::start::{Decision, Given, decide, open_snapshots};
use super::threads::spawn_named;
use super::worker::{WorkerPlan, work};
use crate::dataflow::chain::Indexes;
use crate::dataflow::named::held;
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::source::{AtEnd, Pace};
use crate::dataflow::zones::zones;
use crate::durability::Snapshots;
use crate::metrics::RESTARTS;
use crate::plan::{Pipeline, TableId};
use crate::types::{Clock, Fates, SourceMark};

/// How long to wait before a run that failed begins again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What became of the records, by INSERT and source.
    pub fates: BTreeMap<(usize, TableId), Fates>,
    /// What of it was known from a snapshot.
    pub before: BTreeMap<(usize, TableId), Fates>,
    /// Transactions committed.
    pub commits: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Of a run that was asked to stop before it began.
    fn of_nothing(clock: &Clock) -> Self {
        Self {
            elapsed: clock.elapsed(),
            ..Self::default()
        }
    }
}

/// What is opened before anything is decided.
struct Opened {
    sources: Vec<OpenedSource>,
    indexes: Indexes,
    references: BTreeMap<String, SourceMark>,
    sinks: Vec<Sink>,
    snapshots: Option<Arc<Snapshots>>,
    crash: Arc<CrashPoint>,
}

/// Runs `pipeline` until its input ends or `shared` is asked to stop. What may go well when it is
/// begun again is begun again, from what is durable.
pub fn run(
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    shared: &Arc<Shared>,
) -> Result<Summary, Failure> {
    let mut options = options.clone();
    let clock = Clock::machine();
    let mut pause = PAUSE_MIN;
    loop {
        let mut ends = None;
        let begun = |found: Option<&Ends>| ends = found.cloned();
        match once(pipeline, &options, None, begun, shared) {
            Err(failure) if failure.again && !shared.is_stopping() => {
                warn!(cause = failure.message, "begins again from what is durable");
                shared.metrics.add(&RESTARTS, &[], 1);
                // What fails at once would otherwise fail as fast as it can.
                clock.wait_until(clock.elapsed() + pause);
                pause = (pause * 2).min(PAUSE_MAX);
                shared.begin_again();
                options.fresh = false;
                options.ends = ends.or(options.ends);
            }
            outcome => return outcome,
        }
    }
}

/// Runs `pipeline` as one of several processes; process 0 has the summary. What goes wrong ends
/// this process, and with it all others. `running` is called once all have begun, with where the
/// sources end if that was asked for: the next start of the same run is to end there too.
pub fn run_as(
    member: Member,
    running: impl FnOnce(Option<&Ends>),
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    shared: &Arc<Shared>,
) -> Result<Summary, Failure> {
    once(pipeline, options, Some(member), running, shared)
}

fn once(
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    member: Option<Member>,
    running: impl FnOnce(Option<&Ends>),
    shared: &Arc<Shared>,
) -> Result<Summary, Failure> {
    let mut clock = Clock::machine();
    let mut opened = open(pipeline, options, shared, &clock)?;
    let heartbeat = member.as_ref().map(|member| member.heartbeat);
    let (decision, joined) = match member {
        None => (opened.decide(pipeline, options, (shared, &clock))?, None),
        Some(member) => {
            let told = || {
                let decision = opened.decide(pipeline, options, (shared, &clock))?;
                Ok(serde_json::to_vec(&decision).expect("a decision is plain data"))
            };
            debug!("meets the others");
            let joined = match mesh::meet(member, shared, told) {
                Err(Unmet::Stopped) => {
                    // Another process was asked to, and so nothing is done here.
                    shared.stop();
                    return Ok(Summary::of_nothing(&clock));
                }
                joined => joined?,
            };
            let decision = serde_json::from_slice(&joined.orders)
                .map_err(|error| Failure::new("cannot read the decision").because(error))?;
            opened.agrees(&decision)?;
            // Epochs are counted from where all have met, and not from where each began to wait.
            clock = Clock::machine();
            (decision, Some(joined))
        }
    };
    let threads = options.threads.unwrap_or_else(|| match joined {
        None => default_workers(&opened.sources),
        Some(_) => 1,
    });
    let (process, processes) = joined
        .as_ref()
        .map_or((0, 1), |joined| (joined.process, joined.processes));
    let crew = Crew {
        process,
        processes,
        threads,
        before: 0,
    };
    let steps = Arc::new(Steps::new(threads));
    let heard: Arc<OnceLock<Arc<Keeper>>> = Arc::default();
    let (sockets, control) = match joined {
        None => (None, None),
        Some(joined) => {
            let duty = Duty {
                shared: Arc::clone(shared),
                steps: Arc::clone(&steps),
                heartbeat: heartbeat.expect("a member has one"),
                clock: clock.clone(),
                end: Box::new(|failure, code| end_process(failure, code)),
                word: Box::new({
                    let heard = Arc::clone(&heard);
                    move |bytes| hear(&heard, &bytes)
                }),
            };
            let control = Control::start(joined.control, process, duty)?;
            control.exit_on_panic();
            (Some(joined.sockets), Some(control))
        }
    };
    running(decision.ends.as_ref());
    let team = Team {
        crew,
        steps,
        sockets,
        control,
        heard,
    };
    team.run((pipeline, options), opened, decision, (shared, &clock))
}

fn open(
    pipeline: &Pipeline,
    options: &RunOptions,
    shared: &Shared,
    clock: &Clock,
) -> Result<Opened, Failure> {
    // Nobody is asked anything yet.
    let sinks = open_sinks(pipeline, &options.base)?;
    let snapshots = open_snapshots(pipeline, options, &sinks).map(Arc::new);
    if let Some(snapshots) = snapshots.as_ref().filter(|_| !options.fresh) {
        let (snapshots, fingerprint) = (Arc::clone(snapshots), pipeline.recipe.fingerprint.clone());
        // While servers are asked and destinations are taken over. Whoever wants it waits for it.
        spawn_named("read-ahead", move || snapshots.read_ahead(&fingerprint));
    }
    let sources = open_sources(pipeline, (&options.base, &options.replay), (shared, clock))?;
    let (indexes, references) = reference::load(pipeline, &options.base, clock)?;
    for source in &sources {
        let follow_from = source.files().and_then(|files| files.follow_from);
        shared.has_length(source.table, source.length(), follow_from);
    }
    Ok(Opened {
        snapshots,
        sources,
        indexes,
        references,
        sinks,
        crash: Arc::new(CrashPoint::new(options.crash_at)),
    })
}

impl Opened {
    /// Each process looks at files and reads reference tables by itself: they have to be what the
    /// first one found.
    fn agrees(&self, decision: &Decision) -> Result<(), Failure> {
        let differs =
            |(name, mark): &(&String, &SourceMark)| decision.start.get(*name) != Some(mark);
        let table = self.references.iter().find(differs).map(|(name, _)| name);
        let other = |source: &OpenedSource| {
            let start = decision.start.get(&source.name);
            let has_other_files = !start.is_some_and(|start| source.has_files_of(start));
            let is_other = has_other_files || !start.is_some_and(|start| source.is_of(start));
            is_other.then(|| (source.name.clone(), has_other_files))
        };
        let source = self.sources.iter().find_map(other);
        let cause = match (table, source) {
            (None, None) => return Ok(()),
            (Some(name), _) => {
                format!("the reference table `{name}` is not what process 0 has read")
            }
            (None, Some((name, true))) => {
                format!("the files of `{name}` are not what process 0 has found")
            }
            (None, Some((name, false))) => {
                format!("the topic of `{name}` is not the one that process 0 has found")
            }
        };
        let failure = Failure::new("could not start as one of several processes");
        Err(failure.because(cause).again())
    }

    fn decide(
        &mut self,
        pipeline: &Pipeline,
        options: &RunOptions,
        world: (&Shared, &Clock),
    ) -> Result<Decision, Failure> {
        let given = Given {
            sources: &self.sources,
            references: &self.references,
            snapshots: self.snapshots.as_deref(),
            crash: &self.crash,
        };
        given.look_at_times(world.1);
        decide(pipeline, options, &mut self.sinks, &given, world)
    }
}

/// What another process says of a snapshot's part.
fn hear(keeper: &OnceLock<Arc<Keeper>>, bytes: &[u8]) {
    match (keeper.get(), serde_json::from_slice(bytes)) {
        (Some(keeper), Ok(written)) => keeper.tell(Word::Written(written)),
        (None, _) | (_, Err(_)) => warn!("another process said what is not understood"),
    }
}

/// This process among all.
struct Team {
    crew: Crew,
    steps: Arc<Steps>,
    sockets: Option<Vec<Option<Link>>>,
    control: Option<Control>,
    /// Who hears of the parts that other processes write.
    heard: Arc<OnceLock<Arc<Keeper>>>,
}

impl Team {
    fn leads(&self) -> bool {
        self.crew.process == 0
    }

    fn run(
        mut self,
        (pipeline, options): (&Arc<Pipeline>, &RunOptions),
        mut opened: Opened,
        decision: Decision,
        world: (&Arc<Shared>, &Clock),
    ) -> Result<Summary, Failure> {
        let (shared, clock) = world;
        let crash = Arc::clone(&opened.crash);
        let (keeper, keeping) = self.keeper(pipeline, &mut opened, &decision, &crash, world);
        let durable = (keeper.as_ref(), &crash);
        let (plan, threads) = self.plan((pipeline, options), opened, decision, durable, world);
        let outcome = self.execute(&plan);
        plan.feeds.iter().for_each(|feed| feed.close());
        // The committing threads end when the last line to them is gone.
        plan.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        join(threads, shared);
        let rest = || {
            if let Some(keeper) = &keeper {
                keeper.close();
            }
            join(keeping, shared);
        };
        // The last snapshot is whole once all processes have said what they wrote, before they say
        // that they are done.
        let summary = if self.leads() {
            let summary = outcome.and_then(|()| self.finish(&plan.fates, shared, clock));
            rest();
            summary
        } else {
            rest();
            outcome.and_then(|()| self.finish(&plan.fates, shared, clock))
        };
        shared.board.write(|facts| facts.ended = true);
        summary
    }

    /// Starts the thread that keeps snapshots, if there are any to keep.
    fn keeper(
        &self,
        pipeline: &Pipeline,
        opened: &mut Opened,
        decision: &Decision,
        crash: &Arc<CrashPoint>,
        world: (&Arc<Shared>, &Clock),
    ) -> (Option<Arc<Keeper>>, Option<JoinHandle<()>>) {
        let spec = self.keeper_spec(pipeline, decision, opened);
        let Some(snapshots) = opened.snapshots.take() else {
            return (None, None);
        };
        let begin = decision.begin.clone();
        let (keeper, thread) = Keeper::start(snapshots, begin, spec, crash, world);
        // Nothing was heard before: parts come from workers, who have not begun.
        let _ = self.heard.set(Arc::clone(&keeper));
        (Some(keeper), Some(thread))
    }

    /// What the workers are built from, and the threads that read and commit for them.
    fn plan(
        &self,
        (pipeline, options): (&Arc<Pipeline>, &RunOptions),
        opened: Opened,
        decision: Decision,
        (keeper, crash): (Option<&Arc<Keeper>>, &Arc<CrashPoint>),
        world: (&Arc<Shared>, &Clock),
    ) -> (Arc<WorkerPlan>, Vec<JoinHandle<()>>) {
        let Opened { sources, sinks, .. } = opened;
        let (shared, clock) = world;
        let start = &decision.start;
        let fates = known_fates(pipeline, &decision);
        let pace = options
            .pace
            .unwrap_or(Pace::Interval(pipeline.settings.commit_interval));
        let aligned = self.aligned(&sources, &decision, pace);
        let others = aligned.is_some();
        let feeds = self.feeds((pipeline, options, others), &sources, &decision, world);
        let known = |source: &OpenedSource| source.placed(&decision);
        let known: Vec<_> = sources.iter().map(known).collect();
        let specs = specs(
            pipeline,
            (&known, &opened.references),
            &sinks,
            &decision.marks,
        );
        let placed = placed(pipeline, &sinks);
        // Only process 0 writes and counts what was before; what others opened was never touched.
        let sinks = if self.leads() { sinks } else { Vec::new() };
        if self.leads() {
            for &(insert, table, fates) in &fates {
                shared.count(insert, table, fates);
            }
        }
        announce(
            pipeline,
            (&sources, &known, &sinks),
            (&decision, &fates),
            world,
        );
        shared.names_operators(pipeline);
        shared.input_goes_on(options.at_end == AtEnd::Wait);
        let process = (self.crew.process, self.crew.processes);
        shared.board.write(|facts| {
            facts.process = process;
            facts.threads = self.crew.threads;
        });
        let mut threads = readers(&feeds, self.crew.threads);
        let (lines, committers) = committers(sinks, &decision.marks, crash, keeper, world);
        threads.extend(committers);
        let begin = |source: &OpenedSource| start[&source.name].clone();
        let plan = WorkerPlan {
            zones: zones(pipeline),
            indexes: opened.indexes,
            feeds,
            crew: self.crew,
            steps: Arc::clone(&self.steps),
            stops: stops(&sources, &decision),
            start: sources.iter().map(begin).collect(),
            sources: known,
            pace,
            aligned,
            at_end: options.at_end,
            specs,
            lines: Mutex::new(lines.into_iter().map(Some).collect()),
            placed,
            resume: decision.resume,
            keeper: keeper.cloned(),
            fates,
            clock: clock.clone(),
            shared: Arc::clone(shared),
            pipeline: Arc::clone(pipeline),
        };
        (Arc::new(plan), threads)
    }

    /// Which sources' files wait for each other.
    fn aligned(
        &self,
        sources: &[OpenedSource],
        decision: &Decision,
        pace: Pace,
    ) -> Option<Alignment> {
        let replayed = |source: &OpenedSource| Some((source.table, source.files()?.follow_from));
        let tables = sources.iter().filter_map(replayed).collect();
        let stops = decision.resume.stops.last();
        let resumed = stops.map_or(decision.resume.done, |stop| stop.epoch);
        Alignment::of(tables, resumed, self.crew, pace)
    }

    fn feeds(
        &self,
        (pipeline, options, others): (&Pipeline, &RunOptions, bool),
        sources: &[OpenedSource],
        decision: &Decision,
        world: (&Arc<Shared>, &Clock),
    ) -> Vec<Arc<dyn Reading>> {
        let queue_bytes = pipeline.settings.queue_bytes / sources.len().max(1);
        let files = sources.iter();
        let files = files.filter_map(|source| Some((source.name.as_str(), source.files()?)));
        let pacing = pacing(options.replay.speed, files, decision, world.1);
        let feed = |source: &OpenedSource| {
            // What is paced comes in by the clock. Event time stands where a file has seldom a row, until
            // that is due: a brake would keep what happened meanwhile.
            let ahead = (others && pacing.is_none()).then_some(queue_bytes);
            let how = (queue_bytes, pacing.clone(), ahead);
            source.feed(decision, self.crew, how, world)
        };
        sources.iter().map(feed).collect()
    }

    fn keeper_spec(&self, pipeline: &Pipeline, decision: &Decision, opened: &Opened) -> KeeperSpec {
        KeeperSpec {
            fingerprint: pipeline.recipe.fingerprint.clone(),
            life: decision.life,
            incarnation: decision.incarnation,
            parts: held(pipeline).len() * self.crew.workers(),
            held: decision.marks.iter().map(|mark| mark.epoch).collect(),
            show: show_progress(&opened.sources),
            interval: pipeline.settings.snapshot_interval,
            others: match &self.control {
                None => Others::None,
                Some(control) if self.leads() => Others::Led(control.teller()),
                Some(control) => Others::Leader(control.teller()),
            },
        }
    }

    fn execute(&mut self, plan: &Arc<WorkerPlan>) -> Result<(), Failure> {
        let threads = self.crew.threads;
        let unstarted = |error| Failure::new("could not start the workers").because(error);
        let shared = Arc::clone(&plan.shared);
        let plan = Arc::clone(plan);
        let body = move |worker: &mut timely::worker::Worker| work(&plan, worker);
        let guards = match self.sockets.take() {
            Some(sockets) => {
                let process = self.crew.process;
                let (builders, guard) = mesh::workers(sockets, process, threads, &shared)?;
                timely::execute::execute_from(builders, guard, workers(), body)
            }
            None => {
                let config = match threads {
                    1 => timely::Config::thread(),
                    threads => timely::Config::process(threads),
                };
                timely::execute(
                    timely::Config {
                        worker: workers(),
                        ..config
                    },
                    body,
                )
            }
        };
        for result in guards.map_err(unstarted)?.join() {
            result.map_err(|error| Failure::new("a worker panicked").because(error))?;
        }
        Ok(())
    }

    /// What the run came to, over all processes.
    fn finish(
        self,
        before: &[(usize, TableId, Fates)],
        shared: &Shared,
        clock: &Clock,
    ) -> Result<Summary, Failure> {
        if let Some(failure) = shared.failure() {
            return Err(failure);
        }
        let mut fates = shared.fates();
        if let Some(control) = self.control {
            let own: Vec<_> = fates
                .iter()
                .map(|(&(i, t), &fates)| (i, t, fates))
                .collect();
            let own = serde_json::to_vec(&own).expect("counts are plain data");
            for other in control.finish(own)?.iter().skip(1) {
                let other: Vec<(usize, TableId, Fates)> = serde_json::from_slice(other)
                    .map_err(|error| Failure::new("cannot read a summary").because(error))?;
                for (insert, table, more) in other {
                    *fates.entry((insert, table)).or_default() += more;
                }
            }
        }
        Ok(Summary {
            fates,
            before: before
                .iter()
                .map(|&(i, t, fates)| ((i, t), fates))
                .collect(),
            commits: shared.commits(),
            elapsed: clock.elapsed(),
        })
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>, shared: &Shared) {
    for thread in threads {
        if thread.join().is_err() {
            shared.fail(Failure::new("a thread of the run panicked"));
        }
    }
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

/// The fates that a snapshot knows, by the tables of this plan.
fn known_fates(pipeline: &Pipeline, decision: &Decision) -> Vec<(usize, TableId, Fates)> {
    let fates = decision.begin.iter().flat_map(|begin| &begin.facts.fates);
    let known = fates.filter_map(|(insert, name, fates)| {
        let table = pipeline.tables.iter().position(|table| table.name == *name);
        Some((*insert, table?, *fates))
    });
    known.collect()
}

/// How workers go about their work: arrangements are merged while there is nothing else to do.
fn workers() -> timely::WorkerConfig {
    let mut config = timely::WorkerConfig::default();
    crate::dataflow::changing::merge_when_idle(&mut config);
    config
}
