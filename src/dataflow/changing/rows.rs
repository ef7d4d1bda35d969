//! Rows as bytes, one after the other: what arrangements are made of.
//!
//! An arrangement is differential's: sorted batches of `(key, row, epoch, count)`, merged in the
//! background. Held as one piece of memory per batch, rows cost neither an allocation nor a
//! pointer each.

use std::rc::Rc;

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::BatchCursor;
use differential_dataflow::trace::cursor::CursorList;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, OffsetList};

type Layout = (Rows, Rows, Vec<u64>, Vec<i64>, OffsetList);

/// The changes of some epochs, sorted.
pub type Batch = Rc<OrdValBatch<Layout>>;
/// All batches so far.
pub type RowSpine = Spine<Batch>;
/// A reader's hold on an arrangement.
pub type Trace = TraceAgent<RowSpine>;
/// Walks through an arrangement in the order of keys and rows.
pub type Cursor = CursorList<BatchCursor<Trace>>;

/// Byte rows, one after the other.
#[derive(Default)]
pub struct Rows {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Rows {
    /// Adds a row and says which it is.
    pub fn add(&mut self, row: &[u8]) -> u32 {
        self.push_ref(row);
        u32::try_from(self.ends.len() - 1).expect("fewer than 2^32 rows at a time")
    }

    /// The rows, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|row| self.index(row))
    }

    /// Memory that the rows take, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }
}

impl BatchContainer for Rows {
    type Owned = Vec<u8>;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(row: &[u8]) -> Vec<u8> {
        row.to_vec()
    }

    fn clone_onto(row: &[u8], onto: &mut Vec<u8>) {
        onto.clear();
        onto.extend_from_slice(row);
    }

    fn push_ref(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    fn push_own(&mut self, row: &Vec<u8>) {
        self.push_ref(row);
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
    }

    fn with_capacity(rows: usize) -> Self {
        Self {
            ends: Vec::with_capacity(rows),
            bytes: Vec::new(),
        }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        Self {
            ends: Vec::with_capacity(one.ends.len() + other.ends.len()),
            bytes: Vec::with_capacity(one.bytes.len() + other.bytes.len()),
        }
    }

    fn reborrow<'b, 'a: 'b>(row: &'a [u8]) -> &'b [u8] {
        row
    }

    fn index(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}
