//! Columns against the JSON of the same records, which they have to agree with.

use arrow::array::{
    BinaryArray, BooleanArray, Date64Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int32Array, Int64Array, LargeStringArray, ListArray, StringArray,
    StructArray, Time32MillisecondArray, Time64NanosecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Fields, Int64Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::format::column::JSON;
use crate::format::options::{CsvOptions, FormatKind, TimestampFormat};
use crate::format::{EXTENSION, Encoder, RECORD};
use crate::types::Offset;

fn options(kind: FormatKind) -> FormatOptions {
    FormatOptions {
        kind,
        record_bytes_max: 1 << 20,
        timestamps: TimestampFormat::Iso,
        csv: CsvOptions::default(),
    }
}

fn wanted(fields: Vec<Field>) -> Wanted {
    Wanted {
        declared: fields.iter().map(|field| field.name().clone()).collect(),
        schema: Arc::new(Schema::new(fields)),
        tombstones: false,
    }
}

fn extended(name: &str, extension: &str) -> Field {
    let metadata = [(EXTENSION.to_owned(), extension.to_owned())];
    Field::new(name, DataType::Utf8, true).with_metadata(metadata.into())
}

fn block(rows: &RecordBatch) -> Block {
    Block {
        bytes: Arc::default(),
        start: Offset(0),
        end: Offset(rows.num_rows() as u64),
        line: 0,
        header: None,
        records: None,
        columns: Some(Arc::new(rows.clone())),
    }
}

fn decode(rows: &RecordBatch, wanted: &Wanted) -> Decoded {
    let options = options(FormatKind::Parquet);
    fit(rows.schema_ref(), &options, wanted).expect("it fits");
    let mut decoder = ColumnsDecoder::new(&options, wanted).unwrap();
    decoder.decode(&block(rows))
}

/// The same by way of JSON lines.
fn decode_json(rows: &RecordBatch, wanted: &Wanted) -> Decoded {
    let options = options(FormatKind::Json);
    let plain = rows.columns().iter().map(|c| as_plain(c).unwrap());
    let names = rows.schema();
    let names = names.fields().iter().map(|field| field.name().clone());
    let plain = RecordBatch::try_from_iter(names.zip(plain)).unwrap();
    let mut text = String::new();
    Encoder::new(&options).encode(&plain, &mut text);
    let mut decoder = crate::format::decoder(&options, wanted).unwrap();
    decoder.decode(&Block {
        end: Offset(text.len() as u64),
        bytes: Arc::new(text.into_bytes()),
        columns: None,
        ..block(rows)
    })
}

fn rejects(decoded: &Decoded) -> Vec<&Reject> {
    decoded.rejects.iter().map(|it| &it.reject).collect()
}

fn agrees(rows: &RecordBatch, wanted: &Wanted) -> Decoded {
    let (columns, json) = (decode(rows, wanted), decode_json(rows, wanted));
    assert_eq!(columns.rows, json.rows);
    assert_eq!(rejects(&columns), rejects(&json));
    columns
}

fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

const MICROS: TimeUnit = TimeUnit::Microsecond;

#[test]
fn whole_numbers_that_are_too_large_reject_their_rows_and_others_do_not() {
    let rows = batch_of(vec![
        (
            "a",
            Arc::new(Int32Array::from(vec![
                Some(1),
                Some(70_000),
                None,
                Some(-5),
            ])),
        ),
        ("b", Arc::new(UInt64Array::from(vec![1, 2, 3, u64::MAX]))),
        ("c", Arc::new(Int8Array::from(vec![1, 2, 3, 4]))),
        ("unread", Arc::new(BooleanArray::from(vec![true; 4]))),
    ]);
    let wanted = wanted(vec![
        Field::new("c", DataType::Decimal128(10, 2), true),
        Field::new("b", DataType::Int64, true),
        Field::new("a", DataType::Int16, true),
    ]);

    let decoded = agrees(&rows, &wanted);

    let starts: Vec<u32> = decoded.spans.iter().map(|span| span.start).collect();
    assert_eq!(starts, [0, 2]);
    let said = rejects(&decoded)[0];
    assert_eq!(said.column.as_deref(), Some("a"));
    assert_eq!(said.message, "`70000` is out of range for a SMALLINT");
    assert_eq!(decoded.rejects[1].span.start, 3);
}

#[test]
fn a_null_rejects_the_row_where_none_may_be() {
    let rows = batch_of(vec![
        ("a", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("b", Arc::new(StringArray::from(vec![None, Some("7")]))),
    ]);
    let wanted = wanted(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Int32, false),
    ]);

    let decoded = agrees(&rows, &wanted);

    assert_eq!(decoded.rows.num_rows(), 0);
    assert_eq!(rejects(&decoded)[0].reason, Reason::Missing);
}

