//! Records that their source tells apart: one per message, whatever is in it.

use proptest::prelude::*;

use super::*;

/// A block of messages; None is one without a value.
fn messages(values: &[Option<&[u8]>]) -> Block {
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    for value in values {
        places.push(u32::try_from(bytes.len()).unwrap());
        bytes.extend_from_slice(value.unwrap_or_default());
        bytes.push(b'\n');
    }
    places.push(u32::try_from(bytes.len()).unwrap());
    let tombstones = (0..).zip(values).filter(|(_, value)| value.is_none());
    let records = Records {
        places,
        offsets: (0..values.len() as u64).collect(),
        timestamps: vec![0; values.len()],
        tombstones: tombstones.map(|(at, _)| at).collect(),
        metadata: RecordBatch::new_empty(Arc::new(Schema::empty())),
    };
    Block {
        line: 0,
        columns: None,
        records: Some(Arc::new(records)),
        ..block(bytes)
    }
}

fn texts_of(values: &[&str]) -> Block {
    let values: Vec<_> = values.iter().map(|text| Some(text.as_bytes())).collect();
    messages(&values)
}

fn two() -> Vec<Field> {
    vec![field("id", DataType::Int64), field("name", DataType::Utf8)]
}

fn decode(kind: FormatKind, block: &Block) -> Decoded {
    let mut decoder = decoder(&options(kind), &wanted(two())).unwrap();
    decoder.decode(block)
}

/// Which messages became rows, and which rejects.
fn fates(decoded: &Decoded, block: &Block) -> (Vec<usize>, Vec<(usize, Reason, String)>) {
    let records = block.records.as_ref().unwrap();
    let rows = decoded.spans.iter().map(|span| records.at(span.start));
    let rejects = decoded.rejects.iter().map(|rejected| {
        let Reject {
            reason, message, ..
        } = rejected.reject.clone();
        (records.at(rejected.span.start), reason, message)
    });
    (rows.collect(), rejects.collect())
}

