//! Reading threads of a source: partitions in, arrivals out, each partition in its order.
//!
//! ```text
//!   thread ─▶ claim a partition ─▶ cut its next block ─▶ decode ─▶ put in sequence ─▶ inbox
//!             (cutting is in order,      (decoding is not)     (again in order)
//!              one thread at a time)
//! ```
//!
//! Several threads decode one large file, and what comes out does not depend on it: cuts are a
//! function of the file, decoding a function of the block, and lateness is decided later, in
//! sequence. What is claimed and not yet taken is bounded per partition, and so is the number of
//! partitions read at a time: memory does not grow with the number of files.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use timely::scheduling::activate::SyncActivator;

use super::crew::Crew;
use super::intake::Intake;
use crate::connector::{Reader, Source};
use crate::dataflow::arrival::{Arrival, Inbox};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::step::plain;
use crate::types::Offset;

/// The reading threads of a source and the inboxes that they fill: one of each per worker of
/// this process.
pub trait Reading: Send + Sync {
    /// A reading thread's whole life.
    fn read(&self, thread: usize);

    /// Where a worker takes its arrivals from.
    fn inbox(self: Arc<Self>, thread: usize) -> Box<dyn Inbox>;

    /// Tells how to wake a worker when something arrives for it.
    fn set_waker(&self, thread: usize, waker: SyncActivator);

    /// No more will be taken: the reading threads end.
    fn close(&self);

    /// How many bytes are decoded and wait for their workers.
    fn queued_bytes(&self) -> usize;

    /// Up to where partitions hold no more records than were read: beyond the last record of a
    /// topic there may be marks of transactions.
    fn caught_up(&self) -> Vec<(usize, Offset)> {
        Vec::new()
    }
}

/// A source that ends, with its partitions dealt out to workers.
pub struct Feed {
    name: String,
    source: Arc<dyn Source>,
    intake: Intake,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Something may be claimed again.
    claimable: Condvar,
    crew: Crew,
    /// How many partitions are read at a time.
    at_a_time: usize,
    /// Blocks of one partition that may be claimed and not yet taken by its worker.
    ahead: u64,
}

struct State {
    lanes: Vec<Lane>,
    /// Per worker: arrivals in the order to be taken, and how to wake it.
    inboxes: Vec<Vec<(usize, Arrival)>>,
    wakers: Vec<Option<SyncActivator>>,
}

/// One partition.
struct Lane {
    start: Offset,
    reader: Cursor,
    /// Blocks cut so far, delivered so far, taken so far.
    claimed: u64,
    delivered: u64,
    taken: u64,
    /// Decoded before their turn.
    early: BTreeMap<u64, Arrival>,
    parked: bool,
}

enum Cursor {
    NotOpened,
    /// Open, and nobody cuts from it now.
    Idle(Box<dyn Reader>),
    /// A thread cuts from it.
    Busy,
    Ended,
}

