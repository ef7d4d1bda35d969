//! Aggregates that must keep every row: `array_agg` and `string_agg` in an explicit order, and
//! exact percentiles.
//!
//! A row is kept as bytes that compare in the order asked for: order keys, position in the
//! source, and last the value; results sort them. So they depend on the rows alone.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, LargeBinaryArray, LargeBinaryBuilder,
    ListArray, StringBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::super::keys::without_signs;
use super::lists::{Lists, read};
use super::{Accumulator, Output, counted, for_each};

/// Which rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All: `array_agg` shows NULLs.
    All,
    /// Those whose value is not NULL.
    Values,
}

/// The rows of each group.
pub struct Collected {
    converter: RowConverter,
    rows: Lists,
    keep: Keep,
    value_type: DataType,
}

impl Collected {
    /// Rows of columns in an order; the last column is the value.
    pub fn new(types: &[DataType], orders: &[SortOptions], keep: Keep) -> Result<Self, ArrowError> {
        let fields = types.iter().zip(orders);
        let fields = fields.map(|(t, order)| SortField::new_with_options(t.clone(), *order));
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            rows: Lists::default(),
            keep,
            value_type: types.last().expect("a row has a value").clone(),
        })
    }

    fn sorted(&self, group: u32) -> Vec<&[u8]> {
        let mut rows: Vec<&[u8]> = self.rows.of(group as usize).collect();
        rows.sort_unstable();
        rows
    }

    /// The values of rows.
    fn values(&self, rows: &[&[u8]]) -> Result<ArrayRef, ArrowError> {
        let parser = self.converter.parser();
        let columns = self
            .converter
            .convert_rows(rows.iter().map(|row| parser.parse(row)))?;
        Ok(columns.into_iter().next_back().expect("a row has a value"))
    }

    fn arrays(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let rows: Vec<Vec<&[u8]>> = groups.iter().map(|&group| self.sorted(group)).collect();
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
        // No row at all is NULL, as for every aggregate but count.
        let nulls: NullBuffer = rows.iter().map(|rows| !rows.is_empty()).collect();
        let values = self.values(&rows.concat())?;
        let item = Arc::new(Field::new_list_field(self.value_type.clone(), true));
        Ok(Arc::new(ListArray::try_new(
            item,
            offsets,
            values,
            Some(nulls),
        )?))
    }

    fn strings(&self, separator: &str, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let mut strings = StringBuilder::new();
        for &group in groups {
            let rows = self.sorted(group);
            if rows.is_empty() {
                strings.append_null();
                continue;
            }
            let values = cast(&self.values(&rows)?, &DataType::Utf8)?;
            let values: Vec<&str> = values.as_string::<i32>().iter().flatten().collect();
            strings.append_value(values.join(separator));
        }
        Ok(Arc::new(strings.finish()))
    }

    /// Interpolated between the two nearest values, as PostgreSQL does.
    fn continuous(&self, fraction: f64, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let mut results = Vec::with_capacity(groups.len());
        for &group in groups {
            let rows = self.sorted(group);
            let Some(last) = rows.len().checked_sub(1) else {
                results.push(None);
                continue;
            };
            let (below, above, share) = between(fraction, last);
            let ends = self.values(&[rows[below], rows[above]])?;
            let ends = ends.as_primitive::<Float64Type>();
            let (low, high) = (ends.value(0), ends.value(1));
            // Equal ends may be infinite: their difference would not be a number.
            let between = if share == 0.0 || low == high {
                low
            } else {
                low + share * (high - low)
            };
            results.push(Some(between));
        }
        Ok(Arc::new(Float64Array::from(results)))
    }

    /// The first value that at least this fraction of the values does not come after.
    fn discrete(&self, fraction: f64, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let null = arrow::array::new_null_array(&self.value_type, 1);
        let null = self.converter.convert_columns(&[null])?;
        let rows = groups.iter().map(|&group| {
            let rows = self.sorted(group);
            rows.get(nearest(fraction, rows.len()))
                .copied()
                .unwrap_or(null.row(0).data())
        });
        self.values(&rows.collect::<Vec<_>>())
    }
}

/// The rows next to a fraction of the way to `last`, and how far it is from the one to the other.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list, from 0 to `last`"
)]
fn between(fraction: f64, last: usize) -> (usize, usize, f64) {
    let place = fraction * last as f64;
    let below = place.floor();
    (
        below as usize,
        (place.ceil() as usize).min(last),
        place - below,
    )
}

/// The place, from 0, at which a fraction of `count` values is reached.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list, from 0 to `count`"
)]
pub fn nearest(fraction: f64, count: usize) -> usize {
    ((fraction * count as f64).ceil() as usize).saturating_sub(1)
}

impl Accumulator for Collected {
    fn resize(&mut self, groups: usize) {
        self.rows.resize(groups);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let values = match self.keep {
            Keep::All => &[],
            Keep::Values => &arguments[arguments.len() - 1..],
        };
        let counts = counted(values, filter);
        let mut columns: Vec<ArrayRef> = arguments.iter().map(without_signs).collect();
        // Percentiles between values are floats, whatever the values are.
        let value = columns.last_mut().expect("a row has a value");
        *value = cast(value, &self.value_type)?;
        let rows = self.converter.convert_columns(&columns)?;
        for_each(counts.as_ref(), groups, |row, group| {
            self.rows.push(group, rows.row(row).data());
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let state: &LargeBinaryArray = state[0].as_binary();
        for (row, &group) in groups.iter().enumerate() {
            for value in read(state.value(row)) {
                self.rows.push(group as usize, value?);
            }
        }
        assert_eq!(state.len(), groups.len());
        Ok(())
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        match output {
            Output::Joined(separator) => self.strings(separator, groups),
            Output::Continuous(fraction) => self.continuous(*fraction, groups),
            Output::Discrete(fraction) => self.discrete(*fraction, groups),
            Output::Value => self.arrays(groups),
            Output::Count | Output::Sum(_) | Output::Average(_) | Output::Moment(_) => {
                panic!("collected rows are not read as {output:?}")
            }
        }
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut state = LargeBinaryBuilder::new();
        groups.for_each(|group| self.rows.write(group, &mut state));
        Ok(vec![Arc::new(state.finish())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn clear(&mut self) {
        self.rows.clear();
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}
