//! What people may see of a run while it lasts: the board that its threads write on.
//!
//! ```text
//!   start ──▶ who there is      workers, now and then ──▶ how far, what is held
//!   committing threads ──▶ what is under way, what is away
//! ```
//!
//! Nothing here is read back into the run. It is looked at only when somebody asks, so workers
//! write it a few times a second and not per epoch; and only if somebody watches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::report::Positions;
use super::state::Size;
use super::tide::Tide;
use crate::plan::TableId;
use crate::types::{Clock, Epoch, Fates, Offset, PartitionMark, Watermark};

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    watched: AtomicBool,
    facts: Mutex<Facts>,
}

/// What stands on it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How often the process has begun.
    pub run: u64,
    /// The clock of the run: all times here are by it.
    pub clock: Option<Clock>,
    /// Which process this is, and of how many.
    pub process: (usize, usize),
    /// How many workers each has; 0 as long as that is not known.
    pub threads: usize,
    /// What there is has been opened and taken over.
    pub begun: bool,
    /// What is away and waited for, by name: since when, and why.
    pub away: BTreeMap<String, (Duration, String)>,
    /// The sources, by table.
    pub sources: BTreeMap<TableId, SourceFacts>,
    /// The destinations.
    pub destinations: Vec<DestinationFacts>,
    /// The workers of this process, by their number among all.
    pub workers: BTreeMap<usize, WorkerFacts>,
    /// The input is read again up to this epoch, if at all.
    pub replay_to: Epoch,
    /// How many starts have taken the destinations over.
    pub generation: u64,
    /// The last epoch known to be complete on all workers.
    pub complete: Epoch,
    /// The run is over.
    pub ended: bool,
}

/// A source.
#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// The names of its partitions.
    pub names: Arc<Vec<String>>,
    /// The files that a topic follows, by their places among the partitions, and what their offsets count.
    pub files: BTreeMap<usize, &'static str>,
    /// Where each partition began in this run.
    pub from: Vec<Offset>,
    /// How far apart the positions of a partition's records are; 0 and 1: next to each other.
    pub stride: u64,
    /// How far the replay goes in each.
    pub replay_to: Vec<Option<Offset>>,
    /// Where each ends, as far as is known now.
    pub ends: Vec<Option<Offset>>,
    /// Up to where each was read when it held no more.
    pub caught_up: BTreeMap<usize, Offset>,
    /// Where each is.
    pub marks: BTreeMap<usize, PartitionMark>,
    /// Its watermark.
    pub watermark: Watermark,
    /// What became of its records, by INSERT, over all processes.
    pub fates: BTreeMap<usize, Fates>,
    /// The same of those that are not read again: they are in the snapshot that this run began with.
    pub before: BTreeMap<usize, Fates>,
    /// Decoded bytes that wait for a worker.
    pub queued: usize,
    /// When a record last came.
    pub moved: Duration,
}

/// A destination.
#[derive(Clone, Debug, Default)]
pub struct DestinationFacts {
    /// What messages call it.
    pub name: String,
    /// Its tables, in the order of its lanes.
    pub tables: Vec<TableFacts>,
    /// The last epoch that it holds.
    pub committed: Epoch,
    /// Transactions of this run.
    pub commits: u64,
    /// The commit that is under way, and since when.
    pub busy: Option<(Epoch, Duration)>,
    /// Since when it is away, and why.
    pub away: Option<(Duration, String)>,
    /// When it was last committed to.
    pub last: Option<Duration>,
}

/// A table of a destination.
#[derive(Clone, Debug, Default)]
pub struct TableFacts {
    /// The table.
    pub table: TableId,
    /// Its name.
    pub name: String,
    /// Rows inserted or replaced in this run.
    pub upserts: u64,
    /// Rows deleted in this run.
    pub deletes: u64,
}

/// A worker.
#[derive(Clone, Debug, Default)]
pub struct WorkerFacts {
    /// When it last turned.
    pub turned: Duration,
    /// What its operators hold.
    pub held: Vec<Size>,
    /// It has left its dataflow.
    pub done: bool,
}

impl Board {
    /// Somebody watches from now on.
    pub fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Whether somebody watches.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Whether this run, of those that the process began, is not over.
    #[must_use]
    pub fn runs(&self, run: u64) -> bool {
        let facts = self.lock();
        facts.run == run && !facts.ended
    }

