//! `format = 'parquet'`: the same rows as in CSV give the same tables, from a source and in a replay.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::support::{Ended, Exit, tables, tidemark};

const PIPELINE: &str = "
CREATE TABLE trips (
  id BIGINT NOT NULL, at TIMESTAMP, zone INT, fare DECIMAL(10, 2) CHECK (fare < 90), km DOUBLE PRECISION,
  paid BOOLEAN, note TEXT, small SMALLINT, twice AS (id * 2),
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (SOURCE, 'dead.letter' = 'dead');
CREATE TABLE dead (kind TEXT, reason TEXT, column_name TEXT, insert_into TEXT)
  WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE kept (twice BIGINT, at TIMESTAMP, zone INT, fare DECIMAL(10, 2), km DOUBLE PRECISION,
  paid BOOLEAN, note TEXT, small SMALLINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE per_window (until TIMESTAMP, zone INT, n BIGINT, fare DECIMAL(38, 2))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO kept SELECT twice, at, zone, fare, km, paid, note, small FROM trips WHERE id % 5 <> 0;
INSERT INTO per_window SELECT window_end, zone, count(*), sum(fare)
  FROM TUMBLE(trips, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, zone;
";

const ROWS: i64 = 500;

/// When trip `i` was, in nanoseconds: every ninth is a minute late.
fn at(i: i64) -> i64 {
    let late = if i % 9 == 8 { 60_000_000_000 } else { 0 };
    1_714_564_800_000_000_000 + i * 700_000_499 - late
}

/// A text with everything that has to be quoted somewhere, or none.
fn note(i: i64) -> Option<String> {
    (i % 4 > 0).then(|| format!("row \"{i}\", with\nlines, {{\"ü\": {i}}}"))
}

/// What is written as SMALLINT: now and then more than that.
fn small(i: i64) -> i32 {
    if i % 50 == 49 { 70_000 } else { i as i32 }
}

fn zone(i: i64) -> Option<i64> {
    (i % 6 < 5).then_some(i % 3)
}

/// The same rows as both kinds of files: two of each, packed in two ways.
fn write(folder: &Path) {
    std::fs::create_dir(folder.join("trips")).unwrap();
    let gzip = Compression::GZIP(GzipLevel::default());
    for (file, rows, packing) in [
        (0, 0..ROWS / 2, Compression::SNAPPY),
        (1, ROWS / 2..ROWS, gzip),
    ] {
        let mut csv = "id,at,zone,fare,km,paid,note,small\n".to_owned();
        for i in rows.clone() {
            let quoted = |note: String| format!("\"{}\"", note.replace('"', "\"\""));
            let note = note(i).map_or_else(String::new, quoted);
            let zone = zone(i).map_or_else(String::new, |zone| zone.to_string());
            let (clock, cents, small) = (clock(at(i)), i % 97, small(i));
            let (euros, km, paid) = (i % 100, i as f64 / 8.0, i % 2 == 0);
            csv.push_str(&format!(
                "{i},{clock},{zone},{euros}.{cents:02},{km},{paid},{note},{small}\n"
            ));
        }
        std::fs::write(folder.join(format!("trips/{file}.csv")), csv).unwrap();
        let path = folder.join(format!("trips/{file}.parquet"));
        write_columns(&path, &rows.collect::<Vec<_>>(), packing);
    }
}

fn clock(nanos: i64) -> String {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    assert_eq!(seconds / 86_400, 19_844, "all on one day");
    let seconds = seconds % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2024-05-01 {hour:02}:{minute:02}:{second:02}.{rest:09}")
}

fn write_columns(file: &Path, rows: &[i64], packing: Compression) {
    let of = || rows.iter().copied();
    let fares = Decimal128Array::from_iter_values(of().map(|i| i128::from(i % 100 * 100 + i % 97)));
    let fares = fares.with_precision_and_scale(10, 2).unwrap();
    // In another order than declared, with one that nobody asked for.
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "small",
            Arc::new(Int32Array::from_iter_values(of().map(small))),
        ),
        (
            "unread",
            Arc::new(Int64Array::from_iter_values(of().map(|i| -i))),
        ),
        ("id", Arc::new(Int64Array::from_iter_values(of()))),
        (
            "at",
            Arc::new(TimestampNanosecondArray::from_iter_values(of().map(at))),
        ),
        ("zone", Arc::new(Int64Array::from_iter(of().map(zone)))),
        ("fare", Arc::new(fares)),
        (
            "km",
            Arc::new(Float64Array::from_iter_values(of().map(|i| i as f64 / 8.0))),
        ),
        (
            "paid",
            Arc::new(BooleanArray::from_iter(of().map(|i| Some(i % 2 == 0)))),
        ),
        ("note", Arc::new(StringArray::from_iter(of().map(note)))),
    ];
    write_rows(file, &RecordBatch::try_from_iter(columns).unwrap(), packing);
}

fn write_rows(file: &Path, rows: &RecordBatch, packing: Compression) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(60))
        .set_compression(packing);
    let file = File::create(file).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties.build())).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

