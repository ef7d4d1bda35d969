//! The thread that commits: takes a destination's jobs in order, each one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use tracing::debug;

use crate::connector::{ConnectorError, Destination};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::publish::{Job, Receipt};

/// Ends the process at the n-th commit of all destinations: just before it if n is odd, just
/// after it if n is even. For tests of what survives.
#[derive(Debug, Default)]
pub struct CrashPoint {
    at: Option<u64>,
    commits: AtomicU64,
}

impl CrashPoint {
    /// Crashes at commit `at`, or never.
    #[must_use]
    pub fn new(at: Option<u64>) -> Self {
        Self {
            at,
            commits: AtomicU64::new(0),
        }
    }

    fn pass(&self, commit: impl FnOnce()) {
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        let here = self.at == Some(number);
        if here && number % 2 == 1 {
            std::process::abort();
        }
        commit();
        if here {
            std::process::abort();
        }
    }
}

/// Commits every job until the line is closed or a commit fails.
pub fn commit(
    name: &str,
    mut destination: Box<dyn Destination>,
    jobs: &Receiver<Job>,
    receipt: &Receipt,
    shared: &Arc<Shared>,
    crash: &CrashPoint,
) {
    while let Ok(job) = jobs.recv() {
        // Whatever made the run fail may be why this epoch looks complete.
        if shared.has_failed() {
            break;
        }
        let mut outcome = Ok(());
        crash.pass(|| outcome = destination.publish(&job.mark, &job.changes));
        match outcome {
            Ok(()) => {
                debug!(epoch = %job.mark.epoch, destination = name, "published");
                shared.published();
                receipt.committed(job.mark.epoch);
            }
            Err(error) => {
                shared.fail(failed(&format!("could not write to `{name}`"), error));
                break;
            }
        }
    }
    receipt.wake();
}

/// A connector's error as the end of a run.
#[must_use]
pub fn failed(message: &str, error: ConnectorError) -> Failure {
    let failure = Failure::new(message);
    match error {
        ConnectorError::Permanent {
            message,
            hint: Some(hint),
        } => failure.because(message).hint(hint),
        ConnectorError::Fenced { .. } => failure
            .because(error)
            .hint("two processes run this pipeline; stop one of them"),
        ConnectorError::Rewound { .. } => failure
            .because(error)
            .hint("its machine crashed, or a backup was restored; start the pipeline again"),
        ConnectorError::Permanent { .. } | ConnectorError::Transient(_) => failure.because(error),
    }
}
