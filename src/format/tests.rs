//! What holds for every format: a record is one row or one reject, both paths of a decoder agree,
//! and what was written reads back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::cast::AsArray;
use arrow::datatypes::{
    DataType, Field, Fields, Int64Type, IntervalUnit, Schema, TimeUnit, TimestampMicrosecondType,
};
use proptest::prelude::*;

use super::column::Column;
use super::json::JsonDecoder;
use super::*;
use crate::types::Reason;

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

mod json_lines {
    use super::*;

    #[test]
    fn a_bad_line_is_one_reject_with_its_place_and_the_others_are_rows() {
        let text = "{\"id\":1,\"name\":\"a\"}\n{\"id\":\"x\",\"name\":\"b\"}\r\n\n{broken\n{\"name\":\"c\"}\n{\"id\":2}\n";
        let fields = vec![
            Field::new("id", DataType::Int64, false),
            field("name", DataType::Utf8),
        ];

        let decoded = json(fields, text);

        assert_eq!(
            texts(&decoded),
            [
                [Some("1".into()), Some("a".into())],
                [Some("2".into()), None]
            ]
        );
        assert_eq!(decoded.spans[1], Span { start: 65, len: 8 });
        assert_eq!(
            turned_away(&decoded, text),
            [
                (
                    Reason::BadValue,
                    Some("id".into()),
                    2,
                    "{\"id\":\"x\",\"name\":\"b\"}".into()
                ),
                (Reason::Malformed, None, 4, "{broken".into()),
                (
                    Reason::Missing,
                    Some("id".into()),
                    5,
                    "{\"name\":\"c\"}".into()
                ),
            ]
        );
        assert_eq!(decoded.rejects[0].reject.message, "`x` is not a number");
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let fields = vec![field("a", DataType::Int64), field("b", DataType::Int64)];

        let decoded = json(
            fields,
            "{\"a\":1,\"b\":2,\"a\":3}\n{\"a\":1,\"b\":2,\"a\":3}\n",
        );

        assert_eq!(
            decoded.rows.column(0).as_primitive::<Int64Type>().values(),
            &[3, 3]
        );
    }

    #[test]
    fn a_json_column_keeps_its_text_and_a_record_column_the_whole_line() {
        let fields = vec![
            tagged("body", EXTENSION, JSON),
            tagged("all", RECORD, "true"),
        ];
        let line = "{\"body\": {\"a\" : [1, \"\\u00e9\"]}, \"b\": 1.50}";

        let decoded = json(fields, &format!("  {line} \r\n{{\"body\":\"x\"}}"));

        assert_eq!(
            texts(&decoded),
            [
                [Some("{\"a\" : [1, \"\\u00e9\"]}".into()), Some(line.into())],
                [Some("\"x\"".into()), Some("{\"body\":\"x\"}".into())],
            ]
        );
    }

