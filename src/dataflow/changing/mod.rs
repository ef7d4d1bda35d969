//! Collections that change: joins, and functions over partitions, on differential's arrangements.
//!
//! ```text
//!   rows, +n or -n each ──▶ Spread ──▶ arrange ──▶ Reader ──▶ Join, Over ──▶ +n or -n each
//!                           by key     (index)     by epoch
//! ```
//!
//! Rows are bytes under a key, with a count per epoch; differential sorts, merges and compacts
//! them, and several operators read one arrangement. The operators are ours: they act on whole
//! epochs in order, look only at the keys that an epoch changed, and so emit nothing while state
//! is restored, need no second copy of what they emitted, and read no more of a partition than
//! the rows that are shown.

mod codec;
mod index;
mod join;
mod matched;
mod operators;
mod over;
mod reader;
mod rows;
mod sorted;
mod wanted;

pub use codec::{Codec, CodecError, has_null, order_of};
pub use index::NullKeys;
pub use join::{Join, JoinPlan};
pub use operators::{Index, IndexParts, index, join, over};
pub use over::Over;
pub use wanted::{Wanted, wanted};

#[cfg(test)]
mod tests;

/// How many updates an idle worker merges at a time.
const IDLE_EFFORT: isize = 10_000;

/// Has workers merge what arrangements hold while there is nothing else to do.
pub fn merge_when_idle(config: &mut timely::WorkerConfig) {
    let effort = differential_dataflow::Config::default().idle_merge_effort(Some(IDLE_EFFORT));
    differential_dataflow::configure(config, &effort);
}
