//! What becomes of too many rejects: the first is said where nobody keeps them, and beyond a limit
//! the run ends rather than fill a topic with them.
//!
//! ```text
//!   records of a partition  1 ........ 1000 ........ 2000 ........
//!                           └ at most n bad └ at most n bad └ ..    n = limit * 1000
//! ```
//!
//! Whether the run ends is a function of the input: each thousand records of a partition is judged
//! by itself, wherever blocks and epochs were cut, whoever else reads what, and wherever a run
//! began again (what is known of the open thousand is in the mark). It is judged as soon as it
//! has too many: what is still to come of it cannot make them fewer. A record that an expression
//! failed on is rejected as one that does not convert is, once however many INSERTs missed it.

use std::collections::BTreeMap;

use tracing::warn;

use super::arrival::ArrivedRows;
use super::outcome::Failure;
use super::step::Turned;
use crate::types::{Judged, Span};

/// How many records of a partition are judged together.
const SAMPLE: u32 = 1000;

/// The rejects of one source on one worker.
#[derive(Debug)]
pub(super) struct Rejects {
    source: String,
    limit: f64,
    /// Whether dead letters are kept.
    kept: bool,
    noticed: bool,
}

impl Rejects {
    /// None yet. `limit` is the share of records that may be rejected.
    pub fn new(source: &str, limit: f64, kept: bool) -> Self {
        Self {
            source: source.to_owned(),
            limit,
            kept,
            noticed: false,
        }
    }

    /// Some more records of a partition came: says the first reject of all, where it would vanish.
    pub fn notice(&mut self, arrived: &ArrivedRows, partition: &str) {
        let Some(first) = arrived.rejects.first() else {
            return;
        };
        if !std::mem::replace(&mut self.noticed, true) && !self.kept {
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
    }

    /// Judges some more records of a partition, of which the chain turned some away; `others` were
    /// read, and are not for this partition. Returns what is known of the open thousand after them, or
    /// why the run ends.
    pub fn judge(
        &self,
        (arrived, others, turned): (&ArrivedRows, &[Span], &[(usize, Turned)]),
        partition: &str,
        mut judged: Judged,
    ) -> Result<Judged, Failure> {
        if self.limit >= 1.0 {
            return Ok(Judged::default());
        }
        let mut seen = 0;
        for (before, why) in bad((arrived, others), turned) {
            judged = judged.after(before - seen);
            judged.rejected += 1;
            if f64::from(judged.rejected) > self.limit * f64::from(SAMPLE) {
                return Err(self.too_many(judged, partition).because(why));
            }
            judged = judged.after(1);
            seen = before + 1;
        }
        let records = arrived.rows.num_rows() + arrived.rejects.len() + others.len();
        Ok(judged.after(records - seen))
    }

    fn too_many(&self, judged: Judged, partition: &str) -> Failure {
        let message = format!(
            "{} of {SAMPLE} records of `{}` in {partition} are rejected, more than 'reject.limit' \
             allows",
            judged.rejected, self.source
        );
        let hint = "look whether the columns fit what is in the topic or file; \
                    a higher 'reject.limit' lets more pass";
        Failure::new(message).hint(hint)
    }
}

/// The bad records of a block in their order: how many records stand before each in the block,
/// and what is wrong with it.
fn bad<'a>(
    (arrived, others): (&'a ArrivedRows, &[Span]),
    turned: &'a [(usize, Turned)],
) -> impl Iterator<Item = (usize, &'a str)> {
    let before = |span: Span| {
        let rows = |rows: &[Span]| rows.partition_point(|row| row.start < span.start);
        let rejects = &arrived.rejects;
        rows(&arrived.spans)
            + rows(others)
            + rejects.partition_point(|reject| reject.span.start < span.start)
    };
    let rejected = arrived.rejects.iter();
    let rejected = rejected.map(|reject| (before(reject.span), reject.reject.message.as_str()));
    let failed = turned.iter().filter_map(|(_, turned)| match turned {
        Turned::Failed { row, message } => {
            Some((before(arrived.spans[*row as usize]), message.as_str()))
        }
        Turned::Late { .. } | Turned::Behind { .. } => None,
    });
    let mut bad = BTreeMap::new();
    for (place, why) in rejected.chain(failed) {
        bad.entry(place).or_insert(why);
    }
    bad.into_iter()
}

impl Judged {
    /// After so many more records. Those of them that are rejected are counted already.
    fn after(self, count: usize) -> Self {
        let count = u64::from(self.read) + count as u64;
        let read = u32::try_from(count % u64::from(SAMPLE)).expect("less than a sample");
        let is_open = count < u64::from(SAMPLE);
        Self {
            read,
            rejected: if is_open { self.rejected } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::buffer::ScalarBuffer;
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Positions, RejectedRecord};
    use crate::types::{Offset, Reason, Reject};

    /// What a record is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Is {
        Good,
        /// Its bytes are.
        Bad,
        /// An expression of two INSERTs fails on it.
        Failing,
    }