    #[test]
    fn values_convert_to_the_type_of_their_column_or_are_refused() {
        let good = [
            (DataType::Int32, "\" 12 \"", "12"),
            (DataType::Int32, "1.2e1", "12"),
            (DataType::Utf8, "1.50", "1.50"),
            (DataType::Utf8, "true", "true"),
            (DataType::Utf8, "{\"a\":1}", "{\"a\":1}"),
            (DataType::Utf8, "\"a\\u0000\\ud83d\\ude00\"", "a\0😀"),
            (DataType::Boolean, "\"off\"", "false"),
            (DataType::Decimal128(6, 3), "\"-1.5\"", "-1.500"),
            (DataType::Binary, "\"\\\\x00Ff\"", "\\x00ff"),
            (DataType::Binary, "\"ab\"", "\\x6162"),
        ];
        for (kind, value, expected) in good {
            let decoded = json(vec![field("v", kind)], &format!("{{\"v\":{value}}}"));

            assert!(decoded.rejects.is_empty(), "{value}: {:?}", decoded.rejects);
            assert_eq!(texts(&decoded), [[Some(expected.to_owned())]], "{value}");
        }
        let bad = [
            (
                DataType::Int16,
                "32768",
                "`32768` is out of range for a SMALLINT",
            ),
            (
                DataType::Int64,
                "1.5",
                "`1.5` has more digits after the point than a BIGINT",
            ),
            (DataType::Int64, "true", "`true` is not a whole number"),
            (DataType::Int64, "[1]", "`[1]` is not a whole number"),
            (
                DataType::Decimal128(6, 1),
                "0.25",
                "`0.25` has more digits after the point than a DECIMAL(6,1)",
            ),
            (
                DataType::Float64,
                "1e400",
                "`1e400` is out of range for a DOUBLE PRECISION",
            ),
            (DataType::Boolean, "1", "`1` is not true or false"),
            (
                DataType::Date32,
                "\"2024-02-30\"",
                "`2024-02-30` is not a date",
            ),
            (
                DataType::Binary,
                "\"\\\\x0\"",
                "`\\x0` is not hexadecimal digits in pairs",
            ),
            (
                DataType::Utf8,
                "\"\\ud800\"",
                "`\"\\ud800\"` is not text: it has an escape that stands for no character",
            ),
        ];
        for (kind, value, message) in bad {
            let decoded = json(vec![field("v", kind)], &format!("{{\"v\":{value}}}"));

            assert_eq!(decoded.rows.num_rows(), 0, "{value}");
            assert_eq!(decoded.rejects[0].reject.message, message);
            assert_eq!(decoded.rejects[0].reject.reason, Reason::BadValue);
        }
    }

    #[test]
    fn a_uuid_is_checked_and_written_one_way() {
        let line = "{\"id\":\"{A0EEBC99-9C0B4EF8BB6D6BB9BD380A11}\"}\n{\"id\":\"a0eebc99\"}";

        let decoded = json(vec![tagged("id", EXTENSION, UUID)], line);

        assert_eq!(
            texts(&decoded),
            [[Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned())]]
        );
        assert_eq!(
            decoded.rejects[0].reject.message,
            "`a0eebc99` is not a UUID"
        );
    }

    #[test]
    fn a_timestamp_may_be_a_number_where_the_options_say_so() {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
        let wanted = wanted(vec![field("at", kind)]);
        let mut options = options(FormatKind::Json);
        let text = "{\"at\":1714564800.5}\n{\"at\":\"2024-05-01\"}";

        let as_text = decoder(&options, &wanted).unwrap().decode(&block(text));
        options.timestamps = TimestampFormat::Unix { places: 6 };
        let as_number = decoder(&options, &wanted).unwrap().decode(&block(text));

        assert_eq!(texts(&as_text), [[Some("2024-05-01 00:00:00".to_owned())]]);
        assert_eq!(
            texts(&as_number),
            [[Some("2024-05-01 12:00:00.5".to_owned())]]
        );
        assert_eq!(as_number.rejects.len(), 1);
    }

    #[test]
    fn a_record_above_the_limit_is_too_long_and_its_span_ends_at_the_limit() {
        let mut options = options(FormatKind::Json);
        options.record_bytes_max = 8;
        let text = "{\"a\":1}\n{\"a\":123}\n";

        let decoded = decoder(&options, &wanted(vec![field("a", DataType::Int64)]))
            .unwrap()
            .decode(&block(text));

        assert_eq!(decoded.rows.num_rows(), 1);
        assert_eq!(
            turned_away(&decoded, text),
            [(Reason::TooLong, None, 2, "{\"a\":123".into())]
        );
    }

    #[test]
    fn a_line_that_is_not_utf_8_does_not_harm_the_others() {
        let mut decoder = decoder(
            &options(FormatKind::Json),
            &wanted(vec![field("a", DataType::Utf8)]),
        )
        .unwrap();

        let decoded = decoder.decode(&block(
            b"{\"a\":\"\xc3\xa9\"}\n{\"a\":\"\xff\"}\n{\"a\":\"b\"}",
        ));

        assert_eq!(
            texts(&decoded),
            [[Some("é".to_owned())], [Some("b".to_owned())]]
        );
        assert_eq!(decoded.rejects[0].reject.reason, Reason::NotUtf8);
    }

    #[test]
    fn nested_values_are_taken_apart_by_their_type() {
        let point = Fields::from(vec![
            field("x", DataType::Int64),
            field("y", DataType::Utf8),
        ]);
        let fields = vec![
            field(
                "list",
                DataType::List(Arc::new(field("item", DataType::Int64))),
            ),
            field("point", DataType::Struct(point)),
        ];
        let text = "{\"list\":[1,null,3],\"point\":{\"y\":\"a b\"}}\n{\"list\":[1,\"x\"],\"point\":null}\n{\"point\":{\"x\":1}}";

        let decoded = json(fields, text);

        assert_eq!(
            texts(&decoded),
            [
                [Some("{1,NULL,3}".into()), Some("(,\"a b\")".into())],
                [None, Some("(1,)".into())],
            ]
        );
        assert_eq!(decoded.rejects[0].reject.column.as_deref(), Some("list"));
    }
}

