//! Aggregation as a whole: rows in, rows out.

mod kit;
mod windows;
