//! Over rows that are taken back, every function says what it says of the rows that remain.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::kit::{Accumulated, Random, batch, call, column, integers, order, plan_over};
use super::multiset::{every_call, moved, random_rows};
use crate::dataflow::aggregate::{Aggregates, Aggregation, Input};
use crate::dataflow::roles::with_counts;
use crate::plan::AggregateFunction as F;
use crate::plan::{AggregateCall, Emit};

const KEYS: [&str; 2] = ["key", "float_key"];

fn over_changes(rows: &RecordBatch, keys: &[&str], calls: &[AggregateCall]) -> Aggregation {
    let width = rows.num_columns();
    let input = Input::Changing { width };
    plan_over(input, &rows.schema(), keys, calls, None, Emit::Changes)
}

fn over_final(rows: &RecordBatch) -> Input {
    let width = rows.num_columns();
    Input::Final { width }
}

/// What an append stream of these rows comes to.
fn of_remaining(rows: &RecordBatch, there: &[u32], calls: &[AggregateCall]) -> Accumulated {
    let schema = rows.schema();
    let plan = plan_over(over_final(rows), &schema, &KEYS, calls, None, Emit::Changes);
    let mut aggregates = plan.aggregates();
    let there = UInt32Array::from(there.to_vec());
    aggregates
        .update(&take_record_batch(rows, &there).unwrap())
        .unwrap();
    let mut said = Accumulated::default();
    said.apply(&mut aggregates);
    said
}

/// An epoch: rows that come and rows that go, some of both, in any order and in several batches.
fn epoch(random: &mut Random, rows: &RecordBatch, there: &mut Vec<u32>) -> Vec<RecordBatch> {
    let mut changes: Vec<(u32, i64)> = Vec::new();
    let end = if random.below(3) == 0 { 0 } else { 30 };
    for _ in 0..random.below(end + 1) {
        let row = random.below(rows.num_rows() as u64) as u32;
        let times = 1 + random.below(2);
        changes.push((row, times as i64));
        there.extend((0..times).map(|_| row));
    }
    random.shuffle(there);
    let going = random.below(there.len() as u64 + 1) as usize;
    changes.extend(there.drain(..going).map(|row| (row, -1)));
    random.shuffle(&mut changes);
    let pieces = changes.chunks(7).map(|changes| {
        let picked = UInt32Array::from_iter_values(changes.iter().map(|(row, _)| *row));
        let counts = Int64Array::from_iter_values(changes.iter().map(|(_, count)| *count));
        with_counts(&take_record_batch(rows, &picked).unwrap(), &counts)
    });
    pieces.collect()
}

