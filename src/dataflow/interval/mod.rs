//! Joins of append streams whose times bound each other.
//!
//! ```text
//!   left  ──▶ [by key] ──▶ ┌──────────────┐ pairs, in the epoch of the later row
//!   right ──▶ [by key] ──▶ │ IntervalJoin │
//!   reports ─────────────▶ └──────────────┘ rows alone, when the watermark leaves them behind
//! ```
//!
//! A hash table and a heap of times per side, not arrangements: nothing is ever taken back, rows
//! are let go by time, and a row that finds no key costs one look into a table. What is held is
//! what may still match, so it is bounded by how many rows an interval has.

mod join;

pub use join::{IntervalJoin, IntervalPlan};

#[cfg(test)]
pub(super) mod tests;
