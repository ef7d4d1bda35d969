//! Hands complete epochs to a destination, in order, each at most once.
//!
//! ```text
//!   rows and reports ──▶ stash by epoch ──▶ frontier passes e ──▶ consolidate ──▶ Job { e }
//!                          capability of e held until the destination has committed it
//! ```
//!
//! One worker is a destination's home; all its rows come here. An epoch that the destination
//! holds already is dropped. An epoch without rows writes nothing, but the last one of a run
//! writes its mark, so that the next run knows how far this one got. The worker never waits:
//! committing is another thread's work, and what it has not taken yet stays here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use timely::dataflow::operators::Capability;
use timely::scheduling::activate::SyncActivator;
use tracing::{info, warn};

use super::outcome::{Failure, Shared};
use super::report::{Positions, Report};
use super::seal::Lane;
use super::step::plain;
use super::written::Written;
use crate::connector::{Share, TableChanges};
use crate::plan::TableId;
use crate::types::{Epoch, Mark, SourceMark, Watermark};

/// One transaction for a destination.
#[derive(Debug)]
pub struct Job {
    /// What the destination holds once this is committed.
    pub mark: Mark,
    /// The rows.
    pub changes: Vec<TableChanges>,
    /// When the records of the epoch were written.
    pub written: Written,
    /// A snapshot is cut here: it may be used once this survives a crash of the destination.
    pub cut: bool,
}

/// The worker's side of the line to the committing thread.
#[derive(Clone, Debug)]
pub struct Line {
    jobs: SyncSender<Job>,
    receipt: Arc<Receipt>,
}

/// What the committing thread says back.
#[derive(Default)]
pub struct Receipt {
    committed: AtomicU64,
    waker: OnceLock<SyncActivator>,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt")
            .field("committed", &self.committed)
            .finish_non_exhaustive()
    }
}

impl Receipt {
    /// Everything up to `epoch` is committed.
    pub fn committed(&self, epoch: Epoch) {
        self.committed.store(epoch.0, Ordering::SeqCst);
        self.wake();
    }

    /// Has the operator look again.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            // A worker that is gone needs no waking.
            let _ = waker.activate();
        }
    }
}

impl Line {
    /// A line whose other end takes `jobs` and signs the receipt.
    #[must_use]
    pub fn new(jobs: SyncSender<Job>) -> (Self, Arc<Receipt>) {
        let receipt = Arc::new(Receipt::default());
        (
            Self {
                jobs,
                receipt: Arc::clone(&receipt),
            },
            receipt,
        )
    }
}

/// A source, as marks name it.
#[derive(Clone, Debug)]
pub struct MarkedSource {
    /// Its name.
    pub name: String,
    /// Its partitions' names.
    pub partitions: Arc<Vec<String>>,
    /// Which source of that name it is, where that is told.
    pub identity: Option<String>,
    /// How the files of its history become rows.
    pub decoding: BTreeMap<String, String>,
}

/// What a destination's publisher knows from the start.
#[derive(Clone, Debug)]
pub struct PublishSpec {
    /// Its tables; rows come with the position of theirs.
    pub lanes: Vec<Lane>,
    /// The mark that is there: its epoch and whose it is. Positions are filled in per epoch.
    pub mark: Mark,
    /// The reference tables: they are read whole, so where they stand does not change.
    pub references: BTreeMap<String, SourceMark>,
    /// The sources.
    pub sources: BTreeMap<TableId, MarkedSource>,
    /// What of the rows comes here, if not all.
    pub share: Option<Share>,
}

/// The publisher of one destination, on its home worker.
pub struct Publish {
    spec: PublishSpec,
    line: Line,
    shared: Arc<Shared>,
    positions: Positions,
    stash: BTreeMap<Epoch, Stashed>,
    outbox: VecDeque<Job>,
    /// Capabilities of epochs that are sealed and not yet committed.
    awaiting: VecDeque<(Epoch, Option<Capability<u64>>)>,
    sealed: Option<Epoch>,
    sent: Epoch,
    /// The last mark of the run has been seen to.
    closed: bool,
}

#[derive(Default)]
struct Stashed {
    written: Written,
    rows: Vec<(usize, RecordBatch)>,
    capability: Option<Capability<u64>>,
}

