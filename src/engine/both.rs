//! Files, and the topic that follows them, as one source: the files are its first partitions.
//!
//! ```text
//!   thread ─▶ reads files until there are none ─▶ waits until event time is where they end ─▶ topic
//! ```
//!
//! A run that goes on where the topic had been read already, from a snapshot before, reads both at a
//! time up to there.
//!
//! That the topic waits changes no result: its partitions begin with a watermark where the files
//! end, and hold rows from there on only. It bounds what is held meanwhile.

use std::sync::Arc;
use std::time::Duration;

use timely::scheduling::activate::SyncActivator;

use super::feed::{Feed, Reading};
use super::live_feed::LiveFeed;
use crate::dataflow::arrival::{Arrival, Inbox};
use crate::types::{Offset, Watermark};

/// The reading threads of both.
pub struct Both {
    /// The files.
    pub files: Arc<Feed>,
    /// How many there are.
    pub count: usize,
    /// The topic, whose partitions come after them.
    pub topic: Arc<LiveFeed>,
    /// The topic was read before, and files are read again: both at a time, because in a replay no
    /// worker may wait for another.
    pub together: bool,
}

impl Reading for Both {
    fn read(&self, thread: usize) {
        if !self.together {
            self.files.read(thread);
            return self.topic.read(thread);
        }
        std::thread::scope(|scope| {
            let files = std::thread::Builder::new().name(format!("read-files-{thread}"));
            let started = files.spawn_scoped(scope, || self.files.read(thread));
            if started.is_err() {
                // Then one after the other.
                self.files.read(thread);
            }
            self.topic.read(thread);
        });
    }

    fn inbox(self: Arc<Self>, thread: usize) -> Box<dyn Inbox> {
        Box::new(BothInbox {
            files: Arc::clone(&self.files).inbox(thread),
            topic: Arc::clone(&self.topic).inbox(thread),
            both: self,
        })
    }

    fn set_waker(&self, thread: usize, waker: SyncActivator) {
        self.files.set_waker(thread, waker.clone());
        self.topic.set_waker(thread, waker);
    }

    fn close(&self) {
        self.files.close();
        self.topic.close();
    }

    fn queued_bytes(&self) -> usize {
        self.files.queued_bytes() + self.topic.queued_bytes()
    }

    fn tell(&self, reached: Option<Watermark>) {
        self.files.tell(reached);
    }

    fn caught_up(&self) -> Vec<(usize, Offset)> {
        let of = self.topic.caught_up().into_iter();
        of.map(|(partition, end)| (self.count + partition, end))
            .collect()
    }
}

/// One worker's end of both.
struct BothInbox {
    both: Arc<Both>,
    files: Box<dyn Inbox>,
    topic: Box<dyn Inbox>,
}

impl BothInbox {
    /// Whose partition it is, and what it is there.
    fn of(&mut self, partition: usize) -> (&mut dyn Inbox, usize) {
        match partition.checked_sub(self.both.count) {
            None => (&mut *self.files, partition),
            Some(partition) => (&mut *self.topic, partition),
        }
    }
}

impl Inbox for BothInbox {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        let count = self.both.count;
        let topic = |(partition, arrival)| (count + partition, arrival);
        self.files.take().or_else(|| self.topic.take().map(topic))
    }

    fn park(&mut self, partition: usize) {
        let (inbox, partition) = self.of(partition);
        inbox.park(partition);
    }

    fn resume(&mut self, partition: usize) {
        let (inbox, partition) = self.of(partition);
        inbox.resume(partition);
    }

    fn is_quiet(&self, partition: usize) -> bool {
        match partition.checked_sub(self.both.count) {
            None => self.files.is_quiet(partition),
            Some(partition) => self.topic.is_quiet(partition),
        }
    }

    fn reads_since(&self, partition: usize) -> Duration {
        match partition.checked_sub(self.both.count) {
            None => self.files.reads_since(partition),
            Some(partition) => self.topic.reads_since(partition),
        }
    }

    fn ask(&mut self, partition: usize) {
        let (inbox, partition) = self.of(partition);
        inbox.ask(partition);
    }

    fn is_kept(&self) -> bool {
        self.files.is_kept()
    }

    fn follow(&mut self) {
        self.both.topic.release();
    }
}
