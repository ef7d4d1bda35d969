//! Accumulators by themselves: taking rows back, and exactness.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests name the types that they use"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use proptest::prelude::*;

use super::exact::ExactSums;
use super::wide::{Wide, power_of_two};
use super::{Accumulator, Counts, FloatSums, Moment, Moments, Output, Quantiles, Sign, whole_sums};

/// Floats of every size, and those that are none.
fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (-1e12..1e12f64),
        (-1_000_000..1_000_000i32).prop_map(|cents| f64::from(cents) / 100.0),
        (any::<bool>(), -300..300i32).prop_map(|(negative, exponent)| {
            if negative {
                -10f64.powi(exponent)
            } else {
                10f64.powi(exponent)
            }
        }),
        (0..1u64 << 53).prop_map(f64::from_bits),
    ]
}

fn finite_float() -> impl Strategy<Value = f64> {
    // Sums stay within the range, so that the reference may add in any order.
    any_float().prop_filter("a number", |value| value.abs() < 1e300)
}

fn value(sums: &ExactSums, group: u32) -> f64 {
    sums.values(&[group]).next().unwrap().1
}

/// Shewchuk's algorithm with a correctly rounded end, as in Python's `fsum`.
fn reference_sum(values: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for &value in values {
        let mut x = value;
        let mut kept = 0;
        for at in 0..partials.len() {
            let mut y = partials[at];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }
    let mut high = partials.pop().unwrap_or(0.0);
    while let Some(next) = partials.pop() {
        let (x, y) = (high, next);
        high = x + y;
        let low = y - (high - x);
        if low != 0.0 {
            // Half-way cases are decided by what comes below.
            let below = partials.last().copied().unwrap_or(0.0);
            if (low < 0.0 && below < 0.0) || (low > 0.0 && below > 0.0) {
                let twice = low * 2.0;
                let moved = high + twice;
                if twice == moved - high {
                    high = moved;
                }
            }
            break;
        }
    }
    high + 0.0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_float_sum_is_the_nearest_float_to_the_exact_sum(
        values in prop::collection::vec(finite_float(), 0..40),
    ) {
        let mut sums = ExactSums::default();
        sums.resize(1);
        for &value in &values {
            sums.add(0, value);
        }

        prop_assert_eq!(value(&sums, 0).to_bits(), reference_sum(&values).to_bits());
    }

    #[test]
    fn equal_multisets_of_floats_have_equal_canonical_states(
        values in prop::collection::vec(any_float(), 0..30),
        others in prop::collection::vec(any_float(), 0..30),
        seed: u64,
    ) {
        let mut straight = ExactSums::default();
        straight.resize(1);
        values.iter().for_each(|&value| straight.add(0, value));

        let mut roundabout = ExactSums::default();
        roundabout.resize(3);
        others.iter().for_each(|&value| roundabout.add(2, value));
        for (at, &value) in values.iter().enumerate().rev() {
            roundabout.add((seed >> (at % 64) & 1) as usize, value);
        }
        for from in [0, 1] {
            let state = roundabout.canonical(from);
            let merged = roundabout.merge(2, &state, Sign::Plus);
            prop_assert!(merged.is_some());
        }
        others.iter().rev().for_each(|&value| roundabout.subtract(2, value));

        prop_assert_eq!(roundabout.canonical(2), straight.canonical(0));
        prop_assert_eq!(value(&roundabout, 2).to_bits(), value(&straight, 0).to_bits());
    }

    #[test]
    fn what_is_taken_back_was_never_there(
        given in prop::collection::vec((0u32..3, prop::option::of(any_float())), 0..20),
        taken in prop::collection::vec((0u32..3, prop::option::of(any_float())), 0..20),
    ) {
        for (make, types) in retracting() {
            let column = |rows: &[(u32, Option<f64>)]| -> Vec<ArrayRef> {
                let floats = Float64Array::from_iter(rows.iter().map(|row| row.1));
                let floats: ArrayRef = Arc::new(floats);
                let cast = |t: &DataType| match t {
                    DataType::Float64 => Arc::clone(&floats),
                    _ => Arc::new(Int32Array::from_iter(
                        rows.iter().map(|row| row.1.map(|value| value as i32)),
                    )),
                };
                types.iter().map(cast).collect()
            };
            let groups = |rows: &[(u32, Option<f64>)]| rows.iter().map(|r| r.0).collect::<Vec<_>>();
            let mut plain = make();
            plain.resize(3);
            plain.update(&column(&given), &groups(&given), None).unwrap();
            let mut undone = make();
            undone.resize(3);
            undone.update(&column(&taken), &groups(&taken), None).unwrap();
            undone.update(&column(&given), &groups(&given), None).unwrap();
            undone.retract(&column(&taken), &groups(&taken), None).unwrap();

            prop_assert_eq!(undone.state(0..3).unwrap(), plain.state(0..3).unwrap());
        }
    }

    #[test]
    fn wide_numbers_compute_as_integers_do(a: i64, b: i64, c: i32, shift in 0i32..60) {
        let wide = |value: i128| Wide::new(value, 0);
        let mut number = wide(i128::from(a)).times(&wide(i128::from(b)));
        number.add(i128::from(c) << shift, 0);
        number.subtract_wide(&wide(i128::from(c)));
        let integer = i128::from(a) * i128::from(b) + (i128::from(c) << shift) - i128::from(c);

        let restored = Wide::from_bytes(&number.to_bytes()).unwrap();
        prop_assert_eq!(number.to_f64(), integer as f64);
        prop_assert_eq!(restored.to_f64(), integer as f64);
        prop_assert_eq!(number.is_zero(), integer == 0);
        if let Some((value, exponent)) = number.narrow() {
            prop_assert_eq!(value << exponent, integer);
        }
    }
}

type Make = Box<dyn Fn() -> Box<dyn Accumulator>>;

/// Accumulators that can take rows back, and the types of their arguments.
fn retracting() -> Vec<(Make, Vec<DataType>)> {
    vec![
        (
            Box::new(|| Box::<Counts>::default()),
            vec![DataType::Float64],
        ),
        (
            Box::new(|| Box::<FloatSums>::default()),
            vec![DataType::Float64],
        ),
        (
            Box::new(|| whole_sums(&DataType::Int32).unwrap()),
            vec![DataType::Int32],
        ),
        (
            Box::new(|| Box::<Quantiles>::default()),
            vec![DataType::Float64],
        ),
        (
            Box::new(|| Box::new(Moments::new(&[DataType::Float64, DataType::Int32]))),
            vec![DataType::Float64, DataType::Int32],
        ),
    ]
}

#[test]
fn an_aggregate_that_forgets_what_it_has_seen_refuses_to_take_rows_back() {
    let mut least = super::extremes(&DataType::Utf8, super::Side::Least).unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    least.resize(1);

    assert!(least.retract(&[texts], &[0], None).is_err());
}

#[test]
fn the_smallest_float_is_not_lost_beside_the_largest() {
    let mut sums = ExactSums::default();
    sums.resize(1);
    let least = f64::from_bits(1);
    for value in [f64::MAX, least, -f64::MAX] {
        sums.add(0, value);
    }

    assert_eq!(value(&sums, 0), least);
    assert_eq!(power_of_two(-1074), least);
}

#[test]
fn a_variance_of_large_close_values_is_exact() {
    let mut moments = Moments::new(&[DataType::Float64]);
    moments.resize(1);
    let values = Float64Array::from_iter_values((0..1000).map(|i| 1e15 + f64::from(i % 2)));
    moments
        .update(&[Arc::new(values)], &[0; 1000], None)
        .unwrap();

    let variance = moments
        .peek(&Output::Moment(Moment::VariancePopulation), &[0])
        .unwrap();

    assert_eq!(variance.as_primitive::<Float64Type>().value(0), 0.25);
    assert_eq!(variance.len(), 1);
}
