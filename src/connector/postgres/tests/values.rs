//! Every type, at its ends, by every way into the database.

use arrow::array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, IntervalMonthDayNanoArray, ListArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::IntervalMonthDayNanoType;

use super::*;
use crate::connector::refused_values;
use crate::format::{EXTENSION, JSON, UUID};

/// A column, its values, and their texts in PostgreSQL; "" is NULL.
struct Case {
    field: Field,
    array: ArrayRef,
    texts: &'static [&'static str],
}

fn case(name: &str, array: ArrayRef, texts: &'static [&'static str]) -> Case {
    Case {
        field: Field::new(name, array.data_type().clone(), true),
        array,
        texts,
    }
}

fn marked(field: Field, extension: &str) -> Field {
    field.with_metadata([(EXTENSION.to_owned(), extension.to_owned())].into())
}

fn decimal(precision: u8, scale: i8, values: [Option<i128>; 3]) -> ArrayRef {
    let array = Decimal128Array::from(values.to_vec());
    Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
}

fn texts(values: [Option<&str>; 3]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Three rows of each list: one with NULL in it, one that is empty, NULL.
fn list(items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let count = items.len();
    let offsets = OffsetBuffer::from_lengths([count, 0, 0]);
    let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false]);
    Arc::new(ListArray::new(field, offsets, items, Some(nulls)))
}

const MOST: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

