//! What the joins by event time share: their shell, the rows that they hold, and how those are saved.

mod by_time;
mod operator;
mod saved;

pub use by_time::{ByTime, Same, Timed};
pub use operator::{Joined, Sided, joined};
pub use saved::{Extra, Saving, saved_rows};

use std::cell::Cell;

/// A row that may still match.
#[derive(Debug)]
pub struct Held {
    /// When it happened.
    pub time: i64,
    /// Whether it has matched. Set while the side is only looked at.
    pub matched: Cell<bool>,
    /// Its columns.
    pub row: Box<[u8]>,
}

/// The rows of a side that may still match.
pub type Side = ByTime<Held>;

impl Held {
    /// A row that has matched nothing so far.
    pub fn new(time: i64, row: &[u8]) -> Self {
        Self {
            time,
            matched: Cell::new(false),
            row: row.into(),
        }
    }
}

impl Timed for Held {
    fn time(&self) -> i64 {
        self.time
    }

    fn bytes(&self) -> usize {
        self.row.len()
    }
}