#[test]
fn a_message_without_a_value_is_a_row_of_nulls_where_the_table_asks_for_tombstones() {
    let block = messages(&[Some(br#"{"id": 1}"#), None, Some(b"")]);
    for kind in [FormatKind::Json, FormatKind::Csv] {
        let wanted = Wanted {
            tombstones: true,
            ..wanted(two())
        };
        let decoded = decoder(&options(kind), &wanted).unwrap().decode(&block);

        let (rows, rejects) = fates(&decoded, &block);
        let rejected: Vec<usize> = rejects.iter().map(|(record, ..)| *record).collect();
        assert!(rows.contains(&1) && !rejected.contains(&1), "{rejects:?}");
        assert!(rejected.contains(&2));
        let row = rows.iter().position(|record| *record == 1).unwrap();
        assert!(
            decoded
                .rows
                .columns()
                .iter()
                .all(|column| column.is_null(row))
        );
    }
}

#[test]
fn a_tombstone_is_rejected_for_a_column_that_must_have_a_value() {
    let fields = vec![field("id", DataType::Int64).with_nullable(false)];
    let wanted = Wanted {
        tombstones: true,
        ..wanted(fields)
    };
    let block = messages(&[None]);
    let decoded = decoder(&options(FormatKind::Json), &wanted)
        .unwrap()
        .decode(&block);

    assert_eq!(fates(&decoded, &block).1[0].1, Reason::Missing);
}

#[test]
fn a_json_message_may_have_lines_and_is_one_record() {
    let block = texts_of(&[
        "{\"id\":1,\"name\":\"a\"}",
        "{\n  \"id\": 2,\r\n  \"name\": \"b\"\n}\n",
        "{\"id\":3,\"name\":\"c\"}\n{\"id\":4,\"name\":\"d\"}",
        "{\"id\":5,\"name\":\"e\"} \r\n",
    ]);

    let decoded = decode(FormatKind::Json, &block);

    let (rows, rejects) = fates(&decoded, &block);
    assert_eq!(rows, [0, 1, 3]);
    assert_eq!(
        (rejects.len(), rejects[0].0, rejects[0].1),
        (1, 2, Reason::Malformed)
    );
    let names: Vec<_> = texts(&decoded)
        .into_iter()
        .map(|row| row[1].clone())
        .collect();
    assert_eq!(names, ["a", "b", "e"].map(|name| Some(name.to_owned())));
}

#[test]
fn a_csv_message_is_one_record_without_a_header() {
    let block = texts_of(&[
        "1,a",
        "2,\"b\nb\"",
        "3,c\r\n",
        "4,d\n5,e",
        "6,\"open",
        "7,g",
        "id,name",
    ]);

    let decoded = decode(FormatKind::Csv, &block);

    let (rows, rejects) = fates(&decoded, &block);
    assert_eq!(rows, [0, 1, 2, 5]);
    let expected = [
        (
            3,
            Reason::Malformed,
            "the record has more than one line".to_owned(),
        ),
        (
            4,
            Reason::Malformed,
            "field 2 has a quote that does not close it".to_owned(),
        ),
        (6, Reason::BadValue, "`id` is not a whole number".to_owned()),
    ];
    assert_eq!(
        rejects.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(),
        expected.clone().map(|r| (r.0, r.1))
    );
    assert_eq!(rejects[..2], expected[..2]);
    let names: Vec<_> = texts(&decoded)
        .into_iter()
        .map(|row| row[1].clone())
        .collect();
    assert_eq!(
        names,
        ["a", "b\nb", "c", "g"].map(|name| Some(name.to_owned()))
    );
}

#[test]
fn a_message_without_a_value_or_with_nothing_in_it_is_a_reject() {
    let block = messages(&[None, Some(b""), Some(b" \r\n "), None]);
    let missing = |at| (at, Reason::Missing, "the record has no value".to_owned());
    let empty = |at| (at, Reason::Malformed, "the record is empty".to_owned());

    for kind in [FormatKind::Json, FormatKind::Csv] {
        let decoded = decode(kind, &block);

        let (rows, rejects) = fates(&decoded, &block);
        assert!(rows.is_empty());
        assert_eq!(rejects, [missing(0), empty(1), empty(2), missing(3)]);
    }
}

#[test]
fn a_message_of_nothing_but_delimiters_is_a_row_without_values() {
    let mut options = options(FormatKind::Csv);
    options.csv.delimiter = b'\t';
    let mut decoder = decoder(&options, &wanted(two())).unwrap();

    let decoded = decoder.decode(&messages(&[Some(b"\t"), Some(b"\t \r\n"), Some(b"")]));

    assert_eq!(decoded.rows.num_rows(), 2, "{:?}", decoded.rejects);
    assert_eq!(decoded.rejects.len(), 1);
}

#[test]
fn a_message_that_is_too_long_is_cut_at_the_limit() {
    let long = format!("{{\"id\":1,\"name\":\"{}\"}}", "x".repeat(5000));
    let block = texts_of(&["{\"id\":1}", &long, "{\"id\":2}"]);

    let decoded = decode(FormatKind::Json, &block);

    let (rows, rejects) = fates(&decoded, &block);
    assert_eq!(rows, [0, 2]);
    assert_eq!((rejects[0].0, rejects[0].1), (1, Reason::TooLong));
    assert_eq!(decoded.rejects[0].span.len, 4096);
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        6 => "(\\{\"id\":[0-9]{1,3}(,\"name\":\"[a-z\n]{0,4}\")?\\}\n?|[\",{}:\n\r a1]{0,12})"
            .prop_map(|text| Some(text.into_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Some),
    ]
}

proptest! {
    /// The law of both formats: every message has one fate, and it is that of the message alone.
    #[test]
    fn a_message_has_one_fate_whatever_stands_around_it(values in prop::collection::vec(value(), 1..12)) {
        let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        let block = messages(&values);
        for kind in [FormatKind::Json, FormatKind::Csv] {
            let decoded = decode(kind, &block);
            let (rows, rejects) = fates(&decoded, &block);
            prop_assert_eq!(rows.len() + rejects.len(), values.len());

            let (mut row, mut reject) = (0, 0);
            for (at, &value) in values.iter().enumerate() {
                let alone = messages(&[value]);
                let single = decode(kind, &alone);
                if single.spans.is_empty() {
                    let (_, expected) = fates(&single, &alone);
                    prop_assert_eq!(&rejects[reject], &(at, expected[0].1, expected[0].2.clone()));
                    reject += 1;
                } else {
                    prop_assert_eq!(rows[row], at);
                    prop_assert_eq!(&texts(&decoded)[row], &texts(&single)[0]);
                    row += 1;
                }
            }
        }
    }
}
