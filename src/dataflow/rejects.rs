//! What becomes of too many rejects: the first is said where nobody keeps them, and beyond a limit
//! the run ends rather than fill a topic with them.

use tracing::warn;

use super::arrival::ArrivedRows;
use super::outcome::Failure;

/// How many records are read before their share of rejects means something.
const SAMPLE: u64 = 1000;

/// The rejects of one source on one worker.
#[derive(Debug)]
pub(super) struct Rejects {
    source: String,
    limit: f64,
    /// Whether dead letters are kept.
    kept: bool,
    read: u64,
    rejected: u64,
}

impl Rejects {
    /// None yet. `limit` is the share of records that may be rejected.
    pub fn new(source: &str, limit: f64, kept: bool) -> Self {
        Self {
            source: source.to_owned(),
            limit,
            kept,
            read: 0,
            rejected: 0,
        }
    }

    /// Some more records of a partition came. Returns why the run ends, if it does.
    pub fn count(&mut self, arrived: &ArrivedRows, partition: &str) -> Option<Failure> {
        let rejected = arrived.rejects.len() as u64;
        let first = arrived.rejects.first();
        if let (Some(first), 0, false) = (first, self.rejected, self.kept) {
            // A wrong type would otherwise look like an empty input.
            warn!(
                source = self.source,
                partition,
                line = (first.line > 0).then_some(first.line),
                offset = (first.line == 0).then(|| arrived.positions.of(first.span.start).0),
                column = first.reject.column,
                reason = first.reject.message,
                "records are rejected, and no 'dead.letter' keeps them; this is the first"
            );
        }
        self.read += arrived.rows.num_rows() as u64 + rejected;
        self.rejected += rejected;
        #[allow(
            clippy::cast_precision_loss,
            reason = "a share needs no more digits than a float has"
        )]
        let share = self.rejected as f64 / self.read as f64;
        let first = first.filter(|_| self.read >= SAMPLE && share > self.limit)?;
        let message = format!(
            "{} of {} records of `{}` are rejected, more than 'reject.limit' allows",
            self.rejected, self.read, self.source
        );
        let hint = "look whether the columns fit what is in the topic or file; \
                    a higher 'reject.limit' lets more pass";
        Some(
            Failure::new(message)
                .because(&first.reject.message)
                .hint(hint),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::buffer::ScalarBuffer;

    use super::*;
    use crate::format::{Positions, RejectedRecord};
    use crate::types::{Offset, Reason, Reject, Span};

    fn arrived(good: usize, bad: usize) -> ArrivedRows {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![0; good]));
        let span = Span { start: 0, len: 0 };
        let reject = RejectedRecord {
            span,
            line: 0,
            reject: Reject::record(Reason::Malformed, "not a JSON object".to_owned()),
        };
        ArrivedRows {
            rows: RecordBatch::try_from_iter([("n", column)]).unwrap(),
            times: ScalarBuffer::default(),
            spans: vec![span; good],
            rejects: vec![reject; bad],
            bytes: Arc::default(),
            line: 0,
            positions: Positions::Bytes { start: Offset(0) },
            from: Offset(0),
            end: Offset(1),
        }
    }

    #[test]
    fn a_share_beyond_the_limit_ends_the_run_once_enough_was_read() {
        let mut rejects = Rejects::new("trips", 0.5, true);
        assert!(rejects.count(&arrived(0, 900), "0").is_none());
        assert!(rejects.count(&arrived(900, 0), "0").is_none());
        assert!(rejects.count(&arrived(0, 0), "0").is_none());

        let failure = rejects.count(&arrived(0, 10), "0").unwrap();

        assert_eq!(
            failure.message,
            "910 of 1810 records of `trips` are rejected, more than 'reject.limit' allows"
        );
        assert_eq!(failure.causes, ["not a JSON object"]);
    }

    #[test]
    fn without_a_limit_everything_may_be_rejected() {
        let mut rejects = Rejects::new("trips", 1.0, true);

        assert!(rejects.count(&arrived(0, 5000), "0").is_none());
    }
}