/// The pipeline over files of this format, or over a topic.
fn pipeline(folder: &Path, format: &str) {
    let source = match format {
        "topic" => {
            "connector = 'kafka', topic = 'trips', 'bootstrap.servers' = 'localhost:1', format = 'json'"
                .to_owned()
        }
        format => format!("connector = 'file', path = 'trips/*.{format}', format = '{format}'"),
    };
    std::fs::write(
        folder.join("trips.sql"),
        PIPELINE.replace("SOURCE", &source),
    )
    .unwrap();
}

/// Some rows are read, or blocks of these many.
fn run(folder: &Path, options: &[&str], block: &str, crash: Option<u32>) -> Exit {
    let crash = crash.map(|step| step.to_string());
    let mut variables = vec![("TIDEMARK_TEST_PACE", "1"), ("TIDEMARK_TEST_BLOCK", block)];
    if let Some(step) = &crash {
        variables.push(("TIDEMARK_CRASH_AT", step));
    }
    let options = [options, &["--quiet"]].concat();
    let ended = tidemark(folder, &options, &variables);
    assert!(!matches!(ended.how, Exit::Code(1 | 2)), "{}", ended.stderr);
    ended.how
}

fn left(folder: &Path) -> Vec<String> {
    let tables = tables(&folder.join("out.db")).into_iter();
    let lines = tables.flat_map(|table| {
        let name = table.name;
        let rows = table.rows.into_iter();
        rows.map(move |row| format!("{name}: {row:?}"))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn columns_give_the_tables_that_the_same_rows_give_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    pipeline(folder, "csv");
    assert_eq!(
        run(folder, &["run", "trips.sql"], "1000", None),
        Exit::Code(0)
    );
    let expected = left(folder);
    for kind in ["late", "bad_value", "check_failed", "kept", "per_window"] {
        let count = expected.iter().filter(|line| line.contains(kind)).count();
        assert!(count >= 8, "{count} {kind}");
    }

    let replayed = ["replay", "trips.sql", "--source", "trips=trips/*.parquet"];
    for (format, command, block) in [
        (
            "parquet",
            &["run", "trips.sql", "--threads", "1"][..],
            "8192",
        ),
        ("parquet", &["run", "trips.sql", "--threads", "3"], "7"),
        ("csv", &replayed, "100"),
        ("topic", &replayed, "50"),
    ] {
        std::fs::remove_file(folder.join("out.db")).unwrap();
        pipeline(folder, format);
        assert_eq!(run(folder, command, block, None), Exit::Code(0));

        assert_eq!(left(folder), expected, "{command:?}");
    }
}

#[test]
fn a_crash_at_any_commit_leaves_nothing_lost_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    pipeline(folder, "parquet");
    let options = ["run", "trips.sql", "--threads", "1"];
    assert_eq!(run(folder, &options, "64", None), Exit::Code(0));
    let expected = left(folder);

    let mut crashes = 0;
    loop {
        std::fs::remove_file(folder.join("out.db")).unwrap();
        let how = run(folder, &options, "64", Some(crashes + 1));
        if how == Exit::Code(0) {
            break;
        }
        crashes += 1;
        // Other blocks than before: a resume begins at any row.
        assert_eq!(run(folder, &options, "23", None), Exit::Code(0));
        assert_eq!(left(folder), expected, "killed at step {crashes}");
    }
    assert!(crashes > 2, "{crashes} commits");
}

#[test]
fn rows_are_counted_of_which_no_column_is_read_in_any_packing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("in")).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..250));
    let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
    for (file, packing) in [
        ("a", Compression::UNCOMPRESSED),
        ("b", Compression::ZSTD(ZstdLevel::default())),
        ("c", Compression::LZ4_RAW),
        ("d", Compression::SNAPPY),
    ] {
        write_rows(&folder.join(format!("in/{file}.parquet")), &rows, packing);
    }
    for (read, sum) in [("7", 7000), ("n", 4 * 249 * 125)] {
        let sql = format!(
            "CREATE TABLE numbers (n BIGINT) WITH (connector = 'file', path = 'in', format = 'parquet');
            CREATE TABLE kept (n BIGINT) WITH (connector = 'sqlite', path = '{read}.db');
            INSERT INTO kept SELECT {read} FROM numbers;"
        );
        std::fs::write(folder.join("trips.sql"), sql).unwrap();
        let how = run(folder, &["run", "trips.sql"], "100", None);
        assert_eq!(how, Exit::Code(0));

        let database = rusqlite::Connection::open(folder.join(format!("{read}.db"))).unwrap();
        let kept = database.query_row("select count(*), sum(n) from kept", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(kept.unwrap(), (1000, sum));
    }
}

