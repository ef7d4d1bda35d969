//! `approx_percentile_cont`: counts of values in logarithmic buckets, 64 to the octave, so that a
//! result is within 0.8 % of a value at that rank.
//!
//! The bucket of a float is its sign, exponent and six bits of its fraction: no logarithm is
//! computed, buckets are in the order of the numbers, and counts add up in any order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;

use super::super::keys::without_signs;
use super::collected::nearest;
use super::{Accumulator, Output, counted, for_each};

/// Bits of a fraction that a bucket does not tell apart.
const IGNORED: u32 = 52 - 6;

/// How many values of each group are in each bucket.
#[derive(Default)]
pub struct Quantiles(Vec<BTreeMap<i32, u64>>);

/// The bucket of a value; buckets compare as numbers do, NaN after all.
fn bucket(value: f64) -> i32 {
    let magnitude = i32::try_from(value.abs().to_bits() >> IGNORED).expect("17 bits");
    // The complement keeps the buckets of -0.001 and 0.001 apart from zero's.
    if value < 0.0 { !magnitude } else { magnitude }
}

/// The number in the middle of a bucket.
fn middle(bucket: i32) -> f64 {
    let magnitude = u64::from(if bucket < 0 { !bucket } else { bucket }.cast_unsigned());
    let low = f64::from_bits(magnitude << IGNORED);
    // The lowest bucket is zero and what is next to nothing; infinities have no middle.
    let middle = match low {
        0.0 => 0.0,
        low if low.is_finite() => f64::from_bits(magnitude << IGNORED | 1 << (IGNORED - 1)),
        low => low,
    };
    if bucket < 0 { -middle } else { middle }
}

/// The group, bucket and count of each entry of states.
fn each_count(state: &[ArrayRef], groups: &[u32], mut each: impl FnMut(usize, i32, u64)) {
    let state: &BinaryArray = state[0].as_binary();
    assert_eq!(state.len(), groups.len());
    for (row, &group) in groups.iter().enumerate() {
        for entry in state.value(row).as_chunks::<12>().0 {
            let (bucket, count) = entry.split_at(4);
            let bucket = i32::from_le_bytes(bucket.try_into().expect("four bytes"));
            let count = u64::from_le_bytes(count.try_into().expect("eight bytes"));
            each(group as usize, bucket, count);
        }
    }
}

impl Quantiles {
    fn take_back(&mut self, group: usize, bucket: i32, times: u64) {
        let count = self.0[group].get_mut(&bucket);
        let count = count.expect("what is taken back was given");
        *count -= times;
        if *count == 0 {
            self.0[group].remove(&bucket);
        }
    }

    fn result(&self, fraction: f64, group: u32) -> Option<f64> {
        let buckets = &self.0[group as usize];
        let count = usize::try_from(buckets.values().sum::<u64>()).expect("64-bit addresses");
        let mut left = nearest(fraction, count) as u64;
        for (&bucket, &count) in buckets {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return Some(middle(bucket)),
            }
        }
        None
    }
}

impl Accumulator for Quantiles {
    fn resize(&mut self, groups: usize) {
        self.0.resize_with(groups, BTreeMap::new);
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(&arguments[..1], filter);
        let floats = without_signs(&cast(&arguments[0], &DataType::Float64)?);
        let floats = floats.as_primitive::<Float64Type>().values();
        for_each(rows.as_ref(), groups, |row, group| {
            *self.0[group].entry(bucket(floats[row])).or_default() += 1;
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
        let floats = without_signs(&cast(&arguments[0], &DataType::Float64)?);
        let floats = floats.as_primitive::<Float64Type>().values();
        for_each(rows.as_ref(), groups, |row, group| {
            self.take_back(group, bucket(floats[row]), 1);
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        each_count(state, groups, |group, bucket, count| {
            *self.0[group].entry(bucket).or_default() += count;
        });
        Ok(())
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        each_count(state, groups, |group, bucket, count| {
            self.take_back(group, bucket, count);
        });
        Ok(())
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let Output::Discrete(fraction) = output else {
            panic!("buckets are read at a fraction, not as {output:?}");
        };
        let results = groups.iter().map(|&group| self.result(*fraction, group));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut state = BinaryBuilder::new();
        for buckets in &self.0[groups] {
            let mut bytes = Vec::with_capacity(buckets.len() * 12);
            for (bucket, count) in buckets {
                bytes.extend_from_slice(&bucket.to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
            }
            state.append_value(bytes);
        }
        Ok(vec![Arc::new(state.finish())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn bytes(&self) -> usize {
        // Nodes of a B-tree are two thirds full or so.
        let entries: usize = self.0.iter().map(BTreeMap::len).sum();
        self.0.capacity() * size_of::<BTreeMap<i32, u64>>() + entries * 20
    }
}
