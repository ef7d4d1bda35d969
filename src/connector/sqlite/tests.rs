//! What a SQLite file holds after a start, an epoch, a crash and a second process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::Sqlite;
use crate::connector::{ConnectorError, Destination, SinkTable, TableChanges};
use crate::types::{Epoch, Mark, Recipe};

fn counts(key: &[usize]) -> SinkTable {
    SinkTable {
        name: "counts".to_owned(),
        target: "counts".to_owned(),
        schema: Arc::new(Schema::new(vec![
            Field::new("page", DataType::Utf8, false),
            Field::new("views", DataType::Int64, true),
        ])),
        key: key.to_vec(),
    }
}

fn open(folder: &TempDir, pipeline: &str, table: SinkTable) -> Sqlite {
    Sqlite::new(folder.path().join("out.db"), pipeline, vec![table])
}

fn mark(epoch: u64) -> Mark {
    Mark {
        generation: 1,
        incarnation: 7,
        life: 0,
        epoch: Epoch(epoch),
        recipe: Recipe {
            fingerprint: "f".to_owned(),
            ..Recipe::default()
        },
        sources: BTreeMap::new(),
    }
}

fn rows(pages: &[&str], views: &[i64]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(pages.to_vec())),
        Arc::new(Int64Array::from(views.to_vec())),
    ];
    RecordBatch::try_new(counts(&[]).schema, columns).unwrap()
}

fn upserts(pages: &[&str], views: &[i64]) -> TableChanges {
    TableChanges {
        table: 0,
        upserts: Some(rows(pages, views)),
        deletes: None,
    }
}

fn keys(pages: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from(pages.to_vec()));
    RecordBatch::try_from_iter([("page", column)]).unwrap()
}

fn content(folder: &TempDir) -> Vec<(String, i64)> {
    read(
        &folder.path().join("out.db"),
        "SELECT page, views FROM counts ORDER BY 1, 2",
    )
}

