//! `min`, `max`, `bool_and`, `bool_or`, `bit_and`, `bit_or`, `bit_xor`: two values make one of
//! their kind, in any order.
//!
//! Floats are in PostgreSQL's order: NaN is the greatest and equals itself; zero has no sign.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
    downcast_integer, downcast_primitive,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt8Type};
use arrow::error::ArrowError;

use super::super::keys::without_signs;
use super::ranked::Ranked;
use super::{Accumulator, Output, counted, for_each};

/// Which end of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first: `min`, `bool_and`, `first_value`.
    Least,
    /// The last: `max`, `bool_or`, `last_value`.
    Greatest,
}

/// An operation on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// `bit_and`.
    And,
    /// `bit_or`.
    Or,
    /// `bit_xor`.
    Xor,
}

/// The least or the greatest of values of a type: numbers and times natively, everything else as
/// bytes that compare as their values do (text by its bytes, the C collation).
pub fn extremes(argument: &DataType, side: Side) -> Result<Box<dyn Accumulator>, ArrowError> {
    macro_rules! native {
        ($type:ty) => {
            match side {
                Side::Least => {
                    Fold::<$type, _>::boxed(argument, |a, b| if b.is_lt(a) { b } else { a })
                }
                Side::Greatest => {
                    Fold::<$type, _>::boxed(argument, |a, b| if b.is_gt(a) { b } else { a })
                }
            }
        };
    }
    Ok(downcast_primitive! {
        argument => (native),
        DataType::Boolean => Box::new(Booleans(extremes(&DataType::UInt8, side)?)),
        _ => Box::new(Ranked::new(std::slice::from_ref(argument), side)?)
    })
}

/// All bits of integers at once; `None` for other types.
pub fn bits(argument: &DataType, operation: Bits) -> Option<Box<dyn Accumulator>> {
    macro_rules! native {
        ($type:ty) => {
            Some(match operation {
                Bits::And => Fold::<$type, _>::boxed(argument, |a, b| a & b),
                Bits::Or => Fold::<$type, _>::boxed(argument, |a, b| a | b),
                Bits::Xor => Fold::<$type, _>::boxed(argument, |a, b| a ^ b),
            })
        };
    }
    downcast_integer! {
        argument => (native),
        _ => None
    }
}

/// One value per group, folded by `fold`; `None` before the first.
struct Fold<T: ArrowPrimitiveType, F> {
    values: Vec<Option<T::Native>>,
    data_type: DataType,
    fold: F,
}

impl<T, F> Fold<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, T::Native) -> T::Native + Send + 'static,
{
    fn boxed(argument: &DataType, fold: F) -> Box<dyn Accumulator> {
        Box::new(Self {
            values: Vec::new(),
            data_type: argument.clone(),
            fold,
        })
    }

    fn array(&self, values: impl Iterator<Item = Option<T::Native>>) -> ArrayRef {
        let values = values.collect::<PrimitiveArray<T>>();
        Arc::new(values.with_data_type(self.data_type.clone()))
    }
}

impl<T, F> Accumulator for Fold<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, T::Native) -> T::Native + Send + 'static,
{
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(&arguments[..1], filter);
        let values = without_signs(&arguments[0]);
        let values = values.as_primitive::<T>().values();
        for_each(rows.as_ref(), groups, |row, group| {
            let folded = &mut self.values[group];
            *folded = Some(folded.map_or(values[row], |folded| (self.fold)(folded, values[row])));
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.update(state, groups, None)
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        Ok(self.array(groups.iter().map(|&group| self.values[group as usize])))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(vec![self.array(self.values[groups].iter().copied())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn clear(&mut self) {
        self.values.clear();
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<T::Native>>()
    }
}

/// Booleans as the numbers 0 and 1.
struct Booleans(Box<dyn Accumulator>);

impl Accumulator for Booleans {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let numbers = cast(&arguments[0], &UInt8Type::DATA_TYPE)?;
        self.0.update(&[numbers], groups, filter)
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.0.merge(state, groups)
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        cast(&self.0.peek(output, groups)?, &DataType::Boolean)
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        self.0.state(groups)
    }

    fn state_types(&self) -> Vec<DataType> {
        self.0.state_types()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
