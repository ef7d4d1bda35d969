//! Aggregates on the source's worker, before the exchange, so that a group costs one row per
//! epoch and worker there instead of one per record. Where hardly any two rows have one key they are
//! not looked up here: they go through as they are, and meet at their owner.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::changing::Step;
use super::error::AggregateError;
use super::plan::Plan;
use super::table::{Rows, Tracking};
use super::tables::Tables;
use crate::dataflow::parts::cut;

/// Partial states of the rows since the last `drain`.
pub struct Partials {
    plan: Arc<Plan>,
    tables: Tables,
    /// Rows since the last `drain`.
    rows: usize,
    /// How many workers own groups.
    peers: usize,
    /// So many times more, up to `drain`, rows are held as they are: hardly any two had one key, and to look
    /// for that costs more than it saves.
    apart: usize,
}

/// How often rows are held as they are, until it is looked again whether some have one key.
const APART: usize = 15;

/// Fewer rows say nothing about the next.
const TELLING: usize = 1024;

impl Partials {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            tables: Tables::new(Tracking::Off),
            rows: 0,
            peers: 1,
            apart: 0,
        }
    }

    /// The same, of which the groups are owned by so many workers.
    #[must_use]
    pub fn among(self, peers: usize) -> Self {
        Self { peers, ..self }
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
        self.rows += input.num_rows();
        self.tables.apply(&self.plan, input, Step::Give)
    }

    /// How many groups it holds: what `drain` would yield in rows.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.tables.groups()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tables.bytes()
    }

    /// All states, in batches of about 8 K groups of `Aggregation::partial_schema`; then it is
    /// empty.
    pub fn drain(&mut self) -> Result<Vec<RecordBatch>, AggregateError> {
        let groups = self.groups();
        let batches = self
            .tables
            .states(&self.plan)
            .collect::<Result<Vec<_>, _>>()?;
        self.tables.clear();
        self.look_or_not(groups);
        together_again(&self.plan, &batches)
    }

    /// As if no two of the rows before had had one key.
    #[cfg(test)]
    pub(super) fn hold_apart(&mut self) {
        self.apart = APART;
        self.tables.hold(Rows::Apart);
    }

    /// Decides what becomes of the next rows, after rows that were so many groups.
    fn look_or_not(&mut self, groups: usize) {
        let rows = std::mem::take(&mut self.rows);
        // All rows of one key go to one worker: they may be at most half of what each has anyway. Rows
        // with a count stand for many.
        let met = rows.saturating_sub(groups);
        let pays =
            rows < TELLING || met * 2 * self.peers >= rows || self.plan.input.width().is_some();
        self.apart = match self.apart {
            0 if !pays => APART,
            left => left.saturating_sub(1),
        };
        self.tables.hold(match self.apart {
            0 => Rows::Grouped,
            _ => Rows::Apart,
        });
    }
}

/// Joins small batches, so that many small buckets do not become many small messages, nor many
/// batches of a snapshot.
pub(super) fn together_again(
    plan: &Plan,
    batches: &[RecordBatch],
) -> Result<Vec<RecordBatch>, AggregateError> {
    const ENOUGH: usize = 4096;
    let enough = |batch: &RecordBatch| batch.num_rows() >= ENOUGH;
    let mut joined = Vec::new();
    // What is large by itself is not copied because something small stands before it.
    for alike in batches.chunk_by(|one, next| !enough(one) && !enough(next)) {
        for part in cut(alike, |batch| [batch.num_rows()], [ENOUGH]) {
            joined.push(match part {
                [one] => one.clone(),
                several => concat_batches(&plan.partial, several)?,
            });
        }
    }
    Ok(joined)
}
