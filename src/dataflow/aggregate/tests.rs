//! Aggregation as a whole: rows in, rows out.

mod changing;
mod forgetting;
mod functions;
mod kit;
mod multiset;
mod sessions;
mod windows;
