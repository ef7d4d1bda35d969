//! What runs. A newcomer starts at `run`, which wires the life of a record in its order.
//!
//! | module | what it is |
//! |---|---|
//! | `run`, `options` | one run, start to end, and how it is to be |
//! | `open`, `start` | what a run is made of, opened; where it begins, decided |
//! | `crew` | who works: processes and their threads |
//! | `feed`, `live_feed`, `intake` | reading threads: partitions to decoded, checked arrivals |
//! | `history`, `both`, `pacing`, `align` | files read in the place of a topic, or before it, how fast, and who waits for whom |
//! | `worker` | a worker's part of the dataflow |
//! | `destinations`, `committer` | the threads that write an epoch's rows and mark |
//! | `patience` | waiting for what is away |
//! | `keeper` | the thread that keeps snapshots |
//! | `reference`, `reload` | tables that are looked up; those that are read again and again |
//! | `meter` | what people may see of all this while it runs |
//! | `status`, `waits`, `measure`, `rest` | the same as a status, in sentences, as metrics, and from marks |
//! | `mesh` | several processes that run as one |
//! | `said` | what ends a run, on standard error |
//! | `check`, `circles`, `keeps` | what would go wrong, found before anything is written |

mod align;
mod both;
mod check;
mod circles;
mod committer;
mod crew;
mod destinations;
mod feed;
mod history;
mod intake;
mod keeper;
mod keeps;
mod live_feed;
mod measure;
pub mod mesh;
mod meter;
mod open;
mod options;
mod pacing;
mod patience;
mod pauses;
mod reference;
mod reload;
mod rest;
mod run;
mod said;
mod start;
mod status;
mod threads;
mod waits;
mod worker;

pub use check::{
    Looked, check_options, check_processes, check_refused, destinations, look, promise,
};
pub use history::{Replay, Replayed, check_history, replayed};
pub use intake::admission;
pub use keeps::look_what_is_kept;
pub use measure::measure;
pub use options::{Ends, RunOptions};
pub use rest::at_rest;
pub use run::{Summary, run, run_as};
pub use said::{error_line, say_failure, say_objects, say_panic, says_objects};
pub use start::{changed, foresee, reach_snapshots, state_folder};
pub use status::{
    DestinationStatus, FateStatus, OperatorStatus, PartitionStatus, SinkStatus, SourceStatus,
    Status, ViewStatus, status,
};
pub use threads::spawn_named;
pub use waits::length;
