//! How a run begins: destinations taken over, marks and snapshots weighed, one decision.
//!
//! One process decides for all; the others get the decision as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::committer::failed;
use super::open::{OpenedSource, Sink, beginnings, ends, open_sinks, open_sources};
use super::patience::patiently;
use super::reference;
use super::run::RunOptions;
use crate::connector::{Guarantee, OpenDestination};
use crate::dataflow::outcome::{Failure, Shared};
use crate::durability::{Beginning, Manifest, Refusal, Resume, Snapshots, Store, resume};
use crate::plan::Pipeline;
use crate::types::{Clock, Epoch, Mark, Offset, SourceMark};

/// Where a run begins and what it replays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// What each destination holds.
    pub marks: Vec<Mark>,
    /// The life of the pipeline.
    pub life: u64,
    /// What to replay.
    pub resume: Resume,
    /// Where the sources begin, and the reference tables.
    pub start: BTreeMap<String, SourceMark>,
    /// Where the sources end for this run, if it is one that stops when it has caught up.
    pub ends: Option<BTreeMap<String, Vec<Offset>>>,
    /// The snapshot that holds the state where the run begins.
    pub begin: Option<Manifest>,
}

/// Takes every destination over, decides what to replay, and gives a first mark to those that
/// have none: from here on the start positions are decided.
pub fn decide(
    pipeline: &Pipeline,
    options: &RunOptions,
    sinks: &mut [Sink],
    (sources, references): (&[OpenedSource], &BTreeMap<String, SourceMark>),
    snapshots: Option<&Snapshots>,
    world: (&Shared, &Clock),
) -> Result<Decision, Failure> {
    let marks = if options.fresh {
        Vec::new()
    } else {
        peek(sinks, world)?
    };
    let mut beginning = beginnings(sources, &marks, world)?;
    beginning.sources.extend(references.clone());
    // A start that cannot resume ends before it takes anything over: taking over fences whoever
    // publishes there now.
    fit(pipeline, &beginning, &marks)?;
    let incarnation = random();
    let found = take_over_all(sinks, incarnation, options.fresh, world)?;
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
    let resume = resume(&pipeline.fingerprint, &beginning, done, &known)
        .map_err(|refusal| refused(&pipeline.name, &refusal))?;
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
        marks.push(first_mark(open, mark, (&first, done), world)?);
    }
    let mut start = first.sources;
    for (name, source) in begin.iter().flat_map(|begin| &begin.facts.sources) {
        let known = start.entry(name.clone()).or_default();
        known.partitions.extend(source.partitions.clone());
        known.watermark = source.watermark;
    }
    Ok(Decision {
        marks,
        life: first.life,
        resume,
        start,
        ends: options
            .until_caught_up
            .then(|| ends(sources, world))
            .transpose()?,
        begin,
    })
}

/// What a start would refuse: reference tables that cannot be used, and marks that do not fit the
/// file and its input. Takes nothing over, changes nothing, and waits for nobody.
pub fn foresee(pipeline: &Pipeline, base: &Path) -> Result<(), Failure> {
    let (shared, clock) = (Shared::default(), Clock::machine());
    shared.stop();
    let world = (&shared, &clock);
    let (_, references) = reference::load(pipeline, base, &clock)?;
    let marks = peek(&open_sinks(pipeline, base)?, world)?;
    if marks.is_empty() {
        return Ok(());
    }
    let sources = open_sources(pipeline, base, world)?;
    let mut beginning = beginnings(&sources, &marks, world)?;
    beginning.sources.extend(references);
    fit(pipeline, &beginning, &marks)
}

/// Whether a run of `pipeline` can go on from each of `marks`.
fn fit(pipeline: &Pipeline, beginning: &Beginning, marks: &[Mark]) -> Result<(), Failure> {
    for mark in marks {
        let mark = std::slice::from_ref(mark);
        resume(&pipeline.fingerprint, beginning, Epoch(0), mark)
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
    let take_over = |Sink { open, .. }: &mut Sink| {
        let mark = patiently(&open.name, world, || {
            if fresh {
                open.destination.empty()?;
            }
            open.destination.take_over(incarnation)
        });
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
    Ok(mark)
}

/// The marks that are there, nothing being taken over.
fn peek(sinks: &[Sink], world: (&Shared, &Clock)) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    for Sink { open, .. } in sinks {
        let mark = patiently(&open.name, world, || open.destination.peek());
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
        warn!("no snapshots: name a folder that all machines share with --state");
        return None;
    }
    let folder = state_folder(pipeline, &options.base, options.state.as_deref());
    Some(Snapshots::new(Store::at(&folder)))
}

/// The folder of a pipeline's snapshots.
#[must_use]
pub fn state_folder(pipeline: &Pipeline, base: &Path, given: Option<&Path>) -> PathBuf {
    let root = given.map_or_else(|| base.join(".tidemark"), Path::to_owned);
    root.join(pipeline.name.replace('/', "_"))
}

/// A number that no other start has.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // SQLite and JSON hold it as a signed or floating number elsewhere: keep it in 53 bits.
    RandomState::new().hash_one(std::process::id()) >> 11
}
