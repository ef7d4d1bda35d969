//! How a run begins: destinations taken over, marks and snapshots weighed, one decision.
//!
//! One process decides for all; the others get the decision as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::committer::{CrashPoint, failed};
use super::history::Replay;
use super::open::{OpenedSource, Sink, beginnings, ends, open_sinks, open_sources, there};
use super::options::{Ends, RunOptions};
use super::patience::patiently;
use super::reference;
use super::reload::Logs;
use crate::connector::{Guarantee, OpenDestination};
use crate::dataflow::outcome::{Failure, Shared};
use crate::durability::{
    Beginning, Manifest, Refusal, Resume, Snapshots, Store, StoreError, is_bucket, is_past_files,
    may_leave_files, object_name, one_life, resume,
};
use crate::plan::{Pipeline, Role};
use crate::types::{Change, Clock, Epoch, Mark, SourceMark, Watermark};

/// Where a run begins and what it replays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// What each destination holds.
    pub marks: Vec<Mark>,
    /// The life of the pipeline.
    pub life: u64,
    /// This start, which no other is.
    pub incarnation: u64,
    /// What to replay.
    pub resume: Resume,
    /// Where the sources begin, and the reference tables.
    pub start: BTreeMap<String, SourceMark>,
    /// Where the sources end for this run, if it is one that stops when it has caught up.
    pub ends: Option<Ends>,
    /// How many files there are where the run begins, in folders whose files become more.
    pub there: BTreeMap<String, usize>,
    /// The snapshot that holds the state where the run begins.
    pub begin: Option<Manifest>,
}

/// What a decision is made of, besides what it takes over.
pub struct Given<'a> {
    /// The sources.
    pub sources: &'a [OpenedSource],
    /// What reference tables were read from.
    pub references: &'a BTreeMap<String, SourceMark>,
    /// The snapshots.
    pub snapshots: Option<&'a Snapshots>,
    /// Ends the process at a durable step.
    pub crash: &'a Arc<CrashPoint>,
}

/// Takes every destination over, decides what to replay, and gives a first mark to those that
/// have none: from here on the start positions are decided.
pub fn decide(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &mut [Sink],
    given: &Given<'_>,
    world: (&Shared, &Clock),
) -> Result<Decision, Failure> {
    let Given {
        sources, snapshots, ..
    } = *given;
    let logs = given.logs(pipeline);
    let marks = if options.fresh {
        Vec::new()
    } else {
        peek(sinks, world)?
    };
    let mut beginning = given.beginning(&marks, world)?;
    given.reach()?;
    // A start that cannot resume ends before it takes anything over: taking over fences whoever
    // publishes there now.
    fit(pipeline, &beginning, &marks)?;
    logs.foresee(sinks, &marks)?;
    if let Some(snapshots) = snapshots.filter(|_| leaves_files(sources, &marks)) {
        let held = marks.iter().cloned().map(Some).collect();
        let begin = newest(snapshots, pipeline, held)?;
        needs_no_files(pipeline, sources, &marks, begin.as_ref())?;
    }
    let incarnation = random();
    let found = take_over_all(sinks, incarnation, options.fresh, world)?;
    if options.fresh {
        given.clear()?;
        logs.clear()?;
    }
    let known: Vec<Mark> = found.iter().flatten().cloned().collect();
    let held = || {
        let keeps_mark = |sink: &Sink| sink.open.guarantee == Guarantee::ExactlyOnce;
        let held = sinks.iter().zip(&found);
        let held = held.filter(|(sink, _)| keeps_mark(sink));
        held.map(|(_, mark)| mark.clone()).collect()
    };
    if known != marks && !options.fresh {
        // Whoever ran until now went on until it was fenced.
        beginning = given.beginning(&known, world)?;
    }
    let begin = snapshots.map(|snapshots| newest(snapshots, pipeline, held()));
    let begin = begin.transpose()?.flatten();
    needs_no_files(pipeline, sources, &known, begin.as_ref())?;
    let done = begin.as_ref().map_or(Epoch(0), |begin| begin.facts.epoch);
    let resume = resume(&pipeline.recipe, &beginning, done, &known)
        .map_err(|refusal| refused(&pipeline.name, &refusal))?;
    let life = known.iter().map(|mark| mark.life).max();
    if let Some(snapshots) = snapshots {
        forget_after(snapshots, &held())?;
    }
    let first = Mark {
        generation: resume.generation,
        incarnation,
        life: life.unwrap_or_else(random),
        epoch: Epoch(0),
        recipe: pipeline.recipe.clone(),
        sources: beginning.sources,
    };
    let mut marks = Vec::new();
    for (Sink { open, .. }, mark) in sinks.iter_mut().zip(found) {
        marks.push(first_mark(open, mark, (&first, done), world)?);
    }
    let start = given.start(first.sources, begin.as_ref());
    logs.open(first.life, &marks)?;
    logs.begin(first.life, &start, &marks)?;
    let ends = ends_of(options, sources, world)?;
    Ok(Decision {
        there: there(sources, ends.as_ref(), world)?,
        marks,
        life: first.life,
        incarnation,
        resume,
        start,
        ends,
        begin,
    })
}