impl Publish {
    /// A publisher that starts after the mark in `spec`.
    #[must_use]
    pub fn new(spec: PublishSpec, line: Line, shared: Arc<Shared>, waker: SyncActivator) -> Self {
        // Set once: a line belongs to one operator.
        let _ = line.receipt.waker.set(waker);
        let counts = spec
            .sources
            .iter()
            .map(|(&table, source)| (table, source.partitions.len()));
        Self {
            positions: Positions::new(counts),
            stash: BTreeMap::new(),
            outbox: VecDeque::new(),
            awaiting: VecDeque::new(),
            sealed: None,
            sent: spec.mark.epoch,
            closed: false,
            spec,
            line,
            shared,
        }
    }

    /// Rows of a table in an epoch.
    pub fn rows(
        &mut self,
        epoch: Epoch,
        lane: usize,
        rows: RecordBatch,
        capability: impl FnOnce() -> Capability<u64>,
    ) {
        if epoch > self.spec.mark.epoch {
            let stashed = self.stash.entry(epoch).or_default();
            stashed.rows.push((lane, rows));
            stashed.capability.get_or_insert_with(capability);
        }
    }

    /// A source's word for an epoch.
    pub fn hear(&mut self, epoch: Epoch, report: Report) {
        if report.stops_short {
            // Heard before the frontier passes the epoch, also from another process.
            self.shared.withhold();
        }
        let stashed = self.stash.entry(epoch).or_default();
        stashed.written.extend(&report.written);
        self.positions.hear(epoch, report);
    }

    /// Everything before `frontier` is complete (`None`: everything). Returns whether the
    /// operator is finished.
    pub fn advance(&mut self, frontier: Option<Epoch>) -> bool {
        while let Some((&epoch, _)) = self.stash.first_key_value() {
            if frontier.is_some_and(|frontier| epoch >= frontier) {
                break;
            }
            let stashed = self.stash.remove(&epoch).expect("it is the first");
            self.seal(epoch, stashed);
        }
        if frontier.is_none() && !self.closed {
            self.closed = true;
            self.write_last_mark();
        }
        self.deliver();
        frontier.is_none() && (!self.shared.may_publish() || self.awaiting.is_empty())
    }

    fn seal(&mut self, epoch: Epoch, stashed: Stashed) {
        let cut = self.positions.complete(epoch);
        self.sealed = Some(epoch);
        for (&table, source) in &self.spec.sources {
            let watermark = self.positions.watermark_of(table);
            if let Some(from) = self.shared.reached(table, watermark) {
                let from = Watermark::behind(from, 0);
                info!(source = source.name, %from, "all files are read, and the topic from here on");
                let end = self.positions.end_of_files(table);
                if end.is_some_and(|end| end.is_start()) {
                    let source = &source.name;
                    warn!(source, %from, "no row of the files is before --from: all are filtered");
                }
            }
            let distance = self.positions.distance(table);
            let fates = self.positions.fates(table);
            self.shared.heard(table, fates, distance);
        }
        let mut changes = Vec::new();
        for (position, lane) in self.spec.lanes.iter().enumerate() {
            let rows = stashed.rows.iter().filter(|(lane, _)| *lane == position);
            let rows: Vec<RecordBatch> = rows.map(|(_, rows)| rows.clone()).collect();
            if rows.is_empty() {
                continue;
            }
            match lane.seal(position, &rows) {
                Ok(Ok(parts)) => changes.extend(parts),
                Ok(Err(error)) => self.shared.fail(Failure::new(error.to_string())),
                Err(error) => {
                    let message = format!("cannot consolidate the changes of `{}`", lane.name);
                    self.shared
                        .fail(Failure::new(message).because(plain(&error)));
                }
            }
        }
        // An epoch that it holds already is durable there, too.
        let is_held = epoch <= self.spec.mark.epoch;
        if !is_held && (cut || !changes.is_empty()) {
            self.send(epoch, (changes, stashed.written, cut), stashed.capability);
        }
    }

