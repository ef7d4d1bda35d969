//! `min` and `max` of any type that has an order: numbers and times natively, everything else as
//! bytes that compare as their values do (text by its bytes, the C collation).
//!
//! Floats are in PostgreSQL's order: NaN is the greatest and equals itself; zero has no sign.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
    downcast_primitive,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::super::keys::without_signs;
use super::{Accumulator, Output, counted, for_each};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `min`.
    Least,
    /// `max`.
    Greatest,
}

/// The accumulator for `min` or `max` of a type.
pub fn extremes(argument: &DataType, side: Side) -> Result<Box<dyn Accumulator>, ArrowError> {
    macro_rules! native {
        ($type:ty) => {
            Box::new(Extreme::<$type>::new(argument, side))
        };
    }
    Ok(downcast_primitive! {
        argument => (native),
        _ => Box::new(ExtremeBytes::new(argument, side)?)
    })
}

/// The extremes of a fixed-width type.
pub struct Extreme<T: ArrowPrimitiveType> {
    best: Vec<Option<T::Native>>,
    data_type: DataType,
    side: Side,
}

impl<T: ArrowPrimitiveType> Extreme<T> {
    fn new(argument: &DataType, side: Side) -> Self {
        Self {
            best: Vec::new(),
            data_type: argument.clone(),
            side,
        }
    }
}

impl<T: ArrowPrimitiveType> Accumulator for Extreme<T> {
    fn resize(&mut self, groups: usize) {
        self.best.resize(groups, None);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(Some(&arguments[0]), filter);
        let values = without_signs(&arguments[0]);
        let values = values.as_primitive::<T>().values();
        match self.side {
            Side::Least => for_each(rows.as_ref(), groups, |row, group| {
                let (value, best) = (values[row], &mut self.best[group]);
                if best.is_none_or(|best| value.is_lt(best)) {
                    *best = Some(value);
                }
            }),
            Side::Greatest => for_each(rows.as_ref(), groups, |row, group| {
                let (value, best) = (values[row], &mut self.best[group]);
                if best.is_none_or(|best| value.is_gt(best)) {
                    *best = Some(value);
                }
            }),
        }
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.update(state, groups, None)
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let best = groups.iter().map(|&group| self.best[group as usize]);
        let best = best.collect::<PrimitiveArray<T>>();
        Ok(Arc::new(best.with_data_type(self.data_type.clone())))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let best = self.best[groups]
            .iter()
            .copied()
            .collect::<PrimitiveArray<T>>();
        Ok(vec![Arc::new(best.with_data_type(self.data_type.clone()))])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn clear(&mut self) {
        self.best.clear();
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}

/// The extremes of any other type, as comparable bytes.
struct ExtremeBytes {
    converter: RowConverter,
    best: Vec<Option<Box<[u8]>>>,
    heap: usize,
    data_type: DataType,
    side: Side,
}

impl ExtremeBytes {
    fn new(argument: &DataType, side: Side) -> Result<Self, ArrowError> {
        Ok(Self {
            converter: RowConverter::new(vec![SortField::new(argument.clone())])?,
            best: Vec::new(),
            heap: 0,
            data_type: argument.clone(),
            side,
        })
    }

    fn decode<'a>(
        &'a self,
        best: impl Iterator<Item = &'a Option<Box<[u8]>>>,
    ) -> Result<ArrayRef, ArrowError> {
        let null = arrow::array::new_null_array(&self.data_type, 1);
        let null = self.converter.convert_columns(&[null])?;
        let parser = self.converter.parser();
        let rows = best.map(|best| match best {
            Some(bytes) => parser.parse(bytes),
            None => null.row(0),
        });
        Ok(self.converter.convert_rows(rows)?.remove(0))
    }
}

impl Accumulator for ExtremeBytes {
    fn resize(&mut self, groups: usize) {
        self.best.resize(groups, None);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let counts = counted(Some(&arguments[0]), filter);
        let rows = self.converter.convert_columns(&arguments[..1])?;
        for_each(counts.as_ref(), groups, |row, group| {
            let (row, best) = (rows.row(row), &mut self.best[group]);
            let value = row.data();
            let better = best.as_deref().is_none_or(|best| match self.side {
                Side::Least => value < best,
                Side::Greatest => value > best,
            });
            if better {
                self.heap += value.len();
                self.heap -= best.as_ref().map_or(0, |best| best.len());
                *best = Some(value.into());
            }
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.update(state, groups, None)
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        self.decode(groups.iter().map(|&group| &self.best[group as usize]))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![self.decode(self.best[groups].iter())?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn clear(&mut self) {
        self.best.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.heap + self.best.capacity() * size_of::<Option<Box<[u8]>>>()
    }
}
