//! A log in a folder: what a crash may leave of it, and what becomes of it when objects are gone.

use std::sync::Arc;

use arrow::array::Int64Array;
use tempfile::TempDir;

use super::*;

fn rows(values: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("n", column as _)]).unwrap()
}

fn open(folder: &TempDir) -> Result<Log, LogError> {
    Log::open(Some(Store::at(folder.path())), "zones", 7)
}

/// A log of as many entries.
fn of(folder: &TempDir, entries: i64) -> Log {
    let mut log = open(folder).unwrap();
    for number in 0..entries {
        log.append(rows(&[number])).unwrap();
    }
    log
}

fn spans(log: &Log) -> Vec<(u64, u64)> {
    let entries = log.entries().iter();
    entries.map(|entry| (entry.from, entry.until)).collect()
}

#[test]
fn a_later_run_finds_what_was_appended_and_another_life_does_not() {
    let folder = TempDir::new().unwrap();
    let log = of(&folder, 3);

    let found = open(&folder).unwrap();
    let other = Log::open(Some(Store::at(folder.path())), "zones", 8).unwrap();

    assert_eq!(found.entries(), log.entries());
    assert_eq!(found.next(1).unwrap().rows, rows(&[1]));
    assert_eq!(found.next(3), None);
    assert_eq!((found.end(), other.end()), (3, 0));
}

#[test]
fn of_two_that_write_the_same_number_one_does() {
    let folder = TempDir::new().unwrap();
    let (mut first, mut second) = (open(&folder).unwrap(), open(&folder).unwrap());

    first.append(rows(&[1])).unwrap();
    let taken = second.append(rows(&[2])).unwrap_err();

    assert!(matches!(taken, LogError::Taken { .. }), "{taken}");
    assert_eq!(second.end(), 0);
    assert_eq!(open(&folder).unwrap().next(0).unwrap().rows, rows(&[1]));
}

#[test]
fn a_merged_log_says_the_same_wherever_a_crash_leaves_it() {
    for crash in 0..5 {
        let folder = TempDir::new().unwrap();
        let mut log = of(&folder, 4);
        log.merge(3, rows(&[10, 11])).unwrap();
        let steps = std::cell::Cell::new(0);

        log.sweep(|step| {
            steps.set(steps.get() + 1);
            if steps.get() <= crash {
                step();
            }
        })
        .unwrap();

        let mut found = open(&folder).unwrap();
        assert_eq!(spans(&found), [(0, 3), (3, 4)], "crash {crash}");
        assert_eq!(found.entries(), log.entries(), "crash {crash}");
        // What it left is swept up with the next.
        found.append(rows(&[4])).unwrap();
        found.merge(5, rows(&[20])).unwrap();
        found.sweep(|step| step()).unwrap();
        assert_eq!(spans(&open(&folder).unwrap()), [(0, 5)]);
        assert_eq!(Store::at(folder.path()).list().unwrap().len(), 1);
    }
}

#[test]
fn one_can_cut_at_the_beginning_and_where_nothing_is_merged() {
    let folder = TempDir::new().unwrap();
    let mut log = of(&folder, 4);
    let cuts = |log: &Log| (0..6).filter(|&n| log.can_cut(n)).collect::<Vec<_>>();
    assert_eq!(cuts(&log), [0, 1, 2, 3, 4]);

    log.merge(3, rows(&[10])).unwrap();

    assert_eq!(cuts(&log), [0, 3, 4]);
    assert_eq!(log.next(0).unwrap().until, 3);
    assert_eq!(log.next(3).unwrap().until, 4);
}

#[test]
fn what_is_missing_or_torn_is_said_and_not_skipped() {
    let folder = TempDir::new().unwrap();
    let log = of(&folder, 3);
    let path = |number| folder.path().join(log.object(Named::One(number)));

    let bytes = std::fs::read(path(1)).unwrap();
    std::fs::write(path(1), &bytes[..bytes.len() - 1]).unwrap();
    let torn = open(&folder).err().unwrap();
    assert!(matches!(torn, LogError::Broken { .. }), "{torn}");

    std::fs::remove_file(path(1)).unwrap();
    let gap = open(&folder).err().unwrap();
    assert!(matches!(&gap, LogError::Gap { object } if *object == log.object(Named::One(1))));
}

#[test]
fn clearing_deletes_every_life_and_no_other_log() {
    let folder = TempDir::new().unwrap();
    let _ = of(&folder, 2);
    let store = || Some(Store::at(folder.path()));
    Log::open(store(), "zones", 8)
        .unwrap()
        .append(rows(&[1]))
        .unwrap();
    Log::open(store(), "Zones", 7)
        .unwrap()
        .append(rows(&[2]))
        .unwrap();

    Log::clear(&Store::at(folder.path()), "zones").unwrap();

    assert_eq!(open(&folder).unwrap().end(), 0);
    assert_eq!(Log::open(store(), "Zones", 7).unwrap().end(), 1);
}

#[test]
fn a_log_without_a_store_forgets_what_was_read() {
    let mut log = Log::open(None, "zones", 7).unwrap();
    log.append(rows(&[1])).unwrap();
    log.append(rows(&[2])).unwrap();

    log.forget(1);

    assert_eq!(spans(&log), [(1, 2)]);
    assert_eq!((log.end(), log.is_durable()), (2, false));
}
