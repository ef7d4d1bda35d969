//! Whether what was observed of tables that are read again fits what the destinations hold.
//!
//! A destination whose mark names difference 7 was computed with the first 7. A log that holds
//! fewer is another one: the run is refused, since the table cannot say any more what it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::connector::Guarantee;
use crate::dataflow::outcome::Failure;
use crate::durability::{Log, Manifest, Snapshots, Store, StoreError};
use crate::engine::committer::CrashPoint;
use crate::engine::open::{OpenedSource, Sink};
use crate::types::{Mark, Offset, SourceMark};

use super::{OPENED, Reload};

/// The one partition.
const PARTITION: &str = "0";

/// The logs of a run's tables.
pub struct Logs<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The sources, those among them that are read again.
    pub sources: &'a [OpenedSource],
    /// Where snapshots are, and so the logs. Without, no run goes on where another was.
    pub snapshots: Option<&'a Snapshots>,
    /// Ends the process at a durable step.
    pub crash: &'a Arc<CrashPoint>,
}

impl Logs<'_> {
    fn tables(&self) -> impl Iterator<Item = (&str, &Reload)> {
        let sources = self.sources.iter();
        sources.filter_map(|source| Some((source.name.as_str(), source.reload.as_deref()?)))
    }

    /// Refuses a run that could not go on where it was. `marks` are what is held so far: nothing is
    /// written before the destinations are taken over.
    pub fn foresee(&self, sinks: &[Sink], marks: &[Mark]) -> Result<(), Failure> {
        let keeps_mark = |sink: &Sink| sink.open.guarantee == Guarantee::ExactlyOnce;
        let nowhere = self.snapshots.is_none() && sinks.iter().any(keeps_mark);
        if let (true, Some((name, _))) = (nowhere, self.tables().next()) {
            let cause =
                format!("no place that all machines reach for what was different in `{name}`");
            let failure = Failure::new(format!("cannot start `{}`", self.pipeline));
            return Err(failure
                .because(cause)
                .hint("name a folder that all machines share, or s3://bucket, with --state"));
        }
        match marks.iter().map(|mark| mark.life).max() {
            None => Ok(()),
            Some(life) => self.open(life, marks),
        }
    }

    /// Deletes what earlier lives observed.
    pub fn clear(&self) -> Result<(), Failure> {
        let Some(snapshots) = self.snapshots else {
            return Ok(());
        };
        let store = Store::at(Path::new(&snapshots.place()));
        for (name, _) in self.tables() {
            let message = format!("could not delete what `{name}` was in an earlier life");
            Log::clear(&store, name).map_err(|error| Failure::new(message).because(error))?;
        }
        Ok(())
    }

    /// Opens the logs of a life, and holds them to what destinations hold.
    pub fn open(&self, life: u64, marks: &[Mark]) -> Result<(), Failure> {
        for (name, reload) in self.tables() {
            let place = self.snapshots.map(Snapshots::place);
            let store = place.map(|place| Store::at(Path::new(&place)));
            reload.table.open(store, life, self.crash)?;
            for mark in marks {
                self.fits(name, reload, position(&mark.sources, name))?;
            }
        }
        Ok(())
    }

    /// Where a run begins, in its snapshot: that too must be in the logs. Merges what nobody begins
    /// before any more.
    pub fn begin(
        &self,
        life: u64,
        start: &BTreeMap<String, SourceMark>,
        marks: &[Mark],
    ) -> Result<(), Failure> {
        for (name, reload) in self.tables() {
            self.fits(name, reload, position(start, name))?;
        }
        let Some((first, _)) = self.tables().next() else {
            return Ok(());
        };
        let kept = self.kept(life).map_err(|error| unmerged(first, error))?;
        for (name, reload) in self.tables() {
            // Each snapshot that is kept is one to begin with, and each mark one to stop at.
            let snapshots = kept.iter().map(|manifest| &manifest.facts.sources);
            let marks = marks.iter().map(|mark| &mark.sources);
            let all = snapshots.chain(marks).chain([start]);
            let least = all.map(|sources| position(sources, name)).min();
            let mut known = reload.table.known();
            let known = known.as_mut().expect(OPENED);
            let merged = reload.table.merge(known, least.unwrap_or_default().0);
            merged.map_err(|error| unmerged(name, error))?;
        }
        Ok(())
    }

    /// The good snapshots of a life.
    fn kept(&self, life: u64) -> Result<Vec<Manifest>, StoreError> {
        let listed = self.snapshots.map_or(Ok(Vec::new()), Snapshots::list)?;
        let good = listed.into_iter().filter_map(|(_, manifest)| manifest.ok());
        Ok(good.filter(|manifest| manifest.life == life).collect())
    }

    fn fits(&self, name: &str, reload: &Reload, at: Offset) -> Result<(), Failure> {
        let known = reload.table.known();
        let log = &known.as_ref().expect(OPENED).log;
        if log.can_cut(at.0) {
            return Ok(());
        }
        let (end, place) = (log.end(), log.place());
        let failure = Failure::new(format!("cannot resume `{}`", self.pipeline));
        Err(match at.0 > end {
            true => failure
                .because(format!(
                    "its tables were computed with {at} differences of `{name}`, and `{place}` \
                     holds {end}"
                ))
                .hint(
                    "give the --state of the earlier runs, or start over with --fresh, which \
                     empties its tables",
                ),
            false => failure
                .because(format!(
                    "a destination has gone back to {at} differences of `{name}`, and `{place}` \
                     keeps them from {} on",
                    log.merged()
                ))
                .hint("start over with --fresh, which empties its tables"),
        })
    }
}

fn position(sources: &BTreeMap<String, SourceMark>, name: &str) -> Offset {
    let mark = sources
        .get(name)
        .and_then(|mark| mark.partitions.get(PARTITION));
    mark.map_or(Offset(0), |mark| mark.offset)
}

fn unmerged(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("could not merge what was different in `{name}`")).because(error)
}
