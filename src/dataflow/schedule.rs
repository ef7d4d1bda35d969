//! Which epoch is open, and when it closes. Pure: time comes in as a count of ticks.
//!
//! ```text
//!   replay to the mark 40        replay to the mark 57        live
//!   epochs 1 .. 40, the last     epochs 41 .. 57, the last    58 + ticks
//!   cut exactly at its offsets   cut exactly at its offsets
//! ```
//!
//! In a replay the epochs need not be the ones of the first run: only the last of each stretch
//! is, because there a sink begins to publish again. Live epochs are a count of time, so that
//! workers agree on them without talking.

use std::collections::VecDeque;

use crate::types::{Epoch, PartitionMark, Watermark};

/// The end of a stretch of replay: what some destination's mark says of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The mark's epoch.
    pub epoch: Epoch,
    /// Where each partition stood at its end. A partition without a place is not read.
    pub partitions: Vec<Option<PartitionMark>>,
    /// How far event time was.
    pub watermark: Watermark,
}

impl Stop {
    /// Where a partition stood, if it was known.
    #[must_use]
    pub fn of(&self, partition: usize) -> Option<&PartitionMark> {
        self.partitions.get(partition)?.as_ref()
    }
}

/// The epochs of one source on one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    open: Epoch,
    stops: VecDeque<Stop>,
    live: Epoch,
}

impl Schedule {
    /// Starts after `done` (nothing, or a snapshot), replays to each of `stops` in order, then
    /// goes live past the last of them and past `highest`.
    #[must_use]
    pub fn new(done: Epoch, stops: Vec<Stop>, highest: Epoch) -> Self {
        assert!(
            stops.windows(2).all(|pair| pair[0].epoch < pair[1].epoch),
            "stops are in the order of their epochs"
        );
        let live = highest.next();
        let open = if stops.is_empty() { live } else { done.next() };
        Self {
            open,
            stops: stops.into(),
            live,
        }
    }

    /// The epoch that rows belong to now.
    #[must_use]
    pub fn open(&self) -> Epoch {
        self.open
    }

    /// Where the present stretch of replay ends, while there is one.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        self.stops.front()
    }

    /// While live: `ticks` intervals have passed since the start, so this epoch should be open
    /// now, which is the open one or a later one.
    #[must_use]
    pub fn due(&self, ticks: u64) -> Epoch {
        Epoch(self.live.0 + ticks).max(self.open)
    }

    /// The epoch after the open one; the open one itself if it is the last of a stretch.
    #[must_use]
    pub fn next(&self) -> Epoch {
        if self.is_last_of_stretch() {
            self.open
        } else {
            self.open.next()
        }
    }

    /// Whether the open epoch is the last of a stretch of replay: it stays open until `reached`.
    #[must_use]
    pub fn is_last_of_stretch(&self) -> bool {
        self.stop().is_some_and(|stop| self.open == stop.epoch)
    }

    /// The open epoch has been closed; `epoch` is open now.
    pub fn advance(&mut self, epoch: Epoch) {
        assert!(epoch >= self.open, "epoch {epoch} is past already");
        self.open = epoch;
    }

    /// Every partition stands at the stop. Returns the stop's epoch, which is the last that holds
    /// rows of this stretch; the next epoch to open comes after it.
    pub fn reached(&mut self) -> Epoch {
        let stop = self.stops.pop_front().expect("only called while replaying");
        assert!(self.open <= stop.epoch, "rows went past {}", stop.epoch);
        self.open = stop.epoch;
        stop.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(epoch: u64) -> Stop {
        Stop {
            epoch: Epoch(epoch),
            partitions: Vec::new(),
            watermark: Watermark::START,
        }
    }

    #[test]
    fn a_first_run_is_live_from_the_start() {
        let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));

        assert_eq!(schedule.open(), Epoch(1));
        assert_eq!(schedule.due(7), Epoch(8));
    }

    #[test]
    fn a_replay_never_runs_past_the_mark_and_then_goes_live_after_it() {
        let mut schedule = Schedule::new(Epoch(0), vec![stop(5), stop(9)], Epoch(9));
        assert_eq!(schedule.open(), Epoch(1));
        schedule.advance(Epoch(5));
        assert_eq!(schedule.next(), Epoch(5));

        assert_eq!(schedule.reached(), Epoch(5));
        schedule.advance(Epoch(6));
        assert_eq!(schedule.next(), Epoch(7));
        assert_eq!(schedule.reached(), Epoch(9));
        schedule.advance(Epoch(10));

        assert_eq!(schedule.stop(), None);
        assert_eq!(schedule.due(3), Epoch(13));
    }

    #[test]
    fn an_epoch_that_time_has_passed_stays_passed() {
        let mut schedule = Schedule::new(Epoch(0), vec![], Epoch(0));
        schedule.advance(Epoch(20));

        assert_eq!(schedule.due(3), Epoch(20));
    }
}
