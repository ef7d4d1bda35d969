//! Records are there until their turn is over, wherever epochs and restarts fall.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use proptest::prelude::*;

use super::{CHUNK, Keep, Stack};
use crate::dataflow::group::Groups;
use crate::dataflow::roles::{counts, with_watermarks};
use crate::dataflow::state::{Stateful, owner};
use crate::dataflow::turns::Turns;
use crate::types::{EventTime, Watermark};

/// A text and when it happened.
type Record = (&'static str, i64);

/// Turns of ten units.
const TTL: i64 = 10 * Turns::RECORDS_KEPT;

fn turn(time: i64) -> i64 {
    Turns::of_records(TTL).of(at(time))
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

fn plain(given: &[Record]) -> RecordBatch {
    let texts: StringArray = given.iter().map(|(text, _)| Some(*text)).collect();
    let times: Int64Array = given.iter().map(|(_, time)| Some(*time)).collect();
    let columns: [(&str, ArrayRef); 2] = [("text", Arc::new(texts)), ("time", Arc::new(times))];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// As they come from a source: with the watermark after each.
fn rows(given: &[Record]) -> RecordBatch {
    let times = given.iter().map(|(_, time)| *time).collect();
    with_watermarks(&plain(given), times)
}

fn schema() -> SchemaRef {
    plain(&[]).schema()
}

fn keep() -> Keep {
    Keep::new(schema(), TTL)
}

/// What is there, and how often.
type There = BTreeMap<(String, i64), i64>;

fn apply(there: &mut There, changes: &[RecordBatch]) {
    for rows in changes {
        let texts = rows.column(0).as_string::<i32>();
        let times = rows.column(1).as_primitive::<Int64Type>();
        for (row, count) in counts(rows, 2).unwrap().values().iter().enumerate() {
            let record = (texts.value(row).to_owned(), times.value(row));
            *there.entry(record).or_default() += count;
        }
    }
    assert!(there.values().all(|count| *count >= 0), "{there:?}");
    there.retain(|_, count| *count != 0);
}

/// Of the records that were read, those that are there when event time is in `now`.
fn naive(read: &[Record], now: Option<i64>) -> There {
    let mut there = There::new();
    for (text, time) in read {
        if now.is_none_or(|now| turn(*time) >= now - 256) {
            *there.entry(((*text).to_owned(), *time)).or_default() += 1;
        }
    }
    there
}

#[test]
fn a_record_is_there_until_its_turn_is_over() {
    let (mut keep, mut there) = (keep(), There::new());
    keep.update(&rows(&[("a", 100), ("b", 109), ("c", 110)]))
        .unwrap();
    let mut reach = |reached| {
        apply(&mut there, &keep.forget(reached).unwrap());
        there
            .keys()
            .map(|(text, _)| text.clone())
            .collect::<String>()
    };

    assert_eq!(reach(Watermark::START), "abc");
    assert_eq!(reach(at(100)), "abc");
    assert_eq!(reach(at(100 + TTL)), "abc");
    assert_eq!(reach(at(109 + TTL)), "abc");
    assert_eq!(reach(at(110 + TTL)), "c");
    assert_eq!(reach(at(120 + TTL)), "");
    assert_eq!(keep.rows(), 0);
}

#[test]
fn a_record_that_comes_and_goes_in_one_epoch_is_not_heard_of() {
    let mut keep = keep();
    keep.update(&rows(&[("a", 100), ("b", 5000)])).unwrap();

    let changes = keep.forget(at(5000)).unwrap();

    let told: usize = changes.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((told, keep.rows()), (1, 1));
}

#[test]
fn rows_without_columns_are_kept_too() {
    let none = plain(&[("a", 100), ("b", 100), ("c", 115)]);
    let none = with_watermarks(&none.project(&[]).unwrap(), vec![100, 100, 115]);
    let mut keep = Keep::new(Arc::new(arrow::datatypes::Schema::empty()), TTL);

    keep.update(&none).unwrap();
    let told = keep.forget(at(105)).unwrap();

    assert_eq!(counts(&told[0], 0), Some(&Int64Array::from(vec![1, 1, 1])));
    assert_eq!(keep.rows(), 3);
    let told = keep.forget(at(110 + TTL)).unwrap();
    assert_eq!(counts(&told[0], 0), Some(&Int64Array::from(vec![-1, -1])));
}

/// Otherwise a week of epochs would be six million batches.
#[test]
fn rows_of_many_epochs_are_in_few_batches() {
    let mut stack = Stack::default();
    let epochs = i64::try_from(3 * CHUNK).unwrap();
    for epoch in 0..epochs {
        stack.push(plain(&[("a", epoch)])).unwrap();
    }

    assert_eq!(stack.rows(), 3 * CHUNK);
    assert!(stack.0.len() < 20, "{} batches", stack.0.len());
    // Eight bytes and a text of one with its offset, and what doubling leaves free.
    assert!(stack.bytes() < 40 * stack.rows(), "{} bytes", stack.bytes());
    let times = stack.0.iter().flat_map(|rows| {
        let times = rows.column(1).as_primitive::<Int64Type>();
        times.values().to_vec()
    });
    assert!(times.eq(0..epochs), "in the order they came");
}

/// All that is saved, for as many workers as there are then.
fn restarted(workers: &[Keep], count: usize) -> Vec<Keep> {
    let saved: Vec<RecordBatch> = workers
        .iter()
        .flat_map(|keep| keep.save().unwrap())
        .collect();
    let restored = (0..count).map(|worker| {
        let mut keep = keep();
        for saved in &saved {
            let hashes = saved
                .column(0)
                .as_primitive::<arrow::datatypes::UInt64Type>();
            let own = hashes.values().iter();
            let own = own
                .map(|hash| Some(owner(*hash, count) == worker))
                .collect();
            let own = arrow::compute::filter_record_batch(saved, &own).unwrap();
            if own.num_rows() > 0 {
                keep.restore(&own).unwrap();
            }
        }
        keep
    });
    restored.collect()
}

const TEXTS: [&str; 4] = ["a", "b", "c", "a longer one"];

/// How much of each of two partitions is read in an epoch, and with how many workers the run begins
/// anew after it, if it does.
type Cut = ([usize; 2], Option<usize>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_hangs_neither_on_epochs_nor_on_workers_nor_on_restarts(
        given in prop::collection::vec((0usize..2, 0usize..4, 0i64..1200), 1..80),
        cuts in prop::collection::vec(
            ([0usize..8, 0usize..8], prop::option::weighted(0.2, 1usize..5)), 1..30),
    ) {
        let cuts: Vec<Cut> = cuts;
        let mut partitions: [Vec<Record>; 2] = Default::default();
        let mut times = [0, 0];
        for (partition, text, later) in given {
            times[partition] += later;
            partitions[partition].push((TEXTS[text], times[partition]));
        }
        let mut workers = vec![keep(), keep()];
        let (mut there, mut read, mut stands) = (There::new(), Vec::new(), [0, 0]);
        for (more, restart) in cuts {
            for partition in 0..2 {
                let to = partitions[partition].len().min(stands[partition] + more[partition]);
                let part = &partitions[partition][stands[partition]..to];
                let worker = partition % workers.len();
                workers[worker].update(&rows(part)).unwrap();
                read.extend_from_slice(part);
                stands[partition] = to;
            }
            let last = [0, 1].map(|of| stands[of].checked_sub(1).map(|row| partitions[of][row].1));
            let reached = last.iter().min().copied().flatten();
            for keep in &mut workers {
                let changes = keep.forget(reached.map_or(Watermark::START, at)).unwrap();
                apply(&mut there, &changes);
            }
            let expected = naive(&read, reached.map(turn));
            prop_assert_eq!(&there, &expected);
            let held: usize = workers.iter().map(Stateful::rows).sum();
            prop_assert_eq!(held, usize::try_from(expected.values().sum::<i64>()).unwrap());
            if let Some(count) = restart {
                workers = restarted(&workers, count);
            }
        }
    }
}
