//! The words everything else is said in: times, positions, marks, rejects
//! and batches.
//!
//! Nothing here does I/O and nothing here knows a connector, SQL or a dataflow. Three kinds of
//! time are three types and never mix (`Epoch`, `EventTime`, `Watermark`).

mod batch;
mod caught;
mod clock;
pub mod interval;
mod mark;
pub mod moment;
mod nearest;
mod position;
mod recipe;
mod reject;
mod time;

pub use batch::batch;
pub use caught::{caught, is_caught, panic_text};
pub use clock::Clock;
pub use mark::{Fates, Floor, Judged, Mark, PartitionMark, Side, SourceMark, TakenFile};
pub use nearest::nearest;
pub use position::{Offset, Span};
pub use recipe::{Change, Recipe, StatementChange};
pub use reject::{Reason, Reject};
pub use time::{Epoch, EventTime, Watermark};
