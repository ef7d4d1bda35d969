//! What is in the making: the accumulators of all aggregates, by slot.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::concat;

use super::accumulators::Accumulator;
use super::changing::Step;
use super::error::AggregateError;
use super::plan::{Plan, Reading};

/// Accumulators that have the same slots.
pub(super) struct Slots(Vec<Box<dyn Accumulator>>);

/// The results of some slots.
pub(super) struct Results {
    pub columns: Vec<ArrayRef>,
    /// Rows of NULLs, because a result does not fit its type.
    pub failed: BTreeMap<usize, String>,
}

impl Slots {
    pub fn new(plan: &Plan) -> Self {
        Self(plan.accumulators())
    }

    /// Makes room for slots below `slots`.
    pub fn resize(&mut self, slots: usize) {
        for accumulator in &mut self.0 {
            accumulator.resize(slots);
        }
    }

    /// Takes one row per element of `slots`, or takes it back; `columns` are those that
    /// `Plan::aggregated` gave.
    pub fn update(
        &mut self,
        plan: &Plan,
        step: Step,
        columns: &[Option<ArrayRef>],
        slots: &[u32],
    ) -> Result<(), AggregateError> {
        for (accumulator, recipe) in self.0.iter_mut().zip(&plan.recipes) {
            let column = |&at: &usize| {
                Arc::clone(
                    columns[at]
                        .as_ref()
                        .expect("what recipes name is evaluated"),
                )
            };
            let arguments: Vec<ArrayRef> = recipe.arguments.iter().map(column).collect();
            let filter = recipe.filter.as_ref().map(column);
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            let done = match step {
                Step::Give => accumulator.update(&arguments, slots, filter),
                Step::TakeBack => accumulator.retract(&arguments, slots, filter),
            };
            done.map_err(|cause| recipe.failed(cause))?;
        }
        Ok(())
    }

    /// Takes the columns of all accumulators' states, or takes them back: row `i` of `slots[i]`.
    pub fn merge(
        &mut self,
        plan: &Plan,
        step: Step,
        states: &[ArrayRef],
        slots: &[u32],
    ) -> Result<(), AggregateError> {
        let mut states = states;
        for (accumulator, recipe) in self.0.iter_mut().zip(&plan.recipes) {
            let (own, others) = states.split_at(accumulator.state_types().len());
            states = others;
            let done = match step {
                Step::Give => accumulator.merge(own, slots),
                Step::TakeBack => accumulator.unmerge(own, slots),
            };
            done.map_err(|cause| recipe.failed(cause))?;
        }
        Ok(())
    }

    /// The states of some slots: what `merge` takes.
    pub fn states(
        &self,
        plan: &Plan,
        slots: Range<usize>,
    ) -> Result<Vec<ArrayRef>, AggregateError> {
        let mut states = Vec::new();
        for (accumulator, recipe) in self.0.iter().zip(&plan.recipes) {
            let state = accumulator.state(slots.clone());
            states.extend(state.map_err(|cause| recipe.failed(cause))?);
        }
        Ok(states)
    }

    /// One reading of some slots.
    pub fn read(&self, reading: &Reading, slots: &[u32]) -> Result<ArrayRef, AggregateError> {
        let result = self.0[reading.accumulator].peek(&reading.output, slots);
        result.map_err(|cause| AggregateError::Compute {
            text: reading.text.clone(),
            cause,
        })
    }

    /// The results of some slots.
    pub fn peek(&self, plan: &Plan, slots: &[u32]) -> Result<Vec<ArrayRef>, AggregateError> {
        let readings = plan.readings.iter();
        readings.map(|reading| self.read(reading, slots)).collect()
    }

    /// The same, where a slot that has a result beyond its type stands alone.
    pub fn peek_each(&self, plan: &Plan, slots: &[u32]) -> Result<Results, AggregateError> {
        match (self.peek(plan, slots), slots) {
            (Ok(columns), _) => Ok(Results {
                columns,
                failed: BTreeMap::new(),
            }),
            (Err(error), []) => Err(error),
            (Err(error), [_]) => {
                let types = self.peek(plan, &[])?;
                let nulls = types.iter().map(|of| new_null_array(of.data_type(), 1));
                Ok(Results {
                    columns: nulls.collect(),
                    failed: BTreeMap::from([(0, error.in_one_line())]),
                })
            }
            (Err(_), _) => {
                let half = slots.len() / 2;
                let mut first = self.peek_each(plan, &slots[..half])?;
                let second = self.peek_each(plan, &slots[half..])?;
                for (ours, theirs) in first.columns.iter_mut().zip(&second.columns) {
                    *ours = concat(&[ours.as_ref(), theirs.as_ref()])?;
                }
                let failed = second.failed.into_iter();
                first
                    .failed
                    .extend(failed.map(|(row, error)| (half + row, error)));
                Ok(first)
            }
        }
    }

    /// Forgets all slots and keeps the memory.
    pub fn clear(&mut self) {
        for accumulator in &mut self.0 {
            accumulator.clear();
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|accumulator| accumulator.bytes()).sum()
    }
}
