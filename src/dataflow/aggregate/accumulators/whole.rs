//! `sum` and `avg` of integers and decimals. The range is checked when a result is read, so that
//! an overflow does not depend on the order of the rows, and never wraps.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the types that are summed are named; Arrow has many others"
)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Int64Array,
    PrimitiveArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use arrow::error::ArrowError;

use super::{Accumulator, Output, Sign, counted, for_each};

/// Decimals of up to so many digits sum up in 128 bits: 2^46 of them and more.
const NARROW_DIGITS: u8 = 24;

/// Sums of an integer or decimal column; `None` for other types.
pub fn whole_sums(argument: &DataType) -> Option<Box<dyn Accumulator>> {
    match argument {
        integer if integer.is_integer() => Some(Box::new(WholeSums::<Decimal128Type>::new(0))),
        DataType::Decimal128(digits, scale) if *digits <= NARROW_DIGITS => {
            Some(Box::new(WholeSums::<Decimal128Type>::new(*scale)))
        }
        DataType::Decimal128(_, scale) => Some(Box::new(WholeSums::<Decimal256Type>::new(*scale))),
        _ => None,
    }
}

/// What a sum is kept in.
trait Total: ArrowPrimitiveType<Native: Copy + Default + Send> + DecimalType + Send {
    fn add(total: Self::Native, value: i128) -> Self::Native;
    fn join(total: Self::Native, other: Self::Native) -> Self::Native;
    fn part(total: Self::Native, other: Self::Native) -> Self::Native;
    fn narrow(total: Self::Native) -> Option<i128>;
    fn widen(total: Self::Native) -> i256;
}

// Neither can overflow: see `NARROW_DIGITS`; and 2^64 values of 128 bits fit into 256.
impl Total for Decimal128Type {
    fn add(total: i128, value: i128) -> i128 {
        total.wrapping_add(value)
    }
    fn join(total: i128, other: i128) -> i128 {
        total.wrapping_add(other)
    }
    fn part(total: i128, other: i128) -> i128 {
        total.wrapping_sub(other)
    }
    fn narrow(total: i128) -> Option<i128> {
        Some(total)
    }
    fn widen(total: i128) -> i256 {
        i256::from_i128(total)
    }
}

impl Total for Decimal256Type {
    fn add(total: i256, value: i128) -> i256 {
        total.wrapping_add(i256::from_i128(value))
    }
    fn join(total: i256, other: i256) -> i256 {
        total.wrapping_add(other)
    }
    fn part(total: i256, other: i256) -> i256 {
        total.wrapping_sub(other)
    }
    fn narrow(total: i256) -> Option<i128> {
        total.to_i128()
    }
    fn widen(total: i256) -> i256 {
        total
    }
}

/// One group; packed, so that it is 24 bytes and not 32.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(8))]
struct Cell<N> {
    total: N,
    count: u64,
}

struct WholeSums<T: Total> {
    cells: Vec<Cell<T::Native>>,
    scale: i8,
}

impl<T: Total> WholeSums<T> {
    fn new(scale: i8) -> Self {
        Self {
            cells: Vec::new(),
            scale,
        }
    }

    fn apply(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
        sign: Sign,
    ) {
        let values = &arguments[0];
        match values.data_type() {
            DataType::Int8 => self.apply_typed::<Int8Type>(values, groups, filter, sign),
            DataType::Int16 => self.apply_typed::<Int16Type>(values, groups, filter, sign),
            DataType::Int32 => self.apply_typed::<Int32Type>(values, groups, filter, sign),
            DataType::Int64 => self.apply_typed::<Int64Type>(values, groups, filter, sign),
            DataType::UInt8 => self.apply_typed::<UInt8Type>(values, groups, filter, sign),
            DataType::UInt16 => self.apply_typed::<UInt16Type>(values, groups, filter, sign),
            DataType::UInt32 => self.apply_typed::<UInt32Type>(values, groups, filter, sign),
            DataType::UInt64 => self.apply_typed::<UInt64Type>(values, groups, filter, sign),
            DataType::Decimal128(_, _) => {
                self.apply_typed::<Decimal128Type>(values, groups, filter, sign);
            }
            other => panic!("whole sums are made for integers and decimals, not {other}"),
        }
    }

    fn apply_typed<A: ArrowPrimitiveType<Native: Into<i128>>>(
        &mut self,
        values: &ArrayRef,
        groups: &[u32],
        filter: Option<&BooleanArray>,
        sign: Sign,
    ) {
        let rows = counted(std::slice::from_ref(values), filter);
        let values = values.as_primitive::<A>().values();
        match sign {
            Sign::Plus => for_each(rows.as_ref(), groups, |row, group| {
                let cell = &mut self.cells[group];
                cell.total = T::add(cell.total, values[row].into());
                cell.count += 1;
            }),
            Sign::Minus => for_each(rows.as_ref(), groups, |row, group| {
                let cell = &mut self.cells[group];
                cell.total = T::add(cell.total, -values[row].into());
                cell.count -= 1;
            }),
        }
    }

