//! What holds for every format: a record is one row or one reject, both paths of a decoder agree,
//! and what was written reads back.

mod delimited;
mod json_lines;
mod messages;
mod random;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::datatypes::{
    DataType, Field, Fields, Int64Type, IntervalUnit, Schema, TimeUnit, TimestampMicrosecondType,
};

use super::*;
use crate::types::{Reason, Reject};

fn options(kind: FormatKind) -> FormatOptions {
    FormatOptions {
        kind,
        record_bytes_max: 4096,
        timestamps: TimestampFormat::Iso,
        csv: CsvOptions::default(),
    }
}

fn wanted(fields: Vec<Field>) -> Wanted {
    let declared = fields
        .iter()
        .filter(|field| !is_record(field))
        .map(|f| f.name().clone());
    Wanted {
        declared: declared.collect(),
        schema: Arc::new(Schema::new(fields)),
        tombstones: false,
    }
}

fn block(bytes: impl Into<Vec<u8>>) -> Block {
    let bytes: Vec<u8> = bytes.into();
    Block {
        end: Offset(bytes.len() as u64),
        bytes: Arc::new(bytes),
        start: Offset(0),
        line: 1,
        header: None,
        columns: None,
        records: None,
    }
}

fn json(fields: Vec<Field>, text: &str) -> Decoded {
    let mut decoder = decoder(&options(FormatKind::Json), &wanted(fields)).unwrap();
    decoder.decode(&block(text))
}

fn csv(fields: Vec<Field>, text: &str) -> Decoded {
    let mut decoder = decoder(&options(FormatKind::Csv), &wanted(fields)).unwrap();
    decoder.decode(&block(text))
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn tagged(name: &str, key: &str, value: &str) -> Field {
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    field(name, DataType::Utf8).with_metadata(metadata)
}

/// A column that was written in mixed case and without quotes.
fn written(name: &str, kind: DataType) -> Field {
    let metadata = HashMap::from([(WRITTEN.to_owned(), name.to_owned())]);
    field(&name.to_lowercase(), kind).with_metadata(metadata)
}

#[test]
fn a_name_without_quotes_is_found_as_it_was_written_and_in_small_letters() {
    let fields = || vec![written("VendorID", DataType::Utf8)];
    let one = vec![vec![Some("1".to_owned())]];

    assert_eq!(texts(&json(fields(), "{\"VendorID\":1}\n")), one);
    assert_eq!(texts(&json(fields(), "{\"vendorid\": \"1\"}\n")), one);
    assert_eq!(
        texts(&json(fields(), "{\"VENDORID\":1}\n")),
        vec![vec![None]]
    );
    let header = |name: &str| check_header(&[name.to_owned()], &wanted(fields()));
    assert_eq!(header("VendorID"), Ok(()));
    assert_eq!(header("vendorid"), Ok(()));
    assert!(header("VENDORID").is_err());
}

fn texts(decoded: &Decoded) -> Vec<Vec<Option<String>>> {
    let columns = decoded.rows.columns();
    let row = |row| {
        columns
            .iter()
            .map(|column| value_text(column, row))
            .collect()
    };
    (0..decoded.rows.num_rows()).map(row).collect()
}

/// What was turned away: reason, column, line and text.
fn turned_away(decoded: &Decoded, text: &str) -> Vec<(Reason, Option<String>, u64, String)> {
    let rejects = decoded.rejects.iter().map(|rejected| {
        let start = rejected.span.start as usize;
        let bytes = &text.as_bytes()[start..start + rejected.span.len as usize];
        let bytes = String::from_utf8_lossy(bytes).into_owned();
        let reject = &rejected.reject;
        (reject.reason, reject.column.clone(), rejected.line, bytes)
    });
    rejects.collect()
}

/// A column of every type that can be declared.
fn every_type() -> Vec<Field> {
    let point = Fields::from(vec![
        field("x", DataType::Int32),
        field("y", DataType::Utf8),
    ]);
    let numbers = field("item", DataType::Int64);
    let list = field(
        "item",
        DataType::List(Arc::new(field("item", DataType::Utf8))),
    );
    vec![
        field("flag", DataType::Boolean),
        field("small", DataType::Int16),
        field("normal", DataType::Int32),
        Field::new("big", DataType::Int64, false),
        field("real", DataType::Float32),
        field("double", DataType::Float64),
        field("money", DataType::Decimal128(10, 2)),
        field("huge", DataType::Decimal128(38, 0)),
        field("text", DataType::Utf8),
        field("day", DataType::Date32),
        field("clock", DataType::Time64(TimeUnit::Microsecond)),
        field("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field(
            "instant",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ),
        field("span", DataType::Interval(IntervalUnit::MonthDayNano)),
        tagged("id", EXTENSION, UUID),
        tagged("json", EXTENSION, JSON),
        field("bytes", DataType::Binary),
        field("numbers", DataType::List(Arc::new(numbers))),
        field("lists", DataType::List(Arc::new(list))),
        field("point", DataType::Struct(point)),
    ]
}

#[test]
fn a_type_that_no_format_reads_is_refused_by_name() {
    let fields = wanted(vec![field("x", DataType::LargeUtf8)]);

    let error = decoder(&options(FormatKind::Json), &fields).err().unwrap();

    assert_eq!(
        error.message,
        "column `x` has type LargeUtf8, which no format can read"
    );
}

#[test]
fn an_offset_makes_the_same_instant_with_and_without_time_zone() {
    let zone =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let fields = vec![field("a", zone(None)), field("b", zone(Some("UTC")))];
    let at = "\"2024-05-01T14:00:00+02:00\"";

    let decoded = json(fields, &format!("{{\"a\":{at},\"b\":{at}}}"));

    let micros = |at: usize| {
        decoded
            .rows
            .column(at)
            .as_primitive::<TimestampMicrosecondType>()
            .value(0)
    };
    assert_eq!(micros(0), 1_714_564_800_000_000);
    assert_eq!(micros(0), micros(1));
}