impl Feed {
    /// A feed of `source` that begins at `start`, one offset per partition.
    #[must_use]
    pub fn new(
        name: &str,
        source: Arc<dyn Source>,
        intake: Intake,
        start: &[Offset],
        crew: Crew,
        shared: Arc<Shared>,
    ) -> Self {
        let lane = |(partition, &start): (usize, &Offset)| Lane {
            start,
            reader: match crew.thread_of(partition) {
                Some(_) => Cursor::NotOpened,
                None => Cursor::Ended,
            },
            claimed: 0,
            delivered: 0,
            taken: 0,
            early: BTreeMap::new(),
            parked: false,
        };
        let state = State {
            lanes: start.iter().enumerate().map(lane).collect(),
            inboxes: vec![Vec::new(); crew.threads],
            wakers: vec![None; crew.threads],
        };
        // Enough to keep every thread decoding, however few partitions there are.
        let ahead = (4 * crew.workers() / start.len().max(1)).max(2) as u64;
        Self {
            name: name.to_owned(),
            ahead,
            source,
            intake,
            shared,
            state: Mutex::new(state),
            claimable: Condvar::new(),
            crew,
            at_a_time: 16.max(4 * crew.threads),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(
        &self,
        partition: usize,
    ) -> Result<(Box<dyn Reader>, Option<crate::format::Block>), crate::connector::ConnectorError>
    {
        let start = self.lock().lanes[partition].start;
        let mut reader = self.source.open(partition, start)?;
        let block = reader.next()?;
        Ok((reader, block))
    }

    /// Waits for a partition to cut from. `None` when there are none left.
    fn claim(&self) -> Option<(usize, Option<Box<dyn Reader>>)> {
        let mut state = self.lock();
        loop {
            if state
                .lanes
                .iter()
                .all(|lane| matches!(lane.reader, Cursor::Ended))
            {
                return None;
            }
            if let Some(partition) = state.next_claim(self.at_a_time, self.ahead) {
                let lane = &mut state.lanes[partition];
                let reader = match std::mem::replace(&mut lane.reader, Cursor::Busy) {
                    Cursor::Idle(reader) => Some(reader),
                    Cursor::NotOpened | Cursor::Busy | Cursor::Ended => None,
                };
                return Some((partition, reader));
            }
            state = self
                .claimable
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the partition back and takes a place in its sequence for what was cut. `None` once
    /// the feed is closed.
    fn put_back(&self, partition: usize, reader: Option<Box<dyn Reader>>) -> Option<u64> {
        let mut state = self.lock();
        let lane = &mut state.lanes[partition];
        if !matches!(lane.reader, Cursor::Busy) {
            return None;
        }
        lane.reader = reader.map_or(Cursor::Ended, Cursor::Idle);
        lane.claimed += 1;
        let sequence = lane.claimed - 1;
        self.claimable.notify_all();
        Some(sequence)
    }

    fn deliver(&self, partition: usize, sequence: u64, arrival: Arrival) {
        let thread = self.crew.thread_of(partition);
        let thread = thread.expect("only own partitions are read");
        let mut state = self.lock();
        let State {
            lanes,
            inboxes,
            wakers,
        } = &mut *state;
        let lane = &mut lanes[partition];
        lane.early.insert(sequence, arrival);
        let mut woken = false;
        while let Some(arrival) = lane.early.remove(&lane.delivered) {
            lane.delivered += 1;
            inboxes[thread].push((partition, arrival));
            woken = true;
        }
        if let (true, Some(waker)) = (woken, &wakers[thread]) {
            // A worker that is gone needs no waking.
            let _ = waker.activate();
        }
    }

    fn wake_all(&self) {
        for waker in self.lock().wakers.iter().flatten() {
            let _ = waker.activate();
        }
    }
}

impl Reading for Feed {
    fn read(&self, _: usize) {
        let mut decoder = self.source.decoder();
        while let Some((partition, reader)) = self.claim() {
            let cut = match reader {
                Some(mut reader) => reader.next().map(|block| (reader, block)),
                None => self.open(partition),
            };
            let (sequence, block) = match cut {
                Err(error) => {
                    let message = format!("could not read `{}`", self.name);
                    self.shared.fail(Failure::new(message).because(&error));
                    self.close();
                    return self.wake_all();
                }
                Ok((_, None)) => (self.put_back(partition, None), None),
                Ok((reader, block)) => (self.put_back(partition, Some(reader)), block),
            };
            let Some(sequence) = sequence else { return };
            let arrival = match block {
                None => Arrival::End,
                Some(block) => match self.intake.take(&mut *decoder, &block) {
                    Ok(rows) => Arrival::Rows(rows),
                    Err(error) => {
                        let message = format!("cannot decode `{}`", self.name);
                        self.shared
                            .fail(Failure::new(message).because(plain(&error)));
                        self.close();
                        return self.wake_all();
                    }
                },
            };
            self.deliver(partition, sequence, arrival);
        }
    }

    fn inbox(self: Arc<Self>, thread: usize) -> Box<dyn Inbox> {
        Box::new(WorkerInbox {
            feed: self,
            thread,
            batch: VecDeque::new(),
        })
    }

    fn set_waker(&self, thread: usize, waker: SyncActivator) {
        self.lock().wakers[thread] = Some(waker);
    }

    fn queued_bytes(&self) -> usize {
        let state = self.lock();
        let waiting = state.inboxes.iter().flatten();
        waiting.map(|(_, arrival)| arrival.bytes()).sum()
    }

    fn close(&self) {
        let mut state = self.lock();
        for lane in &mut state.lanes {
            lane.reader = Cursor::Ended;
        }
        self.claimable.notify_all();
    }
}

impl State {
    /// The partition to cut from next: the one that is least ahead, so that event time moves
    /// together, among those that are being read or may be opened.
    fn next_claim(&self, at_a_time: usize, ahead: u64) -> Option<usize> {
        let active = self.lanes.iter().filter(|lane| lane.is_active()).count();
        let may_open = active < at_a_time;
        let open = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.is_claimable(may_open, ahead));
        open.min_by_key(|(index, lane)| (lane.claimed, *index))
            .map(|(index, _)| index)
    }
}

impl Lane {
    fn is_active(&self) -> bool {
        matches!(self.reader, Cursor::Idle(_) | Cursor::Busy) && !self.parked
    }

    fn is_claimable(&self, may_open: bool, ahead: u64) -> bool {
        let free = match self.reader {
            Cursor::NotOpened => may_open,
            Cursor::Idle(_) => true,
            Cursor::Busy | Cursor::Ended => false,
        };
        free && !self.parked && self.claimed - self.taken < ahead
    }
}

/// One worker's end of a feed.
struct WorkerInbox {
    feed: Arc<Feed>,
    thread: usize,
    /// Taken from the shared inbox in one go.
    batch: VecDeque<(usize, Arrival)>,
}

impl WorkerInbox {
    fn set_parked(&self, partition: usize, parked: bool) {
        let mut state = self.feed.lock();
        let lane = &mut state.lanes[partition];
        if lane.parked != parked {
            lane.parked = parked;
            self.feed.claimable.notify_all();
        }
    }
}

impl Inbox for WorkerInbox {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        if self.batch.is_empty() {
            let mut state = self.feed.lock();
            self.batch = std::mem::take(&mut state.inboxes[self.thread]).into();
        }
        let (partition, arrival) = self.batch.pop_front()?;
        self.feed.lock().lanes[partition].taken += 1;
        self.feed.claimable.notify_one();
        Some((partition, arrival))
    }

    fn park(&mut self, partition: usize) {
        self.set_parked(partition, true);
    }

    fn resume(&mut self, partition: usize) {
        self.set_parked(partition, false);
    }

    fn is_quiet(&self, _: usize) -> bool {
        // What ends is never idle.
        false
    }
}
