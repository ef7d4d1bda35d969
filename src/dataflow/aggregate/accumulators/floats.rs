//! `sum` and `avg` of floats: exact, rounded once, the same for any order of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Decimal128Array,
    Float64Array, Int16Array, Int64Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int16Type, UInt64Type};
use arrow::error::ArrowError;

use super::exact::{Canonical, ExactSums};
use super::{Accumulator, Output, Sign, counted, for_each};

/// Exact sums of one column of floats.
#[derive(Default)]
pub struct FloatSums(ExactSums);

impl FloatSums {
    #[allow(clippy::cast_precision_loss, reason = "no group has 2^53 rows")]
    fn result(
        &self,
        output: &Output,
        group: u32,
        (count, sum): (u64, f64),
    ) -> Result<Option<f64>, ArrowError> {
        if count == 0 {
            return Ok(None);
        }
        if sum.is_infinite() && self.0.specials(group as usize).value().is_none() {
            return Err(ArrowError::ArithmeticOverflow(
                "the sum is beyond the range of DOUBLE PRECISION".to_owned(),
            ));
        }
        Ok(Some(match output {
            Output::Average(_) => sum / count as f64,
            Output::Sum(_) => sum,
            Output::Count
            | Output::Moment(_)
            | Output::Joined(_)
            | Output::Continuous(_)
            | Output::Discrete(_)
            | Output::Value => panic!("a sum is not read as {output:?}"),
        }))
    }
}

impl Accumulator for FloatSums {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(&arguments[..1], filter);
        let floats = cast(&arguments[0], &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>().values();
        for_each(rows.as_ref(), groups, |row, group| {
            self.0.add(group, floats[row])
        });
        Ok(())
    }

    fn retract(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(&arguments[..1], filter);
        let floats = cast(&arguments[0], &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>().values();
        for_each(rows.as_ref(), groups, |row, group| {
            self.0.subtract(group, floats[row])
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        merge_exact(&mut self.0, state, groups, Sign::Plus)
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        merge_exact(&mut self.0, state, groups, Sign::Minus)
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        if *output == Output::Count {
            let counts = groups
                .iter()
                .map(|&group| self.0.count(group as usize).cast_signed());
            return Ok(Arc::new(Int64Array::from_iter_values(counts)));
        }
        let values = self.0.values(groups).zip(groups);
        let results = values.map(|(value, &group)| self.result(output, group, value));
        Ok(Arc::new(results.collect::<Result<Float64Array, _>>()?))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        Ok(exact_state(&self.0, groups))
    }

    fn state_types(&self) -> Vec<DataType> {
        EXACT_STATE.to_vec()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// The columns of `exact_state`.
pub const EXACT_STATE: [DataType; 4] = [
    DataType::Decimal128(38, 0),
    DataType::Int16,
    DataType::UInt64,
    DataType::Binary,
];

/// Canonical states of groups as columns. The decimal is a 128-bit integer, not a number.
pub fn exact_state(sums: &ExactSums, groups: Range<usize>) -> Vec<ArrayRef> {
    let mut integers = Vec::with_capacity(groups.len());
    let mut exponents = Vec::with_capacity(groups.len());
    let mut counts = Vec::with_capacity(groups.len());
    let mut rests = BinaryBuilder::with_capacity(groups.len(), 0);
    for group in groups {
        let Canonical {
            sum,
            exponent,
            count,
            rest,
        } = sums.canonical(group);
        integers.push(sum);
        exponents.push(exponent);
        counts.push(count);
        rests.append_value(rest);
    }
    vec![
        Arc::new(Decimal128Array::from(integers).with_data_type(EXACT_STATE[0].clone())),
        Arc::new(Int16Array::from(exponents)),
        Arc::new(UInt64Array::from(counts)),
        Arc::new(rests.finish()),
    ]
}

/// Adds what `exact_state` gave, or takes it back.
pub fn merge_exact(
    sums: &mut ExactSums,
    state: &[ArrayRef],
    groups: &[u32],
    sign: Sign,
) -> Result<(), ArrowError> {
    let integers = state[0].as_primitive::<Decimal128Type>().values();
    let exponents = state[1].as_primitive::<Int16Type>().values();
    let counts = state[2].as_primitive::<UInt64Type>().values();
    let rests: &BinaryArray = state[3].as_binary();
    for (row, &group) in groups.iter().enumerate() {
        let state = Canonical {
            sum: integers[row],
            exponent: exponents[row],
            count: counts[row],
            rest: rests.value(row).to_vec(),
        };
        sums.merge(group as usize, &state, sign)
            .ok_or_else(|| ArrowError::ParseError("a state of a sum is damaged".to_owned()))?;
    }
    debug_assert_eq!(groups.len(), rests.len());
    Ok(())
}
