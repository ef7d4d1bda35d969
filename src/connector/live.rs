//! Sources that go on: the partitions of a topic, read by one consumer per worker.
//!
//! ```text
//!   consumer (one thread): poll ──▶ (partition, block | caught up | away), in each one's order
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConnectorError;
use crate::format::Block;
use crate::types::{EventTime, Offset, TakenFile};

/// A source whose partitions have no end.
pub trait Live: Send + Sync {
    /// Where a first run begins to read each of the partitions that `Source::partitions` names.
    fn beginning(&self) -> Result<Vec<Offset>, ConnectorError>;

    /// The same, where what happened before `from` comes from elsewhere: what happened then or later is all
    /// to be read, wherever `beginning` is. An error if some of it may be gone.
    fn following(&self, _from: EventTime) -> Result<Vec<Following>, ConnectorError> {
        self.beginning().map(Following::whole)
    }

    /// Where each of them ends now: a run that stops when it has caught up stops there.
    fn ends(&self) -> Result<Vec<Offset>, ConnectorError>;

    /// What must not have changed for offsets to mean the same, where that is told: a topic's id.
    fn identity(&self) -> Option<&str> {
        None
    }

    /// Earlier runs have read the source that was `known`: an error if this is another one.
    fn is_still(&self, _known: &str) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Earlier runs have read these partitions up to here: an error if they end before that, and so
    /// are not what they were.
    fn covers(&self, _read: &BTreeMap<usize, Offset>) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Reads these partitions (by index) from these positions on. Asks nothing of the outside
    /// before the first `poll`.
    fn consumer(
        &self,
        from: &[(usize, Offset)],
        reads: Reads,
    ) -> Result<Box<dyn Consumer>, ConnectorError>;

    /// How often to look for new partitions.
    fn discovery(&self) -> Duration;

    /// How many partitions there are now: never fewer than before. The new ones begin at their
    /// first record. That nobody answers now is `Transient`; that the topic is gone, or another one,
    /// is not.
    fn count_partitions(&self) -> Result<usize, ConnectorError>;

    /// Tells the outside how far the partitions are committed, for people's eyes only: nothing
    /// is ever read from there. What goes wrong is nobody's trouble.
    fn show_progress(&self, committed: &[(usize, Offset)]);

    /// What a partition is, where it is a file.
    fn taken(&self, _partition: usize) -> Option<TakenFile> {
        None
    }

    /// The files that earlier runs took, by their numbers: these they keep.
    fn recall(&self, _known: &BTreeMap<usize, TakenFile>) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Where a partition is read from that follows files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The first record to read.
    pub first: Offset,
    /// The first one that is not from before where the files end: what stands before it nobody misses.
    pub since: Offset,
}

impl Following {
    /// Partitions that begin here, and of which everything is missed that is gone.
    #[must_use]
    pub fn whole(all: Vec<Offset>) -> Vec<Self> {
        let since = |first| Self {
            first,
            since: first,
        };
        all.into_iter().map(since).collect()
    }
}

/// What a consumer reads for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// A run that goes on: while nothing comes it asks seldom.
    On,
    /// A run that ends where the source ended when it began, and waits to be told that it is there.
    ToItsEnd,
}

/// Reads some partitions of a source, in one thread.
pub trait Consumer: Send {
    /// What has come, waiting for it at most this long. Contact that is lost is no error: it is
    /// waited for, and said once in the log.
    fn poll(&mut self, wait: Duration) -> Result<Vec<(usize, Fetched)>, ConnectorError>;

    /// Reads no more of this partition until `resume`; a little may still come.
    fn pause(&mut self, partition: usize) -> Result<(), ConnectorError>;

    /// Reads on where it was.
    fn resume(&mut self, partition: usize) -> Result<(), ConnectorError>;

    /// Has `CaughtUp` said again of a partition that stands at its end, if it still does when this is
    /// called. One that says so each time anyway has nothing to do.
    fn ask(&mut self, _partition: usize) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Nobody misses records of this partition that are gone, as far as they stood before this one.
    fn does_without(&mut self, _partition: usize, _before: Offset) {}

    /// Reads one more partition.
    fn add(&mut self, partition: usize, from: Offset) -> Result<(), ConnectorError>;
}

/// What came from a partition.
#[derive(Debug)]
pub enum Fetched {
    /// Records, with their `Block::records`. `start` is where the consumer stood, `end` where it
    /// stands now: one past the last record.
    Block(Block),
    /// There is nothing beyond this position now: said each time the end is reached, by a leader
    /// that lives. Positions that hold no record (a transaction's markers) are behind it.
    CaughtUp(Offset),
    /// It has been read to its end, and nothing will be added to it.
    End,
    /// Nobody answers for the partition now; when somebody does again, `CaughtUp` is said anew
    /// if it is so.
    Away,
}
