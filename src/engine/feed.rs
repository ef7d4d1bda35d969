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

mod inbox;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use timely::scheduling::activate::SyncActivator;

use self::inbox::WorkerInbox;
use super::align::Ahead;
use super::committer::failed;
use super::crew::Crew;
use super::intake::Intake;
use super::pacing::Pacing;
use crate::connector::{Reader, Source};
use crate::dataflow::arrival::{Arrival, Inbox};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::step::plain;
use crate::types::{EventTime, Offset, Side, Watermark};

/// How many files that overlap in event time are read side by side, if they are read in its order.
/// Each takes the memory of a block, and a few of them that of two. Beyond that, event time waits for one to
/// end.
const OVERLAPPING: usize = 256;

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

    /// How far event time is, over all files that are read; nothing if none waits for others.
    fn tell(&self, _: Option<Watermark>) {}

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
    /// The same of all partitions.
    ahead_in_all: u64,
    order: Order,
    /// When rows are due, if not at once.
    pacing: Option<Arc<Pacing>>,
    /// Which rows are read; the others are filtered.
    side: Option<Side>,
    bound_us: i64,
}

/// Where the files of a source stand in event time.
pub struct InTime {
    /// About when what comes next of each happened; one without is read first.
    pub times: Vec<Option<i64>>,
    /// The watermark of each.
    pub watermarks: Vec<Watermark>,
    /// The bound in `WATERMARK FOR`.
    pub bound_us: i64,
    /// Which rows are read.
    pub side: Option<Side>,
}

/// Which partition is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The one of which least was read.
    Even,
    /// The one that is least far in event time, as far as it is known.
    Time,
}