    /// Writes on it.
    pub fn write(&self, write: impl FnOnce(&mut Facts)) {
        write(&mut self.lock());
    }

    /// Writes what is known of a destination.
    pub fn destination(&self, name: &str, write: impl FnOnce(&mut DestinationFacts)) {
        let mut facts = self.lock();
        let known = facts.destinations.iter_mut();
        if let Some(destination) = known.into_iter().find(|known| known.name == name) {
            write(destination);
        }
    }

    /// `what` is away since then, by `clock`: a source, a destination or a reference table.
    pub fn is_away(&self, what: &str, (since, cause): (Duration, &str), clock: &Clock) {
        let mut facts = self.lock();
        facts.clock = Some(clock.clone());
        facts
            .away
            .insert(what.to_owned(), (since, cause.to_owned()));
    }

    /// It is there again.
    pub fn is_back(&self, what: &str) {
        self.lock().away.remove(what);
    }

    /// All that stands on it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = self.lock().clone();
        for destination in &mut facts.destinations {
            destination.away = facts.away.get(&destination.name).cloned();
        }
        facts
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // What a thread that panicked has written is still so.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// Whether this process reads a partition, whose end it therefore knows best.
    #[must_use]
    pub fn reads(&self, partition: usize) -> bool {
        let (process, processes) = self.process;
        let workers = self.threads * processes;
        workers == 0 || (partition % workers) / self.threads == process
    }

    /// Takes over how far a worker knows the sources to be.
    pub fn reached(&mut self, tide: &Tide, now: Duration) {
        tide.look(|positions, complete| {
            // Once all is complete there is no last epoch to name.
            if complete.0 < u64::MAX - 1 && complete > self.complete {
                self.complete = complete;
            }
            for (&table, source) in &mut self.sources {
                source.reached(table, positions, now);
            }
        });
    }
}

impl SourceFacts {
    fn reached(&mut self, table: TableId, positions: &Positions, now: Duration) {
        let watermark = positions.watermark_of(table);
        // Another worker may have looked later.
        self.watermark = self.watermark.max(watermark);
        for (index, mark) in positions.marks(table) {
            let known = self.marks.get(&index);
            if known.is_some_and(|known| known.offset > mark.offset) {
                continue;
            }
            if known.is_none_or(|known| known.offset < mark.offset) {
                self.moved = now;
            }
            self.marks.insert(index, mark.clone());
            // Whoever reads it has seen its end, which may be behind the end of a transaction. Other
            // processes are not told where that is: it is where the broker says that it ends.
            let end = self.ends.get(index).copied().flatten();
            let known = self.caught_up.get(&index);
            let is_new = mark.idle && known.is_none_or(|known| *known < mark.offset);
            if let Some(end) = end.filter(|_| is_new) {
                self.caught_up.insert(index, end.max(mark.offset));
            }
        }
        for (&insert, &fates) in positions.fates(table) {
            let mut all = self.before.get(&insert).copied().unwrap_or_default();
            all += fates;
            let known = self.fates.entry(insert).or_default();
            if all.read() >= known.read() {
                *known = all;
            }
        }
    }

