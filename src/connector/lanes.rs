//! `'sink.lanes' = '3'`: one table written by several transactions side by side.
//!
//! ```text
//!   rows ──hash of the whole row──▶ lane 1 ──▶ connection, transaction, mark
//!                                   lane 2 ──▶ connection, transaction, mark
//! ```
//!
//! Each lane is a destination of its own, with the same table. Which lane a row goes to follows
//! from its values, so it is the same in every replay; therefore each lane can drop what it holds
//! already, whatever the others hold.

use std::fmt;

use crate::plan::Table;

/// The option's name.
pub(super) const OPTION: &str = "sink.lanes";

/// Each is a connection, of which a server has about a hundred.
pub(super) const MOST: usize = 32;

/// The rows of a table that one of its lanes takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which lane, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {} of {}", self.index + 1, self.of)
    }
}

/// In how many lanes a table is written; None for one that moves with the others of its database.
#[must_use]
pub fn lanes(table: &Table) -> Option<usize> {
    let lanes = table.option(OPTION)?.parse().ok()?;
    (lanes > 1).then_some(lanes)
}

/// What is wrong with the lanes of a table whose connector takes them: message and hint.
pub(super) fn refusal(table: &Table) -> Option<(String, &'static str)> {
    let lanes = lanes(table)?;
    if !table.primary_key.is_empty() {
        return Some((
            format!(
                "`{}` has a PRIMARY KEY, but lanes only append: rows of one key have to stay in \
                 one transaction",
                table.name
            ),
            "leave `sink.lanes` out, or leave the PRIMARY KEY out so that rows are appended",
        ));
    }
    (lanes > MOST).then(|| {
        (
            format!(
                "`{}` has {lanes} lanes, and {MOST} are the most",
                table.name
            ),
            "each lane is a connection; a few are enough to keep a server busy",
        )
    })
}
