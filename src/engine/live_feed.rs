//! Reading threads of a source that goes on: one consumer per worker.
//!
//! ```text
//!   thread ─▶ room? ─▶ poll the consumer ─▶ decode ─▶ queue ─▶ wake the worker
//!               │                                       │
//!               └── bounded by bytes: a worker that does not take stops its consumer
//! ```
//!
//! What is queued is bounded, and a consumer that is not polled stops fetching: a slow sink slows
//! the brokers' sending, not the memory. With an end (`--until-caught-up`), a partition ends
//! exactly there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timely::scheduling::activate::SyncActivator;
use tracing::warn;

use super::committer::failed;
use super::crew::Crew;
use super::feed::Reading;
use super::intake::Intake;
use super::pauses::Pauses;
use crate::connector::{ConnectorError, Consumer, Fetched, Live, Reads, Source};
use crate::dataflow::arrival::{Arrival, Found, Inbox};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::step::plain;
use crate::format::Decoder;
use crate::types::{Clock, Offset};

/// How long a consumer waits for records before it looks whether something else is wanted.
const POLL: Duration = Duration::from_millis(20);

/// A source that goes on, with its partitions dealt out to the workers of this process.
pub struct LiveFeed {
    name: String,
    source: Arc<dyn Source>,
    intake: Intake,
    shared: Arc<Shared>,
    clock: Clock,
    crew: Crew,
    /// Where each partition ends for this run, if it does.
    ends: Option<Vec<Offset>>,
    /// How many partitions there were when the source was last read.
    known: usize,
    /// Nobody misses what stood before these records: it came from files.
    without: Vec<Option<Offset>>,
    /// One per worker thread of this process.
    lanes: Vec<Lane>,
}

/// What one reading thread and one worker share.
struct Lane {
    state: Mutex<LaneState>,
    /// There is room again, or something is wanted.
    wanted: Condvar,
    /// Bytes that may be queued.
    limit: usize,
}

struct LaneState {
    /// Where the partitions of this lane begin; taken by the thread.
    from: Vec<(usize, Offset)>,
    queue: VecDeque<(usize, Arrival, usize)>,
    bytes: usize,
    /// Where partitions were last read to their ends.
    caught_up: BTreeMap<usize, Offset>,
    wants: Vec<Want>,
    waker: Option<SyncActivator>,
    /// The consumer is not polled, for want of room.
    stalled: bool,
    pauses: Pauses,
    /// It is not read yet.
    held: bool,
    closed: bool,
}

/// What a worker wants of its consumer.
enum Want {
    Park(usize),
    Resume(usize),
    Ask(usize),
}

impl Lane {
    fn new(from: Vec<(usize, Offset)>, limit: usize) -> Self {
        Self {
            state: Mutex::new(LaneState {
                from,
                queue: VecDeque::new(),
                bytes: 0,
                caught_up: BTreeMap::new(),
                wants: Vec::new(),
                waker: None,
                stalled: false,
                pauses: Pauses::default(),
                held: false,
                closed: false,
            }),
            wanted: Condvar::new(),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, or for something that is wanted. `None` once the feed is closed.
    fn wait(&self) -> Option<Vec<Want>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            state.stalled = state.bytes > self.limit;
            if state.stalled {
                state.pauses.is_full();
            }
            if !state.stalled || !state.wants.is_empty() {
                return Some(std::mem::take(&mut state.wants));
            }
            state = self
                .wanted
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it may be read. Whether it may, and not: the feed was closed.
    fn begin(&self) -> bool {
        let state = self.lock();
        let held = |state: &mut LaneState| state.held && !state.closed;
        let state = self.wanted.wait_while(state, held);
        !state.unwrap_or_else(PoisonError::into_inner).closed
    }

    fn is_stalled(&self) -> bool {
        self.lock().stalled
    }

    fn put(&self, partition: usize, arrival: Arrival, bytes: usize) {
        let mut state = self.lock();
        state.queue.push_back((partition, arrival, bytes));
        state.bytes += bytes;
        if let Some(waker) = &state.waker {
            // A worker that is gone needs no waking.
            let _ = waker.activate();
        }
    }

    fn want(&self, want: Want) {
        self.lock().wants.push(want);
        self.wanted.notify_one();
    }
}

/// What a reading thread keeps to itself.
struct Reader<'a> {
    feed: &'a LiveFeed,
    lane: &'a Lane,
    live: &'a dyn Live,
    consumer: Box<dyn Consumer>,
    decoder: Box<dyn Decoder>,
    /// Partitions that have ended for this run.
    ended: BTreeSet<usize>,
    /// How many partitions are known, and when to look for more.
    known: usize,
    look_at: Duration,
}

impl LiveFeed {
    /// A feed of `source` whose partitions begin at `from`.
    #[must_use]
    pub fn new(
        name: &str,
        (source, intake): (Arc<dyn Source>, Intake),
        from: &[Offset],
        ends: Option<Vec<Offset>>,
        crew: Crew,
        queue_bytes: usize,
        (shared, clock): (Arc<Shared>, Clock),
    ) -> Self {
        let lane = |thread: usize| {
            let own = from.iter().copied().enumerate();
            let own = own.filter(|&(partition, _)| crew.thread_of(partition) == Some(thread));
            Lane::new(own.collect(), queue_bytes / crew.threads)
        };
        Self {
            name: name.to_owned(),
            lanes: (0..crew.threads).map(lane).collect(),
            source,
            intake,
            shared,
            clock,
            crew,
            ends,
            known: from.len(),
            without: Vec::new(),
        }
    }

