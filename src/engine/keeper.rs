//! The thread that keeps snapshots: asks for them, writes their parts, publishes them.
//!
//! ```text
//!   due ──▶ want a cut ──▶ an epoch closes with it ──┬─▶ parts, from every operator and worker
//!                                                    ├─▶ facts: where everything stood
//!                                                    └─▶ every destination durable at or past it
//!                                       all three ──▶ manifest, then forget older snapshots
//! ```
//!
//! A row that an operator cannot compute now is in no state (see `dataflow::withheld`): of an epoch
//! that ends with one there is no snapshot. What an epoch ends with is known when every operator
//! has passed it, so a part that was written counts only then.
//!
//! A snapshot may be used only if every destination holds its epoch, so it is published only
//! then. In a replay most of them hold it from the start. A disk that is full does not end the run: the
//! snapshot is given up once the rest of it has come, which is said, the last good one stays, and the next
//! is tried when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::committer::CrashPoint;
use super::mesh::Teller;
use super::threads::spawn_named;
use crate::dataflow::outcome::Shared;
use crate::dataflow::state::{Part, StateError, Vault};
use crate::durability::{
    Facts, Manifest, PartFile, PartOf, Snapshots, StoreError, may_leave_files,
};
use crate::types::{Clock, Epoch, SourceMark};

/// What may wait for the thread: more than any run has operators times workers.
const WORDS: usize = 1 << 14;

/// The next snapshot comes no sooner than this many times as long as the last one took.
const REST: u32 = 10;

/// Sources that can cut a snapshot do so within a few epochs: after this long others are asked.
const TAKEN: Duration = Duration::from_secs(3);

/// What the thread is told.
pub enum Word {
    /// The state of an operator on a worker.
    Part(Part),
    /// Every operator of this process has passed this epoch.
    Passed(Epoch),
    /// What another process wrote.
    Written(Written),
    /// Where everything stood.
    Facts(Facts),
    /// A destination holds every epoch up to this one, whatever happens to it.
    Durable { destination: usize, epoch: Epoch },
}

/// A part that was written, with or without rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    epoch: Epoch,
    operator: String,
    worker: usize,
    file: Option<PartFile>,
    /// It is no state to begin with: the epoch ends with rows that the process cannot compute, it has
    /// failed, or could not write it.
    incomplete: bool,
}

/// Takes how far the sources are.
pub type Show = Box<dyn Fn(&BTreeMap<String, SourceMark>) + Send>;

/// What a run's snapshots are made of.
pub struct KeeperSpec {
    /// The plan.
    pub fingerprint: String,
    /// The life of the pipeline.
    pub life: u64,
    /// This start.
    pub incarnation: u64,
    /// How many parts a snapshot has: operators times workers.
    pub parts: usize,
    /// The epoch that each destination holds where the run begins. It was taken over since, by a
    /// write that waited for the disk: what it holds it does not lose.
    pub held: Vec<Epoch>,
    /// How often a snapshot is taken.
    pub interval: Duration,
    /// Takes how far the sources are, for good.
    pub show: Show,
    /// The other processes.
    pub others: Others,
}

/// What this process is among those that write a snapshot together.
pub enum Others {
    /// There are no others.
    None,
    /// It leads them: asks for snapshots and publishes them.
    Led(Teller),
    /// One of them leads, and is told what this one wrote.
    Leader(Teller),
}

/// The run's end of the keeper: where state goes and comes from.
pub struct Keeper {
    snapshots: Arc<Snapshots>,
    /// What this run begins with.
    begin: Option<Manifest>,
    words: Mutex<Option<SyncSender<Word>>>,
    /// Parts that were read, by operator: every worker asks for them.
    read: Mutex<BTreeMap<String, Arc<Vec<RecordBatch>>>>,
    /// How many workers have asked for all they want.
    restored: AtomicUsize,
    /// The last epoch that state was saved of.
    saved: AtomicU64,
}

impl Keeper {
    /// Starts the thread. The run begins with `begin`.
    pub fn start(
        snapshots: Arc<Snapshots>,
        begin: Option<Manifest>,
        spec: KeeperSpec,
        crash: &Arc<CrashPoint>,
        (shared, clock): (&Arc<Shared>, &Clock),
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (sender, words) = sync_channel(WORDS);
        let mut thread = Thread {
            snapshots: Arc::clone(&snapshots),
            crash: Arc::clone(crash),
            durable: spec.held.clone(),
            spec,
            shared: Arc::clone(shared),
            clock: clock.clone(),
            pending: BTreeMap::new(),
            early: Vec::new(),
            passed: Epoch(0),
            asked: false,
            due: Duration::ZERO,
            given_up: Epoch(0),
            last: BTreeMap::new(),
            left_files: false,
        };
        let handle = spawn_named("snapshots", move || thread.run(&words));
        let keeper = Self {
            snapshots,
            begin,
            words: Mutex::new(Some(sender)),
            read: Mutex::default(),
            restored: AtomicUsize::new(0),
            saved: AtomicU64::new(0),
        };
        (Arc::new(keeper), handle)
    }