fn check(folder: &Path) -> Ended {
    tidemark(folder, &["check", "trips.sql"], &[])
}

#[test]
fn what_differs_is_said_before_a_row_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    let files = "connector = 'file', path = 'trips/*.parquet', format = 'parquet'";
    let sql = PIPELINE.replace("SOURCE", files);
    for (from, to, said) in [
        (
            "note TEXT",
            "note TEXT, unread DATE NOT NULL",
            "`unread` is BIGINT there, which does not become DATE",
        ),
        (
            "note TEXT",
            "note TEXT, more INT NOT NULL",
            "there is no column `more`",
        ),
        (
            "format = 'parquet'",
            "format = 'parquet', watch = 'true'",
            "a folder is watched for CSV or JSON lines, not for Parquet",
        ),
        (
            "format = 'parquet'",
            "format = 'parquet', 'csv.header' = 'true'",
            "option `csv.header` is for the format `csv`",
        ),
        (
            "connector = 'file', path = 'trips/*.parquet', format = 'parquet'",
            "connector = 'kafka', topic = 't', 'bootstrap.servers' = 'localhost:1', format = 'parquet'",
            "format `parquet` is read from files, and from nowhere else",
        ),
    ] {
        std::fs::write(folder.join("trips.sql"), sql.replacen(from, to, 1)).unwrap();
        let checked = check(folder);
        assert_eq!(checked.how, Exit::Code(2), "{to}: {}", checked.stdout);
        assert!(checked.stderr.contains(said), "{said}: {}", checked.stderr);
    }

    let whole = std::fs::read(folder.join("trips/0.parquet")).unwrap();
    std::fs::write(folder.join("trips/9.parquet"), &whole[..whole.len() / 2]).unwrap();
    pipeline(folder, "parquet");
    let torn = check(folder);
    assert_eq!(torn.how, Exit::Code(2), "{}", torn.stdout);
    let said = "cannot read `trips/9.parquet` as Parquet";
    assert!(torn.stderr.contains(said), "{}", torn.stderr);
}

#[test]
fn infer_prints_the_table_that_a_file_says_that_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());

    let inferred = tidemark(folder.path(), &["infer", "trips/0.parquet"], &[]);

    assert_eq!(inferred.how, Exit::Code(0), "{}", inferred.stderr);
    for line in [
        "fare   DECIMAL(10, 2)",
        "at     TIMESTAMP",
        "format = 'parquet'",
    ] {
        assert!(inferred.stdout.contains(line), "{}", inferred.stdout);
    }
    let produced = ["produce", "--topic", "t", "--file", "trips/0.parquet"];
    let refused = tidemark(folder.path(), &produced, &[]);
    assert_eq!(refused.how, Exit::Code(2));
}
