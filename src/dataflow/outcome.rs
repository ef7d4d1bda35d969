//! What the workers of a run share: the counts, the first failure, and the wish to stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::board::Board;
use super::written::Witness;
use crate::metrics::Metrics;
use crate::plan::TableId;
use crate::types::{Epoch, EventTime, Fates, Offset, SourceMark, Watermark};

/// So many of the epochs in which rows came to be left out, or no more, are told apart: a snapshot
/// asks for its own as soon as that is over.
const ASKED_FOR: usize = 1 << 12;

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Shared {
    stopping: Arc<AtomicBool>,
    failed: AtomicBool,
    /// A snapshot is wanted.
    cut: AtomicBool,
    /// The input goes on after this run.
    goes_on: AtomicBool,
    /// Nothing is published any more, although nothing failed.
    withheld: AtomicBool,
    failure: Mutex<Option<Failure>>,
    fates: Mutex<BTreeMap<(usize, TableId), Fates>>,
    /// By source: rows and bytes read, and how far the slowest partition's event time is.
    progress: Mutex<BTreeMap<TableId, SourceProgress>>,
    /// Where the sources stood in the oldest snapshot that is kept: no run begins before it.
    kept: Mutex<BTreeMap<String, SourceMark>>,
    /// How many more rows cannot be computed, by the epoch since which that is so.
    left_out: Mutex<BTreeMap<Epoch, i64>>,
    epochs_published: AtomicU64,
    /// By operator: whom it computes for.
    called: Mutex<BTreeMap<String, String>>,
    /// What people may see of the run.
    pub board: Board,
    /// What is counted and measured for people.
    pub metrics: Metrics,
    /// Who looks on as epochs are committed, if anybody does.
    pub witness: OnceLock<Arc<dyn Witness>>,
}

/// How far a source has come, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Records read.
    pub records: u64,
    /// Distance covered in the unit of the source's offsets.
    pub distance: u64,
    /// The same over all processes, as far as epochs are complete; nothing before the first is.
    pub distance_of_all: Option<u64>,
    /// The distance to its end, where that is known; of files that a topic follows, as long as they are
    /// read.
    pub length: Option<u64>,
    /// When a topic takes over from its files, if one does.
    pub follow_from: Option<EventTime>,
    /// It has: all files are read.
    pub follows: bool,
    /// It was said that it has records which neither the tables get from the files, nor from the topic.
    pub told_gap: bool,
    /// The last watermark known.
    pub watermark: Option<Watermark>,
    /// Records that all processes have read in this run, as far as epochs are complete,
    pub read_by_all: u64,
    /// those of them that are late for the INSERT that most are late for,
    pub late: u64,
    /// and those that are rejected for the INSERT that most are rejected for.
    pub rejected: u64,
}

/// Why a run ends before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// What led to it, nearest first.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Begun again from what is durable, it may go well.
    pub again: bool,
}