mod delimited {
    use super::*;

    fn two() -> Vec<Field> {
        vec![field("id", DataType::Int64), field("name", DataType::Utf8)]
    }

    #[test]
    fn quotes_hide_delimiters_and_line_ends_and_lines_are_counted_through_them() {
        let text = "1,\"a,\"\"b\"\"\nc\"\r\n\n2,5\" pipe\nx,y\n";

        let decoded = csv(two(), text);

        assert_eq!(
            texts(&decoded),
            [
                [Some("1".into()), Some("a,\"b\"\nc".into())],
                [Some("2".into()), Some("5\" pipe".to_owned())],
            ]
        );
        assert_eq!(
            turned_away(&decoded, text),
            [(Reason::BadValue, Some("id".into()), 5, "x,y".into())]
        );
    }

    #[test]
    fn an_empty_field_is_null_and_a_quoted_one_is_empty_text() {
        let decoded = csv(two(), ",\n\"\",\"\"\n");

        assert_eq!(texts(&decoded), [[None, None], [None, Some(String::new())]]);
    }

    #[test]
    fn a_wrong_shape_is_malformed() {
        let text = "1\n1,2,3\n1,\"a\"b\n1,\"a";

        let decoded = csv(two(), text);

        let messages: Vec<&str> = decoded
            .rejects
            .iter()
            .map(|rejected| rejected.reject.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "1 fields where 2 are expected",
                "3 fields where 2 are expected",
                "field 2 has a quote that does not close it",
                "field 2 has a quote that does not close it",
            ]
        );
    }

    #[test]
    fn columns_are_found_by_the_header_of_the_block() {
        let mut decoder = decoder(&options(FormatKind::Csv), &wanted(two())).unwrap();
        let mut with_header = block("x,1,y\n");
        with_header.header = Some(Arc::new(vec!["name".into(), "id".into(), "other".into()]));

        let by_name = decoder.decode(&with_header);
        let by_order = decoder.decode(&block("2,z\n"));

        assert_eq!(
            texts(&by_name),
            [[Some("1".to_owned()), Some("x".to_owned())]]
        );
        assert_eq!(
            texts(&by_order),
            [[Some("2".to_owned()), Some("z".to_owned())]]
        );
    }

    #[test]
    fn the_preamble_is_a_byte_order_mark_and_the_header_line() {
        let options = options(FormatKind::Csv);

        let preamble =
            read_preamble(b"\xef\xbb\xbf\r\nid,\"na\"\"me\"\r\n1,2\n", &options).unwrap();

        let header = Some(vec!["id".to_owned(), "na\"me".to_owned()]);
        assert_eq!(
            preamble,
            Preamble {
                header,
                bytes: 18,
                lines: 2
            }
        );
        assert_eq!(read_preamble(b"", &options).unwrap(), Preamble::default());
    }

    #[test]
    fn a_wanted_column_that_the_header_lacks_is_said_with_what_is_there() {
        let wanted = wanted(two());
        let check = |names: &[&str]| {
            let header: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            check_header(&header, &wanted).err()
        };

        assert_eq!(check(&["name", "x", "id"]), None);
        assert_eq!(
            check(&["ID", "name"]).as_deref(),
            Some("column `id` is not in the header line, which has `ID`")
        );
        assert_eq!(
            check(&["id", "x"]).as_deref(),
            Some("column `name` is not in the header line (id, x)")
        );
        assert_eq!(
            check(&["id", "id", "name"]).as_deref(),
            Some("column `id` is in the header line twice")
        );
    }

    #[test]
    fn a_record_column_is_the_line_or_an_object_of_its_fields() {
        let mut fields = two();
        fields.push(tagged("line", RECORD, "true"));
        let json = HashMap::from([
            (RECORD.to_owned(), "true".to_owned()),
            (EXTENSION.to_owned(), JSON.to_owned()),
        ]);
        fields.push(field("object", DataType::Utf8).with_metadata(json));

        let decoded = csv(fields, "1,\"a\"\"b\"\n");

        let row = &texts(&decoded)[0];
        assert_eq!(row[2].as_deref(), Some("1,\"a\"\"b\""));
        assert_eq!(
            row[3].as_deref(),
            Some("{\"id\":\"1\",\"name\":\"a\\\"b\"}")
        );
    }
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