    /// The same; what stood before these records of the partitions came from files.
    #[must_use]
    pub fn without(self, without: Vec<Option<Offset>>) -> Self {
        Self { without, ..self }
    }

    /// The same, not to be read before `release`.
    #[must_use]
    pub fn held(self) -> Self {
        for lane in &self.lanes {
            lane.lock().held = true;
        }
        self
    }

    /// It may be read.
    pub fn release(&self) {
        for lane in &self.lanes {
            lane.lock().held = false;
            lane.wanted.notify_all();
        }
    }

    fn consume(&self, thread: usize) -> Result<(), Failure> {
        if !self.lanes[thread].begin() {
            return Ok(());
        }
        let live = self
            .source
            .live()
            .expect("only a live source has this feed");
        let lane = &self.lanes[thread];
        let from = std::mem::take(&mut lane.lock().from);
        let unreadable = |error| failed(&format!("could not read `{}`", self.name), error);
        let reads = match self.ends {
            None => Reads::On,
            Some(_) => Reads::ToItsEnd,
        };
        let mut reader = Reader {
            feed: self,
            lane,
            live,
            consumer: live.consumer(&from, reads).map_err(unreadable)?,
            decoder: self.source.decoder(),
            ended: BTreeSet::new(),
            known: self.known,
            look_at: Duration::ZERO,
        };
        for &(partition, _) in &from {
            if let Some(&Some(before)) = self.without.get(partition) {
                reader.consumer.does_without(partition, before);
            }
        }
        reader.discover().map_err(unreadable)?;
        for (partition, offset) in from {
            reader.end_at(partition, offset).map_err(unreadable)?;
        }
        while let Some(wants) = lane.wait() {
            reader.do_as_wanted(wants).map_err(unreadable)?;
            if lane.is_stalled() {
                continue;
            }
            reader.discover().map_err(unreadable)?;
            lane.lock().pauses.look(self.clock.elapsed());
            for (partition, fetched) in reader.consumer.poll(POLL).map_err(unreadable)? {
                reader.deliver(partition, fetched)?;
            }
        }
        Ok(())
    }
}

impl Reader<'_> {
    fn do_as_wanted(&mut self, wants: Vec<Want>) -> Result<(), ConnectorError> {
        for want in wants {
            match want {
                Want::Park(partition) => self.consumer.pause(partition)?,
                Want::Resume(partition) if self.ended.contains(&partition) => {}
                Want::Resume(partition) => self.consumer.resume(partition)?,
                Want::Ask(partition) => self.consumer.ask(partition)?,
            }
        }
        Ok(())
    }

    fn deliver(&mut self, partition: usize, fetched: Fetched) -> Result<(), Failure> {
        let feed = self.feed;
        if self.ended.contains(&partition) {
            return Ok(());
        }
        let unreadable = |error| failed(&format!("could not read `{}`", feed.name), error);
        let end = match fetched {
            Fetched::CaughtUp(end) => {
                self.lane.lock().caught_up.insert(partition, end);
                self.lane.put(partition, Arrival::CaughtUp(end), 0);
                end
            }
            Fetched::End => {
                if self.ended.insert(partition) {
                    self.lane.put(partition, Arrival::End, 0);
                }
                return Ok(());
            }
            Fetched::Away => {
                self.lane.put(partition, Arrival::Away, 0);
                return Ok(());
            }
            Fetched::Block(block) => {
                let rows = feed.intake.take(&mut *self.decoder, &block);
                let mut rows = rows.map_err(|error| {
                    let message = format!("cannot decode `{}`", feed.name);
                    Failure::new(message).because(plain(&error))
                })?;
                let end = rows.end;
                let limit = feed.ends.as_ref().and_then(|ends| ends.get(partition));
                if let Some(&limit) = limit.filter(|&&limit| limit < end) {
                    // A partition that begins beyond its end has ended already.
                    (rows, _) = rows.split(limit);
                }
                let bytes = rows.rows.get_array_memory_size() + rows.bytes.len();
                self.lane.put(partition, Arrival::Rows(rows), bytes);
                end
            }
        };
        self.end_at(partition, end).map_err(unreadable)
    }

