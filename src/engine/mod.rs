//! What runs. A newcomer starts at `run`, which wires the life of a record in its order.
//!
//! | module | what it is |
//! |---|---|
//! | `run` | one run, start to end |
//! | `feed`, `intake` | reading threads: partitions to decoded, checked arrivals |
//! | `worker` | a worker's part of the dataflow |
//! | `committer` | the thread that writes an epoch's rows and mark |
//! | `reference` | tables that are looked up |
//! | `mesh` | several processes that run as one |
//! | `check` | what would go wrong, found before anything is written |

mod check;
mod committer;
mod feed;
mod intake;
pub mod mesh;
mod reference;
mod run;
mod threads;
mod worker;

pub use check::{check_options, check_tables, check_world, guarantee};
pub use run::{RunOptions, Summary, run};
pub use threads::spawn_named;
