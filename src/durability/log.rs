//! A log of what was observed of the outside and will not be there again, so that a run that begins
//! anew observes the same.
//!
//! ```text
//!   log-zones-1f0c2a9b/00000000000081985529-00000000000000000007.arrow   entry 7 of this life
//!   log-zones-1f0c2a9b/00000000000081985529-00000000000000000007.whole   all before 7, as one
//! ```
//!
//! An entry is durable before anyone hears of it, and of two processes that write the same number
//! one does. Entries that no run begins before any more are merged: the merged one is written before
//! the others are deleted, and a reader that finds both begins with it.
//!
//! Without a store the log is one of this run alone: for pipelines that keep no mark, which begin
//! anew each time.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;

use super::snapshot::{checksum, encode};
use super::store::{Store, StoreError, object_name};

/// How many bytes of an object are its checksum, in hexadecimal.
const CHECKSUM: usize = 32;

/// What was observed, in its order.
pub struct Log {
    store: Option<Store>,
    folder: String,
    life: u64,
    entries: Vec<Entry>,
    /// The number of the next entry.
    end: u64,
}

/// Some of a log: one entry, or all up to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The number of the first that is in it.
    pub from: u64,
    /// One past the number of the last.
    pub until: u64,
    /// What was observed.
    pub rows: RecordBatch,
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is not what was written.
    #[error("`{object}` is torn or was altered: {why}")]
    Broken {
        /// Which.
        object: String,
        /// What does not fit.
        why: String,
    },
    /// Some are there, and one before them is not.
    #[error("`{object}` is missing")]
    Gap {
        /// Which.
        object: String,
    },
    /// Another process has written the entry.
    #[error("another process wrote `{object}`")]
    Taken {
        /// Which.
        object: String,
    },
}

/// What an object's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// One entry.
    One(u64),
    /// All before this one.
    Whole(u64),
}

impl Log {
    /// Reads the log of this name in a store, as one life of the pipeline wrote it.
    pub fn open(store: Option<Store>, name: &str, life: u64) -> Result<Self, LogError> {
        let mut log = Self {
            store,
            folder: folder(name),
            life,
            entries: Vec::new(),
            end: 0,
        };
        let mut ones = BTreeSet::new();
        let mut whole = 0;
        for named in log.named()?.into_values() {
            match named {
                Named::One(number) => drop(ones.insert(number)),
                Named::Whole(until) => whole = until.max(whole),
            }
        }
        if whole > 0 {
            let rows = log.read(&log.object(Named::Whole(whole)))?;
            log.push(0, whole, rows);
        }
        // What was merged may be there still.
        for number in ones.split_off(&whole) {
            let object = log.object(Named::One(log.end));
            if number != log.end {
                return Err(LogError::Gap { object });
            }
            let rows = log.read(&object)?;
            log.push(number, number + 1, rows);
        }
        Ok(log)
    }

    /// Deletes the logs of this name, whatever life wrote them.
    pub fn clear(store: &Store, name: &str) -> Result<(), StoreError> {
        let inside = format!("{}/", folder(name));
        let objects = store.list()?.into_iter();
        let mut own = objects.filter(|(object, _)| object.starts_with(&inside));
        own.try_for_each(|(object, _)| store.delete(&object))
    }

