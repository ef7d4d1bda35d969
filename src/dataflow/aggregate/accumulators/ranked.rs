//! The first or the last row of each group, by bytes that compare as rows do: `min` and `max` of
//! text and other types without a native form, `first_value` and `last_value`.
//!
//! A row is its order keys, its position in the source, and last the value that is shown. The
//! value takes part in the comparison: where all before it is equal, the lesser value comes
//! first, and the result is still a function of the multiset of rows.

use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::super::keys::without_signs;
use super::fold::Side;
use super::{Accumulator, Output, counted, for_each};

/// What a row with a NULL value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// Not there.
    Skipped,
    /// A row like any other.
    Counted,
}

/// One row per group, as bytes.
pub struct Ranked {
    converter: RowConverter,
    types: Vec<DataType>,
    rows: Vec<Option<Box<[u8]>>>,
    heap: usize,
    side: Side,
    nulls: Nulls,
}

impl Ranked {
    /// The least or greatest of rows of these columns, of which the last is shown; rows in which
    /// it is NULL do not count.
    pub fn new(types: &[DataType], side: Side) -> Result<Self, ArrowError> {
        let orders = vec![SortOptions::default(); types.len()];
        Self::with_orders(types, &orders, side, Nulls::Skipped)
    }

    /// The first or last row in an order of columns; the last column is shown.
    pub fn ordered(
        types: &[DataType],
        orders: &[SortOptions],
        side: Side,
    ) -> Result<Self, ArrowError> {
        Self::with_orders(types, orders, side, Nulls::Counted)
    }

    fn with_orders(
        types: &[DataType],
        orders: &[SortOptions],
        side: Side,
        nulls: Nulls,
    ) -> Result<Self, ArrowError> {
        let fields = types.iter().zip(orders);
        let fields = fields.map(|(t, order)| SortField::new_with_options(t.clone(), *order));
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            types: types.to_vec(),
            rows: Vec::new(),
            heap: 0,
            side,
            nulls,
        })
    }

    fn decode<'a>(
        &'a self,
        rows: impl Iterator<Item = &'a Option<Box<[u8]>>>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let null: Vec<ArrayRef> = self.types.iter().map(|t| new_null_array(t, 1)).collect();
        let null = self.converter.convert_columns(&null)?;
        let parser = self.converter.parser();
        let rows = rows.map(|row| match row {
            Some(bytes) => parser.parse(bytes),
            None => null.row(0),
        });
        self.converter.convert_rows(rows)
    }
}

impl Accumulator for Ranked {
    fn resize(&mut self, groups: usize) {
        self.rows.resize(groups, None);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let shown = match self.nulls {
            Nulls::Skipped => &arguments[arguments.len() - 1..],
            Nulls::Counted => &[],
        };
        let counts = counted(shown, filter);
        let columns: Vec<ArrayRef> = arguments.iter().map(without_signs).collect();
        let rows = self.converter.convert_columns(&columns)?;
        for_each(counts.as_ref(), groups, |row, group| {
            let (row, best) = (rows.row(row), &mut self.rows[group]);
            let row = row.data();
            let better = best.as_deref().is_none_or(|best| match self.side {
                Side::Least => row < best,
                Side::Greatest => row > best,
            });
            if better {
                self.heap += row.len();
                self.heap -= best.as_ref().map_or(0, |best| best.len());
                *best = Some(row.into());
            }
        });
        Ok(())
    }

    /// A state is the row's columns, and whether there is a row: all of them may be NULL.
    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let (there, columns) = state.split_last().expect("a state has a last column");
        let there: &BooleanArray = arrow::array::AsArray::as_boolean(there);
        self.update(columns, groups, Some(there))
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let rows = groups.iter().map(|&group| &self.rows[group as usize]);
        Ok(self.decode(rows)?.pop().expect("a row has a last column"))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let rows = &self.rows[groups];
        let there: BooleanArray = rows.iter().map(|row| Some(row.is_some())).collect();
        let mut columns = self.decode(rows.iter())?;
        columns.push(std::sync::Arc::new(there));
        Ok(columns)
    }

    fn state_types(&self) -> Vec<DataType> {
        let mut types = self.types.clone();
        types.push(DataType::Boolean);
        types
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.heap + self.rows.capacity() * size_of::<Option<Box<[u8]>>>()
    }
}
