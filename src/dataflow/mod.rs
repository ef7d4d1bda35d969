//! To be written.

pub mod aggregate;
