//! What process 0 is doing, by the lines of its log.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a kill can fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing runs, or it is not known what.
    Down,
    /// The processes meet, and process 0 takes the destinations over and decides.
    Handshake,
    /// State is read, and the input again up to the marks.
    Restore,
    /// A transaction is under way.
    Commit,
    /// Parts of a snapshot are written.
    Snapshot,
    /// None of these.
    Between,
}

/// What is known by the log.
#[derive(Debug, Default)]
pub struct Known {
    down: bool,
    meeting: bool,
    restoring: bool,
    restored: bool,
    live: bool,
    publishing: usize,
    snapshot: bool,
    /// The marks that this start found.
    marks: Vec<String>,
    /// How many lines there were.
    pub lines: u64,
    pub starts: u64,
    /// How often the supervisor said that all start again.
    pub restarts: u64,
    pub snapshots: u64,
    /// Those of them that were taken before process 0 was live.
    pub in_replay: u64,
    pub from_snapshot: u64,
    pub unequal: u64,
    pub rewound: u64,
    /// Snapshots that a destination went back behind: it did not hold their epoch for good.
    pub forgotten: Vec<String>,
    pub published: u64,
    /// How the log ended, for a failure.
    pub last: Vec<String>,
}

impl Known {
    /// All that is so now: a snapshot is written while epochs are committed.
    pub fn phases(&self) -> Vec<Phase> {
        if self.down {
            return vec![Phase::Down];
        }
        let busy = [
            (self.meeting, Phase::Handshake),
            (self.restoring, Phase::Restore),
            (self.publishing > 0, Phase::Commit),
            (self.snapshot, Phase::Snapshot),
        ];
        let busy: Vec<Phase> = busy
            .iter()
            .filter(|(so, _)| *so)
            .map(|(_, what)| *what)
            .collect();
        match (busy.is_empty(), self.live) {
            (false, _) => busy,
            (true, true) => vec![Phase::Between],
            (true, false) => vec![Phase::Down],
        }
    }

    fn hear(&mut self, line: &str) {
        self.lines += 1;
        self.last.push(line.to_owned());
        if self.last.len() > 25 {
            self.last.remove(0);
        }
        if line.contains("all start again") {
            self.restarts += 1;
            self.forget();
        } else if of_another(line) {
            // Only process 0 decides and commits.
        } else if line.contains("meets the others") {
            self.forget();
            (self.down, self.meeting) = (false, true);
            self.starts += 1;
        } else if line.contains("begins with a snapshot") {
            self.from_snapshot += 1;
        } else if line.contains("begins again from what is durable") {
            self.forget();
        } else if line.contains(" resumes ") {
            self.marks.push(value(line, "epoch=").to_owned());
            let equal = self.marks.iter().filter(|mark| **mark == self.marks[0]);
            // Once per start: with the first that differs.
            if equal.count() + 1 == self.marks.len() && self.marks.last() != self.marks.first() {
                self.unequal += 1;
            }
        } else if line.contains(" restores ") {
            (self.down, self.meeting, self.restoring) = (false, false, !self.live);
        } else if line.contains(" restored ") {
            self.restored = true;
            self.restoring &= !self.live;
        } else if line.contains(" goes live ") {
            self.live = true;
            self.restoring &= !self.restored;
        } else if line.contains(" publishes ") {
            self.publishing += 1;
        } else if line.contains(" published ") {
            self.publishing = self.publishing.saturating_sub(1);
            self.published += 1;
        } else if line.contains("writes a snapshot") {
            self.snapshot = true;
        } else if line.contains(" snapshot ") && line.contains("took_ms=") {
            self.snapshot = false;
            self.snapshots += 1;
            self.in_replay += u64::from(!self.live);
        } else if line.contains("forgets a snapshot") {
            self.forgotten.push(line.to_owned());
        } else if line.contains("went back from epoch") {
            self.rewound += 1;
        }
    }

    fn forget(&mut self) {
        self.down = true;
        (self.meeting, self.restoring, self.live, self.snapshot) = (false, false, false, false);
        (self.restored, self.publishing) = (false, 0);
        self.marks.clear();
    }
}

/// Whether another process than 0 says so: the supervisor puts their number in front.
fn of_another(line: &str) -> bool {
    line.starts_with('[')
}

fn value<'a>(line: &'a str, name: &str) -> &'a str {
    let from = line.split_once(name).map_or("", |(_, rest)| rest);
    from.split_whitespace().next().unwrap_or_default()
}

/// What is known, shared with who reads the log.
#[derive(Default)]
pub struct Phases {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Phases {
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn hear(&self, line: &str) {
        self.lock().hear(line);
        self.changed.notify_all();
    }

    /// All processes have been killed.
    pub fn ended(&self) {
        self.lock().forget();
        self.changed.notify_all();
    }

    /// Waits for something to be so, not longer than `most`. Whether it is.
    pub fn wait(&self, most: Duration, mut so: impl FnMut(&Known) -> bool) -> bool {
        let known = self.lock();
        let (known, _) = self
            .changed
            .wait_timeout_while(known, most, |known| !so(known))
            .unwrap_or_else(PoisonError::into_inner);
        so(&known)
    }
}
