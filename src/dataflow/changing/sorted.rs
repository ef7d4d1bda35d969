//! Batches of an arrangement out of arrays as they arrived: nothing is copied before an epoch is
//! complete, and then rows are sorted once, by numbers, and written where they stay.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch};
use differential_dataflow::logging::Logger;
use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::ord_neu::layers::{Upds, Vals};
use differential_dataflow::trace::implementations::ord_neu::val_batch::OrdValStorage;
use differential_dataflow::trace::{Batcher, Builder, Description};
use timely::container::{ContainerBuilder, PushInto};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::index::parts;
use super::rows::{Batch, Rows};

/// Rows as they arrived: their epoch, and key, row and count of each.
pub type Arrived = (u64, RecordBatch);

/// Hands on what has arrived as it is.
#[derive(Default)]
pub struct AsArrived {
    ready: VecDeque<Vec<Arrived>>,
    current: Vec<Arrived>,
}

impl PushInto<&mut Vec<Arrived>> for AsArrived {
    fn push_into(&mut self, arrived: &mut Vec<Arrived>) {
        self.ready.push_back(std::mem::take(arrived));
    }
}

impl ContainerBuilder for AsArrived {
    type Container = Vec<Arrived>;

    fn extract(&mut self) -> Option<&mut Vec<Arrived>> {
        self.current = self.ready.pop_front()?;
        Some(&mut self.current)
    }

    fn finish(&mut self) -> Option<&mut Vec<Arrived>> {
        self.extract()
    }
}

/// Holds what has arrived until its epoch is complete.
pub struct Waiting {
    arrived: Vec<Arrived>,
    /// Everything before it was given out.
    lower: Antichain<u64>,
    /// The earliest of what is held.
    frontier: Antichain<u64>,
}

impl PushInto<Vec<Arrived>> for Waiting {
    fn push_into(&mut self, mut arrived: Vec<Arrived>) {
        self.arrived.append(&mut arrived);
    }
}

impl Batcher for Waiting {
    type Output = Vec<Arrived>;
    type Time = u64;

    fn new(_: Option<Logger>, _: usize) -> Self {
        Self {
            arrived: Vec::new(),
            lower: Antichain::from_elem(0),
            frontier: Antichain::new(),
        }
    }

    fn seal(&mut self, upper: Antichain<u64>) -> (Vec<Vec<Arrived>>, Description<u64>) {
        let arrived = std::mem::take(&mut self.arrived).into_iter();
        let (held, ready): (Vec<_>, Vec<_>) =
            arrived.partition(|(epoch, _)| upper.less_equal(epoch));
        self.frontier = held
            .iter()
            .map(|(epoch, _)| *epoch)
            .min()
            .into_iter()
            .collect();
        self.arrived = held;
        let lower = std::mem::replace(&mut self.lower, upper.clone());
        let description = Description::new(lower, upper, Antichain::from_elem(0));
        (vec![ready], description)
    }

    fn frontier(&mut self) -> AntichainRef<'_, u64> {
        self.frontier.borrow()
    }
}

/// Sorts rows into a batch.
#[derive(Default)]
pub struct Sorter {
    arrived: Vec<Arrived>,
}

impl Builder for Sorter {
    type Input = Vec<Arrived>;
    type Time = u64;
    type Output = Batch;

    fn with_capacity(_: usize, _: usize, _: usize) -> Self {
        Self::default()
    }

    fn push(&mut self, arrived: &mut Vec<Arrived>) {
        self.arrived.append(arrived);
    }

    fn done(self, description: Description<u64>) -> Batch {
        sorted(&self.arrived, description)
    }

    fn seal(chain: &mut Vec<Vec<Arrived>>, description: Description<u64>) -> Batch {
        let mut sorter = Self::default();
        chain.iter_mut().for_each(|arrived| sorter.push(arrived));
        chain.clear();
        sorter.done(description)
    }
}

