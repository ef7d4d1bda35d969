//! What survives, and where to begin again because of it.
//!
//! | module | what it is |
//! |---|---|
//! | `resume` | from the marks that survived to what to replay: pure |

mod resume;

pub use resume::{Beginning, Refusal, Resume, first_positions, resume};