#[allow(clippy::too_many_lines, reason = "one entry per type")]
fn cases() -> Vec<Case> {
    let day = 86_400_000_000;
    let micros = |values: [Option<i64>; 3], zone: Option<&str>| -> ArrayRef {
        let array = TimestampMicrosecondArray::from(values.to_vec());
        Arc::new(array.with_timezone_opt(zone.map(str::to_owned)))
    };
    let span =
        |months, days, nanos| Some(IntervalMonthDayNanoType::make_value(months, days, nanos));
    // The first moment of PostgreSQL's calendar, and the last that we count to.
    let ends = [Some(-210_866_803_200_000_000), Some(i64::MAX), None];
    let structure = StructArray::from(vec![(
        Arc::new(Field::new("a\"b", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![Some("x\n'"), None, Some("z")])) as ArrayRef,
    )]);
    let mut cases = vec![
        case(
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            &["true", "false", ""],
        ),
        case(
            "int2",
            Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), None])),
            &["-32768", "32767", ""],
        ),
        case(
            "int4",
            Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None])),
            &["-2147483648", "2147483647", ""],
        ),
        case(
            "int8",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
            &["-9223372036854775808", "9223372036854775807", ""],
        ),
        case(
            "float4",
            Arc::new(Float32Array::from(vec![
                Some(f32::MAX),
                Some(f32::NAN),
                Some(1e-45),
            ])),
            &["3.4028235e+38", "NaN", "1e-45"],
        ),
        case(
            "float8",
            Arc::new(Float64Array::from(vec![
                Some(f64::MIN),
                Some(f64::NEG_INFINITY),
                Some(5e-324),
            ])),
            &["-1.7976931348623157e+308", "-Infinity", "5e-324"],
        ),
        case(
            "small",
            decimal(5, 2, [Some(99_999), Some(-1), Some(0)]),
            &["999.99", "-0.01", "0.00"],
        ),
        case(
            "wide",
            decimal(38, 10, [Some(MOST), Some(-MOST), None]),
            &[
                "9999999999999999999999999999.9999999999",
                "-9999999999999999999999999999.9999999999",
                "",
            ],
        ),
        case(
            "whole",
            decimal(38, 0, [Some(MOST), Some(10_i128.pow(20)), Some(-10_000)]),
            &[
                "99999999999999999999999999999999999999",
                "100000000000000000000",
                "-10000",
            ],
        ),
        case(
            "fraction",
            decimal(38, 38, [Some(MOST), Some(1), None]),
            &[
                "0.99999999999999999999999999999999999999",
                "0.00000000000000000000000000000000000001",
                "",
            ],
        ),
        case(
            "text",
            texts([Some("\u{10ffff} \\ ' \" \u{1}"), Some("x"), None]),
            &["\u{10ffff} \\ ' \" \u{1}", "x", ""],
        ),
        case(
            "bytea",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\0\xff"[..]),
                Some(b"\\"),
                None,
            ])),
            &["\\x00ff", "\\x5c", ""],
        ),
        case(
            "date",
            Arc::new(Date32Array::from(vec![
                Some(-2_440_588),
                Some(2_145_042_905),
                Some(0),
            ])),
            &["4714-11-24 BC", "5874897-12-31", "1970-01-01"],
        ),
        case(
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                Some(day - 1),
                Some(day),
            ])),
            &["00:00:00", "23:59:59.999999", "24:00:00"],
        ),
        case(
            "timestamp",
            micros(ends, None),
            &["4714-11-24 00:00:00 BC", "294247-01-10 04:00:54.775807", ""],
        ),
        case(
            "timestamptz",
            micros([Some(-1), Some(0), None], Some("UTC")),
            &[
                "1969-12-31 23:59:59.999999+00",
                "1970-01-01 00:00:00+00",
                "",
            ],
        ),
        case(
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                span(i32::MIN, i32::MAX, -1_000),
                span(-1, 1, 1_000),
                None,
            ])),
            &[
                "-178956970 years -8 mons +2147483647 days -00:00:00.000001",
                "-1 mons +1 day 00:00:00.000001",
                "",
            ],
        ),
        case(
            "ints",
            list(Arc::new(Int32Array::from(vec![Some(1), None]))),
            &["{1,NULL}", "{}", ""],
        ),
        case(
            "words",
            list(Arc::new(StringArray::from(vec![Some("a,\""), Some("")]))),
            &["{\"a,\\\"\",\"\"}", "{}", ""],
        ),
        case(
            "structs",
            list(Arc::new(structure.slice(0, 2))),
            &[
                "{\"{\\\"a\\\\\\\"b\\\": \\\"x\\\\n'\\\"}\",\"{\\\"a\\\\\\\"b\\\": null}\"}",
                "{}",
                "",
            ],
        ),
        case(
            "lists",
            list(list(Arc::new(Int32Array::from(vec![1])))),
            &["[[1], [], null]", "[]", ""],
        ),
        case(
            "struct",
            Arc::new(structure),
            &[
                "{\"a\\\"b\": \"x\\n'\"}",
                "{\"a\\\"b\": null}",
                "{\"a\\\"b\": \"z\"}",
            ],
        ),
    ];
    let uuids = texts([
        Some("00112233-4455-6677-8899-AABBCCDDEEFF"),
        Some("ffffffffffffffffffffffffffffffff"),
        None,
    ]);
    cases.push(case(
        "uuid",
        uuids,
        &[
            "00112233-4455-6677-8899-aabbccddeeff",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "",
        ],
    ));
    let json = texts([
        Some("{\"b\":1, \"a\": [1.50, \"\\u00e9\"]}"),
        Some("null"),
        None,
    ]);
    cases.push(case(
        "json",
        json,
        &["{\"a\": [1.50, \"é\"], \"b\": 1}", "null", ""],
    ));
    for case in &mut cases {
        let field = case.field.clone();
        match field.name().as_str() {
            "uuid" => case.field = marked(field, UUID),
            "json" => case.field = marked(field, JSON),
            _ => {}
        }
    }
    cases
}