struct State {
    lanes: Vec<Lane>,
    /// What was read past event time, where files of others may be behind.
    ahead: Option<Ahead>,
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
    /// How far its event time is, and how far the last block went; known as blocks are decoded.
    time: Option<i64>,
    stride: i64,
    /// Its watermark, once what is decoded has gone in.
    reached: Watermark,
    /// Up to where it was cut, and up to where it is read again.
    position: Offset,
    replay_to: Offset,
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
            time: None,
            stride: 0,
            reached: Watermark::START,
            position: start,
            replay_to: Offset(0),
        };
        let state = State {
            lanes: start.iter().enumerate().map(lane).collect(),
            ahead: None,
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
            ahead_in_all: u64::MAX,
            order: Order::Even,
            pacing: None,
            side: None,
            bound_us: 0,
        }
    }

    /// The same, read in the order of event time across partitions. The order is only about what has to
    /// be held: results do not depend on it. Within a replay it does not hold for a worker that has
    /// nothing else to do: there none may wait for another.
    #[must_use]
    pub fn by_time(self, in_time: InTime, pacing: Option<Arc<Pacing>>) -> Self {
        let stand = in_time.times.into_iter().zip(in_time.watermarks);
        for (lane, stands) in self.lock().lanes.iter_mut().zip(stand) {
            (lane.time, lane.reached) = stands;
        }
        let enough = 4 + 4 * self.crew.threads as u64;
        // What is not due yet stays where it is; of one file it must not be much.
        let ahead = match pacing {
            None => enough,
            Some(_) => 2,
        };
        Self {
            order: Order::Time,
            pacing,
            side: in_time.side,
            bound_us: in_time.bound_us,
            at_a_time: OVERLAPPING,
            ahead,
            ahead_in_all: enough,
            ..self
        }
    }

    /// The same, by time, beside others if so many `bytes` are said: it reads no more than about that
    /// past where event time is over all of them.
    #[must_use]
    pub fn beside_others(self, bytes: Option<usize>) -> Self {
        self.lock().ahead = bytes.map(Ahead::new);
        self
    }

    /// The same, of which an earlier run had what lies before these offsets.
    #[must_use]
    pub fn replaying(self, replay_to: Vec<Offset>) -> Self {
        for (lane, replay_to) in self.lock().lanes.iter_mut().zip(replay_to) {
            lane.replay_to = replay_to;
        }
        self
    }

    /// The same; these partitions were read to their ends before.
    #[must_use]
    pub fn without(self, ended: impl Iterator<Item = usize>) -> Self {
        for partition in ended {
            if let Some(thread) = self.crew.thread_of(partition) {
                let mut state = self.lock();
                state.lanes[partition].reader = Cursor::Ended;
                state.lanes[partition].claimed = 1;
                state.inboxes[thread].push((partition, Arrival::End));
            }
        }
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(
        &self,
        partition: usize,
    ) -> Result<(Box<dyn Reader>, Option<crate::format::Block>), crate::connector::ConnectorError>
    {
        let Lane {
            start, replay_to, ..
        } = self.lock().lanes[partition];
        let mut reader = self.source.open(partition, start)?;
        reader.again_up_to(replay_to);
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
            if let Some(partition) = self.next_claim(&state) {
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
    fn put_back(&self, partition: usize, reader: Option<(Box<dyn Reader>, Offset)>) -> Option<u64> {
        let mut state = self.lock();
        let lane = &mut state.lanes[partition];
        if !matches!(lane.reader, Cursor::Busy) {
            return None;
        }
        lane.reader = match reader {
            None => Cursor::Ended,
            Some((reader, position)) => {
                lane.position = position;
                Cursor::Idle(reader)
            }
        };
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
            ahead,
            inboxes,
            wakers,
        } = &mut *state;
        let lane = &mut lanes[partition];
        if self.order == Order::Time {
            lane.is_at(&arrival, self.side, self.bound_us);
        }
        if let Some(ahead) = ahead {
            ahead.read(lane.reached, arrival.bytes());
        }
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
                    self.shared.fail(failed(&message, error));
                    self.close();
                    return self.wake_all();
                }
                Ok((_, None)) => (self.put_back(partition, None), None),
                Ok((reader, Some(block))) => {
                    let reader = Some((reader, block.end));
                    (self.put_back(partition, reader), Some(block))
                }
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
        Box::new(WorkerInbox::new(self, thread))
    }

    fn set_waker(&self, thread: usize, waker: SyncActivator) {
        self.lock().wakers[thread] = Some(waker);
    }

    fn queued_bytes(&self) -> usize {
        let state = self.lock();
        let waiting = state.inboxes.iter().flatten();
        waiting.map(|(_, arrival)| arrival.bytes()).sum()
    }

    fn tell(&self, reached: Option<Watermark>) {
        if let Some(ahead) = &mut self.lock().ahead {
            ahead.tell(reached);
            self.claimable.notify_all();
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        for lane in &mut state.lanes {
            lane.reader = Cursor::Ended;
        }
        self.claimable.notify_all();
    }
}

impl Feed {
    /// The partition to cut from next: the one that is least ahead, so that event time moves
    /// together, among those that are being read or may be opened. One that is too far ahead of the
    /// files of others is as if it were not there.
    fn next_claim(&self, state: &State) -> Option<usize> {
        let keeps = |lane: &Lane| {
            state
                .ahead
                .as_ref()
                .is_some_and(|it| it.keeps(lane.reached))
        };
        let active = state.lanes.iter();
        let active = active
            .filter(|lane| lane.is_active() && !keeps(lane))
            .count();
        let may_open = active < self.at_a_time;
        let lanes = state.lanes.iter().enumerate();
        let claimable = |(_, lane): &(usize, &Lane)| lane.is_claimable(may_open, self.ahead);
        let first = match self.order {
            Order::Even => {
                let claimable = lanes.filter(claimable);
                claimable.min_by_key(|(index, lane)| (lane.claimed, *index))
            }
            // None goes ahead of the one whose turn it is, also not while that one is cut from.
            Order::Time => {
                let under_way: u64 = state.lanes.iter().map(Lane::under_way).sum();
                let waiting = lanes.filter(|(_, lane)| lane.is_waiting(may_open) && !keeps(lane));
                let first = waiting.min_by_key(|(index, lane)| (lane.expected(), *index));
                let ahead = match (under_way < self.ahead_in_all, &self.pacing) {
                    (true, _) => self.ahead,
                    // What is not due yet must not keep the others from being read.
                    (false, Some(_)) => 1,
                    (false, None) => 0,
                };
                let claimable = |(_, lane): &(usize, &Lane)| lane.is_claimable(may_open, ahead);
                first.filter(claimable).or_else(|| self.starved(state))
            }
        };
        first.map(|(index, _)| index)
    }

    /// A partition of a worker that has nothing to do in a replay. There an epoch ends by what is in
    /// it, not by time, and the open epoch of one worker holds back what the others may read: if it
    /// waited for its turn, they would wait for it.
    fn starved<'a>(&self, state: &'a State) -> Option<(usize, &'a Lane)> {
        let of = |thread: usize| {
            let lanes = state.lanes.iter().enumerate();
            lanes.filter(move |(index, _)| self.crew.thread_of(*index) == Some(thread))
        };
        let starved = (0..self.crew.threads).filter(|&thread| {
            let mut lanes = of(thread);
            lanes.all(|(_, lane)| lane.under_way() == 0)
        });
        let next = |thread: usize| {
            let behind = of(thread).filter(|(_, lane)| lane.position < lane.replay_to);
            let behind = behind.filter(|(_, lane)| lane.is_claimable(true, self.ahead));
            behind.min_by_key(|(index, lane)| (lane.expected(), *index))
        };
        starved.into_iter().find_map(next)
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
        free && !self.parked && self.under_way() < ahead
    }

    /// Whether it has more to say, now or soon.
    fn is_waiting(&self, may_open: bool) -> bool {
        let has_more = match self.reader {
            Cursor::NotOpened => may_open,
            Cursor::Idle(_) | Cursor::Busy => true,
            Cursor::Ended => false,
        };
        has_more && !self.parked
    }

    /// Blocks claimed and not yet taken.
    fn under_way(&self) -> u64 {
        self.claimed - self.taken
    }

    /// About when the rows of the next block happened, if those that are not decoded yet go as far
    /// as the last that was.
    fn expected(&self) -> Option<i64> {
        let undecoded = self.claimed - self.delivered - self.early.len() as u64;
        let ahead = i64::try_from(undecoded).unwrap_or(i64::MAX);
        Some(self.time?.saturating_add(self.stride.saturating_mul(ahead)))
    }

    /// A block was decoded. How far event time is, its rows of `side` say: as long as there are none,
    /// event time waits, and so do the other files.
    fn is_at(&mut self, arrival: &Arrival, side: Option<Side>, bound_us: i64) {
        let Arrival::Rows(rows) = arrival else { return };
        let times = rows.times.iter().copied();
        let times = times.filter(|&time| side.is_none_or(|side| side.takes(time)));
        let (first, last) = (times.clone().min(), times.max());
        if let (Some(first), Some(last)) = (first, last) {
            self.time = self.time.max(Some(last));
            let reached = Watermark::behind(EventTime(last), bound_us);
            self.reached = self.reached.max(reached);
            self.stride = last.saturating_sub(first);
        }
    }
}

#[cfg(test)]
mod tests;
