//! One aggregate over rows that come and go as its groups move on, within one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};

use super::changing::Step;
use super::error::AggregateError;
use super::plan::{Aggregation, Plan};
use super::slots::Slots;

/// Groups, and the rows that they may take.
pub struct Moving {
    plan: Arc<Plan>,
    slots: Slots,
    columns: Vec<ArrayRef>,
}

impl Aggregation {
    /// The first aggregate over so many groups, of no rows yet.
    pub fn moving(&self, rows: &RecordBatch, groups: usize) -> Result<Moving, AggregateError> {
        let plan = self.plan();
        let mut slots = Slots::new(plan);
        slots.resize(groups);
        Ok(Moving {
            columns: plan.columns(rows)?,
            plan: Arc::clone(plan),
            slots,
        })
    }
}

impl Moving {
    /// Row `rows[i]` comes to group `groups[i]`.
    pub fn give(&mut self, rows: &[u32], groups: &[u32]) -> Result<(), AggregateError> {
        self.apply(Step::Give, rows, groups)
    }

    /// Row `rows[i]`, which came before, leaves group `groups[i]`.
    pub fn take_back(&mut self, rows: &[u32], groups: &[u32]) -> Result<(), AggregateError> {
        self.apply(Step::TakeBack, rows, groups)
    }

    fn apply(&mut self, step: Step, rows: &[u32], groups: &[u32]) -> Result<(), AggregateError> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = self.plan.aggregated(&self.columns, Some(rows))?;
        self.slots.update(&self.plan, step, &columns, groups)
    }

    /// The results of some groups: NULL where one is beyond its type, and why.
    pub fn read(
        &self,
        groups: &[u32],
    ) -> Result<(ArrayRef, BTreeMap<usize, String>), AggregateError> {
        let mut results = self.slots.peek_each(&self.plan, groups)?;
        Ok((results.columns.swap_remove(0), results.failed))
    }
}