    fn send(
        &mut self,
        epoch: Epoch,
        (changes, written, cut): (Vec<TableChanges>, Written, bool),
        held: Option<Capability<u64>>,
    ) {
        let sources = self.spec.sources.iter().map(|(&table, source)| {
            let stands = self.positions.source_mark(table, &source.partitions);
            let mark = SourceMark {
                identity: source.identity.clone(),
                decoding: source.decoding.clone(),
                ..stands
            };
            (source.name.clone(), mark)
        });
        let sources: BTreeMap<String, SourceMark> =
            sources.chain(self.spec.references.clone()).collect();
        assert_covers(&sources, &self.spec.mark);
        let mark = Mark {
            epoch,
            sources,
            ..self.spec.mark.clone()
        };
        self.sent = epoch;
        self.outbox.push_back(Job {
            mark,
            changes,
            written,
            cut,
        });
        self.awaiting.push_back((epoch, held));
    }

    fn write_last_mark(&mut self) {
        match self.sealed {
            Some(epoch) if epoch > self.sent && self.shared.may_publish() => {
                self.send(epoch, (Vec::new(), Written::default(), false), None);
            }
            _ => {}
        }
    }

    fn deliver(&mut self) {
        // A failure may be why the frontier passed: nothing leaves from here on.
        while self.shared.may_publish() {
            let Some(job) = self.outbox.pop_front() else {
                break;
            };
            match self.line.jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.outbox.push_front(job);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.shared
                        .fail(Failure::new("the committing thread is gone"));
                }
            }
        }
        let committed = Epoch(self.line.receipt.committed.load(Ordering::SeqCst));
        while self
            .awaiting
            .front()
            .is_some_and(|(epoch, _)| *epoch <= committed)
        {
            self.awaiting.pop_front();
        }
    }
}

/// A mark never goes back: what a destination holds stays covered.
fn assert_covers(sources: &BTreeMap<String, SourceMark>, before: &Mark) {
    for (name, then) in &before.sources {
        for (partition, then) in &then.partitions {
            let now = sources
                .get(name)
                .and_then(|now| now.partitions.get(partition));
            // Files that are read may be left behind by a run that goes on with their topic.
            let left = now.is_none() && then.is_file() && then.ended;
            assert!(
                left || now.is_some_and(|now| now.offset >= then.offset),
                "`{partition}` of `{name}` went back from {} to {now:?}",
                then.offset
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::types::{Offset, PartitionMark, Recipe};

    /// A source's word at the end of a run: its partition stands at `offset`.
    fn last_word(offset: u64, stops_short: bool) -> Report {
        Report {
            partitions: vec![(0, PartitionMark::beginning(Offset(offset)))],
            stops_short,
            ..Report::default()
        }
    }

    /// The marks that a destination without rows is given. It holds epoch 4, up to offset 10.
    fn marks(word: Report) -> Vec<Mark> {
        let stands = SourceMark {
            partitions: BTreeMap::from([("0".to_owned(), PartitionMark::beginning(Offset(10)))]),
            ..SourceMark::default()
        };
        let source = MarkedSource {
            name: "s".to_owned(),
            partitions: Arc::new(vec!["0".to_owned()]),
            identity: Some("t".to_owned()),
            decoding: BTreeMap::new(),
        };
        let spec = PublishSpec {
            lanes: Vec::new(),
            mark: Mark {
                generation: 1,
                incarnation: 1,
                life: 1,
                epoch: Epoch(4),
                recipe: Recipe::default(),
                sources: BTreeMap::from([("s".to_owned(), stands)]),
            },
            references: BTreeMap::new(),
            sources: BTreeMap::from([(0, source)]),
            share: None,
        };
        let (jobs, sent) = sync_channel(8);
        timely::execute_directly(move |worker| {
            let waker = worker.sync_activator_for(vec![0]);
            let shared = Arc::new(Shared::default());
            let mut publish = Publish::new(spec, Line::new(jobs).0, shared, waker);
            publish.hear(Epoch(6), word);
            publish.advance(None);
        });
        sent.iter().map(|job| job.mark).collect()
    }

    #[test]
    fn the_last_mark_of_a_run_says_how_far_it_got() {
        let marks = marks(last_word(12, false));
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0].epoch, Epoch(6));
        assert_eq!(marks[0].sources["s"].partitions["0"].offset, Offset(12));
        assert_eq!(marks[0].sources["s"].identity.as_deref(), Some("t"));
    }

    /// The source may be in another process than its destination.
    #[test]
    fn a_source_that_stops_in_the_middle_of_a_replay_leaves_no_mark() {
        assert_eq!(marks(last_word(7, true)), []);
    }
}
