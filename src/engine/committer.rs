//! The thread that commits: takes a destination's jobs in order, each one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::connector::{ConnectorError, Destination};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::publish::{Job, Receipt};
use crate::types::{Clock, Epoch};

/// How long to wait before a destination that is away is tried again: a quarter of the time that
/// it has been away, within these.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a run that is asked to stop still waits for a destination that is away.
const GRACE: Duration = Duration::from_secs(5);

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

/// Commits every job until the line is closed or a commit fails. It begins at an epoch, and says
/// up to where nothing can be lost any more.
pub fn commit(
    name: &str,
    mut destination: Box<dyn Destination>,
    jobs: &Receiver<Job>,
    receipt: &Receipt,
    shared: &Arc<Shared>,
    crash: &CrashPoint,
    clock: &Clock,
    (mut last, durable): (Epoch, impl Fn(Epoch)),
) {
    while let Ok(job) = jobs.recv() {
        // Whatever made the run fail may be why this epoch looks complete.
        if shared.has_failed() {
            break;
        }
        let mut outcome = Ok(());
        debug!(epoch = %job.mark.epoch, destination = name, "publishes");
        crash.pass(|| {
            outcome = patiently(name, shared, clock, || {
                destination.publish(&job.mark, &job.changes)
            });
        });
        if outcome.is_ok() && job.cut {
            outcome = patiently(name, shared, clock, || destination.make_durable());
            if outcome.is_ok() {
                durable(job.mark.epoch);
            }
        }
        match outcome {
            Ok(()) => {
                debug!(epoch = %job.mark.epoch, destination = name, "published");
                shared.published();
                receipt.committed(job.mark.epoch);
                last = job.mark.epoch;
            }
            Err(error) => {
                shared.fail(failed(&format!("could not write to `{name}`"), error));
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

/// Does `publish` again while a destination is away, which is said once, and again when it is
/// back. A run that is asked to stop waits a little longer, and then no more.
fn patiently(
    name: &str,
    shared: &Shared,
    clock: &Clock,
    mut publish: impl FnMut() -> Result<(), ConnectorError>,
) -> Result<(), ConnectorError> {
    let mut away: Option<Duration> = None;
    let mut stopping: Option<Duration> = None;
    loop {
        let outcome = publish();
        let now = clock.elapsed();
        let Err(ConnectorError::Transient(cause)) = outcome else {
            if let (Some(since), Ok(())) = (away, &outcome) {
                let after = now.saturating_sub(since);
                info!(destination = name, ?after, "it is back; nothing is lost");
            }
            return outcome;
        };
        if away.is_none() {
            warn!(destination = name, cause, "it is away: waiting for it");
        }
        let since = *away.get_or_insert(now);
        if shared.is_stopping() && now > *stopping.get_or_insert(now) + GRACE || shared.has_failed()
        {
            return Err(ConnectorError::Transient(cause));
        }
        let pause = (now.saturating_sub(since) / 4).clamp(PAUSE_MIN, PAUSE_MAX);
        clock.wait_until(now + pause);
    }
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
            .hint("its machine crashed, or a backup was restored; start the pipeline again")
            .again(),
        ConnectorError::Permanent { .. } | ConnectorError::Transient(_) => failure.because(error),
    }
}
