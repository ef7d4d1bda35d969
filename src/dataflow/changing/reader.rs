//! One operator's view of an arrangement: what each epoch changed, and what was there before.

use std::collections::BTreeMap;

use differential_dataflow::trace::cursor::Cursor as _;
use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::{Navigable, TraceReader};

use super::index::{RESTORED, compact};
use super::rows::{Batch, Cursor, Rows, Trace};

/// Reads an arrangement epoch by epoch.
pub struct Reader {
    trace: Trace,
    changes: BTreeMap<u64, Delta>,
}

/// What an epoch changed, sorted by key and row.
#[derive(Default)]
pub enum Delta {
    /// Nothing.
    #[default]
    Nothing,
    /// What a batch holds, all of one epoch.
    Batch(Batch),
    /// What a batch of several epochs holds of one.
    Part(Part),
}

/// Rows by key.
#[derive(Default)]
pub struct Part {
    keys: Rows,
    rows: Rows,
    /// By key: where its rows end.
    ends: Vec<usize>,
    /// By row.
    counts: Vec<i64>,
}

/// A row under some key: how many there were before an epoch, and how many there are after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The row.
    pub row: &'a [u8],
    /// Before the epoch.
    pub old: i64,
    /// After it.
    pub now: i64,
}

impl Part {
    fn add(&mut self, key: &[u8], row: &[u8], count: i64) {
        if self.keys.last() != Some(key) {
            self.keys.push_ref(key);
            self.ends.push(self.counts.len());
        }
        self.rows.push_ref(row);
        self.counts.push(count);
        *self.ends.last_mut().expect("there is a key") = self.counts.len();
    }
}

impl Delta {
    /// How many keys changed.
    pub fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Batch(batch) => batch.storage.keys.len(),
            Self::Part(part) => part.keys.len(),
        }
    }

    /// The key at a place.
    pub fn key(&self, at: usize) -> &[u8] {
        match self {
            Self::Nothing => panic!("nothing changed"),
            Self::Batch(batch) => batch.storage.keys.index(at),
            Self::Part(part) => part.keys.index(at),
        }
    }

    /// The rows that changed under it, with their counts.
    pub fn rows<'a>(&'a self, at: usize, mut each: impl FnMut(&'a [u8], i64)) {
        match self {
            Self::Nothing => {}
            Self::Batch(batch) => {
                let (vals, upds) = (&batch.storage.vals, &batch.storage.upds);
                let (first, end) = vals.bounds(at);
                for row in first..end {
                    let (first, end) = upds.bounds(row);
                    each(vals.get_abs(row), upds.diffs[first..end].iter().sum());
                }
            }
            Self::Part(part) => {
                let start = at.checked_sub(1).map_or(0, |before| part.ends[before]);
                for row in start..part.ends[at] {
                    each(part.rows.index(row), part.counts[row]);
                }
            }
        }
    }
}

impl Reader {
    /// A view that nothing has been read through.
    pub fn new(trace: Trace) -> Self {
        Self {
            trace,
            changes: BTreeMap::new(),
        }
    }

    /// A batch that was added to the arrangement. Its epochs are complete, and none of them is in
    /// another batch.
    pub fn take(&mut self, batch: &Batch) {
        let times = &batch.storage.upds.times;
        let Some(&first) = times.first() else {
            return;
        };
        if first != RESTORED && times.iter().all(|&epoch| epoch == first) {
            self.changes
                .insert(first, Delta::Batch(Batch::clone(batch)));
            return;
        }
        let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            while let Some(row) = cursor.get_val(batch) {
                cursor.map_times(batch, |&epoch, &count| {
                    if epoch != RESTORED {
                        parts.entry(epoch).or_default().add(key, row, count);
                    }
                });
                cursor.step_val(batch);
            }
            cursor.step_key(batch);
        }
        let parts = parts.into_iter();
        self.changes
            .extend(parts.map(|(epoch, part)| (epoch, Delta::Part(part))));
    }

    /// The first epoch that has changes.
    pub fn first(&self) -> Option<u64> {
        self.changes.first_key_value().map(|(&epoch, _)| epoch)
    }

    /// What `epoch` changed. It is the first that has changes, or has none.
    pub fn changes(&mut self, epoch: u64) -> Delta {
        self.changes.remove(&epoch).unwrap_or_default()
    }

    /// Every row that there is, and the batches that hold them.
    pub fn contents(&mut self) -> (Cursor, Vec<Batch>) {
        self.trace.cursor()
    }

    /// All epochs up to `epoch` are done with.
    pub fn done(&mut self, epoch: u64) {
        compact(&mut self.trace, epoch);
    }
}

/// The rows under a key before and after an epoch, in their order. `cursor` goes forward only:
/// keys are asked for in ascending order.
pub fn entries<'a>(
    (cursor, storage): (&mut Cursor, &'a Vec<Batch>),
    key: &[u8],
    epoch: u64,
    mut each: impl FnMut(Entry<'a>) -> bool,
) {
    cursor.seek_key(storage, key);
    if cursor.get_key(storage) != Some(key) {
        return;
    }
    while let Some(row) = cursor.get_val(storage) {
        let (mut old, mut now) = (0, 0);
        cursor.map_times(storage, |&at, &count| {
            if at < epoch {
                old += count;
            }
            if at <= epoch {
                now += count;
            }
        });
        if (old != 0 || now != 0) && !each(Entry { row, old, now }) {
            break;
        }
        cursor.step_val(storage);
    }
}