fn read(path: &Path, sql: &str) -> Vec<(String, i64)> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn execute(folder: &TempDir, sql: &str) {
    Connection::open(folder.path().join("out.db"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

fn pair(page: &str, views: i64) -> (String, i64) {
    (page.to_owned(), views)
}

/// The message and the hint of a refusal.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, ConnectorError>) -> (String, String) {
    match outcome {
        Err(ConnectorError::Permanent { message, hint }) => (message, hint.unwrap()),
        other => panic!("not refused: {other:?}"),
    }
}

/// SQLite goes on with a file that has no name any more, and nobody would read what is in it.
#[test]
fn a_file_that_is_removed_or_replaced_meanwhile_is_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.db");
    let mut sink = open(&folder, "p", counts(&[]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();

    std::fs::rename(&path, folder.path().join("away.db")).unwrap();
    let (message, _) = refusal(sink.publish(&mark(2), &[upserts(&["b"], &[2])]));
    assert!(message.contains("was removed or replaced"), "{message}");

    std::fs::copy(folder.path().join("away.db"), &path).unwrap();
    let (message, _) = refusal(sink.make_durable());
    assert!(message.contains("was removed or replaced"), "{message}");
}

#[test]
fn a_keyed_table_is_upserted_and_deleted_from() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a", "b", "c"], &[1, 2, 3])])
        .unwrap();
    let change = TableChanges {
        table: 0,
        upserts: Some(rows(&["a", "d"], &[10, 4])),
        deletes: Some(keys(&["b"])),
    };
    sink.publish(&mark(2), &[change]).unwrap();

    assert_eq!(
        content(&folder),
        [pair("a", 10), pair("c", 3), pair("d", 4)]
    );
}

#[test]
fn a_table_without_a_key_is_appended_to() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a", "a"], &[1, 1])])
        .unwrap();
    sink.publish(&mark(2), &[upserts(&["a"], &[1])]).unwrap();

    assert_eq!(content(&folder), vec![pair("a", 1); 3]);
}

#[test]
fn more_rows_than_fit_one_statement_all_arrive() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();
    let pages: Vec<String> = (0..1000).map(|n| format!("page {n:04}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let views: Vec<i64> = (0..1000).collect();

    sink.publish(&mark(1), &[upserts(&pages, &views)]).unwrap();

    let found = content(&folder);
    assert_eq!(found.len(), 1000);
    assert!(
        found
            .iter()
            .zip(0..)
            .all(|((page, views), n)| *page == format!("page {n:04}") && *views == n)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_keyed_table_is_what_its_changes_add_up_to(
        // Per epoch and key: nothing, a new value, or its deletion; and where a new start comes.
        epochs in prop::collection::vec(
            (prop::collection::btree_map(0_u8..60, prop::option::of(0_i64..100), 0..60), any::<bool>()),
            1..6,
        ),
    ) {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "p", counts(&[0]));
        sink.take_over(0).unwrap();
        let mut expected = BTreeMap::new();

        for ((changes, restart), epoch) in epochs.into_iter().zip(1..) {
            let names: BTreeMap<String, Option<i64>> =
                changes.into_iter().map(|(key, value)| (format!("page {key}"), value)).collect();
            let (pages, views): (Vec<&str>, Vec<i64>) =
                names.iter().filter_map(|(name, value)| Some((name.as_str(), (*value)?))).unzip();
            let gone: Vec<&str> =
                names.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
            let change = TableChanges {
                table: 0,
                upserts: Some(rows(&pages, &views)),
                deletes: Some(keys(&gone)),
            };
            sink.publish(&mark(epoch), &[change]).unwrap();
            expected.extend(names.clone());
            if restart {
                sink = open(&folder, "p", counts(&[0]));
                let found = sink.take_over(epoch).unwrap().unwrap();
                prop_assert_eq!(found.epoch, Epoch(epoch));
            }
        }

        let expected: Vec<(String, i64)> =
            expected.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        prop_assert_eq!(content(&folder), expected);
    }
}

#[test]
fn the_mark_is_returned_to_the_next_start() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));

    assert_eq!(sink.take_over(7).unwrap(), None);
    sink.publish(&mark(5), &[]).unwrap();
    drop(sink);

    let found = open(&folder, "p", counts(&[0]))
        .take_over(8)
        .unwrap()
        .unwrap();
    assert_eq!(found.epoch, Epoch(5));
    assert_eq!((found.generation, found.incarnation), (2, 8));
}