    /// A block of a partition, and what the chain turned away of it.
    fn block(records: &[Is]) -> (ArrivedRows, Vec<(usize, Turned)>) {
        let (mut spans, mut rejects, mut turned) = (Vec::new(), Vec::new(), Vec::new());
        for (start, is) in (0..).zip(records) {
            let span = Span { start, len: 1 };
            match is {
                Is::Bad => rejects.push(RejectedRecord {
                    span,
                    line: 0,
                    reject: Reject::record(Reason::Malformed, "not a JSON object".to_owned()),
                    at: None,
                }),
                Is::Good => spans.push(span),
                Is::Failing => {
                    let failed = Turned::Failed {
                        row: spans.len() as u32,
                        message: "division by zero".to_owned(),
                    };
                    turned.extend([(0, failed.clone()), (1, failed)]);
                    spans.push(span);
                }
            }
        }
        let column: ArrayRef = Arc::new(Int64Array::from(vec![0; spans.len()]));
        let arrived = ArrivedRows {
            rows: RecordBatch::try_from_iter([("n", column)]).unwrap(),
            times: ScalarBuffer::default(),
            spans,
            rejects,
            bytes: Arc::default(),
            line: 0,
            positions: Positions::Bytes { start: Offset(0) },
            from: Offset(0),
            end: Offset(1),
        };
        (arrived, turned)
    }

    /// Reads a partition in blocks of these sizes, one after the other and over again.
    fn read(limit: f64, records: &[Is], sizes: &[usize]) -> Result<Judged, Failure> {
        let (mut judged, mut rest) = (Judged::default(), records);
        for &size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (some, others) = rest.split_at(size.min(rest.len()));
            let (arrived, turned) = block(some);
            // A run of its own for every block: nothing but the mark goes from one to the next.
            let rejects = Rejects::new("trips", limit, true);
            judged = rejects.judge((&arrived, &[], &turned), "0", judged)?;
            rest = others;
        }
        Ok(judged)
    }

    fn records(parts: &[(Is, usize)]) -> Vec<Is> {
        let parts = parts.iter();
        parts.flat_map(|&(is, count)| vec![is; count]).collect()
    }

    #[test]
    fn more_of_a_thousand_than_the_limit_allows_end_the_run() {
        let within = records(&[(Is::Bad, 500), (Is::Good, 500), (Is::Bad, 500)]);
        let beyond = records(&[(Is::Good, 1400), (Is::Bad, 501)]);

        assert_eq!(
            read(0.5, &within, &[10_000]).unwrap(),
            Judged {
                read: 500,
                rejected: 500
            }
        );
        let failure = read(0.5, &beyond, &[10_000]).unwrap_err();
        assert_eq!(
            failure.message,
            "501 of 1000 records of `trips` in 0 are rejected, more than 'reject.limit' allows"
        );
        assert_eq!(failure.causes, ["not a JSON object"]);
    }

    #[test]
    fn records_that_an_expression_fails_on_count_once_each() {
        let within = records(&[(Is::Bad, 200), (Is::Failing, 300)]);
        let beyond = records(&[(Is::Bad, 200), (Is::Failing, 301)]);

        assert!(read(0.5, &within, &[10_000]).is_ok());
        let failure = read(0.5, &beyond, &[10_000]).unwrap_err();
        assert_eq!(failure.causes, ["division by zero"]);
    }

    #[test]
    fn without_a_limit_everything_may_be_rejected() {
        let all = records(&[(Is::Bad, 5000)]);

        assert_eq!(read(1.0, &all, &[700]).unwrap(), Judged::default());
    }

    #[test]
    fn where_nothing_may_be_rejected_the_first_ends_the_run() {
        assert!(read(0.0, &[Is::Good, Is::Bad], &[1]).is_err());
    }

    proptest! {
        #[test]
        fn how_records_come_in_blocks_and_runs_says_nothing(
            parts in prop::collection::vec(
                (prop::sample::select(vec![Is::Good, Is::Bad, Is::Failing]), 1usize..900),
                1..8,
            ),
            sizes in prop::collection::vec(1usize..1500, 1..5),
        ) {
            let records = records(&parts);
            let is_bad = |is: &&Is| **is != Is::Good;
            let beyond = records
                .chunks(SAMPLE as usize)
                .any(|some| some.iter().filter(is_bad).count() > 400);

            let judged = read(0.4, &records, &sizes);

            prop_assert_eq!(judged.is_err(), beyond);
            if let Ok(judged) = judged {
                prop_assert_eq!(judged.read as usize, records.len() % SAMPLE as usize);
            }
        }
    }
}
