//! Sends rows to the workers that own their keys: as they are, or made into something on the way.
//!
//! ```text
//!   one worker     rows ─────────────────────────────────▶ owner
//!   several        rows ──▶ Spread ──▶ exchange by target ─▶ owner
//! ```
//!
//! What changes is not grouped where it was made: a row and its taking back are cut alike, by the
//! hash of their key, and meet again at the owner.

use arrow::array::{RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;

use super::group::GroupError;
use super::packet::Packet;
use super::state::owner;

/// The hashes of rows' keys.
pub type Hashes = Box<dyn Fn(&RecordBatch) -> Result<UInt64Array, GroupError>>;
/// What goes to which worker.
pub type Parts = Vec<(usize, RecordBatch)>;
/// Cuts a batch.
type Cut = Box<dyn Fn(&RecordBatch) -> Result<Parts, GroupError>>;

/// Cuts batches by the owners of their rows.
pub struct Spread {
    name: String,
    cut: Cut,
}

impl Spread {
    /// Rows as they are, for an operator of this name.
    pub fn new(name: String, hashes: Hashes, peers: usize) -> Self {
        Self::cutting(name, move |rows| by_target(&hashes(rows)?, rows, peers))
    }

    /// What `cut` makes of the rows.
    pub fn cutting(
        name: String,
        cut: impl Fn(&RecordBatch) -> Result<Parts, GroupError> + 'static,
    ) -> Self {
        Self {
            name,
            cut: Box::new(cut),
        }
    }

    /// The operator.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A batch as packets for the owners of its rows.
    pub fn run(&self, rows: &RecordBatch) -> Result<Vec<Packet>, GroupError> {
        let parts = (self.cut)(rows)?.into_iter();
        let packets = parts.map(|(target, batch)| Packet::rows(target, batch));
        Ok(packets.collect())
    }
}

/// The rows of each worker that owns some of them.
pub fn by_target(
    hashes: &UInt64Array,
    rows: &RecordBatch,
    peers: usize,
) -> Result<Parts, GroupError> {
    let mut owned: Vec<Vec<u32>> = vec![Vec::new(); peers];
    for (row, &hash) in (0u32..).zip(hashes.values()) {
        owned[owner(hash, peers)].push(row);
    }
    let parts = owned
        .into_iter()
        .enumerate()
        .filter(|(_, owned)| !owned.is_empty());
    let parts = parts.map(|(target, owned)| {
        if owned.len() == rows.num_rows() {
            return Ok((target, rows.clone()));
        }
        let own = take_record_batch(rows, &UInt32Array::from(owned))?;
        Ok((target, own))
    });
    parts.collect()
}