#[test]
fn times_of_any_unit_are_microseconds_rounded_as_in_text() {
    let nanos = vec![Some(-1), Some(1_499), Some(1_500), Some(-1_500), None];
    let rows = batch_of(vec![
        (
            "s",
            Arc::new(TimestampSecondArray::from(vec![1, -1, 0, 5, 7]).with_timezone("UTC")),
        ),
        ("ns", Arc::new(TimestampNanosecondArray::from(nanos))),
        (
            "t",
            Arc::new(Time64NanosecondArray::from(vec![
                0,
                499,
                500,
                86_399_999_999_499,
                1,
            ])),
        ),
        (
            "ms",
            Arc::new(Time32MillisecondArray::from(vec![0, 1, 2, 3, 4])),
        ),
        (
            "d",
            Arc::new(Date64Array::from(vec![0, 86_400_000, -86_400_000, 0, 0])),
        ),
    ]);
    let wanted = wanted(vec![
        Field::new("s", DataType::Timestamp(MICROS, None), true),
        Field::new("ns", DataType::Timestamp(MICROS, Some("UTC".into())), true),
        Field::new("t", DataType::Time64(MICROS), true),
        Field::new("ms", DataType::Time64(MICROS), true),
        Field::new("d", DataType::Date32, true),
    ]);

    let decoded = decode(&rows, &wanted);

    let micros = |at: usize| Arc::clone(decoded.rows.column(at));
    let of = |at: usize| {
        micros(at)
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .to_vec()
    };
    assert_eq!(of(0), [1_000_000, -1_000_000, 0, 5_000_000, 7_000_000]);
    assert_eq!(of(1)[..4], [0, 1, 2, -1]);
    let times = micros(2)
        .as_primitive::<Time64MicrosecondType>()
        .values()
        .to_vec();
    assert_eq!(times, [0, 0, 1, 86_399_999_999, 0]);
    assert!(decoded.rejects.is_empty());
}

#[test]
fn a_time_that_microseconds_do_not_hold_is_one_reject() {
    let rows = batch_of(vec![(
        "at",
        Arc::new(TimestampSecondArray::from(vec![0, i64::MAX])),
    )]);
    let wanted = wanted(vec![Field::new(
        "at",
        DataType::Timestamp(MICROS, None),
        true,
    )]);

    let decoded = decode(&rows, &wanted);

    assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (1, 1));
}

