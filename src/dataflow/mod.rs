//! Plan to timely: each operator a pure core in a thin shell.
//!
//! | module | what it is |
//! |---|---|
//! | `zones` | which part of the plan runs on the source's worker |
//! | `step`, `assign`, `lookup`, `chain` | the stateless operators of a source, on one batch |
//! | `report` | how an epoch's watermark becomes exact |
//! | `packet` | what flows along an edge |

pub mod aggregate;
pub mod arrival;
pub mod assign;
pub mod chain;
pub mod credit;
pub mod group;
pub mod latest;
pub mod letters;
pub mod lookup;
pub mod outcome;
pub mod packet;
pub mod publish;
pub mod render;
pub mod report;
pub mod roles;
pub mod schedule;
pub mod seal;
pub mod shell;
pub mod source;
pub mod state;
pub mod step;
pub mod zones;
