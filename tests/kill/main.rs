//! The kill test: a pipeline from Kafka into PostgreSQL and back into Kafka whose processes, broker
//! and database are killed with SIGKILL, again and again, while records flow and a reader reads.
//!
//! ```text
//!   feed ──▶ Kafka ──▶ tidemark --processes N ──▶ PostgreSQL, two databases; topics in Kafka
//!             ▲                ▲                      ▲      │
//!             └────────────── kill -9 ────────────────┘      ├──▶ reader: a total is its parts, always
//!                                                            └──▶ at the end: equal to the oracle
//! ```
//!
//! `scripts/crash` runs it. Without `CRASH_KILLS` it says that it was skipped.
//!
//! | module | what it is |
//! |---|---|
//! | `servers` | Kafka and PostgreSQL, started and killed |
//! | `feed` | the records: a known sequence per partition, written while the test lasts |
//! | `pipeline` | what is under test: its SQL, and its processes |
//! | `phases` | what process 0 is doing, by its log |
//! | `reader` | looks at the tables all the time |
//! | `oracle` | what the tables have to hold, from the records in the topic |
//! | `tables` | what they hold |
//! | `topics` | topics made, deleted and read |
//! | `campaign` | whom to kill when, and what came of it |

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod campaign;
mod feed;
mod oracle;
mod phases;
mod pipeline;
mod reader;
mod servers;
mod tables;
mod topics;

use std::io::Write as _;
use std::process::ExitCode;

use campaign::Campaign;

/// The least that a large run has to have hit, and what is a large run.
const LARGE: u64 = 50;

fn main() -> ExitCode {
    let Some(kills) = number("CRASH_KILLS") else {
        say("skipped: the kill test needs CRASH_KILLS; scripts/crash runs it");
        return ExitCode::SUCCESS;
    };
    let seed = number("CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    say(&format!("{kills} kills, seed {seed}"));
    let outcome = Campaign::begin(seed).run(kills);
    say(&outcome.report.to_string());
    let mut failures = outcome.failures;
    if kills >= LARGE {
        failures.extend(outcome.report.lacks());
    }
    for failure in &failures {
        say(&format!("FAILED: {failure}"));
    }
    if failures.is_empty() {
        say("every table is what it has to be");
        ExitCode::SUCCESS
    } else {
        say(&format!("the logs are in {}", outcome.folder.display()));
        ExitCode::FAILURE
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

/// Says a line at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