impl Failure {
    /// A failure with nothing to add.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            again: false,
        }
    }

    /// The same, to be begun again.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// The same with a cause.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// The same with an error and whatever led to it.
    #[must_use]
    pub fn because_of(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self = self.because(error);
            next = error.source();
        }
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked is reported elsewhere; the counts it left are still counts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Asks the sources to stop after the open epoch.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// The wish to stop, for a signal to set.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    /// Whether the sources should stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Says whether the input goes on in another run, though it may be read to its end in this one.
    pub fn input_goes_on(&self, goes_on: bool) {
        self.goes_on.store(goes_on, Ordering::SeqCst);
    }

    /// Whether what the run leaves open is for another one.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.is_stopping() || self.goes_on.load(Ordering::SeqCst)
    }

    /// The run cannot go on. From here on nothing is published: whoever sees a frontier pass
    /// because of this sees the failure too, and other processes do not see it pass.
    pub fn fail(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Whether the run has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// A source stops in the middle of a replay: what is complete now lies before what some
    /// destination holds, so from here on nothing is published.
    pub fn withhold(&self) {
        self.withheld.store(true, Ordering::SeqCst);
    }

    /// Whether complete epochs may be published.
    #[must_use]
    pub fn may_publish(&self) -> bool {
        !self.has_failed() && !self.withheld.load(Ordering::SeqCst)
    }

    /// The first failure.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// Forgets how the run went so far: it begins again. The wish to stop stays.
    pub fn begin_again(&self) {
        self.failed.store(false, Ordering::SeqCst);
        self.withheld.store(false, Ordering::SeqCst);
        self.cut.store(false, Ordering::SeqCst);
        *lock(&self.failure) = None;
        lock(&self.fates).clear();
        lock(&self.progress).clear();
        lock(&self.kept).clear();
        lock(&self.left_out).clear();
    }

    /// An operator computes for this INSERT.
    pub fn calls(&self, operator: String, of: String) {
        lock(&self.called).insert(operator, of);
    }

    /// Whom an operator computes for.
    #[must_use]
    pub fn called(&self, operator: &str) -> Option<String> {
        lock(&self.called).get(operator).cloned()
    }

    /// Asks for a snapshot, at the end of the next epoch.
    pub fn want_cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Whether a snapshot is wanted.
    #[must_use]
    pub fn wants_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Whether a snapshot is wanted; the one who learns it sees to it.
    pub fn take_cut(&self) -> bool {
        self.cut.swap(false, Ordering::SeqCst)
    }

    /// An operator leaves out so many rows more in `epoch` than before it, or fewer.
    pub fn leaves_out(&self, epoch: Epoch, rows: i64) {
        let mut left_out = lock(&self.left_out);
        *left_out.entry(epoch).or_default() += rows;
        if left_out.len() > ASKED_FOR
            && let Some((first, rows)) = left_out.pop_first()
        {
            let next = left_out.keys().next().copied().unwrap_or(first);
            *left_out.entry(next).or_default() += rows;
        }
    }

    /// Whether rows are left out at the end of `epoch` because they cannot be computed; asked
    /// when every operator of this process has passed it. What later epochs have said by then
    /// changes nothing.
    #[must_use]
    pub fn has_left_out(&self, epoch: Epoch) -> bool {
        lock(&self.left_out)
            .range(..=epoch)
            .map(|(_, rows)| rows)
            .sum::<i64>()
            > 0
    }

    /// No run begins before `sources` any more.
    pub fn keeps(&self, sources: BTreeMap<String, SourceMark>) {
        *lock(&self.kept) = sources;
    }

    /// Before which position of a partition no run begins.
    #[must_use]
    pub fn kept_from(&self, source: &str, partition: &str) -> Offset {
        let kept = lock(&self.kept);
        let mark = kept
            .get(source)
            .and_then(|mark| mark.partitions.get(partition));
        mark.map_or(Offset(0), |mark| mark.offset)
    }

    /// Adds what became of some records of `table` for `insert`.
    pub fn count(&self, insert: usize, table: TableId, fates: Fates) {
        *lock(&self.fates).entry((insert, table)).or_default() += fates;
    }

    /// What became of every record, by INSERT and source.
    #[must_use]
    pub fn fates(&self) -> BTreeMap<(usize, TableId), Fates> {
        lock(&self.fates).clone()
    }

    /// A source is this long, and if it is files, a topic takes over at some time.
    pub fn has_length(&self, table: TableId, length: Option<u64>, follow_from: Option<EventTime>) {
        let mut progress = lock(&self.progress);
        let source = progress.entry(table).or_default();
        (source.length, source.follow_from) = (length, follow_from);
    }

    /// Some more records of a source were read.
    pub fn read(&self, table: TableId, records: u64, distance: u64) {
        let mut progress = lock(&self.progress);
        let source = progress.entry(table).or_default();
        source.records += records;
        source.distance += distance;
    }

    /// The watermark of a source at the end of an epoch. The first time that it is where a topic takes
    /// over from the source's files, that is given back.
    pub fn reached(&self, table: TableId, watermark: Watermark) -> Option<EventTime> {
        let mut progress = lock(&self.progress);
        let source = progress.entry(table).or_default();
        source.watermark = Some(watermark);
        let from = source.follow_from.filter(|_| !source.follows);
        let from = from.filter(|&from| watermark.has_reached(from))?;
        // The topic has no end.
        (source.follows, source.length) = (true, None);
        Some(from)
    }

    /// Whether it is yet to be said that records of a source lie between its files and its topic.
    pub fn tells_gap(&self, table: TableId) -> bool {
        let mut progress = lock(&self.progress);
        let source = progress.entry(table).or_default();
        !std::mem::replace(&mut source.told_gap, true)
    }

    /// What became of a source's records in this run, by INSERT, and the distance covered: over all
    /// processes.
    pub fn heard(&self, table: TableId, fates: &BTreeMap<usize, Fates>, distance: u64) {
        let most = |count: fn(&Fates) -> u64| fates.values().map(count).max().unwrap_or(0);
        let mut progress = lock(&self.progress);
        let source = progress.entry(table).or_default();
        // Several destinations hear the same, one a little later than the other.
        source.read_by_all = source.read_by_all.max(most(Fates::read));
        source.late = source.late.max(most(|fates| fates.late));
        source.rejected = source.rejected.max(most(|fates| fates.rejected));
        source.distance_of_all = source.distance_of_all.max(Some(distance));
    }

    /// How far each source is.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<TableId, SourceProgress> {
        lock(&self.progress).clone()
    }

    /// One more transaction was committed.
    pub fn published(&self) {
        self.epochs_published.fetch_add(1, Ordering::Relaxed);
    }

    /// How many transactions were committed.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.epochs_published.load(Ordering::Relaxed)
    }
}
