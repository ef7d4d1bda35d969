//! Joins of each row with the newest row of another stream at its time.
//!
//! ```text
//!   left  ──▶ [by key] ──▶ wait until no newer right row is to come ──┐
//!   right ──▶ [by key] ──▶ versions, by key and time ─────────────────┴──▶ pairs
//! ```
//!
//! A left row waits until the watermark says that every right row that it may be joined with has
//! come: so it comes out once, and nothing is ever taken back. Of the right, a key holds the rows
//! that a left row may still ask for: the newest one that the watermark has passed, and those
//! after it.

mod join;
mod versions;

pub use join::{AsofJoin, AsofPlan};

#[cfg(test)]
mod tests;