/// An array of keys, of rows and of counts.
struct Columns<'a> {
    epoch: u64,
    keys: &'a BinaryArray,
    rows: &'a BinaryArray,
    counts: &'a Int64Array,
}

/// A row, by where it arrived. Most comparisons end in the first bytes of the key, which are at
/// hand.
#[derive(Clone, Copy)]
struct Place {
    first: u64,
    batch: u32,
    row: u32,
}

fn first_bytes(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("an epoch has fewer than 2^32 batches, and a batch rows")
}

fn sorted(arrived: &[Arrived], description: Description<u64>) -> Batch {
    let columns = arrived.iter().map(|(epoch, batch)| {
        let (keys, rows, counts) = parts(batch, 0);
        Columns {
            epoch: *epoch,
            keys,
            rows,
            counts,
        }
    });
    let columns: Vec<Columns> = columns.collect();
    let mut places = Vec::with_capacity(columns.iter().map(|c| c.counts.len()).sum());
    for (batch, columns) in columns.iter().enumerate() {
        places.extend((0..columns.counts.len()).map(|row| Place {
            first: first_bytes(columns.keys.value(row)),
            batch: number(batch),
            row: number(row),
        }));
    }
    let of = |place: &Place| (&columns[place.batch as usize], place.row as usize);
    let key = |place: &Place| {
        let (columns, row) = of(place);
        columns.keys.value(row)
    };
    let row = |place: &Place| {
        let (columns, row) = of(place);
        columns.rows.value(row)
    };
    let compare = |a: &Place, b: &Place| -> Ordering {
        let first = a.first.cmp(&b.first);
        first
            .then_with(|| key(a).cmp(key(b)))
            .then_with(|| row(a).cmp(row(b)))
            .then_with(|| of(a).0.epoch.cmp(&of(b).0.epoch))
    };
    places.sort_unstable_by(compare);
    let mut layers = Layers::with_capacity(places.len());
    for same in places.chunk_by(|a, b| compare(a, b) == Ordering::Equal) {
        let count = same.iter().map(|place| {
            let (columns, row) = of(place);
            columns.counts.value(row)
        });
        let place = &same[0];
        layers.add(key(place), row(place), of(place).0.epoch, count.sum());
    }
    layers.finish(description)
}

/// A batch in the making, of rows that come in their order.
struct Layers {
    keys: Rows,
    vals: Vals<OffsetsOf, Rows>,
    upds: Upds<OffsetsOf, Vec<u64>, Vec<i64>>,
}

type OffsetsOf = differential_dataflow::trace::implementations::OffsetList;

impl Layers {
    fn with_capacity(rows: usize) -> Self {
        Self {
            keys: Rows::default(),
            vals: Vals::with_capacity(0, rows),
            upds: Upds::with_capacity(rows, rows),
        }
    }

    /// A layer's offsets say where each of its lists ends; the last list is open until another
    /// one begins.
    fn add(&mut self, key: &[u8], row: &[u8], epoch: u64, count: i64) {
        if count == 0 {
            return;
        }
        let is_same_key = self.keys.last() == Some(key);
        if !is_same_key || self.vals.vals.last() != Some(row) {
            if !self.vals.vals.is_empty() {
                self.upds.offs.push_ref(self.upds.times.len());
            }
            if !is_same_key {
                if !self.keys.is_empty() {
                    self.vals.offs.push_ref(self.vals.vals.len());
                }
                self.keys.push_ref(key);
            }
            self.vals.vals.push_ref(row);
        }
        self.upds.times.push(epoch);
        self.upds.diffs.push(count);
    }

    fn finish(mut self, description: Description<u64>) -> Batch {
        if !self.keys.is_empty() {
            self.upds.offs.push_ref(self.upds.times.len());
            self.vals.offs.push_ref(self.vals.vals.len());
        }
        Rc::new(OrdValBatch {
            updates: self.upds.times.len(),
            storage: OrdValStorage {
                keys: self.keys,
                vals: self.vals,
                upds: self.upds,
            },
            description,
        })
    }
}
