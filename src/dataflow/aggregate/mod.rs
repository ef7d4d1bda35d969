//! Groups rows and aggregates them: the core of `Operator::Aggregate`. It knows rows and Arrow,
//! and nothing of timely.
//!
//! ```text
//!   rows ──▶ Partials ──drain──▶ [exchange by key hash] ──▶ Aggregates ──┬─▶ changes, every epoch
//!            (on the source's worker)                       (the state)  └─▶ close, at the watermark
//! ```
//!
//! A result is a function of the multiset of rows: not of batches, epochs, workers or the order in
//! which partial states met. Accumulators (see `accumulators`) are exact or ordered by the data.
//!
//! State is one table of groups per *bucket*, so that closing a window frees a table and never
//! walks one. A bucket is what the two window columns of the input say: a window, or a pane and
//! the first window of it that takes the row (see `buckets`); without windows there is one.
//!
//! With `Emit::Changes`, panes are merged into their windows once per epoch, from what the epoch
//! brought (`Aggregates::changes`), and the tables that stay are the windows' own: a change then
//! costs as many merges as the pane has windows, per changed group and not per row, and the old
//! and the new row of a window are read from one place. With `Emit::OnClose` the panes stay, and
//! a window is put together once, when it closes.
//!
//! Sessions end where their rows say: they are held by key, not by bucket (see `sessions`).
//!
//! A changing input may take rows back. Sums and what is made of them subtract; everything else
//! keeps its rows (see `replayed`). A group is there while it has rows.
//!
//! An aggregate without keys and without a window shows one row from the first epoch on, over no
//! input if there is none, as in PostgreSQL.

mod accumulators;
mod aggregates;
mod buckets;
mod changing;
mod error;
mod forgetting;
mod groups;
mod keys;
mod moving;
mod partials;
mod plan;
mod recipe;
mod sessions;
mod shape;
mod slots;
mod table;
mod tables;
mod texts;

pub use aggregates::Aggregates;
pub use error::AggregateError;
pub use keys::{KeyCodec, hash, routes, without_signs};
pub use moving::{Moving, Read};
pub use partials::Partials;
pub use plan::{Aggregation, Input};
pub use sessions::{SessionPartials, Sessions};

#[cfg(test)]
mod tests;
