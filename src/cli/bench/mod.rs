//! `bench`: how fast this machine runs Tidemark.

mod nexmark;
mod scenario;

use clap::{Args, Subcommand};

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The queries of the Nexmark benchmark over made-up events; their rows are counted and dropped
    Nexmark(nexmark::NexmarkArgs),
    /// Pipelines under load, beside what bounds them: throughput, CPU, memory, latency
    Scenario(scenario::ScenarioArgs),
}

/// Measures.
pub fn bench(arguments: &BenchArgs) -> u8 {
    match &arguments.what {
        Bench::Nexmark(arguments) => nexmark::nexmark(arguments),
        Bench::Scenario(arguments) => scenario::scenario(arguments),
    }
}