/// How many random cases; `TIDEMARK_CASES` raises it.
fn cases(default: u32) -> ProptestConfig {
    let given = std::env::var("TIDEMARK_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(given.unwrap_or(default))
    }
}

/// A JSON value as somebody might write it, valid or nearly.
fn json_value() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| format!("{f:?}")),
        "-?[0-9]{1,4}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"[ a-z0-9:.+\\-{}]{0,20}\"",
        "\"[a\\\\u0d8\t\"]{0,10}\"",
        any::<i64>().prop_map(|us| {
            let mut text = String::new();
            time::write_timestamp(&mut text, us, us % 2 == 0, time::Style::Iso);
            format!("\"{text}\"")
        }),
        Just("\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\"".to_owned()),
        Just("\"1 day 02:00:00\"".to_owned()),
        "[a-z\"\\[{]{0,3}",
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(("[xy]", inner), 0..3).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| format!("\"{key}\" : {value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
    .boxed()
}

/// A line of JSON with keys that are wanted and keys that are not, in any order.
fn json_line() -> impl Strategy<Value = String> {
    let mut names: Vec<String> = every_type()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    names.extend(["other".to_owned(), "bi\\u0067".to_owned()]);
    let members = prop::collection::vec((prop::sample::select(names), json_value()), 0..6);
    let space = prop::sample::select(vec!["", "", "", " ", "\t"]);
    (members, space, prop::bool::weighted(0.9), "[ }{,\r]{0,1}").prop_map(
        |(members, space, has_big, end)| {
            let mut members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\"{space}:{space}{value}"))
                .collect();
            if has_big {
                members.insert(0, format!("\"big\":{space}7"));
            }
            format!("{{{}}}{end}", members.join(&format!("{space},{space}")))
        },
    )
}

fn same(left: &Decoded, right: &Decoded) -> Result<(), TestCaseError> {
    prop_assert_eq!(&left.rejects, &right.rejects);
    prop_assert_eq!(&left.spans, &right.spans);
    prop_assert_eq!(texts(left), texts(right));
    prop_assert_eq!(&left.rows, &right.rows);
    Ok(())
}