    fn sum(&self, group: u32, digits: u8) -> Result<Option<i128>, ArrowError> {
        let cell = self.cells[group as usize];
        if cell.count == 0 {
            return Ok(None);
        }
        let total = cell.total;
        match T::narrow(total) {
            Some(sum) if sum.unsigned_abs() < 10u128.pow(u32::from(digits)) => Ok(Some(sum)),
            _ => Err(out_of_range(T::widen(total), digits)),
        }
    }

    fn average(&self, group: u32, digits: u8, scale: i8) -> Result<Option<i128>, ArrowError> {
        let cell = self.cells[group as usize];
        if cell.count == 0 {
            return Ok(None);
        }
        let more = u32::from((scale - self.scale).unsigned_abs());
        let narrow = T::narrow(cell.total).and_then(|total| total.checked_mul(10i128.pow(more)));
        let average = match narrow {
            Some(total) => i256::from_i128(divide(total, i128::from(cell.count))),
            None => {
                let total = T::widen(cell.total).wrapping_mul(i256::from_i128(10i128.pow(more)));
                divide_wide(total, i256::from_i128(i128::from(cell.count)))
            }
        };
        match average.to_i128() {
            Some(average) if average.unsigned_abs() < 10u128.pow(u32::from(digits)) => {
                Ok(Some(average))
            }
            _ => Err(out_of_range(average, digits)),
        }
    }
}

/// Rounded half away from zero, as NUMERIC does.
fn divide(dividend: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    if remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) {
        quotient + dividend.signum()
    } else {
        quotient
    }
}

fn divide_wide(dividend: i256, divisor: i256) -> i256 {
    let remainder = dividend.wrapping_rem(divisor).wrapping_abs();
    let quotient = dividend.wrapping_div(divisor);
    if remainder.wrapping_add(remainder) >= divisor {
        let away = if dividend.is_negative() {
            i256::MINUS_ONE
        } else {
            i256::ONE
        };
        quotient.wrapping_add(away)
    } else {
        quotient
    }
}

fn out_of_range(value: i256, digits: u8) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("{value} has more than {digits} digits"))
}

impl<T: Total> Accumulator for WholeSums<T> {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::default());
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.apply(arguments, groups, filter, Sign::Plus);
        Ok(())
    }

    fn retract(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.apply(arguments, groups, filter, Sign::Minus);
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let totals = state[0].as_primitive::<T>().values();
        let counts = state[1].as_primitive::<UInt64Type>().values();
        for (row, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.total = T::join(cell.total, totals[row]);
            cell.count += counts[row];
        }
        Ok(())
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let totals = state[0].as_primitive::<T>().values();
        let counts = state[1].as_primitive::<UInt64Type>().values();
        for (row, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.total = T::part(cell.total, totals[row]);
            cell.count -= counts[row];
        }
        Ok(())
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let groups = groups.iter();
        match output {
            Output::Sum(DataType::Decimal128(digits, scale)) => {
                let sums = groups.map(|&group| self.sum(group, *digits));
                let sums = sums.collect::<Result<Decimal128Array, _>>()?;
                Ok(Arc::new(sums.with_precision_and_scale(*digits, *scale)?))
            }
            Output::Sum(_) => {
                let sums = groups.map(|&group| {
                    let sum = self.sum(group, 38)?;
                    sum.map(i64::try_from).transpose().map_err(|_| {
                        let total = self.cells[group as usize].total;
                        let total = T::widen(total);
                        ArrowError::ArithmeticOverflow(format!("{total} is beyond BIGINT"))
                    })
                });
                Ok(Arc::new(sums.collect::<Result<Int64Array, _>>()?))
            }
            Output::Average(DataType::Decimal128(digits, scale)) => {
                let averages = groups.map(|&group| self.average(group, *digits, *scale));
                let averages = averages.collect::<Result<Decimal128Array, _>>()?;
                Ok(Arc::new(
                    averages.with_precision_and_scale(*digits, *scale)?,
                ))
            }
            Output::Moment(_)
            | Output::Joined(_)
            | Output::Continuous(_)
            | Output::Discrete(_)
            | Output::Value => panic!("a sum is not read as {output:?}"),
            Output::Average(other) => Err(ArrowError::InvalidArgumentError(format!(
                "an average of integers or decimals is a decimal, not {other}"
            ))),
            Output::Count => {
                let counts = groups.map(|&group| self.cells[group as usize].count.cast_signed());
                Ok(Arc::new(Int64Array::from_iter_values(counts)))
            }
        }
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let cells = &self.cells[groups];
        let totals = PrimitiveArray::<T>::from_iter_values(cells.iter().map(|cell| cell.total));
        let counts = UInt64Array::from_iter_values(cells.iter().map(|cell| cell.count));
        Ok(vec![
            Arc::new(totals.with_data_type(total_type::<T>())),
            Arc::new(counts),
        ])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![total_type::<T>(), DataType::UInt64]
    }

    fn clear(&mut self) {
        self.cells.clear();
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell<T::Native>>()
    }
}

/// The totals are integers in the clothes of a decimal: their digits are not checked.
fn total_type<T: DecimalType>() -> DataType {
    (T::TYPE_CONSTRUCTOR)(T::MAX_PRECISION, 0)
}
