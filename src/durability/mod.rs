//! What survives, and where to begin again because of it.
//!
//! | module | what it is |
//! |---|---|
//! | `log` | what was observed of the outside and will not be there again, as batches with numbers |
//! | `resume` | from the marks and snapshots that survived to what to replay: pure |
//! | `snapshot` | every operator's state at the end of an epoch: written, verified, forgotten |
//! | `store` | where snapshots are: a blocking face over an object store |

mod log;
mod resume;
mod snapshot;
mod store;

pub use log::{Entry, Log, LogError, sealed, unsealed};
pub use resume::{
    Beginning, Refusal, Resume, first_positions, is_past_files, may_leave_files, one_life, resume,
};
pub use snapshot::{Facts, Manifest, PartFile, PartOf, Snapshots, Unusable};
pub use store::{Store, StoreError, check_place, is_bucket, object_name};