/// Lines as records: those with something on them.
fn record_count(bytes: &[u8]) -> usize {
    bytes
        .split(|&b| b == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .count()
}

fn flip(mut bytes: Vec<u8>, flips: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (index, byte) in flips {
        if !bytes.is_empty() {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn both_ways_of_reading_json_agree(
        lines in prop::collection::vec(json_line(), 1..8),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let block = block(flip(lines.join("\n").into_bytes(), &flips));
        let mut fields = every_type();
        fields.push(tagged("all", RECORD, "true"));
        let (options, wanted) = (options(FormatKind::Json), wanted(fields));
        let mut fast = JsonDecoder::new(&options, &wanted).unwrap();
        let mut slow = JsonDecoder::new(&options, &wanted).unwrap().without_fast_path();

        let first = fast.decode(&block);
        let again = fast.decode(&block);
        let slowly = slow.decode(&block);

        same(&first, &slowly)?;
        same(&again, &slowly)?;
        prop_assert_eq!(first.rows.num_rows() + first.rejects.len(), record_count(&block.bytes));
    }

    #[test]
    fn any_bytes_are_rows_and_rejects(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"\n\r\",{}:0n\\".to_vec())], 0..200,
        ),
    ) {
        let block = block(bytes);
        for kind in [FormatKind::Json, FormatKind::Csv] {
            let mut decoder = decoder(&options(kind), &wanted(every_type())).unwrap();

            let decoded = decoder.decode(&block);

            prop_assert_eq!(decoded.rows.num_rows(), decoded.spans.len());
            if kind == FormatKind::Json {
                let count = decoded.rows.num_rows() + decoded.rejects.len();
                prop_assert_eq!(count, record_count(&block.bytes));
            }
        }
    }

    #[test]
    fn a_block_cut_in_two_gives_the_same_records(
        text in "([a1\"]{0,3}[,\n]|\"[a,\n]{0,3}\"[,\n]){0,20}", half in any::<prop::sample::Index>(),
    ) {
        let options = options(FormatKind::Csv);
        let wanted = wanted(vec![field("a", DataType::Utf8), field("b", DataType::Utf8)]);
        let mut decoder = decoder(&options, &wanted).unwrap();
        let cut = last_record_end(&text.as_bytes()[..half.index(text.len() + 1)], options.framing());
        let (front, back) = text.split_at(cut);

        let whole = decoder.decode(&block(text.as_str()));
        let front = decoder.decode(&block(front));
        let back = decoder.decode(&block(back));

        let mut rows = texts(&front);
        rows.extend(texts(&back));
        prop_assert_eq!(texts(&whole), rows);
        prop_assert_eq!(whole.rejects.len(), front.rejects.len() + back.rejects.len());
    }
}

/// The JSON text of a value of a type, or null.
fn value_of(field: &Field) -> BoxedStrategy<String> {
    let quoted = |text: String| serde_json::to_string(&text).unwrap();
    let value: BoxedStrategy<String> = match field.data_type() {
        DataType::Boolean => any::<bool>().prop_map(|b| b.to_string()).boxed(),
        DataType::Int16 => any::<i16>().prop_map(|i| i.to_string()).boxed(),
        DataType::Int32 => any::<i32>().prop_map(|i| i.to_string()).boxed(),
        DataType::Int64 => any::<i64>().prop_map(|i| i.to_string()).boxed(),
        DataType::Float32 => any::<f32>()
            .prop_map(move |f| quoted(f.to_string()))
            .boxed(),
        DataType::Float64 => any::<f64>()
            .prop_map(move |f| quoted(f.to_string()))
            .boxed(),
        DataType::Decimal128(10, _) => "-?[0-9]{1,8}\\.[0-9]{2}".boxed(),
        DataType::Decimal128(..) => "-?[0-9]{1,38}".prop_map(quoted).boxed(),
        DataType::Date32 => any::<i32>()
            .prop_map(|days| {
                let mut text = String::new();
                time::write_date(&mut text, i64::from(days));
                format!("\"{text}\"")
            })
            .boxed(),
        DataType::Time64(_) => (0_i64..86_400_000_000)
            .prop_map(|us| {
                let mut text = String::new();
                time::write_time(&mut text, us);
                format!("\"{text}\"")
            })
            .boxed(),
        DataType::Timestamp(..) => any::<i64>()
            .prop_map(|us| {
                let mut text = String::new();
                time::write_timestamp(&mut text, us, false, time::Style::Iso);
                format!("\"{text}\"")
            })
            .boxed(),
        DataType::Interval(_) => any::<(i32, i32, i64)>()
            .prop_map(|(months, days, nanos)| {
                let mut text = String::new();
                let interval = arrow::datatypes::IntervalMonthDayNano::new(months, days, nanos);
                time::write_interval(&mut text, interval);
                format!("\"{text}\"")
            })
            .boxed(),
        DataType::Binary => prop::collection::vec(any::<u8>(), 0..5)
            .prop_map(|bytes| {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\"\\\\x{hex}\"")
            })
            .boxed(),
        DataType::List(item) => prop::collection::vec(value_of(item), 0..3)
            .prop_map(|items| format!("[{}]", items.join(",")))
            .boxed(),
        DataType::Struct(fields) => (value_of(&fields[0]), value_of(&fields[1]))
            .prop_map(|(x, y)| format!("{{\"x\":{x},\"y\":{y}}}"))
            .boxed(),
        DataType::Utf8 if column::has_extension(field, UUID) => {
            "[0-9a-f]{32}".prop_map(quoted).boxed()
        }
        DataType::Utf8 if column::has_extension(field, JSON) => json_value()
            .prop_filter("valid", |text| object::raw(text) == Some(text.as_str()))
            .boxed(),
        DataType::Utf8 => prop_oneof![any::<String>(), "[\",\n\r\\\\ NUL]{0,4}"]
            .prop_map(quoted)
            .boxed(),
        other => panic!("no values for {other}"),
    };
    if field.is_nullable() {
        prop_oneof![1 => Just("null".to_owned()), 4 => value].boxed()
    } else {
        value
    }
}