/// Where the sources end for a run that stops when it has caught up: that is decided once.
fn ends_of(
    options: &RunOptions,
    sources: &[OpenedSource],
    world: (&Shared, &Clock),
) -> Result<Option<Ends>, Failure> {
    let known = options.ends.as_ref();
    let ends = options.until_caught_up.then(|| ends(sources, known, world));
    ends.transpose()
}

impl Given<'_> {
    /// Whether the snapshots can be reached.
    fn reach(&self) -> Result<(), Failure> {
        let Some(snapshots) = self.snapshots else {
            return Ok(());
        };
        let listed = snapshots.list().map(drop);
        listed.map_err(|error| unreached(&snapshots.place(), error))
    }

    /// Where a topic takes over at a time that is yet to come, what it has is filtered until then.
    pub fn look_at_times(&self, clock: &Clock) {
        for source in self.sources {
            let from = source.files().and_then(|files| files.follow_from);
            if let Some(from) = from.filter(|from| from.0 > clock.wall()) {
                let (source, from) = (&source.name, Watermark::behind(from, 0));
                warn!(source, %from, "--from is in the future: the topic's records are filtered until then");
            }
        }
    }

    /// Where the sources begin: where a snapshot has them, or else at their beginning. A replay whose
    /// files were all read goes on as a run does, which is said.
    fn start(
        &self,
        beginning: BTreeMap<String, SourceMark>,
        begin: Option<&Manifest>,
    ) -> BTreeMap<String, SourceMark> {
        let mut start = beginning;
        for (name, source) in begin.iter().flat_map(|begin| &begin.facts.sources) {
            let known = start.entry(name.clone()).or_default();
            for (partition, mark) in &source.partitions {
                // A file that is not here was read to its end, and is left behind.
                if !mark.is_file() || known.partitions.contains_key(partition) {
                    known.partitions.insert(partition.clone(), mark.clone());
                }
            }
            known.watermark = source.watermark;
        }
        let has_files = self.sources.iter().any(|source| source.files().is_some());
        if has_files && begin.is_some_and(|begin| may_leave_files(&begin.facts.sources)) {
            info!(
                "all files were read before and are not needed any more: `tidemark run` goes on as well"
            );
        }
        start
    }

    /// Where everything begins that no mark knows.
    fn beginning(&self, marks: &[Mark], world: (&Shared, &Clock)) -> Result<Beginning, Failure> {
        let mut beginning = beginnings(self.sources, marks, world)?;
        beginning.sources.extend(self.references.clone());
        Ok(beginning)
    }

    fn clear(&self) -> Result<(), Failure> {
        let message = "could not delete the snapshots of an earlier life";
        let cleared = self.snapshots.map_or(Ok(()), Snapshots::clear);
        cleared.map_err(|error| Failure::new(message).because(error))
    }

    fn logs<'a>(&'a self, pipeline: &'a Pipeline) -> Logs<'a> {
        Logs {
            pipeline: &pipeline.name,
            sources: self.sources,
            snapshots: self.snapshots,
            crash: self.crash,
        }
    }
}

/// What a start would refuse: reference tables that cannot be used, and marks that do not fit the
/// file and its input. Takes nothing over, changes nothing, and waits for nobody.
pub fn foresee(pipeline: &Pipeline, base: &Path) -> Result<(), Failure> {
    let (shared, clock) = (Shared::default(), Clock::machine());
    shared.stop();
    let world = (&shared, &clock);
    let (_, references) = reference::load(pipeline, base, &clock)?;
    for table in pipeline
        .tables
        .iter()
        .filter(|table| table.role == Role::Source)
    {
        if table.is_reloaded() {
            reference::check(table, base, &clock)?;
        }
    }
    let marks = peek(&open_sinks(pipeline, base)?, world)?;
    if marks.is_empty() {
        return Ok(());
    }
    let sources = open_sources(pipeline, (base, &Replay::default()), world)?;
    let mut beginning = beginnings(&sources, &marks, world)?;
    beginning.sources.extend(references);
    fit(pipeline, &beginning, &marks)
}

/// What the file says differently from what the tables were computed by, as far as the marks tell.
pub fn changed(pipeline: &Pipeline, base: &Path) -> Result<Option<Change>, Failure> {
    let (shared, clock) = (Shared::default(), Clock::machine());
    shared.stop();
    let marks = peek(&open_sinks(pipeline, base)?, (&shared, &clock))?;
    let mut changes = marks.iter();
    Ok(changes.find_map(|mark| mark.recipe.change_to(&pipeline.recipe)))
}