#[test]
fn nested_values_json_and_uuids_are_read_as_their_text_is() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![Some(1 << 40)]),
        None,
    ]);
    let inner = Fields::from(vec![Field::new("x", DataType::Float64, true)]);
    let structs = StructArray::new(
        inner.clone(),
        vec![Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5])) as ArrayRef],
        None,
    );
    let rows = batch_of(vec![
        ("list", Arc::new(lists.clone())),
        ("again", Arc::new(lists)),
        ("struct", Arc::new(structs)),
        (
            "text",
            Arc::new(StringArray::from(vec![r#"{"a": 1}"#, "7", "no"])),
        ),
    ]);
    let small = Arc::new(item.as_ref().clone().with_data_type(DataType::Int32));
    let json = decode(
        &rows,
        &wanted(vec![
            extended("again", JSON),
            Field::new("struct", DataType::Struct(inner), true),
            extended("text", JSON),
        ]),
    );
    let lists = agrees(
        &rows,
        &wanted(vec![Field::new("list", DataType::List(small), true)]),
    );

    assert_eq!(
        lists
            .spans
            .iter()
            .map(|span| span.start)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(json.rows.column(0).as_string::<i32>().value(0), "[1,null]");
    assert_eq!(
        json.rows.column(2).as_string::<i32>().value(0),
        r#"{"a": 1}"#
    );
    assert_eq!(rejects(&json)[0].column.as_deref(), Some("text"));
    let bytes = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].into_iter()).unwrap();
    let rows = batch_of(vec![("id", Arc::new(bytes))]);
    let decoded = decode(&rows, &wanted(vec![extended("id", UUID)]));
    assert_eq!(
        decoded.rows.column(0).as_string::<i32>().value(0),
        "abababab-abab-abab-abab-abababababab"
    );
}

#[test]
fn bytes_are_text_where_they_are_utf8_and_a_whole_record_is_json() {
    let bytes: Vec<&[u8]> = vec!["café".as_bytes(), b"\xff"];
    let rows = batch_of(vec![
        ("raw", Arc::new(BinaryArray::from(bytes))),
        ("n", Arc::new(LargeStringArray::from(vec!["1", "2"]))),
    ]);
    let record = [(RECORD.to_owned(), "true".to_owned())];
    let wanted = wanted(vec![
        Field::new("raw", DataType::Utf8, true),
        Field::new("all", DataType::Utf8, true).with_metadata(record.into()),
    ]);

    let decoded = decode(&rows, &wanted);

    assert_eq!(decoded.rows.column(0).as_string::<i32>().value(0), "café");
    let whole = decoded.rows.column(1).as_string::<i32>().value(0);
    assert!(whole.ends_with(r#","n":"1"}"#), "{whole}");
    assert_eq!(decoded.rejects.len(), 1);
    assert!(row_text(&rows, 1).ends_with(r#","n":"2"}"#));
}

#[test]
fn what_does_not_fit_names_the_column_and_both_types_and_what_nobody_wants_may_be_anything() {
    let map = DataType::Interval(arrow::datatypes::IntervalUnit::DayTime);
    let file = Schema::new(vec![
        Field::new("km", DataType::Float64, true),
        Field::new("odd", map, true),
    ]);
    let options = options(FormatKind::Parquet);
    let fit = |fields| fit(&file, &options, &wanted(fields));

    let km = |data_type| vec![Field::new("km", data_type, true)];
    assert_eq!(fit(km(DataType::Float64)), Ok(vec![0]));
    assert_eq!(fit(Vec::new()), Ok(Vec::new()));
    let wrong = fit(km(DataType::Boolean)).unwrap_err();
    assert_eq!(
        wrong.difference,
        "`km` is DOUBLE PRECISION there, which does not become BOOLEAN"
    );
    assert_eq!(
        wrong.hint,
        "declare it as DOUBLE PRECISION, and CAST it in the query"
    );
    let missing = fit(vec![Field::new("mk", DataType::Int64, true)]).unwrap_err();
    assert_eq!(missing.difference, "there is no column `mk`");
    assert_eq!(missing.hint, "it has km, odd");
}

#[test]
fn a_map_is_left_out_of_what_a_file_says_and_refused_as_what_it_is() {
    let text = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let entry = DataType::Struct(vec![text("keys"), text("values")].into());
    let map = DataType::Map(Arc::new(Field::new("entries", entry, false)), false);
    let file = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("m", map, true),
    ]);

    let json = Field::new("m", DataType::Utf8, true);
    let wanted = wanted(vec![json]);
    let refused = fit(&file, &options(FormatKind::Parquet), &wanted).unwrap_err();
    let said = crate::format::told("a.parquet", declared(&file)).to_string();

    assert_eq!(
        refused.difference,
        "`m` is a map there, which cannot be read"
    );
    assert!(said.contains("  id BIGINT NOT NULL\n  -- m "), "{said}");
}

#[test]
fn a_float_that_becomes_infinite_is_no_value() {
    let values = vec![1.5, 1e300, f64::INFINITY];
    let rows = batch_of(vec![("x", Arc::new(Float64Array::from(values)))]);

    let decoded = decode(
        &rows,
        &wanted(vec![Field::new("x", DataType::Float32, true)]),
    );

    let kept = decoded
        .rows
        .column(0)
        .as_any()
        .downcast_ref::<Float32Array>();
    assert_eq!(kept.unwrap().values()[..], [1.5, f32::INFINITY]);
    assert_eq!(decoded.rejects[0].span.start, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn columns_mean_what_the_json_of_the_same_records_means(
        whole in prop::collection::vec(any::<Option<i64>>(), 8),
        small in prop::collection::vec(-40_000_i64..40_000, 8),
        cents in prop::collection::vec(-20_000_000_i128..20_000_000, 8),
        floats in prop::collection::vec(prop::option::of(-1e9_f64..1e9), 8),
        amounts in prop::collection::vec(-10_000_000_i32..10_000_000, 8),
        texts in prop::collection::vec("[0-9a-z. -]{0,6}", 8),
    ) {
        let decimals = Decimal128Array::from_iter_values(cents).with_precision_and_scale(12, 4);
        let rows = batch_of(vec![
            ("whole", Arc::new(Int64Array::from(whole))),
            ("small", Arc::new(Int64Array::from(small))),
            ("cents", Arc::new(decimals.unwrap())),
            ("float", Arc::new(Float64Array::from(floats))),
            ("amount", Arc::new(Float64Array::from_iter_values(
                amounts.into_iter().map(|cents| f64::from(cents) / 100.0),
            ))),
            ("text", Arc::new(StringArray::from(texts))),
        ]);
        for field in [
            Field::new("whole", DataType::Int32, true),
            Field::new("whole", DataType::Int64, false),
            Field::new("whole", DataType::Decimal128(18, 2), true),
            Field::new("whole", DataType::Float64, true),
            Field::new("small", DataType::Int16, true),
            Field::new("small", DataType::Decimal128(5, 1), true),
            Field::new("small", DataType::Float32, true),
            Field::new("cents", DataType::Decimal128(5, 2), true),
            Field::new("cents", DataType::Decimal128(9, 5), true),
            Field::new("cents", DataType::Float64, true),
            Field::new("cents", DataType::Int16, true),
            Field::new("float", DataType::Float64, false),
            Field::new("float", DataType::Float32, true),
            Field::new("float", DataType::Int32, true),
            Field::new("float", DataType::Decimal128(10, 1), true),
            Field::new("amount", DataType::Decimal128(7, 2), true),
            Field::new("amount", DataType::Decimal128(10, 4), false),
            Field::new("amount", DataType::Int16, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("text", DataType::Int64, true),
            Field::new("text", DataType::Boolean, true),
            Field::new("text", DataType::Float64, true),
        ] {
            agrees(&rows, &wanted(vec![field]));
        }
    }
}
