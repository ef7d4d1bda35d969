//! `count(*)`, and `count(x)` of an `x` of any type.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;

use super::{Accumulator, Output, counted, for_each};

/// How many rows each group has.
#[derive(Default)]
pub struct Counts(Vec<i64>);

impl Counts {
    fn add(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
        amount: i64,
    ) {
        let rows = counted(arguments, filter);
        for_each(rows.as_ref(), groups, |_, group| self.0[group] += amount);
    }
}

impl Accumulator for Counts {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups, 0);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.add(arguments, groups, filter, 1);
        Ok(())
    }

    fn retract(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.add(arguments, groups, filter, -1);
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (&count, &group) in counts.iter().zip(groups) {
            self.0[group as usize] += count;
        }
        Ok(())
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (&count, &group) in counts.iter().zip(groups) {
            self.0[group as usize] -= count;
        }
        Ok(())
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let counts = groups.iter().map(|&group| self.0[group as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![Arc::new(Int64Array::from(self.0[groups].to_vec()))])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}
