//! `DISTINCT` in any aggregate: another accumulator that is given each value of a group once.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, LargeBinaryArray, LargeBinaryBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::super::keys::{KeyCodec, without_signs};
use super::lists::{Sets, read};
use super::{Accumulator, Output, counted, for_each};

/// The values of each group, and what becomes of them. Only the values are state.
pub struct Distinct {
    codec: KeyCodec,
    values: Sets,
    of: Box<dyn Accumulator>,
    /// Whether a NULL is a value.
    nulls: bool,
}

impl Distinct {
    /// `of` over distinct values of these types.
    pub fn new(
        types: &[DataType],
        of: Box<dyn Accumulator>,
        nulls: bool,
    ) -> Result<Self, ArrowError> {
        Ok(Self {
            codec: KeyCodec::new(types)?,
            values: Sets::default(),
            of,
            nulls,
        })
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
        self.of.resize(groups);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(if self.nulls { &[] } else { arguments }, filter);
        let values = self.codec.encode(arguments, groups.len())?;
        let (mut new_rows, mut new_groups) = (Vec::new(), Vec::new());
        for_each(rows.as_ref(), groups, |row, group| {
            if self.values.insert(group, values.value(row)) {
                new_rows.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
                new_groups.push(groups[row]);
            }
        });
        let new_rows = UInt32Array::from(new_rows);
        // Equal values may differ in bits; which of them came first must not show.
        let new = arguments
            .iter()
            .map(|values| take(&without_signs(values), &new_rows, None));
        self.of
            .update(&new.collect::<Result<Vec<_>, _>>()?, &new_groups, None)
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let state: &LargeBinaryArray = state[0].as_binary();
        let (mut new, mut new_groups) = (Vec::new(), Vec::new());
        for (row, &group) in groups.iter().enumerate() {
            for value in read(state.value(row)) {
                let value = value?;
                if self.values.insert(group as usize, value) {
                    new.push(value);
                    new_groups.push(group);
                }
            }
        }
        let new = self.codec.decode(new.into_iter())?;
        self.of.update(&new, &new_groups, None)
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.of.peek(output, groups)
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut state = LargeBinaryBuilder::new();
        groups.for_each(|group| self.values.lists().write(group, &mut state));
        Ok(vec![Arc::new(state.finish())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn clear(&mut self) {
        self.values.clear();
        self.of.clear();
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.of.bytes()
    }
}
