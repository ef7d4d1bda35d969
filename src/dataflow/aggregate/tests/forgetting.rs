//! What has had no record for `state.ttl` leaves, and what comes after begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use proptest::prelude::*;

use super::kit::{batch, call, integers, plan};
use crate::dataflow::aggregate::{Aggregates, Aggregation};
use crate::dataflow::roles::with_watermarks;
use crate::dataflow::turns::Turns;
use crate::plan::AggregateFunction as F;
use crate::plan::Emit;
use crate::types::{EventTime, Watermark};

/// A key, a value, and when the record happened.
type Record = (&'static str, i64, i64);

fn rows(given: &[Record]) -> arrow::array::RecordBatch {
    let keys: StringArray = given.iter().map(|(key, ..)| Some(*key)).collect();
    let values: Vec<i64> = given.iter().map(|(_, value, _)| *value).collect();
    let times = given.iter().map(|(.., time)| *time);
    let rows = batch(vec![("key", Arc::new(keys)), ("value", integers(&values))]);
    with_watermarks(&rows, times.collect())
}

/// Ten units each.
const TTL: i64 = 80;

fn turn(time: i64) -> i64 {
    Turns::of_ttl(TTL).of(at(time))
}

fn sums() -> Aggregation {
    let rows = rows(&[]);
    let schema: &Schema = &rows.schema();
    let calls = [
        call(F::Sum, schema, &["value"]),
        call(F::Count, schema, &[]),
    ];
    let plan = plan(schema, &["key"], &calls, None, Emit::Changes);
    plan.forgetting_after(Some(TTL)).unwrap()
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

/// An epoch: rows come, and event time goes to `reached`.
fn epoch(aggregates: &mut Aggregates, kept: &mut Kept, given: &[Record], reached: Watermark) {
    aggregates.update(&rows(given)).unwrap();
    seal(aggregates, kept, reached);
}

fn seal(aggregates: &mut Aggregates, kept: &mut Kept, reached: Watermark) {
    for (rows, diffs) in aggregates.changes().unwrap() {
        apply(kept, &rows, diffs.values());
    }
    for rows in aggregates.forget(reached).unwrap() {
        let diffs = rows.column(rows.num_columns() - 1);
        apply(kept, &rows, diffs.as_primitive::<Int64Type>().values());
    }
}

fn restarted(aggregates: &Aggregates) -> Aggregates {
    let mut again = sums().aggregates();
    for state in aggregates.state() {
        let state = state.unwrap();
        assert_eq!(state.schema(), sums().partial_schema());
        again.load(&state).unwrap();
    }
    again
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

#[test]
fn a_key_that_was_forgotten_begins_anew() {
    let mut aggregates = sums().aggregates();
    let mut kept = Kept::new();
    epoch(
        &mut aggregates,
        &mut kept,
        &[("a", 1, 100), ("b", 2, 100)],
        at(100),
    );
    epoch(
        &mut aggregates,
        &mut kept,
        &[("b", 3, 170), ("c", 4, 170)],
        at(170),
    );
    assert_eq!(kept.len(), 3);

    epoch(&mut aggregates, &mut kept, &[("c", 5, 200)], at(200));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(aggregates.groups(), 2);
    epoch(&mut aggregates, &mut kept, &[("a", 7, 201)], at(201));

    assert_eq!(kept["a"], ("7".to_owned(), 1));
    assert_eq!(kept["b"], ("5".to_owned(), 2));
}

#[test]
fn records_of_a_later_turn_than_event_time_wait() {
    let mut aggregates = sums().aggregates();
    let mut kept = Kept::new();
    epoch(&mut aggregates, &mut kept, &[("a", 1, 100)], at(100));
    epoch(
        &mut aggregates,
        &mut kept,
        &[("a", 2, 290), ("b", 3, 290)],
        at(109),
    );
    assert_eq!(kept["a"], ("1".to_owned(), 1));
    assert_eq!(kept.get("b"), None);

    aggregates = restarted(&aggregates);
    epoch(&mut aggregates, &mut kept, &[], at(290));

    assert_eq!(kept["a"], ("2".to_owned(), 1));
    assert_eq!(kept["b"], ("3".to_owned(), 1));
}

/// What is shown when so many rows are read and event time is in `now`: rows of a key follow each
/// other unless more than eight turns lie between them.
fn naive(read: &[Record], now: i64) -> Kept {
    let mut by_turn: BTreeMap<i64, Vec<&Record>> = BTreeMap::new();
    for record in read.iter().filter(|(.., time)| turn(*time) <= now) {
        by_turn.entry(turn(record.2)).or_default().push(record);
    }
    // The sum, the count and the last turn of each key.
    let mut totals: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for (turn, records) in by_turn {
        totals.retain(|_, (.., last)| turn - *last <= 8);
        for (key, value, _) in records {
            let total = totals.entry(key).or_insert((0, 0, turn));
            *total = (total.0 + value, total.1 + 1, turn);
        }
    }
    totals.retain(|_, (.., last)| now - *last <= 8);
    let shown = totals.into_iter();
    shown
        .map(|(key, (sum, count, _))| (key.to_owned(), (sum.to_string(), count)))
        .collect()
}

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "a long key that is in no cell"];

/// How much of each of two partitions is read in an epoch, whether rows meet before they are
/// sent to their owner, and whether the run begins anew after it.
type Cut = ([usize; 2], bool, bool);

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_hangs_neither_on_epochs_nor_on_which_partition_is_read_first_nor_on_restarts(
        given in prop::collection::vec((0usize..2, 0usize..6, -5i64..5, 0i64..60), 1..60),
        cuts in prop::collection::vec(
            ([0usize..8, 0usize..8], any::<bool>(), prop::bool::weighted(0.2)), 1..30),
    ) {
        let cuts: Vec<Cut> = cuts;
        let mut partitions: [Vec<Record>; 2] = Default::default();
        let mut times = [0, 0];
        for (partition, key, value, later) in given {
            times[partition] += later;
            partitions[partition].push((KEYS[key], value, times[partition]));
        }
        let mut aggregates = sums().aggregates();
        let (mut kept, mut read, mut stands) = (Kept::new(), Vec::new(), [0, 0]);
        for (more, before, restart) in cuts {
            for partition in 0..2 {
                let to = partitions[partition].len().min(stands[partition] + more[partition]);
                let part = &partitions[partition][stands[partition]..to];
                if before {
                    let mut partials = sums().partials();
                    partials.update(&rows(part)).unwrap();
                    for partials in partials.drain().unwrap() {
                        aggregates.merge(&partials).unwrap();
                    }
                } else {
                    aggregates.update(&rows(part)).unwrap();
                }
                read.extend_from_slice(part);
                stands[partition] = to;
            }
            let last = [0, 1].map(|of| stands[of].checked_sub(1).map(|row| partitions[of][row].2));
            let reached = last.iter().min().copied().flatten();
            seal(&mut aggregates, &mut kept, reached.map_or(Watermark::START, at));
            let expected = reached.map_or(Kept::new(), |reached| naive(&read, turn(reached)));
            prop_assert_eq!(&kept, &expected);
            if restart {
                aggregates = restarted(&aggregates);
            }
        }
    }
}
