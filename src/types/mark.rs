//! The mark: how far a destination got. It is written in the same transaction as the rows, so
//! whoever reads it knows exactly which input its tables contain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Epoch, EventTime, Offset, Recipe, Watermark};

/// What a destination holds: every epoch up to `epoch`, and the input positions that this means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How many starts have taken this destination over. A higher one fences a lower one.
    pub generation: u64,
    /// A random number of the start that wrote this; a process that is not it has been fenced.
    pub incarnation: u64,
    /// A random number of the pipeline's first start, or the first after `--fresh`: a snapshot
    /// that is older than that is of another life.
    #[serde(default)]
    pub life: u64,
    /// The last epoch whose rows are here.
    pub epoch: Epoch,
    /// What these rows were computed by.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// Positions at the end of `epoch`, by source name.
    pub sources: BTreeMap<String, SourceMark>,
}

/// A source's positions at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// By partition name.
    pub partitions: BTreeMap<String, PartitionMark>,
    /// How far event time had come: it does not go back.
    #[serde(default, skip_serializing_if = "Watermark::is_start")]
    pub watermark: Watermark,
    /// What must not have changed for the offsets of all partitions to mean the same: a topic's
    /// id. Older marks do not say, nor do those of brokers that give none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// By which options the files of its history become rows: by others they are other rows. Older
    /// marks do not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoding: BTreeMap<String, String>,
}

impl SourceMark {
    /// Whether it is a topic, or what of it is left, whose rows before some time came from files.
    #[must_use]
    pub fn follows_files(&self) -> bool {
        self.side_from().is_some()
    }

    /// Whether its rows from some time on come from a topic, and all files with those before are read: a run
    /// that begins here needs none of them.
    #[must_use]
    pub fn is_past_files(&self) -> bool {
        let mut files = self.partitions.values().filter(|mark| mark.is_file());
        self.follows_files() && files.all(|file| file.ended)
    }

    /// The event time from which on its rows come from a topic, where those before came from files.
    #[must_use]
    pub fn side_from(&self) -> Option<EventTime> {
        let mut sides = self.partitions.values().filter_map(|mark| mark.side);
        sides.find_map(|side| match side {
            Side::From(from) => Some(from),
            Side::Before(_) => None,
        })
    }
}

/// One partition's position at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMark {
    /// The next record to read.
    pub offset: Offset,
    /// The watermark after the last record read.
    pub watermark: Watermark,
    /// How many records were read up to here, without those that belong to the other side; older marks
    /// do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Whether the input is known to end here.
    pub ended: bool,
    /// The watermark after the last record, where the watermark is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_end: Option<Watermark>,
    /// Whether event time does not wait for it: nothing has come for a while.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idle: bool,
    /// Where it came back after being idle, or came for the first time, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<Floor>,
    /// The first record of the first run.
    #[serde(default)]
    pub first: Offset,
    /// Of a topic that follows files, its first record that is not from before where they end, as it was
    /// when the first run began: retention may remove what stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Offset>,
    /// What must not have changed for `offset` to mean the same: a file's size and checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What it is, where it is a file that was found in a folder whose files become more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<TakenFile>,
    /// Which rows it is read for, where files and a topic share them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// What is known of the records that 'reject.limit' judges next.
    #[serde(default, skip_serializing_if = "Judged::is_empty")]
    pub judged: Judged,
}

/// Records of a partition that follow each other, of which a share may be rejected: a fixed number
/// of them from its first record on, and again and again. How far the last ones go is in the mark,
/// so that a run that goes on in the middle of them comes to the same judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// How many of them were read.
    pub read: u32,
    /// How many of those were rejected.
    pub rejected: u32,
}

impl Judged {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A file that was found while its folder was watched; its partition has a number for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenFile {
    /// Its name.
    pub name: String,
    /// What must not have changed: its size and checksum.
    pub identity: String,
}

impl TakenFile {
    /// Whether it stands for a number that no file has.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.name.is_empty()
    }
}

/// Which rows of a source a partition is read for, where history comes from files and what follows
/// from a topic. The other rows are filtered, and say nothing of how far event time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Those that happened before: it is a file.
    Before(EventTime),
    /// Those that happened then or later: it is a partition of the topic.
    From(EventTime),
}

impl Side {
    /// Whether a row that happened at `micros` is read here.
    #[must_use]
    pub fn takes(self, micros: i64) -> bool {
        match self {
            Self::Before(end) => micros < end.0,
            Self::From(begin) => micros >= begin.0,
        }
    }
}

/// From `offset` on, a partition's watermark is at least this: event time had come so far while
/// nobody waited for it. A replay applies it at the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The first record that it holds for.
    pub offset: Offset,
    /// The least watermark before that record.
    pub watermark: Watermark,
}

impl PartitionMark {
    /// Nothing read yet, and reading begins at `offset`.
    #[must_use]
    pub fn beginning(offset: Offset) -> Self {
        Self {
            offset,
            watermark: Watermark::START,
            records: Some(0),
            ended: false,
            before_end: None,
            idle: false,
            floors: Vec::new(),
            first: offset,
            since: None,
            identity: None,
            file: None,
            side: None,
            judged: Judged::default(),
        }
    }

    /// Nothing read yet of a topic's partition whose rows before `from` come from files: when
    /// those are read, event time is there.
    #[must_use]
    pub fn following(offset: Offset, from: EventTime) -> Self {
        Self {
            watermark: Watermark::behind(from, 0),
            side: Some(Side::From(from)),
            ..Self::beginning(offset)
        }
    }

    /// A number that no file of a folder has: one was found, and its first mark never written.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            file: Some(TakenFile::default()),
            ended: true,
            ..Self::beginning(Offset(0))
        }
    }

    /// Whether it has been read to its end and event time goes on without it: a file of a folder
    /// whose files become more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.file.is_some() && self.ended && self.watermark != Watermark::END
    }

    /// Whether event time waits for it. One that has ended waits for nobody, idle or not: its
    /// watermark is the end.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        (!self.idle || self.ended) && !self.is_spent()
    }

    /// Whether it is a file of a list that does not grow, which comes to an end and can change.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.identity.is_some()
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// What became of the records of one source for one INSERT. The four add up to what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Reached a stateful operator or the sink.
    pub accepted: u64,
    /// Left out by the query.
    pub filtered: u64,
    /// Came after every window that it belongs to had closed.
    pub late: u64,
    /// Could not be used.
    pub rejected: u64,
}

impl Fates {
    /// How many records these are.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.accepted + self.filtered + self.late + self.rejected
    }
}

impl std::ops::AddAssign for Fates {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.filtered += other.filtered;
        self.late += other.late;
        self.rejected += other.rejected;
    }
}