    /// Tells the thread.
    pub fn tell(&self, word: Word) {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(words) = &*words {
            // A thread that is gone has said why.
            let _ = words.send(word);
        }
    }

    /// The epoch of the last snapshot of which a part was saved: whether it is passed is wanted.
    pub fn saved_last(&self) -> Epoch {
        Epoch(self.saved.load(Ordering::SeqCst))
    }

    /// Nothing more will be told: the thread ends.
    pub fn close(&self) {
        self.words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// One of `workers` has what it wants; when all have, what was read is forgotten.
    pub fn restored(&self, workers: usize) {
        if self.restored.fetch_add(1, Ordering::SeqCst) + 1 == workers {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.clear();
            self.snapshots.forget_fetched();
        }
    }
}

impl Vault for Keeper {
    fn saved(&self, operator: &str) -> Result<Arc<Vec<RecordBatch>>, StateError> {
        let Some(manifest) = &self.begin else {
            return Ok(Arc::default());
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batches) = read.get(operator) {
            return Ok(Arc::clone(batches));
        }
        let batches = Arc::new(self.snapshots.state(manifest, operator)?);
        read.insert(operator.to_owned(), Arc::clone(&batches));
        Ok(batches)
    }

    fn save(&self, part: Part) {
        self.saved.fetch_max(part.epoch.0, Ordering::SeqCst);
        self.tell(Word::Part(part));
    }
}

struct Thread {
    snapshots: Arc<Snapshots>,
    crash: Arc<CrashPoint>,
    spec: KeeperSpec,
    shared: Arc<Shared>,
    clock: Clock,
    /// Up to where each destination is durable.
    durable: Vec<Epoch>,
    pending: BTreeMap<Epoch, Pending>,
    /// Parts that were written here, of epochs that some operator may not have passed.
    early: Vec<Written>,
    /// Every operator of this process has passed it.
    passed: Epoch,
    /// A cut was asked for and has not come yet.
    asked: bool,
    due: Duration,
    /// A part of this snapshot could not be written here: what still comes of it is not.
    given_up: Epoch,
    /// Where the sources stood in the last one.
    last: BTreeMap<String, SourceMark>,
    /// It was said that a run goes on without files.
    left_files: bool,
}

/// A snapshot on its way.
struct Pending {
    begun: Duration,
    parts: Vec<PartFile>,
    /// Which have come, with or without rows.
    seen: BTreeSet<(String, usize)>,
    facts: Option<Facts>,
    incomplete: bool,
}

impl Thread {
    fn run(&mut self, words: &Receiver<Word>) {
        self.due = self.clock.elapsed() + self.spec.interval;
        loop {
            let wait = self.due.saturating_sub(self.clock.elapsed());
            match words.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(word) => {
                    self.hear(word);
                    self.publish();
                }
                Err(RecvTimeoutError::Timeout) => self.ask(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Never two at once. In a replay a source may have nothing to cut behind: then all are asked.
    fn ask(&mut self) {
        let mut wait = self.spec.interval;
        match &self.spec.others {
            Others::Leader(_) => {}
            Others::None | Others::Led(_) if !self.pending.is_empty() => {}
            Others::Led(others) if self.asked && self.shared.wants_cut() => others.want_cut(),
            Others::None | Others::Led(_) if self.asked => {}
            Others::None | Others::Led(_) => {
                self.asked = true;
                self.shared.want_cut();
                wait = wait.min(TAKEN);
            }
        }
        self.due = self.clock.elapsed() + wait;
    }

    fn rest(&mut self, took: Duration) {
        self.asked = false;
        self.due = self.clock.elapsed() + self.spec.interval.max(took * REST);
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Part(part) => {
                // Someone has seen to it: one cut is enough.
                self.shared.take_cut();
                let written = self.write(part);
                self.early.push(written);
                self.count_in();
            }
            Word::Passed(epoch) => {
                self.passed = epoch.max(self.passed);
                self.count_in();
            }
            Word::Written(written) => self.written(written),
            Word::Facts(facts) => {
                let epoch = facts.epoch;
                self.pending(epoch).facts = Some(facts);
            }
            Word::Durable { destination, epoch } => {
                let durable = &mut self.durable[destination];
                *durable = epoch.max(*durable);
            }
        }
    }

    /// Parts of epochs that are passed count: now it is known what the epochs end with.
    fn count_in(&mut self) {
        let passed = self.passed;
        let over = self.early.extract_if(.., |written| written.epoch <= passed);
        for mut written in over.collect::<Vec<_>>() {
            let is_whole = !self.shared.has_left_out(written.epoch) && !self.shared.has_failed();
            written.incomplete |= !is_whole;
            match &self.spec.others {
                Others::None | Others::Led(_) => self.written(written),
                Others::Leader(leader) => {
                    leader.tell(serde_json::to_vec(&written).expect("it is plain data"));
                }
            }
        }
    }

    fn write(&mut self, part: Part) -> Written {
        let mut file = Ok(None);
        let is_wanted = part.epoch > self.given_up;
        if is_wanted {
            let of = PartOf {
                epoch: part.epoch,
                operator: &part.operator,
                worker: part.worker,
                incarnation: self.spec.incarnation,
            };
            self.crash
                .pass(|| file = self.snapshots.write_part(of, &part.batches));
        }
        if let Err(error) = &file {
            not_written(error);
            self.given_up = part.epoch;
        }
        let is_there = is_wanted && file.is_ok();
        Written {
            file: file.unwrap_or_default(),
            incomplete: !is_there,
            epoch: part.epoch,
            worker: part.worker,
            operator: part.operator,
        }
    }

    fn written(&mut self, written: Written) {
        let pending = self.pending(written.epoch);
        pending.parts.extend(written.file);
        pending.incomplete |= written.incomplete;
        pending.seen.insert((written.operator, written.worker));
    }

    fn pending(&mut self, epoch: Epoch) -> &mut Pending {
        let begun = self.clock.elapsed();
        self.pending.entry(epoch).or_insert_with(|| {
            debug!(%epoch, "writes a snapshot");
            Pending {
                begun,
                parts: Vec::new(),
                seen: BTreeSet::new(),
                facts: None,
                incomplete: false,
            }
        })
    }

    /// Publishes the newest snapshot that is whole, if there is one.
    fn publish(&mut self) {
        let durable = self.durable.iter().min().copied().unwrap_or(Epoch(0));
        let whole = |(epoch, pending): &(&Epoch, &Pending)| {
            pending.seen.len() == self.spec.parts && pending.facts.is_some() && **epoch <= durable
        };
        let Some(epoch) = self.pending.iter().rfind(whole).map(|(&epoch, _)| epoch) else {
            return;
        };
        let later = self.pending.split_off(&epoch.next());
        let pending = std::mem::replace(&mut self.pending, later).remove(&epoch);
        let pending = pending.expect("it was found just now");
        let took = self.clock.elapsed().saturating_sub(pending.begun);
        // A failure may be why the epoch looks complete.
        if pending.incomplete || self.shared.has_failed() {
            debug!(%epoch, "no snapshot: a part of it is not whole");
            self.rest(took);
            return;
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (fingerprint, life) = (self.spec.fingerprint.clone(), self.spec.life);
        let facts = pending.facts.expect("it is whole");
        let manifest = Manifest::new(fingerprint, life, facts, pending.parts, took_ms);
        let mut published = Ok(());
        self.crash
            .pass(|| published = self.snapshots.publish(&manifest));
        if let Err(error) = published {
            not_written(&error);
            self.rest(took);
            return;
        }
        debug!(%epoch, rows = manifest.rows(), bytes = manifest.bytes(), took_ms, "snapshot");
        let (bytes, now) = (manifest.bytes() as u64, self.clock.elapsed());
        self.shared.metrics.snapshot(epoch.0, bytes, took, now);
        (self.spec.show)(&manifest.facts.sources);
        if !self.left_files && may_leave_files(&manifest.facts.sources) {
            self.left_files = true;
            info!(%epoch, "the files are not needed any more: `tidemark run` goes on from a snapshot");
        }
        // The one before is kept too.
        let before = std::mem::replace(&mut self.last, manifest.facts.sources);
        self.shared.keeps(before);
        self.rest(took);
    }
}

fn not_written(error: &StoreError) {
    warn!(%error, "could not write a snapshot; the last good one stays");
}

#[cfg(test)]
mod tests;