/// A few rows of every type.
fn rows_of_every_type() -> impl Strategy<Value = RecordBatch> {
    let fields = every_type();
    let row: Vec<BoxedStrategy<String>> = fields.iter().map(value_of).collect();
    prop::collection::vec(row, 1..4).prop_map(move |rows| {
        let columns = fields.iter().enumerate().map(|(at, field)| {
            let mut column = Column::new(&Arc::new(field.clone()), TimestampFormat::Iso).unwrap();
            for row in &rows {
                column.append_json(&row[at]).unwrap();
            }
            column.finish()
        });
        let schema = Arc::new(Schema::new(fields.clone()));
        RecordBatch::try_new(schema, columns.collect()).unwrap()
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn what_was_written_reads_back(rows in rows_of_every_type(), null in "(NULL|\\\\N)?") {
        let fields: Vec<Field> = rows.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        for kind in [FormatKind::Json, FormatKind::Csv] {
            let mut options = options(kind);
            options.csv.null.clone_from(&null);
            options.record_bytes_max = 1 << 20;
            let encoder = Encoder::new(&options);
            let mut text = String::new();
            encoder.write_header(&rows.schema(), &mut text);
            encoder.encode(&rows, &mut text);
            let preamble = read_preamble(text.as_bytes(), &options).unwrap();
            let mut block = block(&text.as_bytes()[preamble.bytes..]);
            block.header = preamble.header.map(Arc::new);

            let decoded = decoder(&options, &wanted(fields.clone())).unwrap().decode(&block);

            prop_assert!(decoded.rejects.is_empty(), "{:?}\n{}", decoded.rejects, text);
            prop_assert_eq!(texts(&decoded), texts(&Decoded {
                rows: rows.clone(), spans: Vec::new(), rejects: Vec::new(),
            }));
            prop_assert_eq!(decoded.rows.columns(), rows.columns(), "{}", text);
        }
    }

    #[test]
    fn mutated_rows_are_rows_and_rejects(
        rows in rows_of_every_type(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for kind in [FormatKind::Json, FormatKind::Csv] {
            let options = options(kind);
            let mut text = String::new();
            Encoder::new(&options).encode(&rows, &mut text);
            let block = block(flip(text.into_bytes(), &flips));
            let mut ends = RecordEnds::new(options.framing());
            let mut records = 0;
            let mut from = 0;
            while from < block.bytes.len() {
                let rest = &block.bytes[from..];
                let len = ends.scan_one(rest).unwrap_or(rest.len());
                let line = &rest[..len];
                let blank = match kind {
                    FormatKind::Json => line.trim_ascii().is_empty(),
                    FormatKind::Csv => matches!(line, b"\n" | b"\r\n" | b"\r"),
                };
                records += usize::from(!blank);
                from += len;
            }

            let decoded = decoder(&options, &wanted(every_type())).unwrap().decode(&block);

            prop_assert_eq!(decoded.rows.num_rows() + decoded.rejects.len(), records);
        }
    }
}