/// Whether a run of `pipeline` can go on from each of `marks`, and from all of them together.
fn fit(pipeline: &Pipeline, beginning: &Beginning, marks: &[Mark]) -> Result<(), Failure> {
    one_life(marks).map_err(|refusal| refused(&pipeline.name, &refusal))?;
    for mark in marks {
        let mark = std::slice::from_ref(mark);
        resume(&pipeline.recipe, beginning, Epoch(0), mark)
            .map_err(|refusal| refused(&pipeline.name, &refusal))?;
    }
    Ok(())
}

fn take_over_all(
    sinks: &mut [Sink],
    incarnation: u64,
    fresh: bool,
    world: (&Shared, &Clock),
) -> Result<Vec<Option<Mark>>, Failure> {
    let failed = |name: &str, error| failed(&format!("cannot take over `{name}`"), error);
    // All of them first: several may be in one database, and each empties all that is there.
    for Sink { open, .. } in sinks.iter_mut().filter(|_| fresh) {
        let emptied = patiently(&open.name, world, || open.destination.empty());
        emptied.map_err(|error| failed(&open.name, error))?;
    }
    let take_over = |Sink { open, .. }: &mut Sink| {
        let mark = patiently(&open.name, world, || {
            open.destination.take_over(incarnation)
        });
        debug!(destination = open.name, "took over");
        mark.map_err(|error| failed(&open.name, error))
    };
    sinks.iter_mut().map(take_over).collect()
}

/// Whether some source was filled from files that this run does not have.
fn leaves_files(sources: &[OpenedSource], marks: &[Mark]) -> bool {
    let follows = |source: &OpenedSource| {
        let marks = marks
            .iter()
            .filter_map(|mark| mark.sources.get(&source.name));
        source.files().is_none() && marks.into_iter().any(SourceMark::follows_files)
    };
    sources.iter().any(follows)
}

/// A run without the files that filled its tables begins with a snapshot from after them.
fn needs_no_files(
    pipeline: &Pipeline,
    sources: &[OpenedSource],
    marks: &[Mark],
    begin: Option<&Manifest>,
) -> Result<(), Failure> {
    for source in sources.iter().filter(|source| source.files().is_none()) {
        let done = begin.and_then(|begin| begin.facts.sources.get(&source.name));
        if !marks
            .iter()
            .all(|mark| is_past_files(&source.name, mark, done))
        {
            let cause = format!(
                "`{}` was filled from files, and no snapshot from after them is here",
                source.name
            );
            let hint = "run the same `tidemark replay` again, which reads them; or start over with \
                        --fresh, which empties its tables";
            let failure = Failure::new(format!("cannot resume `{}`", pipeline.name));
            return Err(failure.because(cause).hint(hint));
        }
    }
    Ok(())
}

/// Nobody is to begin with what a destination held and holds no more.
fn forget_after(snapshots: &Snapshots, held: &[Option<Mark>]) -> Result<(), Failure> {
    let Some(least) = held.iter().flatten().min_by_key(|mark| mark.epoch) else {
        return Ok(());
    };
    // A destination that comes without a mark is filled from the beginning, and the epochs of that
    // are cut anew: its marks would say of an old snapshot of the same number that it is held.
    let is_whole = held.iter().all(Option::is_some);
    let epoch = if is_whole { least.epoch } else { Epoch(0) };
    let message = "could not delete a snapshot from after what a destination holds";
    let forgotten = snapshots
        .forget_after(epoch, least.life)
        .map_err(|error| Failure::new(message).because(error))?;
    let held = epoch;
    for epoch in forgotten {
        warn!(%epoch, %held, "forgets a snapshot: a destination has gone back behind it");
    }
    Ok(())
}

