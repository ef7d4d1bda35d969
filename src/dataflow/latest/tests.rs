//! With `state.ttl` a key's row leaves when it has had no record for so long.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion_physical_expr::expressions::Column;
use proptest::prelude::*;

use super::Latest;
use crate::dataflow::group::{Groups, PreGroups};
use crate::dataflow::roles::{counts, with_positions, with_watermarks};
use crate::dataflow::state::{Stateful, owner};
use crate::dataflow::turns::Turns;
use crate::plan::Expression;
use crate::types::{EventTime, Watermark};

/// A key, what says which is the last, when it came, and its place in its partition.
type Record = (&'static str, i64, i64, u64);

/// Ten units each.
const TTL: i64 = 80;

fn turn(time: i64) -> i64 {
    Turns::of_ttl(TTL).of(at(time))
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

fn plain(given: &[Record]) -> RecordBatch {
    let keys: StringArray = given.iter().map(|(key, ..)| Some(*key)).collect();
    let by: Int64Array = given.iter().map(|(_, by, ..)| Some(*by)).collect();
    let columns: [(&str, ArrayRef); 2] = [("key", Arc::new(keys)), ("by", Arc::new(by))];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// As they come from a source: with the place and the turn of each.
fn rows(partition: u32, given: &[Record]) -> RecordBatch {
    let plain = plain(given);
    let offsets = given.iter().map(|(.., offset)| *offset);
    let mut columns = plain.columns().to_vec();
    columns.push(Arc::new(UInt32Array::from(vec![partition; given.len()])));
    columns.push(Arc::new(arrow::array::UInt64Array::from_iter_values(
        offsets,
    )));
    let located = RecordBatch::try_new(with_positions(&plain.schema()), columns).unwrap();
    let times = given.iter().map(|(_, _, time, _)| *time);
    with_watermarks(&located, times.collect())
}

fn latest() -> Latest {
    let by = Expression {
        physical: Arc::new(Column::new("by", 1)),
        text: "by".to_owned(),
        data_type: DataType::Int64,
        nullable: false,
    };
    Latest::new(plain(&[]).schema(), vec![0], by, Some(TTL)).unwrap()
}

/// The table as a sink holds it.
type Kept = BTreeMap<String, i64>;

fn apply(kept: &mut Kept, rows: &RecordBatch, diffs: &Int64Array) {
    let keys = rows.column(0).as_string::<i32>();
    let by = rows.column(1).as_primitive::<Int64Type>();
    for wanted in [-1, 1] {
        for (row, diff) in diffs.values().iter().enumerate() {
            let (key, by) = (keys.value(row).to_owned(), by.value(row));
            match (*diff, *diff == wanted) {
                (1, true) => assert_eq!(kept.insert(key, by), None),
                (-1, true) => assert_eq!(kept.remove(&key), Some(by)),
                (1 | -1, false) => {}
                (other, _) => panic!("a count of {other}"),
            }
        }
    }
}

fn seal(latest: &mut Latest, kept: &mut Kept, reached: Watermark) {
    for changes in latest.changes().unwrap() {
        apply(kept, &changes.rows, &changes.counts);
    }
    for rows in latest.forget(reached).unwrap() {
        apply(kept, &rows, counts(&rows, 2).unwrap());
    }
}

/// The last row of each key, where keys without a record for more than eight turns are forgotten.
fn naive(read: &[(u32, Record)], now: i64) -> Kept {
    let mut by_turn: BTreeMap<i64, Vec<&(u32, Record)>> = BTreeMap::new();
    for record in read.iter().filter(|(_, (.., time, _))| turn(*time) <= now) {
        by_turn.entry(turn(record.1.2)).or_default().push(record);
    }
    // What says that a row is the last, and the last turn, of each key.
    let mut last: BTreeMap<&str, ((i64, u32, u64), i64)> = BTreeMap::new();
    for (turn, records) in by_turn {
        last.retain(|_, (_, last)| turn - *last <= 8);
        for (partition, (key, by, _, offset)) in records {
            let order = (*by, *partition, *offset);
            let known = last.entry(key).or_insert((order, turn));
            *known = (known.0.max(order), turn);
        }
    }
    last.retain(|_, (_, last)| now - *last <= 8);
    let kept = last.into_iter();
    kept.map(|(key, ((by, ..), _))| (key.to_owned(), by))
        .collect()
}

#[test]
fn a_record_that_is_not_the_last_keeps_its_key() {
    let (mut latest, mut kept) = (latest(), Kept::new());
    Groups::update(&mut latest, &rows(0, &[("a", 7, 100, 0), ("b", 7, 100, 1)])).unwrap();
    seal(&mut latest, &mut kept, at(100));
    Groups::update(&mut latest, &rows(0, &[("a", 6, 150, 2)])).unwrap();
    seal(&mut latest, &mut kept, at(150));

    seal(&mut latest, &mut kept, at(200));
    assert_eq!(kept, Kept::from([("a".to_owned(), 7)]));
    assert_eq!(latest.rows(), 1);
    seal(&mut latest, &mut kept, at(240));
    assert!(kept.is_empty());
    assert_eq!((latest.rows(), latest.bytes()), (0, 0));
}

/// All that is saved, for as many workers as there are then.
fn restarted(workers: &[Latest], count: usize) -> Vec<Latest> {
    let saved: Vec<RecordBatch> = workers.iter().flat_map(|one| one.save().unwrap()).collect();
    let restored = (0..count).map(|worker| {
        let mut latest = latest();
        for saved in &saved {
            let own = own(saved, worker, count);
            if own.num_rows() > 0 {
                latest.restore(&own).unwrap();
            }
        }
        latest
    });
    restored.collect()
}

fn own(rows: &RecordBatch, worker: usize, count: usize) -> RecordBatch {
    let hashes = rows.column(0).as_primitive::<UInt64Type>().values().iter();
    let own = hashes
        .map(|hash| Some(owner(*hash, count) == worker))
        .collect();
    filter_record_batch(rows, &own).unwrap()
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// How much of each of two partitions is read in an epoch, and with how many workers the run begins
/// anew after it, if it does.
type Cut = ([usize; 2], Option<usize>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_hangs_neither_on_epochs_nor_on_workers_nor_on_restarts(
        given in prop::collection::vec((0u32..2, 0usize..4, 0i64..5, 0i64..60), 1..80),
        cuts in prop::collection::vec(
            ([0usize..8, 0usize..8], prop::option::weighted(0.2, 1usize..5)), 1..30),
    ) {
        let cuts: Vec<Cut> = cuts;
        let mut partitions: [Vec<Record>; 2] = Default::default();
        let mut times = [0, 0];
        for (offset, (partition, key, by, later)) in (0..).zip(given) {
            let partition = partition as usize;
            times[partition] += later;
            partitions[partition].push((KEYS[key], by, times[partition], offset));
        }
        let mut workers = vec![latest(), latest()];
        let (mut kept, mut read, mut stands) = (Kept::new(), Vec::new(), [0, 0]);
        for (more, restart) in cuts {
            for partition in 0..2u32 {
                let at = partition as usize;
                let to = partitions[at].len().min(stands[at] + more[at]);
                let part = &partitions[at][stands[at]..to];
                let mut before = latest();
                PreGroups::update(&mut before, &rows(partition, part)).unwrap();
                for partials in before.drain().unwrap() {
                    let count = workers.len();
                    for (worker, latest) in workers.iter_mut().enumerate() {
                        latest.merge(&own(&partials, worker, count)).unwrap();
                    }
                }
                read.extend(part.iter().map(|record| (partition, *record)));
                stands[at] = to;
            }
            let last = [0, 1].map(|of| stands[of].checked_sub(1).map(|row| partitions[of][row].2));
            let reached = last.iter().min().copied().flatten();
            for latest in &mut workers {
                seal(latest, &mut kept, reached.map_or(Watermark::START, at));
            }
            let expected = reached.map_or(Kept::new(), |reached| naive(&read, turn(reached)));
            prop_assert_eq!(&kept, &expected);
            if let Some(count) = restart {
                workers = restarted(&workers, count);
            }
        }
    }
}