    /// The name of a partition, for people: a file's own. One found since the start has its number.
    #[must_use]
    pub fn name(&self, index: usize) -> String {
        let file = self.marks.get(&index).and_then(|mark| mark.file.as_ref());
        if let Some(file) = file {
            return file.name.clone();
        }
        let known = self.names.get(index).cloned();
        known.unwrap_or_else(|| index.to_string())
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> usize {
        let found = self.marks.keys().next_back().map_or(0, |last| last + 1);
        found.max(self.names.len())
    }

    /// Where a partition is.
    #[must_use]
    pub fn offset(&self, index: usize) -> Offset {
        let began = self.from.get(index).copied().unwrap_or(Offset(0));
        self.marks.get(&index).map_or(began, |mark| mark.offset)
    }

    /// How far its end is away, where that is known: records, or bytes of a file.
    #[must_use]
    pub fn lag(&self, index: usize) -> Option<u64> {
        let end = self.ends.get(index).copied().flatten()?;
        // What is behind the last record of a topic may be no record.
        let caught_up = self.caught_up.get(&index).copied();
        let read = caught_up.unwrap_or_default().max(self.offset(index));
        let distance = end.0.saturating_sub(read.0);
        Some(distance.div_ceil(self.stride.max(1)))
    }

    /// The partitions that are read now, whose offsets count the same: of files and the topic that follows
    /// them, the files as long as one has more.
    pub fn read_now(&self) -> impl Iterator<Item = usize> {
        let has_ended = |index| self.marks.get(index).is_some_and(|mark| mark.ended);
        let count = self.partitions();
        let are_files = self.files.len() == count || !self.files.keys().all(has_ended);
        (0..count).filter(move |index| self.files.contains_key(index) == are_files)
    }

    /// How far the ends of those are away, where that is known of all.
    #[must_use]
    pub fn lag_now(&self) -> Option<u64> {
        self.read_now().map(|index| self.lag(index)).sum()
    }

    /// What the offsets of a partition count, if it is a file that a topic follows; `own` are the topic's.
    #[must_use]
    pub fn unit<'a>(&self, index: usize, own: &'a str) -> &'a str {
        self.files.get(&index).copied().unwrap_or(own)
    }

    /// What those of the partitions that are read now count.
    #[must_use]
    pub fn unit_now<'a>(&self, own: &'a str) -> &'a str {
        let first = self.read_now().next();
        first.map_or(own, |index| self.unit(index, own))
    }

    /// Where event time is in a partition that it waits for; `None` if it does not wait.
    #[must_use]
    pub fn waited_for(&self, index: usize) -> Option<Watermark> {
        match self.marks.get(&index) {
            None => Some(Watermark::START),
            Some(mark) => mark.is_waited_for().then_some(mark.watermark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::report::Report;

    /// Where one partition is, as whoever reads it says.
    fn told(offset: u64, idle: bool) -> Positions {
        let mark = PartitionMark {
            idle,
            ..PartitionMark::beginning(Offset(offset))
        };
        let mut positions = Positions::new([(0, 1)]);
        positions.hear(
            Epoch(1),
            Report {
                partitions: vec![(0, mark)],
                ..Report::default()
            },
        );
        positions.complete(Epoch(1));
        positions
    }

    #[test]
    fn the_end_of_a_transaction_is_no_record_that_another_process_has_yet_to_read() {
        let mut source = SourceFacts {
            stride: 1,
            ends: vec![Some(Offset(7))],
            ..SourceFacts::default()
        };

        source.reached(0, &told(6, false), Duration::ZERO);
        assert_eq!(source.lag(0), Some(1));

        source.reached(0, &told(6, true), Duration::ZERO);
        assert_eq!(source.lag(0), Some(0));

        // More comes, with an end of its own.
        source.ends = vec![Some(Offset(10))];
        assert_eq!(source.lag(0), Some(3));
        source.reached(0, &told(9, false), Duration::ZERO);
        assert_eq!(source.lag(0), Some(1));
        source.reached(0, &told(9, true), Duration::ZERO);
        assert_eq!(source.lag(0), Some(0));
    }

    /// Bytes and records add up to nothing, and a packed file, whose length nobody knows, is no topic's.
    #[test]
    fn what_is_to_be_read_is_that_of_the_files_until_they_are_read_and_then_the_topic_s() {
        let mark = |ended| PartitionMark {
            ended,
            ..PartitionMark::beginning(Offset(10))
        };
        let mut source = SourceFacts {
            names: Arc::new(["a.csv", "b.csv", "0"].map(str::to_owned).to_vec()),
            files: BTreeMap::from([(0, "bytes"), (1, "bytes")]),
            ends: [10, 500, 7].map(|end| Some(Offset(end))).to_vec(),
            marks: BTreeMap::from([(0, mark(true)), (1, mark(false))]),
            ..SourceFacts::default()
        };
        let now = |it: &SourceFacts| (it.lag_now(), it.unit_now("records").to_owned());
        assert_eq!(now(&source), (Some(490), "bytes".to_owned()));

        source.ends[1] = None;
        assert_eq!(now(&source), (None, "bytes".to_owned()));

        source.marks.insert(1, mark(true));
        assert_eq!(now(&source), (Some(7), "records".to_owned()));
    }

    #[test]
    fn every_partition_is_read_by_one_process() {
        let facts = |process| Facts {
            process: (process, 3),
            threads: 2,
            ..Facts::default()
        };

        for partition in 0..20 {
            let readers = (0..3).filter(|&process| facts(process).reads(partition));
            assert_eq!(readers.count(), 1, "partition {partition}");
        }
        assert!(Facts::default().reads(5), "as long as nothing is known");
    }
}
