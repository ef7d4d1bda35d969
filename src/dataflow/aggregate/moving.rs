//! One aggregate over rows that come and go as its groups move on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;

use super::changing::Step;
use super::error::AggregateError;
use super::plan::{Aggregation, Plan};
use super::slots::Slots;

/// The aggregate of each group.
pub struct Moving {
    plan: Arc<Plan>,
    slots: Slots,
}

/// What an aggregate reads of the rows of a batch.
pub struct Read(Vec<ArrayRef>);

impl Aggregation {
    /// The first aggregate, over no groups yet.
    #[must_use]
    pub fn moving(&self) -> Moving {
        let plan = Arc::clone(self.plan());
        let slots = Slots::new(&plan);
        Moving { plan, slots }
    }
}

impl Moving {
    /// Makes room for groups below `groups`, which have no rows yet.
    pub fn resize(&mut self, groups: usize) {
        self.slots.resize(groups);
    }

    /// What it reads of the rows of a batch.
    pub fn read_of(&self, rows: &RecordBatch) -> Result<Read, AggregateError> {
        Ok(Read(self.plan.columns(rows)?))
    }

    /// Row `rows[i]` comes to group `groups[i]`.
    pub fn give(
        &mut self,
        read: &Read,
        rows: &[u32],
        groups: &[u32],
    ) -> Result<(), AggregateError> {
        self.apply(Step::Give, read, rows, groups)
    }

    /// Row `rows[i]`, which came before, leaves group `groups[i]`.
    pub fn take_back(
        &mut self,
        read: &Read,
        rows: &[u32],
        groups: &[u32],
    ) -> Result<(), AggregateError> {
        self.apply(Step::TakeBack, read, rows, groups)
    }

    fn apply(
        &mut self,
        step: Step,
        read: &Read,
        rows: &[u32],
        groups: &[u32],
    ) -> Result<(), AggregateError> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = self.plan.aggregated(&read.0, Some(rows))?;
        self.slots.update(&self.plan, step, &columns, groups)
    }

    /// The results of some groups: NULL where one is beyond its type, and why.
    pub fn results(
        &self,
        groups: &[u32],
    ) -> Result<(ArrayRef, BTreeMap<usize, String>), AggregateError> {
        let mut results = self.slots.peek_each(&self.plan, groups)?;
        Ok((results.columns.swap_remove(0), results.failed))
    }

    /// The state of one group, a row of several columns: what `merge` takes.
    pub fn state(&self, group: u32) -> Result<Vec<ArrayRef>, AggregateError> {
        let group = group as usize;
        self.slots.states(&self.plan, group..group + 1)
    }

    /// Row `i` of states comes to group `groups[i]`.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<(), AggregateError> {
        self.slots.merge(&self.plan, Step::Give, states, groups)
    }

    /// The types of the columns of a state.
    #[must_use]
    pub fn state_types(&self) -> Vec<DataType> {
        let accumulators = self.plan.accumulators();
        accumulators
            .iter()
            .flat_map(|of| of.state_types())
            .collect()
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
    }
}
