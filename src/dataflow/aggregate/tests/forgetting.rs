//! What has not changed for `state.ttl` leaves, and what comes after begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use proptest::prelude::*;

use super::kit::{batch, call, integers, plan};
use crate::dataflow::aggregate::{Aggregates, Aggregation};
use crate::plan::AggregateFunction as F;
use crate::plan::Emit;
use crate::types::{EventTime, Watermark};

fn rows(keys: &[&str], values: &[i64]) -> arrow::array::RecordBatch {
    let keys: StringArray = keys.iter().map(|key| Some(*key)).collect();
    batch(vec![("key", Arc::new(keys)), ("value", integers(values))])
}

fn sums() -> Aggregation {
    let rows = rows(&[], &[]);
    let schema: &Schema = &rows.schema();
    let calls = [
        call(F::Sum, schema, &["value"]),
        call(F::Count, schema, &[]),
    ];
    plan(schema, &["key"], &calls, None, Emit::Changes)
}

/// The table as a sink holds it: the sum and the count of each key.
type Kept = BTreeMap<String, (String, i64)>;

fn apply(kept: &mut Kept, rows: &arrow::array::RecordBatch, diffs: &[i64]) {
    let keys = rows.column(0).as_string::<i32>();
    let sums = arrow::compute::cast(rows.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
    let counts = rows.column(2).as_primitive::<Int64Type>();
    for asserted in [false, true] {
        for (row, diff) in diffs
            .iter()
            .enumerate()
            .filter(|(_, diff)| (**diff > 0) == asserted)
        {
            let key = keys.value(row).to_owned();
            let value = (
                sums.as_string::<i32>().value(row).to_owned(),
                counts.value(row),
            );
            match diff {
                1 => assert_eq!(kept.insert(key, value), None),
                -1 => assert_eq!(kept.remove(&key), Some(value)),
                other => panic!("a count of {other}"),
            }
        }
    }
}

/// An epoch: rows come, and event time goes to `watermark`.
fn epoch(
    aggregates: &mut Aggregates,
    kept: &mut Kept,
    given: (&[&str], &[i64]),
    watermark: Watermark,
) {
    aggregates.update(&rows(given.0, given.1)).unwrap();
    for (rows, diffs) in aggregates.changes().unwrap() {
        apply(kept, &rows, diffs.values());
    }
    for rows in aggregates.close(watermark).unwrap() {
        let diffs = rows.column(rows.num_columns() - 1).clone();
        apply(kept, &rows, diffs.as_primitive::<Int64Type>().values());
    }
}

fn restarted(aggregates: &Aggregates, ttl: i64) -> Aggregates {
    let mut again = sums().aggregates().forgetting_after(Some(ttl));
    for state in aggregates.state() {
        again.load(&state.unwrap()).unwrap();
    }
    again
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

#[test]
fn a_key_that_was_forgotten_begins_anew() {
    let mut aggregates = sums().aggregates().forgetting_after(Some(80));
    let mut kept = Kept::new();
    epoch(&mut aggregates, &mut kept, (&["a", "b"], &[1, 2]), at(100));
    epoch(&mut aggregates, &mut kept, (&["b", "c"], &[3, 4]), at(170));
    assert_eq!(kept.len(), 3);

    epoch(&mut aggregates, &mut kept, (&["c"], &[5]), at(200));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(aggregates.groups(), 2);
    epoch(&mut aggregates, &mut kept, (&["a"], &[7]), at(201));

    assert_eq!(kept["a"], ("7".to_owned(), 1));
    assert_eq!(kept["b"], ("5".to_owned(), 2));
    epoch(&mut aggregates, &mut kept, (&[], &[]), Watermark::END);
    assert_eq!(kept.len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_is_as_a_naive_evaluator_says_also_with_restarts(
        steps in prop::collection::vec(
            (prop::collection::vec((0usize..6, -5i64..5), 0..4), 0i64..25, any::<bool>()), 1..60),
    ) {
        const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "a long key that is in no cell"];
        const TTL: i64 = 40;
        let mut aggregates = sums().aggregates().forgetting_after(Some(TTL));
        let (mut kept, mut now) = (Kept::new(), 0);
        // The sum, the count and the last change of each key; and when was looked last.
        let mut naive: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
        let mut turn = None;
        for (given, later, restart) in steps {
            if restart {
                aggregates = restarted(&aggregates, TTL);
                turn = None;
            }
            now += later;
            let keys: Vec<&str> = given.iter().map(|(key, _)| KEYS[*key]).collect();
            let values: Vec<i64> = given.iter().map(|(_, value)| *value).collect();
            epoch(&mut aggregates, &mut kept, (&keys, &values), at(now));
            for (key, value) in keys.iter().zip(&values) {
                let entry = naive.entry(key).or_default();
                *entry = (entry.0 + value, entry.1 + 1, now);
            }
            if turn.replace(now / (TTL / 8)) != Some(now / (TTL / 8)) {
                naive.retain(|_, (_, _, changed)| *changed >= now - TTL);
            }

            let expected: Kept = naive.iter()
                .map(|(key, (sum, count, _))| ((*key).to_owned(), (sum.to_string(), *count)))
                .collect();
            prop_assert_eq!(&kept, &expected);
            prop_assert_eq!(aggregates.groups(), expected.len());
        }
    }
}