    /// The partition has been read up to `offset`: it may end here.
    fn end_at(&mut self, partition: usize, offset: Offset) -> Result<(), ConnectorError> {
        let ends = self.feed.ends.as_ref();
        // What was not there when the run began is not for this run.
        let ends = ends.is_some_and(|ends| ends.get(partition).is_none_or(|&end| offset >= end));
        if ends && self.ended.insert(partition) {
            self.lane.put(partition, Arrival::End, 0);
            self.consumer.pause(partition)?;
        }
        Ok(())
    }

    /// Looks for new partitions: at first, and in a run that goes on now and then.
    fn discover(&mut self) -> Result<(), ConnectorError> {
        let now = self.feed.clock.elapsed();
        if now < self.look_at {
            return Ok(());
        }
        self.look_at = match &self.feed.ends {
            None => now + self.live.discovery(),
            // What comes after the beginning is not for this run.
            Some(_) => Duration::MAX,
        };
        let count = match self.live.count_partitions() {
            Ok(count) => count,
            Err(ConnectorError::Transient(cause)) => {
                warn!(
                    source = self.feed.name,
                    cause, "cannot look for new partitions now"
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // What came after the beginning of a run with an end is not for it.
        let there = self.feed.ends.as_ref().map_or(count, Vec::len);
        let count = count.min(there);
        for partition in self.known..count {
            if self
                .feed
                .lane_of(partition)
                .is_some_and(|lane| std::ptr::eq(lane, self.lane))
            {
                self.consumer.add(partition, Offset(0))?;
                let found = Found {
                    from: Offset(0),
                    file: self.live.taken(partition),
                    count,
                };
                self.lane.put(partition, Arrival::Found(found), 0);
            }
        }
        self.known = self.known.max(count);
        Ok(())
    }
}

impl LiveFeed {
    /// The lane of a partition, if it is read here.
    fn lane_of(&self, partition: usize) -> Option<&Lane> {
        Some(&self.lanes[self.crew.thread_of(partition)?])
    }
}

impl Reading for LiveFeed {
    fn read(&self, thread: usize) {
        if let Err(failure) = self.consume(thread) {
            self.shared.fail(failure);
            self.close();
        }
    }

    fn inbox(self: Arc<Self>, thread: usize) -> Box<dyn Inbox> {
        Box::new(LiveInbox { feed: self, thread })
    }

    fn set_waker(&self, thread: usize, waker: SyncActivator) {
        self.lanes[thread].lock().waker = Some(waker);
    }

    fn caught_up(&self) -> Vec<(usize, Offset)> {
        let of = |lane: &Lane| lane.lock().caught_up.clone().into_iter();
        self.lanes.iter().flat_map(of).collect()
    }

    fn queued_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.lock().bytes).sum()
    }

    fn close(&self) {
        for lane in &self.lanes {
            let mut state = lane.lock();
            state.closed = true;
            if let Some(waker) = &state.waker {
                let _ = waker.activate();
            }
            lane.wanted.notify_all();
        }
    }
}

/// One worker's end of a live feed.
struct LiveInbox {
    feed: Arc<LiveFeed>,
    thread: usize,
}

impl Inbox for LiveInbox {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        let lane = &self.feed.lanes[self.thread];
        let mut state = lane.lock();
        let (partition, arrival, bytes) = state.queue.pop_front()?;
        state.bytes -= bytes;
        if state.stalled && state.bytes <= lane.limit / 2 {
            lane.wanted.notify_one();
        }
        Some((partition, arrival))
    }

    fn park(&mut self, partition: usize) {
        self.feed.lanes[self.thread].want(Want::Park(partition));
    }

    fn resume(&mut self, partition: usize) {
        self.feed.lanes[self.thread].want(Want::Resume(partition));
    }

    fn is_quiet(&self, partition: usize) -> bool {
        let state = self.feed.lanes[self.thread].lock();
        !state.queue.iter().any(|(other, ..)| *other == partition)
    }

    fn reads_since(&self, _: usize) -> Duration {
        let state = self.feed.lanes[self.thread].lock();
        state.pauses.reads_since(self.feed.clock.elapsed())
    }

    fn ask(&mut self, partition: usize) {
        self.feed.lanes[self.thread].want(Want::Ask(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_was_full_has_paused_also_where_there_is_room_when_it_is_looked_at() {
        let (lane, second) = (Lane::new(Vec::new(), 10), Duration::from_secs(1));
        let since = |now| lane.lock().pauses.reads_since(now);
        lane.lock().pauses.look(second);
        assert!(lane.wait().unwrap().is_empty());
        assert_eq!(since(second), Duration::ZERO);

        lane.put(0, Arrival::Away, 20);
        lane.want(Want::Ask(1));
        // What is wanted is done all the same.
        assert_eq!(lane.wait().unwrap().len(), 1);
        assert!(lane.is_stalled());
        lane.lock().bytes = 0;
        assert!(lane.wait().unwrap().is_empty());

        assert!(!lane.is_stalled());
        assert_eq!(since(second), second);
        lane.lock().pauses.look(second);
        assert_eq!(since(2 * second), second);
    }
}
