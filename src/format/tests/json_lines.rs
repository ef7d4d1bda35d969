//! JSON lines: what a line means, and what is wrong with it.

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
