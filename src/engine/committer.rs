//! The thread that commits: takes a destination's jobs in order, each one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use tracing::debug;

use super::meter::Tally;
use super::patience::patiently;
use crate::connector::{ConnectorError, Destination};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::publish::{Job, Receipt};
use crate::types::{Clock, Epoch};

/// Ends the process at the n-th durable step, a commit or a piece of a snapshot: just before it if
/// n is odd, just after it if n is even. For tests of what survives.
#[derive(Debug, Default)]
pub struct CrashPoint {
    at: Option<u64>,
    steps: AtomicU64,
}

impl CrashPoint {
    /// Crashes at step `at`, or never.
    #[must_use]
    pub fn new(at: Option<u64>) -> Self {
        Self {
            at,
            steps: AtomicU64::new(0),
        }
    }

    /// Takes a step, unless the process ends before it.
    pub fn pass(&self, step: impl FnOnce()) {
        let number = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        let here = self.at == Some(number);
        if here && number % 2 == 1 {
            std::process::abort();
        }
        step();
        if here {
            std::process::abort();
        }
    }
}

/// A thread that commits to one destination, before it starts.
pub struct Commits {
    /// What messages call the destination.
    pub name: String,
    /// The destination.
    pub destination: Box<dyn Destination>,
    /// What to commit.
    pub jobs: Receiver<Job>,
    /// Where it is said that it is.
    pub receipt: Arc<Receipt>,
    /// The epoch that the destination holds.
    pub held: Epoch,
    /// Takes up to where nothing can be lost any more.
    pub durable: Box<dyn Fn(Epoch) + Send>,
}

/// Commits every job until the line is closed or a commit fails.
pub fn commit(commits: Commits, (shared, clock): (&Arc<Shared>, &Clock), crash: &CrashPoint) {
    let Commits {
        name,
        mut destination,
        jobs,
        receipt,
        held: mut last,
        durable,
    } = commits;
    let name = name.as_str();
    let mut tally = Tally::new(shared, clock, name);
    while let Ok(job) = jobs.recv() {
        // Whatever made the run fail may be why this epoch looks complete.
        if shared.has_failed() {
            break;
        }
        tally.begin(job.mark.epoch);
        let mut outcome = Ok(());
        debug!(epoch = %job.mark.epoch, destination = name, "publishes");
        crash.pass(|| {
            outcome = patiently(name, (shared, clock), || {
                destination.publish(&job.mark, &job.changes)
            });
        });
        if outcome.is_ok() && job.cut {
            outcome = patiently(name, (shared, clock), || destination.make_durable());
            if outcome.is_ok() {
                durable(job.mark.epoch);
            }
        }
        match outcome {
            Ok(()) => {
                debug!(epoch = %job.mark.epoch, destination = name, "published");
                shared.published();
                tally.done(&job);
                receipt.committed(job.mark.epoch);
                last = job.mark.epoch;
            }
            Err(error) => {
                let failure = failed(&format!("could not write to `{name}`"), error);
                shared.fail(match failure.again && shared.is_stopping() {
                    true => stopped_without(failure),
                    false => failure,
                });
                break;
            }
        }
    }
    // The last snapshot of a run is cut at its end.
    if !shared.has_failed() && destination.make_durable().is_ok() {
        durable(last);
    }
    receipt.wake();
}

/// A run was asked to stop while a destination was away, and has waited a little for it.
fn stopped_without(failure: Failure) -> Failure {
    let hint = "the run was asked to stop and waited 5 s more; nothing is lost: the next one reads \
                again what is not committed";
    Failure {
        hint: Some(hint.to_owned()),
        ..failure
    }
}

/// A connector's error as the end of a run.
#[must_use]
pub fn failed(message: &str, error: ConnectorError) -> Failure {
    let failure = Failure::new(message);
    // A connector's own sentence may be the same, where it calls the thing as we do.
    let twice = format!("{message}: ");
    match error {
        ConnectorError::Transient(text) => {
            let cause = text.strip_prefix(&twice).unwrap_or(&text);
            failure.because(cause).again()
        }
        ConnectorError::Permanent {
            message,
            hint: Some(hint),
        } => failure.because(message).hint(hint),
        ConnectorError::Fenced { .. } => failure
            .because(error)
            .hint("two processes run this pipeline; stop one of them"),
        ConnectorError::Rewound { .. } => failure
            .because(error)
            .hint("its machine crashed, or a backup was restored; start the pipeline again")
            .again(),
        ConnectorError::Away { message, hint } => failure.because(message).hint(hint).again(),
        ConnectorError::Permanent { .. } => failure.because(error),
    }
}
