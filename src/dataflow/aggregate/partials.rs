//! Aggregates on the source's worker, before the exchange, so that a group costs one row per
//! epoch and worker there instead of one per record.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::changing::Step;
use super::error::AggregateError;
use super::plan::Plan;
use super::table::Tracking;
use super::tables::Tables;

/// Partial states of the rows since the last `drain`.
pub struct Partials {
    plan: Arc<Plan>,
    tables: Tables,
}

impl Partials {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            tables: Tables::new(Tracking::Off),
        }
    }

    /// Takes rows of the input.
    pub fn update(&mut self, input: &RecordBatch) -> Result<(), AggregateError> {
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
        let batches = self
            .tables
            .states(&self.plan)
            .collect::<Result<Vec<_>, _>>()?;
        self.tables.clear();
        together_again(&self.plan, &batches)
    }
}

/// Joins small batches, so that many small buckets do not become many small messages, nor many
/// batches of a snapshot.
pub(super) fn together_again(
    plan: &Plan,
    batches: &[RecordBatch],
) -> Result<Vec<RecordBatch>, AggregateError> {
    const ENOUGH: usize = 4096;
    let mut joined = Vec::new();
    let (mut from, mut rows) = (0, 0);
    for (at, batch) in batches.iter().enumerate() {
        rows += batch.num_rows();
        if rows >= ENOUGH || at + 1 == batches.len() {
            joined.push(concat_batches(&plan.partial, &batches[from..=at])?);
            (from, rows) = (at + 1, 0);
        }
    }
    Ok(joined)
}
