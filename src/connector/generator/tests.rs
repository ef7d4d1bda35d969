//! A row depends on the seed and its number, and on nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::connector::fixtures::table;
use crate::connector::{SharedSource, open_source};
use crate::format::{EXTENSION, JSON, UUID, value_text};
use crate::plan::{Role, Table};
use crate::types::{Clock, Offset, Reason};

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn generator(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let mut all = vec![("connector", "generator")];
    all.extend(options);
    table(Role::Source, columns, &all)
}

fn open(table: &Table) -> SharedSource {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    open_source(table, &columns, std::path::Path::new("."), &Clock::manual()).unwrap()
}

fn texts(batch: &RecordBatch, row: usize) -> String {
    let text = |column| value_text(column, row).unwrap_or_else(|| "NULL".to_owned());
    batch
        .columns()
        .iter()
        .map(|column| text(column))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The rows of a partition from an offset on, by their offsets.
fn read(source: &SharedSource, partition: usize, from: u64) -> BTreeMap<u64, String> {
    let mut reader = source.open(partition, Offset(from)).unwrap();
    let mut decoder = source.decoder();
    let mut rows = BTreeMap::new();
    while let Some(block) = reader.next().unwrap() {
        let decoded = decoder.decode(&block);
        assert_eq!(decoded.spans.len(), decoded.rows.num_rows());
        for (row, span) in decoded.spans.iter().enumerate() {
            rows.insert(block.start.plus(span.start).0, texts(&decoded.rows, row));
        }
    }
    rows
}

/// The values of a table's only column.
fn values(data_type: DataType, options: &[(&str, &str)]) -> Vec<String> {
    let source = open(&generator(&[("x", data_type)], options));
    read(&source, 0, 0).into_values().collect()
}

fn numbers(data_type: DataType, options: &[(&str, &str)]) -> Vec<f64> {
    values(data_type, options)
        .iter()
        .map(|text| text.parse().unwrap())
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_rows_however_they_are_shared_out() {
    let columns = [
        ("user", DataType::Int64),
        ("at", MICROS),
        ("name", DataType::Utf8),
    ];
    let whole = read(&open(&generator(&columns, &[("rows", "20000")])), 0, 0);
    let shared = open(&generator(
        &columns,
        &[("rows", "20000"), ("partitions", "3")],
    ));

    let mut together = BTreeMap::new();
    for partition in 0..3 {
        together.extend(read(&shared, partition, 0));
    }

    assert_eq!(whole.len(), 20_000);
    assert_eq!(together, whole);
}

#[test]
fn reading_may_start_at_any_row() {
    let table = generator(
        &[("user", DataType::Int64)],
        &[("rows", "100"), ("partitions", "3")],
    );
    let source = open(&table);

    for partition in 0..3 {
        let whole = read(&source, partition, 0);
        for from in 0..=100 {
            let rest: BTreeMap<u64, String> = whole.clone().split_off(&from);
            assert_eq!(read(&source, partition, from), rest);
        }
    }
}

#[test]
fn another_seed_gives_other_rows() {
    let rows = |seed| values(DataType::Int64, &[("rows", "10"), ("seed", seed)]);

    assert_eq!(rows("1"), rows("1"));
    assert_ne!(rows("1"), rows("2"));
}

#[test]
fn a_column_has_the_same_values_whatever_stands_beside_it() {
    let table = generator(
        &[("a", DataType::Int64), ("b", DataType::Utf8)],
        &[("rows", "5")],
    );
    let alone = open_source(&table, &[1], std::path::Path::new("."), &Clock::manual()).unwrap();

    let both = read(&open(&table), 0, 0);
    let alone = read(&alone, 0, 0);

    assert!(
        both.values()
            .zip(alone.values())
            .all(|(both, alone)| both.ends_with(alone))
    );
}

#[test]
fn every_type_has_values_without_any_option() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let types = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 2),
        DataType::Decimal128(2, 2),
        DataType::Decimal128(38, 10),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        MICROS,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::List(Arc::clone(&item)),
        DataType::Struct(vec![item].into()),
    ];
    for data_type in types {
        let rows = values(data_type.clone(), &[("rows", "50")]);
        let first = &rows[0];

        assert_eq!(rows.len(), 50);
        let varies = rows.iter().any(|row| row != first);
        assert!(
            varies || data_type == DataType::Decimal128(2, 2),
            "{data_type}: {first}"
        );
    }
}

#[test]
fn uuids_and_json_are_such() {
    let mut table = generator(
        &[("id", DataType::Utf8), ("j", DataType::Utf8)],
        &[("rows", "20")],
    );
    for (column, extension) in [(0, UUID), (1, JSON)] {
        let metadata = HashMap::from([(EXTENSION.to_owned(), extension.to_owned())]);
        let field = table.columns[column]
            .field
            .as_ref()
            .clone()
            .with_metadata(metadata);
        table.columns[column].field = Arc::new(field);
    }

    for row in read(&open(&table), 0, 0).into_values() {
        let (id, json) = row.split_once(' ').unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!(
            serde_json::from_str::<serde_json::Value>(json).is_ok(),
            "{json}"
        );
    }
}