#[test]
fn a_process_that_was_taken_over_cannot_publish() {
    let folder = TempDir::new().unwrap();
    let mut old = open(&folder, "p", counts(&[0]));
    old.take_over(7).unwrap();
    old.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    old.make_durable().unwrap();
    open(&folder, "p", counts(&[0])).take_over(8).unwrap();

    old.make_durable().unwrap_err();
    let outcome = old.publish(&mark(2), &[upserts(&["a"], &[2])]);

    assert!(
        matches!(
            outcome,
            Err(ConnectorError::Fenced {
                epoch: Epoch(2),
                ..
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(content(&folder), [pair("a", 1)]);
}

#[test]
fn whoever_only_peeks_fences_nobody() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    assert_eq!(sink.peek().unwrap(), None);
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();

    let seen = open(&folder, "p", counts(&[0])).peek().unwrap();

    assert_eq!(seen.unwrap().epoch, Epoch(1));
    sink.publish(&mark(2), &[upserts(&["a"], &[2])]).unwrap();
}

#[test]
fn an_epoch_that_fails_half_way_leaves_the_one_before_it_and_can_be_published_again() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    execute(
        &folder,
        "CREATE TRIGGER no_c BEFORE INSERT ON counts WHEN new.page = 'c'
         BEGIN SELECT raise(ABORT, 'no'); END",
    );
    let change = upserts(&["a", "b", "c"], &[2, 2, 2]);

    sink.publish(&mark(2), std::slice::from_ref(&change))
        .unwrap_err();

    assert_eq!(content(&folder), [pair("a", 1)]);
    execute(&folder, "DROP TRIGGER no_c");
    sink.publish(&mark(2), &[change]).unwrap();
    assert_eq!(content(&folder), [pair("a", 2), pair("b", 2), pair("c", 2)]);
}

#[test]
fn a_reader_sees_nothing_of_an_open_epoch_and_a_crash_leaves_the_mark_before_it() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    let mut session = sink.session.take().unwrap();

    let transaction = sink
        .write(&mut session, &mark(2), &[upserts(&["a"], &[2])])
        .unwrap();
    let seen = content(&folder);
    drop(transaction);
    drop(session);

    assert_eq!(seen, [pair("a", 1)]);
    assert_eq!(content(&folder), [pair("a", 1)]);
    let found = open(&folder, "p", counts(&[0])).take_over(8).unwrap();
    assert_eq!(found.unwrap().epoch, Epoch(1));
}

#[test]
fn two_pipelines_keep_their_own_tables_and_marks_in_one_file() {
    let folder = TempDir::new().unwrap();
    let mut one = open(&folder, "one", counts(&[0]));
    let mut two = open(
        &folder,
        "two",
        SinkTable {
            target: "other".to_owned(),
            ..counts(&[])
        },
    );
    one.take_over(7).unwrap();
    two.take_over(8).unwrap();

    one.publish(&mark(3), &[upserts(&["a"], &[1])]).unwrap();
    two.publish(&mark(9), &[upserts(&["b"], &[2])]).unwrap();

    let marks = read(
        &folder.path().join("out.db"),
        "SELECT pipeline, epoch FROM tidemark_marks ORDER BY pipeline",
    );
    assert_eq!(marks, [pair("one", 3), pair("two", 9)]);
}

#[test]
fn a_table_that_another_pipeline_keeps_is_refused() {
    let folder = TempDir::new().unwrap();
    open(&folder, "one", counts(&[0])).take_over(7).unwrap();

    let (message, hint) = refusal(open(&folder, "two", counts(&[0])).take_over(8));

    assert_eq!(message, "table `counts` is kept by pipeline `one`");
    assert_eq!(
        hint,
        "choose another name with `table`, or another file with `path`; if this file is that \
         pipeline, SET 'pipeline.name' = 'one'"
    );
}

#[test]
fn a_table_with_rows_and_no_mark_is_refused() {
    let folder = TempDir::new().unwrap();
    execute(
        &folder,
        "CREATE TABLE counts (page TEXT PRIMARY KEY, views INT); INSERT INTO counts VALUES ('x', 1)",
    );

    let (message, hint) = refusal(open(&folder, "p", counts(&[0])).take_over(7));

    assert_eq!(
        message,
        "table `counts` holds rows that no mark accounts for"
    );
    assert_eq!(hint, "empty it, or choose another name with `table`");
    assert_eq!(content(&folder), [pair("x", 1)]);
}

#[test]
fn a_table_that_was_dropped_under_its_mark_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();
    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    execute(&folder, "DROP TABLE counts");

    let (message, hint) = refusal(open(&folder, "p", counts(&[0])).take_over(8));

    assert_eq!(
        message,
        "table `counts` is gone, but the mark says that its rows are there"
    );
    assert_eq!(hint, "start over with --fresh");
}