fn feed(aggregates: &mut Aggregates, pieces: &[RecordBatch]) {
    pieces
        .iter()
        .for_each(|piece| aggregates.update(piece).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_taken_back_leaves_no_trace(seed: u64) {
        let mut random = Random::new(seed);
        let rows = random_rows(&mut random, 60);
        let mut calls = every_call(&rows);
        calls.retain(|call| !matches!(call.function, F::ApproxDistinct));
        let plan = over_changes(&rows, &KEYS, &calls);
        let mut aggregates = plan.aggregates();
        let (mut said, mut there) = (Accumulated::default(), Vec::new());

        for _ in 0..12 {
            let pieces = epoch(&mut random, &rows, &mut there);
            feed(&mut aggregates, &pieces);
            said.apply(&mut aggregates);
            if random.below(3) == 0 {
                aggregates = moved(&plan, &aggregates);
            }

            let expected = of_remaining(&rows, &there, &calls);
            prop_assert_eq!(said.rows(), expected.rows());
            prop_assert_eq!(aggregates.groups(), expected.rows().len());
        }

        let last: Vec<u32> = std::mem::take(&mut there);
        let counts = Int64Array::from(vec![-1; last.len()]);
        let last = take_record_batch(&rows, &UInt32Array::from(last)).unwrap();
        feed(&mut aggregates, &[with_counts(&last, &counts)]);
        said.apply(&mut aggregates);
        prop_assert!(said.rows().is_empty());
        prop_assert_eq!(aggregates.groups(), 0);
        prop_assert_eq!(aggregates.state().map(|state| state.unwrap().num_rows()).sum::<usize>(), 0);
    }
}

/// More rows than are written out: `times` of the first, and of the others a few fewer.
fn many(rows: &RecordBatch, times: i64) -> RecordBatch {
    let counts = (0..)
        .take(rows.num_rows())
        .map(|row: i64| times - times.signum() * row);
    with_counts(rows, &counts.collect::<Int64Array>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_row_many_times_over_is_as_many_rows(seed: u64) {
        let mut random = Random::new(seed);
        let rows = random_rows(&mut random, 20);
        let mut calls = every_call(&rows);
        calls.retain(|call| !matches!(call.function, F::ApproxDistinct));
        let times = 25;
        let written_out: Vec<u32> = (0..20).flat_map(|row| (row..25).map(move |_| row)).collect();
        let expected = of_remaining(&rows, &written_out, &calls);

        for input in [over_final(&rows), Input::Changing { width: rows.num_columns() }] {
            let plan = plan_over(input, &rows.schema(), &KEYS, &calls, None, Emit::Changes);
            let mut aggregates = plan.aggregates();
            feed(&mut aggregates, &[many(&rows, times)]);
            let mut said = Accumulated::default();
            said.apply(&mut aggregates);
            prop_assert_eq!(said.rows(), expected.rows());
        }

        let mut aggregates = over_changes(&rows, &KEYS, &calls).aggregates();
        let mut said = Accumulated::default();
        for change in [2 * times, -times, -times] {
            feed(&mut aggregates, &[many(&rows, change)]);
            said.apply(&mut aggregates);
        }
        // Twice the first count less two of the second: the places of the rows are left.
        let left: Vec<u32> = (0..20).flat_map(|row| (0..row).map(move |_| row)).collect();
        let expected = of_remaining(&rows, &left, &calls);
        prop_assert_eq!(said.rows(), expected.rows());
    }
}

/// Four billion rows of each of two kinds, which nothing walks.
#[test]
fn a_count_beyond_memory_costs_no_more_than_its_digits() {
    let times = 1 << 32;
    let rows = values();
    let schema = rows.schema();
    let calls = [
        call(F::Count, &schema, &[]),
        call(F::Sum, &schema, &["value"]),
        call(F::Max, &schema, &["value"]),
    ];
    for input in [over_final(&rows), Input::Changing { width: 2 }] {
        let plan = plan_over(input, &schema, &["key"], &calls, None, Emit::Changes);
        let mut aggregates = plan.aggregates();
        feed(
            &mut aggregates,
            &[keyed(&[("a", 2, times), ("a", 3, times)])],
        );
        let mut said = Accumulated::default();
        said.apply(&mut aggregates);

        assert_eq!(said.rows(), [format!("a {} {} 3", 2 * times, 5 * times)]);
    }
}

fn keyed(changes: &[(&str, i64, i64)]) -> RecordBatch {
    let keys = StringArray::from_iter_values(changes.iter().map(|(key, _, _)| *key));
    let values: Vec<i64> = changes.iter().map(|(_, value, _)| *value).collect();
    let counts: Int64Array = changes.iter().map(|(_, _, count)| *count).collect();
    let rows = batch(vec![
        ("key", Arc::new(keys) as ArrayRef),
        ("value", integers(&values)),
    ]);
    with_counts(&rows, &counts)
}

fn values() -> RecordBatch {
    keyed(&[]).project(&[0, 1]).unwrap()
}

#[test]
fn a_group_vanishes_with_its_last_row_and_comes_back_with_the_next() {
    let rows = values();
    let schema = rows.schema();
    let calls = [call(F::Max, &schema, &["value"])];
    let mut aggregates = over_changes(&rows, &["key"], &calls).aggregates();
    let mut said = Accumulated::default();
    let mut after = |changes: &[(&str, i64, i64)]| {
        feed(&mut aggregates, &[keyed(changes)]);
        said.apply(&mut aggregates);
        said.rows().join(", ")
    };

    assert_eq!(
        after(&[("a", 1, 1), ("a", 2, 1), ("b", 3, 1), ("c", 4, 1)]),
        "a 2, b 3, c 4"
    );
    assert_eq!(after(&[("a", 2, -1), ("b", 3, -1)]), "a 1, c 4");
    assert_eq!(after(&[("b", 0, 1)]), "a 1, b 0, c 4");
    assert_eq!(after(&[("b", 0, -1), ("a", 1, -1)]), "c 4");
    assert_eq!(after(&[("c", 4, -1), ("c", 5, 2)]), "c 5");
    assert_eq!(after(&[("c", 5, -1), ("d", 6, 1), ("d", 6, -1)]), "c 5");
    assert_eq!(after(&[("c", 5, -1)]), "");
    assert_eq!(after(&[("a", 7, 1)]), "a 7");
}

/// A row that fails keeps failing when its table is made anew without the groups that are gone.
#[test]
fn a_row_that_cannot_be_computed_is_known_by_its_group_when_groups_are_numbered_anew() {
    let of = |changes: &[(&str, i128, i64)]| {
        let keys = StringArray::from_iter_values(changes.iter().map(|(key, _, _)| *key));
        let values: Decimal128Array = changes.iter().map(|(_, value, _)| Some(*value)).collect();
        let counts: Int64Array = changes.iter().map(|(_, _, count)| *count).collect();
        let values = values.with_precision_and_scale(38, 0).unwrap();
        let rows = batch(vec![
            ("key", Arc::new(keys) as ArrayRef),
            ("value", Arc::new(values)),
        ]);
        with_counts(&rows, &counts)
    };
    let rows = of(&[]).project(&[0, 1]).unwrap();
    let calls = [call(F::Sum, &rows.schema(), &["value"])];
    let mut aggregates = over_changes(&rows, &["key"], &calls).aggregates();
    let mut said = Accumulated::default();
    let most = 10_i128.pow(38) - 1;

    feed(
        &mut aggregates,
        &[of(&[("a", 1, 1), ("b", 1, 1), ("c", most, 2), ("d", 4, 1)])],
    );
    said.apply(&mut aggregates);
    assert_eq!(said.rows(), ["a 1", "b 1", "d 4"]);
    feed(
        &mut aggregates,
        &[of(&[("a", 1, -1), ("b", 1, -1), ("d", 4, -1)])],
    );
    said.apply(&mut aggregates);
    let (row, _, rows) = aggregates.left_over().unwrap().unwrap();
    assert_eq!((row.as_str(), rows), ("key = c", 1));
    feed(&mut aggregates, &[of(&[("c", most, -1)])]);
    said.apply(&mut aggregates);

    assert_eq!(said.rows(), [format!("c {most}")]);
    assert!(aggregates.left_over().unwrap().is_none());
}

/// Rows behind state have no place in the input.
#[test]
fn among_rows_without_a_place_the_value_decides() {
    let rows = batch(vec![
        ("at", integers(&[1, 1, 0])),
        ("value", integers(&[7, 5, 9])),
    ]);
    let schema = rows.schema();
    let by = |function| {
        order(
            call(function, &schema, &["value"]),
            column(&schema, "at"),
            false,
        )
    };
    let calls = [by(F::First), by(F::Last), by(F::ArrayAgg)];
    for input in [over_final(&rows), Input::Changing { width: 2 }] {
        let plan = plan_over(input, &schema, &[], &calls, None, Emit::Changes);
        assert!(!plan.positions_needed());
        let mut aggregates = plan.aggregates();
        aggregates.update(&rows).unwrap();

        let mut said = Accumulated::default();
        said.apply(&mut aggregates);

        assert_eq!(said.rows(), ["9 7 [9, 5, 7]"]);
    }
}

#[test]
fn an_estimate_over_rows_that_are_taken_back_is_refused() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let rows = batch(vec![("x", column)]);
    let calls = [call(F::ApproxDistinct, &rows.schema(), &["x"])];
    let output = Arc::new(Schema::new(vec![Arc::clone(&calls[0].output)]));
    let input = Input::Changing { width: 1 };

    let made = Aggregation::new(input, &[], &calls, None, Emit::Changes, output);

    let message = made.err().unwrap().to_string();
    assert!(message.contains("write count(DISTINCT ..)"), "{message}");
}
