//! One worker's end of a feed: what is taken, in the order of each partition, and if rows are paced, when
//! it is due.
//!
//! Rows that are filtered anyway are due at once. Nothing here waits: what is not due yet stays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::super::align::Ahead;
use super::super::pacing::{Due, Pacing, due, earliest};
use super::Feed;
use crate::dataflow::arrival::{Arrival, Inbox};
use crate::types::{EventTime, Watermark};

/// Who waits longer than this is told so.
const LONG: Duration = Duration::from_secs(60 * 60);

/// One worker's end of a feed.
pub(super) struct WorkerInbox {
    feed: Arc<Feed>,
    thread: usize,
    /// Taken from the shared inbox in one go.
    batch: VecDeque<(usize, Arrival)>,
    /// Nothing of these partitions is due before then, as far as it is here: they are not looked at.
    not_before: BTreeMap<usize, EventTime>,
    /// Somebody was told that a row is waited for long.
    told: bool,
}

impl WorkerInbox {
    pub fn new(feed: Arc<Feed>, thread: usize) -> Self {
        Self {
            feed,
            thread,
            batch: VecDeque::new(),
            not_before: BTreeMap::new(),
            told: false,
        }
    }

    fn has_taken(&self, partition: usize) {
        self.feed.lock().lanes[partition].taken += 1;
        self.feed.claimable.notify_one();
    }

    /// What has happened by now, of the first partition whose next rows have.
    fn take_due(&mut self, pacing: &Pacing) -> Option<(usize, Arrival)> {
        let (now, side) = (pacing.now(), self.feed.side);
        let more = std::mem::take(&mut self.feed.lock().inboxes[self.thread]);
        // What comes may say that the time of a row before it is wrong.
        for (partition, _) in &more {
            self.not_before.remove(partition);
        }
        self.batch.extend(more);
        for place in 0..self.batch.len() {
            let (partition, arrival) = &self.batch[place];
            let partition = *partition;
            let not_before = self.not_before.get(&partition);
            if not_before.is_some_and(|&before| now < before) {
                continue;
            }
            let later = self.batch.iter().skip(place + 1);
            let next = later.filter(|(of, _)| *of == partition).map(|(_, it)| it);
            let next = || next.take(1).find_map(|next| earliest(next, side));
            match due(arrival, now, side, next) {
                Due::Not(before) => {
                    self.not_before.insert(partition, before);
                    self.tell(pacing.wait(now, before), partition, before);
                }
                Due::All => {
                    self.has_taken(partition);
                    return self.batch.remove(place);
                }
                Due::Until(offset, before) => {
                    self.not_before.insert(partition, before);
                    let Some((_, Arrival::Rows(rows))) = self.batch.remove(place) else {
                        unreachable!("only rows are due in part");
                    };
                    let (now, later) = rows.split(offset);
                    self.batch.insert(place, (partition, Arrival::Rows(later)));
                    return Some((partition, Arrival::Rows(now)));
                }
            }
        }
        None
    }

    /// A gap in history, or a row with a wrong time: whoever looks on should know.
    fn tell(&mut self, wait: Duration, partition: usize, before: EventTime) {
        if wait < LONG || std::mem::replace(&mut self.told, true) {
            return;
        }
        let file = &self.feed.source.partitions()[partition].name;
        let (at, hours) = (Watermark::behind(before, 0), wait.as_secs() / 3600);
        warn!(source = self.feed.name, file, %at, hours, "the next row happened long after, and --speed waits for it");
    }

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
        if let Some(pacing) = self.feed.pacing.clone() {
            return self.take_due(&pacing);
        }
        if self.batch.is_empty() {
            let mut state = self.feed.lock();
            self.batch = std::mem::take(&mut state.inboxes[self.thread]).into();
        }
        let (partition, arrival) = self.batch.pop_front()?;
        self.has_taken(partition);
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

    fn reads_since(&self, _: usize) -> Duration {
        Duration::ZERO
    }

    fn ask(&mut self, _: usize) {}

    fn is_kept(&self) -> bool {
        let state = self.feed.lock();
        let is_full = state.ahead.as_ref().is_some_and(Ahead::is_full);
        is_full && self.batch.is_empty() && state.inboxes[self.thread].is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{paced, rows};
    use super::*;
    use crate::types::Clock;

    /// In milliseconds of a clock that history goes by a thousand times as fast.
    fn inbox(clock: &Clock) -> WorkerInbox {
        let pacing = Pacing::new(1000.0, EventTime(0), clock.clone());
        WorkerInbox::new(paced(&[Some(0); 2], pacing), 0)
    }

    fn taken(inbox: &mut WorkerInbox) -> Option<usize> {
        Some(inbox.take()?.0)
    }

    #[test]
    fn what_is_not_due_is_not_looked_at_before_it_is() {
        let clock = Clock::manual();
        let mut inbox = inbox(&clock);
        inbox.feed.deliver(0, 0, rows(&[60_000_000]));
        inbox.feed.deliver(1, 0, rows(&[90_000_000]));
        assert_eq!(taken(&mut inbox), None);

        // Whoever looked would find it due.
        inbox.batch[0].1 = rows(&[0]);

        clock.wait_until(Duration::from_millis(59));
        assert_eq!(taken(&mut inbox), None);
        clock.wait_until(Duration::from_millis(60));
        assert_eq!(taken(&mut inbox), Some(0));
        assert_eq!(taken(&mut inbox), None);
    }

    #[test]
    fn what_comes_behind_a_row_whose_time_is_wrong_sets_it_right() {
        let clock = Clock::manual();
        let mut inbox = inbox(&clock);
        inbox.feed.deliver(0, 0, rows(&[100_000_000_000]));
        assert_eq!(taken(&mut inbox), None);

        inbox.feed.deliver(0, 1, rows(&[7_000_000]));

        assert_eq!(taken(&mut inbox), None);
        clock.wait_until(Duration::from_millis(7));
        assert_eq!(taken(&mut inbox), Some(0));
        assert_eq!(taken(&mut inbox), Some(0));
    }
}