    /// How many entries there were, merged ones counted.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        self.store.as_ref().map_or("this run", Store::place)
    }

    /// Whether a later run finds it.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    /// Up to where the first entry reaches: there is nothing to cut before that but the beginning.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.entries.first().map_or(0, |first| first.until)
    }

    /// Whether one can begin to read at `number`, or stop there.
    #[must_use]
    pub fn can_cut(&self, number: u64) -> bool {
        number == 0 || (self.merged()..=self.end).contains(&number)
    }

    /// All that is in it, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The first from `number` on.
    #[must_use]
    pub fn next(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.until > number)
    }

    /// Puts one more at its end. After an error it is as before.
    pub fn append(&mut self, rows: RecordBatch) -> Result<(), LogError> {
        if let Some(store) = &self.store {
            let object = self.object(Named::One(self.end));
            let bytes = sealed(&rows);
            // It may be ours: of a write whose answer was lost.
            if !store.create(&object, bytes.clone())? && store.get(&object)? != bytes {
                return Err(LogError::Taken { object });
            }
        }
        self.push(self.end, self.end + 1, rows);
        Ok(())
    }

    /// Puts `rows` in the place of all before `until`: no run begins before it any more, but at
    /// the beginning.
    pub fn merge(&mut self, until: u64, rows: RecordBatch) -> Result<(), LogError> {
        assert!(
            until > self.merged() && until > 1 && until <= self.end,
            "nothing to merge at {until}"
        );
        if let Some(store) = &self.store {
            let whole = self.object(Named::Whole(until));
            // One that is there says the same: it follows from the entries.
            store.create(&whole, sealed(&rows))?;
        }
        self.entries.retain(|entry| entry.from >= until);
        let merged = Entry {
            from: 0,
            until,
            rows,
        };
        self.entries.insert(0, merged);
        Ok(())
    }

    /// Deletes what was merged. `step` is taken around each.
    pub fn sweep(&self, step: impl Fn(&mut dyn FnMut())) -> Result<(), LogError> {
        let (Some(store), merged) = (&self.store, self.merged()) else {
            return Ok(());
        };
        // A first entry of one was never merged: it is what it always was.
        let is_merged = |named: &Named| match named {
            Named::One(number) => merged > 1 && *number < merged,
            Named::Whole(until) => *until < merged,
        };
        for (object, _) in self.named()?.iter().filter(|(_, named)| is_merged(named)) {
            let mut deleted = Ok(());
            step(&mut || deleted = store.delete(object));
            deleted?;
        }
        Ok(())
    }

    /// Forgets what was read up to `number`, where nobody will read it again.
    pub fn forget(&mut self, number: u64) {
        if self.store.is_none() {
            self.entries.retain(|entry| entry.until > number);
        }
    }

    fn push(&mut self, from: u64, until: u64, rows: RecordBatch) {
        self.entries.push(Entry { from, until, rows });
        self.end = until;
    }

    fn object(&self, named: Named) -> String {
        let (number, ending) = match named {
            Named::One(number) => (number, "arrow"),
            Named::Whole(until) => (until, "whole"),
        };
        format!("{}/{:020}-{number:020}.{ending}", self.folder, self.life)
    }

    /// The objects of this life, by name.
    fn named(&self) -> Result<BTreeMap<String, Named>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(BTreeMap::new());
        };
        let begin = format!("{}/{:020}-", self.folder, self.life);
        let named = |(object, _): (String, u64)| {
            let (number, ending) = object.strip_prefix(&begin)?.split_once('.')?;
            let number = number.parse().ok()?;
            let named = match ending {
                "arrow" => Named::One(number),
                "whole" => Named::Whole(number),
                _ => return None,
            };
            Some((object, named))
        };
        Ok(store.list()?.into_iter().filter_map(named).collect())
    }

    fn read(&self, object: &str) -> Result<RecordBatch, LogError> {
        let store = self.store.as_ref().expect("only a store has objects");
        let bytes = store.get(object)?;
        unsealed(&bytes).map_err(|why| LogError::Broken {
            object: object.to_owned(),
            why,
        })
    }
}

/// A folder of its own for every name.
fn folder(name: &str) -> String {
    format!("log-{}", object_name(name))
}

/// Rows as bytes, with their checksum before them.
pub fn sealed(rows: &RecordBatch) -> Vec<u8> {
    let batches = std::slice::from_ref(rows);
    let bytes = encode(rows, batches).expect("plain columns, written to memory");
    [checksum(&bytes).into_bytes(), bytes].concat()
}

/// What `sealed` made bytes of, or why they are not that.
pub fn unsealed(bytes: &[u8]) -> Result<RecordBatch, String> {
    let (sum, bytes) = bytes
        .split_at_checked(CHECKSUM)
        .ok_or_else(|| format!("it has {} bytes", bytes.len()))?;
    if sum != checksum(bytes).as_bytes() {
        return Err("its checksum differs".to_owned());
    }
    let mut batches = StreamReader::try_new(bytes, None).map_err(|error| error.to_string())?;
    let rows = batches.next().ok_or("it holds no rows")?;
    rows.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
