//! The contract between `sql` and `dataflow`: what a pipeline file means.
//!
//! ```text
//!   file.sql ──▶ sql ──▶ Pipeline { tables, nodes, inserts } ──▶ engine, dataflow
//!                          │
//!                          └──▶ explain
//! ```
//!
//! A `Pipeline` is a graph: nodes name their inputs by index, inputs come before the nodes that
//! read them, and equal sub-plans of several INSERTs are one node. Expressions are resolved and
//! typed; nothing here is text that anyone still has to parse. A `match` on `Operator` lists every
//! case, so that a new operator's to-do list is what stops compiling.

mod aggregate;
pub mod aggregate_types;
mod asof;
mod branches;
mod explain;
mod expression;
mod frame;
mod growth;
mod interval;
mod join;
mod keep;
mod matching;
mod narrowed;
mod operator;
mod over_text;
mod pipeline;
mod table;
mod ttl;

pub use aggregate::{AggregateCall, AggregateFunction, AggregateWindow, Emit};
pub use asof::Asof;
pub use branches::compute_by_branch;
pub use explain::{canonical, canonical_table, decoding, explain};
pub use expression::Expression;
pub use frame::{Frame, FrameBound, FrameUnits, OverFunction, RowOfFrame};
pub use growth::{growing, looking_back, sliding, versions_joined};
pub use interval::{Interval, Within};
pub use join::{JoinKind, JoinType};
pub use keep::keep_records;
pub use matching::{AfterMatch, Matching, Navigated, Navigation, Pattern, RowsFrom, Variable};
pub use narrowed::{Loss, Narrowed, loss, narrowed_above_state};
pub use operator::{Assign, Node, NodeId, Operator, OverCall, SortKey, WindowKind};
pub use pipeline::{Insert, Pipeline, Settings};
pub use table::{
    Check, Column, Computed, OptionValue, Place, RELOAD, Role, Table, TableId, WatermarkFor,
};
pub use ttl::{
    Forgets, forgetting, joined_within, kept_despite_ttl, read_ttl_us, state_ttl_us, taking_back,
};
