//! What the product promises, asked from the outside: one binary, so that it links once.
//!
//! `cargo test` needs no service: a test that does says that it was skipped. `scripts/test` starts
//! the services, and then nothing is skipped.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod aligned;
mod anew;
mod architecture;
mod bench;
mod buckets;
mod changing;
mod cluster;
mod crash;
mod databases;
mod demo;
mod docs;
mod double_entry;
mod expressions;
mod eyes;
mod forgetting;
mod fuzz;
mod idle;
mod kept;
mod lanes;
mod launch;
mod letters;
mod newcomer;
mod nexmark;
mod oracle;
mod parquet;
mod pipelines;
mod produce;
mod profile;
mod progress;
mod reload;
mod replay;
mod said;
mod services;

mod supply;
#[allow(dead_code, reason = "the stories use the rest")]
mod support;
mod taxi;
mod together;
mod topics;
mod versions;
mod watch;