#[test]
fn a_table_that_differs_is_refused_with_the_difference() {
    for (existing, expected) in [
        (
            "CREATE TABLE counts (page TEXT PRIMARY KEY)",
            "has no column `views`",
        ),
        (
            "CREATE TABLE counts (page TEXT PRIMARY KEY, views TEXT)",
            "has column `views` as TEXT, which would change the values; INTEGER is needed",
        ),
        (
            "CREATE TABLE counts (page TEXT PRIMARY KEY, views INT NOT NULL)",
            "has column `views` as NOT NULL, but NULL may be written to it",
        ),
        (
            "CREATE TABLE counts (page TEXT, views INT)",
            "has no key; PRIMARY KEY (page) is declared",
        ),
        (
            "CREATE TABLE counts (page TEXT COLLATE NOCASE PRIMARY KEY, views INT)",
            "takes different keys for the same, by COLLATE NOCASE",
        ),
        (
            "CREATE TABLE counts (page TEXT, views INT, PRIMARY KEY (page, views))",
            "has PRIMARY KEY (page, views); PRIMARY KEY (page) is declared",
        ),
        (
            "CREATE TABLE counts (page TEXT PRIMARY KEY, views INT, at TEXT NOT NULL)",
            "has a column `at` that must not be NULL and is not declared",
        ),
        (
            "CREATE VIEW counts AS SELECT 'a' AS page, 1 AS views",
            "is a view",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        execute(&folder, existing);

        let findings = open(&folder, "p", counts(&[0])).inspect().unwrap();
        let (message, _) = refusal(open(&folder, "p", counts(&[0])).take_over(7));

        assert_eq!(message, format!("table `counts` {expected}"), "{existing}");
        assert_eq!(findings[0].message, message);
    }
}

#[test]
fn an_existing_table_with_a_unique_index_on_the_key_serves() {
    let folder = TempDir::new().unwrap();
    execute(
        &folder,
        "CREATE TABLE counts (id INTEGER PRIMARY KEY, page VARCHAR(10), views BIGINT, note TEXT);
         CREATE UNIQUE INDEX by_page ON counts (page)",
    );
    let mut sink = open(&folder, "p", counts(&[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[upserts(&["a"], &[1])]).unwrap();
    sink.publish(&mark(2), &[upserts(&["a"], &[2])]).unwrap();

    assert_eq!(content(&folder), [pair("a", 2)]);
}

#[test]
fn an_inspection_leaves_the_folder_as_it_was() {
    let folder = TempDir::new().unwrap();
    let mut sink = open(&folder, "p", counts(&[0]));
    let names = || std::fs::read_dir(folder.path()).unwrap().count();

    assert_eq!(sink.inspect().unwrap(), []);
    assert_eq!(names(), 0);
    sink.take_over(7).unwrap();
    drop(sink);
    assert_eq!(open(&folder, "p", counts(&[0])).inspect().unwrap(), []);
    assert_eq!(names(), 1);
}

#[test]
fn emptying_removes_this_pipelines_rows_and_mark_and_fences_its_process() {
    let folder = TempDir::new().unwrap();
    let mut old = open(&folder, "one", counts(&[0]));
    let mut two = open(
        &folder,
        "two",
        SinkTable {
            target: "other".to_owned(),
            ..counts(&[])
        },
    );
    old.take_over(7).unwrap();
    two.take_over(8).unwrap();
    old.publish(&mark(3), &[upserts(&["a"], &[1])]).unwrap();
    two.publish(&mark(9), &[upserts(&["b"], &[2])]).unwrap();

    open(&folder, "one", counts(&[0])).empty().unwrap();

    assert_eq!(content(&folder), []);
    let kept = read(
        &folder.path().join("out.db"),
        "SELECT page, views FROM other",
    );
    assert_eq!(kept, [pair("b", 2)]);
    let outcome = old.publish(&mark(4), &[upserts(&["a"], &[2])]);
    assert!(
        matches!(outcome, Err(ConnectorError::Fenced { .. })),
        "{outcome:?}"
    );
    assert_eq!(
        open(&folder, "one", counts(&[0])).take_over(9).unwrap(),
        None
    );
}

#[test]
fn emptying_makes_way_for_a_changed_declaration_of_a_table_made_here() {
    let folder = TempDir::new().unwrap();
    open(&folder, "p", counts(&[0])).take_over(7).unwrap();
    let mut changed = open(&folder, "p", counts(&[]));

    refusal(changed.take_over(8));
    changed.empty().unwrap();
    changed.take_over(9).unwrap();

    changed
        .publish(&mark(1), &[upserts(&["a", "a"], &[1, 1])])
        .unwrap();
    assert_eq!(content(&folder).len(), 2);
}

#[test]
fn floats_that_sqlite_has_no_form_for_are_kept_apart_from_null() {
    let folder = TempDir::new().unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
    let table = SinkTable {
        schema: Arc::clone(&schema),
        ..counts(&[])
    };
    let mut sink = open(&folder, "p", table);
    sink.take_over(7).unwrap();
    let column: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(f64::NAN),
        Some(f64::NEG_INFINITY),
        Some(1.5),
        None,
    ]));
    let upserts = Some(RecordBatch::try_new(schema, vec![column]).unwrap());

    sink.publish(
        &mark(1),
        &[TableChanges {
            table: 0,
            upserts,
            deletes: None,
        }],
    )
    .unwrap();

    let connection = Connection::open(folder.path().join("out.db")).unwrap();
    let seen: String = connection
        .query_row(
            "SELECT group_concat(typeof(x) || ' ' || coalesce(x, ''), ', ') FROM counts",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(seen, "text NaN, real -Inf, real 1.5, null ");
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line per type")]
fn every_type_has_a_form_that_people_and_tools_can_read() {
    let cast = |text: &str, to: &DataType| {
        let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
        arrow::compute::cast(&text, to).unwrap()
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
    let structure = StructArray::from(vec![(
        item,
        Arc::new(Int64Array::from(vec![5])) as ArrayRef,
    )]);
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        ("b", cast("true", &DataType::Boolean), "integer 1"),
        ("i", cast("-7", &DataType::Int16), "integer -7"),
        ("f", cast("0.5", &DataType::Float32), "real 0.5"),
        (
            "d",
            cast("12.50", &DataType::Decimal128(10, 2)),
            "text 12.50",
        ),
        ("t", cast("1.50", &DataType::Utf8), "text 1.50"),
        (
            "at",
            cast("2026-01-31 12:00:00.5", &time),
            "text 2026-01-31 12:00:00.5",
        ),
        (
            "tz",
            cast("2026-01-31T12:00:00Z", &zoned),
            "text 2026-01-31 12:00:00+00",
        ),
        (
            "day",
            cast("2026-01-31", &DataType::Date32),
            "text 2026-01-31",
        ),
        ("x", cast("ab", &DataType::Binary), "blob ab"),
        ("l", Arc::new(list), "text [1,null]"),
        ("s", Arc::new(structure), "text {\"item\":5}"),
    ];
    let batch = RecordBatch::try_from_iter(
        columns
            .iter()
            .map(|(name, column, _)| (*name, Arc::clone(column))),
    )
    .unwrap();
    let folder = TempDir::new().unwrap();
    let mut sink = open(
        &folder,
        "p",
        SinkTable {
            schema: batch.schema(),
            ..counts(&[])
        },
    );
    sink.take_over(7).unwrap();

    sink.publish(
        &mark(1),
        &[TableChanges {
            table: 0,
            upserts: Some(batch),
            deletes: None,
        }],
    )
    .unwrap();

    let connection = Connection::open(folder.path().join("out.db")).unwrap();
    for (name, _, expected) in columns {
        let sql = format!("SELECT typeof({name}) || ' ' || {name} FROM counts");
        let seen: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn a_file_that_is_not_a_database_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("out.db"), "page,views\n".repeat(100)).unwrap();

    let (message, _) = refusal(open(&folder, "p", counts(&[0])).take_over(7));

    assert!(
        message.ends_with("out.db`: it is not a SQLite file"),
        "{message}"
    );
}