/// The cases beside a key, `copies` times over.
fn batch(cases: &[Case], copies: usize) -> RecordBatch {
    let rows = i32::try_from(3 * copies).unwrap();
    let mut fields = vec![Field::new("k", DataType::Int32, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from_iter_values(0..rows))];
    for case in cases {
        let again: Vec<&dyn Array> = vec![&case.array; copies];
        fields.push(case.field.clone());
        columns.push(concat(&again).unwrap());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn sink_of(batch: &RecordBatch, key: &[usize]) -> SinkTable {
    SinkTable {
        schema: batch.schema(),
        ..counts(key)
    }
}

#[test]
fn every_value_comes_out_as_it_went_in_by_every_way() {
    let lists = |case: &Case| matches!(case.field.data_type(), DataType::List(_));
    // Appended by COPY and by parameters, replaced by parameters and by a temporary table.
    for (number, (key, copies, with_lists)) in [
        (&[][..], 1, false),
        (&[], 1, true),
        (&[], 700, true),
        (&[0], 1, false),
        (&[0], 1, true),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(mut scratch) = Scratch::new(&format!("values_{number}")) else {
            return;
        };
        let cases: Vec<Case> = cases()
            .into_iter()
            .filter(|case| with_lists || !lists(case))
            .collect();
        let batch = batch(&cases, copies);
        let mut sink = scratch.open("p", sink_of(&batch, key));
        sink.take_over(7).unwrap();

        sink.publish(&mark(1), &[inserted(batch.clone())]).unwrap();
        if !key.is_empty() {
            sink.publish(&mark(2), &[inserted(batch)]).unwrap();
        }

        for case in &cases {
            let name = case.field.name();
            let sql = format!(
                "select (array_agg(coalesce(\"{name}\"::text, '') order by k))[1:3],
                        count(*), count(distinct coalesce(\"{name}\"::text, '')) from counts"
            );
            let row = scratch.client.query_one(&sql, &[]).unwrap();
            assert_eq!(
                row.get::<_, Vec<String>>(0),
                case.texts,
                "{name}, way {number}"
            );
            assert_eq!(row.get::<_, i64>(1), i64::try_from(3 * copies).unwrap());
            assert_eq!(row.get::<_, i64>(2), 3, "{name}, way {number}");
        }
    }
}

/// Lists go by way of a table of the session, in as many statements as it takes.
#[test]
fn more_lists_than_fit_one_statement_are_each_written_once() {
    const ROWS: i64 = 70_000;
    let Some(mut scratch) = Scratch::new("many_lists") else {
        return;
    };
    let lists = |first: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
        let items: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + ROWS));
        let field = Arc::new(Field::new("item", DataType::Int64, true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, ids.len()));
        let lists: ArrayRef = Arc::new(ListArray::new(field, offsets, items, None));
        RecordBatch::try_from_iter([("k", ids), ("list", lists)]).unwrap()
    };
    let mut sink = scratch.open("p", sink_of(&lists(0), &[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[inserted(lists(0))]).unwrap();
    sink.publish(&mark(2), &[inserted(lists(5))]).unwrap();

    let sql = "select count(*), count(*) filter (where list[1] = k + 5) from counts";
    let row = scratch.client.query_one(sql, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (ROWS, ROWS));
}

#[test]
fn columns_of_wider_types_take_the_values() {
    let Some(mut scratch) = Scratch::new("wider") else {
        return;
    };
    scratch.execute(
        "create table counts (k int8 primary key, int2 int4, float4 float8, small numeric,
                              text varchar, json json, words varchar[])",
    );
    let wanted = ["int2", "float4", "small", "text", "json", "words"];
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| wanted.contains(&case.field.name().as_str()))
        .collect();
    let batch = batch(&cases, 1);
    let mut sink = scratch.open("p", sink_of(&batch, &[0]));
    sink.take_over(7).unwrap();

    sink.publish(&mark(1), &[inserted(batch)]).unwrap();

    let seen = scratch
        .text("select concat_ws(' ', int2, float4::float4, small, words) from counts where k = 0");
    assert_eq!(seen, "-32768 3.4028235e+38 999.99 {\"a,\\\"\",\"\"}");
}

#[test]
fn values_that_postgresql_refuses_are_told_apart_by_row() {
    let refused = |field: &Field, array: ArrayRef| {
        let refused = refused_values("postgres", field, &array)?;
        let rows: Vec<usize> = refused.rows.set_indices().collect();
        Some((rows, refused.reason))
    };
    let plain = |array: ArrayRef| {
        let field = Field::new("x", array.data_type().clone(), true);
        refused(&field, array)
    };
    let nul: ArrayRef = texts([Some("a"), Some("b\0"), None]);

    assert_eq!(
        plain(Arc::clone(&nul)),
        Some((vec![1], "a text with a NUL character"))
    );
    assert_eq!(plain(nul.slice(2, 1)), None);
    assert_eq!(
        plain(list(nul)),
        Some((vec![0], "a text with a NUL character"))
    );
    let times =
        TimestampMicrosecondArray::from(vec![i64::MAX, -210_866_803_200_000_001, i64::MIN, 0]);
    assert_eq!(
        plain(Arc::new(times)),
        Some((vec![1, 2], "a time outside PostgreSQL's calendar"))
    );
    assert_eq!(
        plain(Arc::new(Date32Array::from(vec![i32::MAX, 0, -2_440_589]))),
        Some((vec![0, 2], "a date outside PostgreSQL's calendar"))
    );
    let json = marked(Field::new("x", DataType::Utf8, true), JSON);
    assert_eq!(
        refused(&json, texts([Some("{"), Some("\"\\u0000\""), Some("1")])),
        Some((vec![0, 1], "not JSON that `jsonb` holds"))
    );
    let uuid = marked(Field::new("x", DataType::Utf8, true), UUID);
    assert_eq!(
        refused(
            &uuid,
            texts([
                Some("0"),
                Some("00112233-4455-6677-8899-aabbccddeeff"),
                None
            ])
        ),
        Some((vec![0], "not a UUID"))
    );
    let field = Field::new("x", DataType::Utf8, true);
    assert_eq!(
        refused_values("sqlite", &field, &texts([Some("\0"), None, None])),
        None
    );
}

#[test]
fn a_computed_value_that_postgresql_refuses_is_named_by_its_key() {
    let Some(mut scratch) = Scratch::new("computed") else {
        return;
    };
    let mut sink = scratch.open("p", counts(&[1]));
    sink.take_over(7).unwrap();

    let (message, _) = refusal(sink.publish(&mark(1), &[upserts(&["x", "a\0"], &[1, 2])]));

    assert_eq!(
        message,
        "table `unit_computed.counts` cannot hold a value of column `page` in the row with \
         views = 2: it is a text with a NUL character"
    );
    assert_eq!(scratch.content(), []);
}

#[test]
fn keys_that_postgresql_takes_for_the_same_are_named_both() {
    for (array, one, other) in [
        (
            Arc::new(Float64Array::from(vec![0.0, 1.0, -0.0])) as ArrayRef,
            "0",
            "-0",
        ),
        (
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                IntervalMonthDayNanoType::make_value(1, 0, 0),
                IntervalMonthDayNanoType::make_value(0, 31, 0),
                IntervalMonthDayNanoType::make_value(0, 29, 86_400_000_000_000),
            ])),
            "1 mon",
            "29 days 24:00:00",
        ),
    ] {
        let Some(scratch) = Scratch::new("twins") else {
            return;
        };
        let batch = RecordBatch::try_new(
            Arc::new(Schema::new(vec![Field::new(
                "k",
                array.data_type().clone(),
                false,
            )])),
            vec![array],
        )
        .unwrap();
        let mut sink = scratch.open("p", sink_of(&batch, &[0]));
        sink.take_over(7).unwrap();

        let (message, _) = refusal(sink.publish(&mark(1), &[inserted(batch)]));

        for key in [one, other] {
            assert!(message.contains(&format!("k = {key}")), "{message}");
        }
    }
}
