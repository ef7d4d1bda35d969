//! Tidemark keeps tables up to date from streams, exactly once. A pipeline is one SQL file.
//!
//! Folders are layers; a module uses only what is further down this list. `docs/ARCHITECTURE.md`
//! draws the picture; `engine` is where a newcomer starts.

pub mod cli;
pub mod connector;
pub mod dataflow;
pub mod durability;
pub mod engine;
pub mod format;
pub mod metrics;
pub mod plan;
pub mod sql;
pub mod types;
pub mod web;