#[test]
fn a_sequence_counts_and_a_choice_chooses_by_weight() {
    let sequence = numbers(
        DataType::Int64,
        &[
            ("rows", "4"),
            ("fields.x.kind", "sequence"),
            ("fields.x.min", "10"),
        ],
    );
    let labels = values(
        DataType::Utf8,
        &[
            ("rows", "2"),
            ("fields.x.kind", "sequence"),
            ("fields.x.prefix", "u-"),
        ],
    );
    let choice = values(
        DataType::Utf8,
        &[
            ("rows", "1000"),
            ("fields.x.values", "view, buy, never"),
            ("fields.x.weights", "9,1,0"),
        ],
    );

    assert_eq!(sequence, [10.0, 11.0, 12.0, 13.0]);
    assert_eq!(labels, ["u-0", "u-1"]);
    let views = choice.iter().filter(|text| *text == "view").count();
    let buys = choice.iter().filter(|text| *text == "buy").count();
    assert_eq!(views + buys, 1000);
    assert!((850..950).contains(&views), "{views}");
}

#[test]
fn numbers_stay_between_their_bounds() {
    for (data_type, kind) in [
        (DataType::Int16, "uniform"),
        (DataType::Int64, "zipf"),
        (DataType::Float64, "uniform"),
        (DataType::Float64, "normal"),
        (DataType::Decimal128(10, 2), "normal"),
        (DataType::Decimal128(10, 2), "uniform"),
    ] {
        let options = [
            ("rows", "2000"),
            ("fields.x.kind", kind),
            ("fields.x.min", "5"),
            ("fields.x.max", "7"),
        ];
        let found = numbers(data_type.clone(), &options);
        let least = found.iter().copied().fold(f64::INFINITY, f64::min);
        let most = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);

        assert!(
            (5.0..5.2).contains(&least) && most <= 7.0 && most > 6.8,
            "{data_type} {kind}: {least} {most}"
        );
    }
}

#[test]
fn event_times_follow_their_rate_and_lag_by_at_most_the_lateness() {
    let options = [
        ("rows", "1000"),
        ("rows.per.second", "10"),
        ("start", "2026-01-01"),
        ("lateness", "5s"),
    ];
    let source = open(&generator(&[("at", MICROS)], &options));
    let start = crate::connector::option::timestamp("2026-01-01").unwrap();

    let found = read(&source, 0, 0);

    let mut late = 0;
    for (row, text) in found {
        let on_time = start + i64::try_from(row).unwrap() * 100_000;
        let lag = on_time - crate::connector::option::timestamp(&text).unwrap();
        assert!((0..=5_000_000).contains(&lag), "{row}: {lag}");
        late += i32::from(lag > 0);
    }
    assert!(late > 900);
}

#[test]
fn a_null_that_may_not_be_is_a_reject() {
    let mut table = generator(
        &[("x", DataType::Int64), ("y", DataType::Int64)],
        &[
            ("rows", "1000"),
            ("fields.x.nulls", "0.1"),
            ("fields.y.nulls", "0.5"),
        ],
    );
    table.columns[0].field = Arc::new(Field::new("x", DataType::Int64, false));
    let source = open(&table);
    let block = source.open(0, Offset(0)).unwrap().next().unwrap().unwrap();

    let decoded = source.decoder().decode(&block);

    assert_eq!(decoded.rows.num_rows() + decoded.rejects.len(), 1000);
    assert!((50..150).contains(&decoded.rejects.len()));
    assert!(
        decoded
            .rejects
            .iter()
            .all(|r| r.reject.reason == Reason::Missing && r.reject.column.as_deref() == Some("x"))
    );
    assert!(decoded.rows.column(1).null_count() > 300);
}

#[test]
fn a_rate_is_kept_by_the_clock() {
    let table = generator(
        &[("x", DataType::Int64)],
        &[("rows", "1000"), ("rate", "100"), ("partitions", "2")],
    );
    let clock = Clock::manual();
    let source = open_source(&table, &[0], std::path::Path::new("."), &clock).unwrap();

    let rows = read(&source, 1, 0);

    assert_eq!(rows.len(), 500);
    assert_eq!(clock.elapsed(), Duration::from_secs(10));
}

#[test]
fn rows_that_an_earlier_run_had_are_not_waited_for() {
    let table = generator(
        &[("x", DataType::Int64)],
        &[("rows", "1000"), ("rate", "100")],
    );
    let clock = Clock::manual();
    let source = open_source(&table, &[0], std::path::Path::new("."), &clock).unwrap();
    let mut reader = source.open(0, Offset(0)).unwrap();

    reader.again_up_to(Offset(600));
    let mut waited = BTreeMap::new();
    while let Some(block) = reader.next().unwrap() {
        waited.insert(block.end.0, clock.elapsed());
    }

    assert_eq!(waited[&600], Duration::ZERO);
    assert_eq!(waited[&1000], Duration::from_secs(4));
}

#[test]
fn a_source_without_an_end_goes_on() {
    let source = open(&generator(&[("x", DataType::Int64)], &[]));
    let mut reader = source.open(0, Offset(1 << 40)).unwrap();

    let block = reader.next().unwrap().unwrap();

    assert_eq!(block.start, Offset(1 << 40));
    assert_eq!(source.partitions()[0].length, None);
    assert!(source.decoder().decode(&block).rows.num_rows() > 1000);
}