/// The newest snapshot that is whole and that every destination is at or past.
fn newest(
    snapshots: &Snapshots,
    pipeline: &Pipeline,
    held: Vec<Option<Mark>>,
) -> Result<Option<Manifest>, Failure> {
    let unreachable = |error| unreached(&snapshots.place(), error);
    for (epoch, manifest) in snapshots.list().map_err(unreachable)? {
        let verified = manifest.and_then(|manifest| {
            let serves = manifest.serves(&pipeline.recipe.fingerprint, &held);
            if serves {
                snapshots.fetch(&manifest)?;
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
    (first, done): (&Mark, Epoch),
    world: (&Shared, &Clock),
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
        let written = patiently(&open.name, world, || open.destination.publish(first, &[]));
        written.map_err(|error| failed(&message, error))?;
        return Ok(first.clone());
    };
    if open.guarantee == Guarantee::ExactlyOnce && mark.epoch > Epoch(0) {
        info!(destination = open.name, epoch = %mark.epoch, "resumes");
    }
    // The statements may say the same in other words.
    Ok(Mark {
        recipe: first.recipe.clone(),
        ..mark
    })
}

/// The marks that are there, nothing being taken over.
fn peek(sinks: &[Sink], world: (&Shared, &Clock)) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    for Sink { open, .. } in sinks {
        let mark = patiently(&open.name, world, || open.destination.peek());
        debug!(destination = open.name, "looked at the mark");
        let message = format!("cannot read the mark of `{}`", open.name);
        marks.extend(mark.map_err(|error| failed(&message, error))?);
    }
    Ok(marks)
}

fn refused(pipeline: &str, refusal: &Refusal) -> Failure {
    let hint = match refusal {
        Refusal::OtherRecipe(Change::Planning { .. }) => {
            "run the earlier build of Tidemark, or start over with --fresh, which empties its tables"
        }
        Refusal::OtherRecipe(Change::Statements(_)) => {
            "restore the earlier file, or start over with --fresh, which empties its tables"
        }
        Refusal::OtherRecipe(Change::Unknown) => {
            "restore the earlier file, or the earlier build if it is the same; or start over with \
             --fresh, which empties its tables"
        }
        Refusal::PartitionGone { .. }
        | Refusal::PartitionNew { .. }
        | Refusal::PartitionChanged { .. } => {
            "put the files back as they were, or start over with --fresh, which empties its tables"
        }
        Refusal::OtherLife => {
            "restore all of them from after that, or start over with --fresh, which empties its tables"
        }
        Refusal::OtherSide { .. } => {
            "give the same --then-follow --from, or start over with --fresh, which empties its tables"
        }
        Refusal::OtherDecoding { .. } => {
            "give the same --option NAME=VALUE, or start over with --fresh, which empties its tables"
        }
        Refusal::NotReplayed { .. } => {
            "history comes first: start over with --fresh, which empties its tables; or go on with \
             `tidemark run`"
        }
        Refusal::PastFiles { .. } => {
            "go on with `tidemark run`: the files are not needed any more; if its snapshots are lost, start \
             over with --fresh, which empties its tables"
        }
        Refusal::ReadFileGone { .. } => {
            "go on with `tidemark run`, which needs none of them where a snapshot from after them is \
             there; or put the file back"
        }
        Refusal::InHistory { .. } => {
            "run the same `tidemark replay` again, which goes on; or start over with --fresh, which \
             empties its tables"
        }
        Refusal::HistoryEnded { .. } => {
            "start over with --fresh, which empties its tables; `tidemark replay --then-follow` goes \
             on with the topic"
        }
    };
    Failure::new(format!("cannot resume `{pipeline}`"))
        .because(refusal)
        .hint(hint)
}

/// Where the pipeline's snapshots are. Without a destination that keeps a mark there are none: no
/// run could begin with one.
pub fn open_snapshots(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &[Sink],
) -> Option<Snapshots> {
    let keeps_mark = |sink: &Sink| sink.open.guarantee == Guarantee::ExactlyOnce;
    if !sinks.iter().any(keeps_mark) {
        return None;
    }
    if options.several_machines && options.state.is_none() {
        warn!("no snapshots: name a folder that all machines share, or s3://bucket, with --state");
        return None;
    }
    let folder = state_folder(pipeline, &options.base, options.state.as_deref());
    Some(Snapshots::new(Store::at(&folder)))
}

/// Whether the place of a pipeline's snapshots can be listed, for `check`.
pub fn reach_snapshots(place: &Path) -> Result<(), Failure> {
    let snapshots = Snapshots::new(Store::at(place));
    let listed = snapshots.list().map(drop);
    listed.map_err(|error| unreached(&snapshots.place(), error))
}

fn unreached(place: &str, error: StoreError) -> Failure {
    let failure = Failure::new("could not list the snapshots").because(error);
    if !is_bucket(Path::new(place)) {
        return failure;
    }
    failure.hint(
        "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; for a server of your own \
         AWS_ENDPOINT, and AWS_ALLOW_HTTP=true if it has no TLS",
    )
}

/// The folder of a pipeline's snapshots.
#[must_use]
pub fn state_folder(pipeline: &Pipeline, base: &Path, given: Option<&Path>) -> PathBuf {
    let root = given.map_or_else(|| base.join(".tidemark"), Path::to_owned);
    root.join(object_name(&pipeline.name))
}

/// A number that no other start has.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // SQLite and JSON hold it as a signed or floating number elsewhere: keep it in 53 bits.
    RandomState::new().hash_one(std::process::id()) >> 11
}
