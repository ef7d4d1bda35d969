//! Which epoch is open.
//!
//! ```text
//!   replay to the mark 40        replay to the mark 57        live
//!   epochs 1 .. 40, the last     epochs 41 .. 57, the last    58 ..
//!   cut exactly at its offsets   cut exactly at its offsets
//! ```
//!
//! In a replay the epochs need not be the ones of the first run: only the last of each stretch
//! is, because there a sink begins to publish again.
//!
//! A snapshot may be cut at the end of a replayed epoch as well: it is an epoch like any other,
//! with its positions and watermarks, and a later replay goes on from it to the same stops. Whoever
//! is a stretch ahead of others leaves that to them: a cut there would wait for all to come.

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
    /// The stop that this stretch began behind.
    since: Epoch,
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
            since: done,
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

    /// The first epoch after all of the replay.
    #[must_use]
    pub fn live(&self) -> Epoch {
        self.live
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
        self.since = stop.epoch;
        stop.epoch
    }

    /// Whether a snapshot may be cut at the end of the open epoch, when all epochs up to `complete`
    /// are complete: nobody is still in an earlier stretch, and the open epoch can be closed.
    #[must_use]
    pub fn may_cut(&self, complete: Epoch) -> bool {
        complete >= self.since && !self.is_last_of_stretch()
    }

    /// In a replay, someone has cut a snapshot at the end of `cut`: the epoch to go on with so that
    /// it need not wait, which is no later than the last of the stretch.
    #[must_use]
    pub fn past(&self, cut: Epoch) -> Epoch {
        let last = self.stop().map_or(self.open, |stop| stop.epoch);
        cut.next().min(last).max(self.open)
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
        assert_eq!(schedule.next(), Epoch(2));
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
        assert_eq!(schedule.live(), Epoch(10));
    }

    #[test]
    fn a_snapshot_is_cut_by_whoever_is_not_a_stretch_ahead_and_has_epochs_left() {
        let mut schedule = Schedule::new(Epoch(2), vec![stop(5), stop(9)], Epoch(9));
        assert!(schedule.may_cut(Epoch(2)));
        schedule.advance(Epoch(5));
        assert!(!schedule.may_cut(Epoch(4)), "its epoch ends at the stop");

        schedule.reached();
        schedule.advance(Epoch(6));
        assert!(!schedule.may_cut(Epoch(4)), "others are on their way to 5");
        assert!(schedule.may_cut(Epoch(5)));

        schedule.reached();
        schedule.advance(Epoch(12));
        assert!(!schedule.may_cut(Epoch(8)));
        assert!(schedule.may_cut(Epoch(9)));
    }

    #[test]
    fn a_cut_of_another_worker_is_not_kept_waiting_but_no_stop_is_passed_for_it() {
        let mut schedule = Schedule::new(Epoch(0), vec![stop(5)], Epoch(5));

        assert_eq!(schedule.past(Epoch(0)), Epoch(1));
        assert_eq!(schedule.past(Epoch(2)), Epoch(3));
        assert_eq!(schedule.past(Epoch(7)), Epoch(5));
        schedule.advance(Epoch(4));
        assert_eq!(schedule.past(Epoch(2)), Epoch(4));
        schedule.reached();
        schedule.advance(Epoch(6));
        assert_eq!(schedule.past(Epoch(8)), Epoch(6), "time closes live epochs");
    }
}
