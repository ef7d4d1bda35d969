//! What holds for any input: nothing panics, a record is one row or one reject, both ways of
//! reading JSON agree, and what was written reads back. `TIDEMARK_CASES` raises the number of cases.

use arrow::array::RecordBatch;
use arrow::datatypes::IntervalMonthDayNano;
use proptest::prelude::*;

use super::*;
use crate::format::column::{self, Column};
use crate::format::json::JsonDecoder;

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
    // A line that is torn goes on with the next one.
    let comma = prop::sample::select(vec![",", ",", ",", ",", ",", "{", "}", ""]);
    let has_big = prop::bool::weighted(0.9);
    (members, space, comma, has_big, "[ }{,\r]{0,1}").prop_map(
        |(members, space, comma, has_big, end)| {
            let mut members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\"{space}:{space}{value}"))
                .collect();
            if has_big {
                members.insert(0, format!("\"big\":{space}7"));
            }
            format!(
                "{{{}}}{end}",
                members.join(&format!("{space}{comma}{space}"))
            )
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

/// Values written as text, in quotes.
fn shown<T: std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
    write: fn(&mut String, T),
) -> BoxedStrategy<String> {
    let quoted = values.prop_map(move |value| {
        let mut text = String::new();
        write(&mut text, value);
        format!("\"{text}\"")
    });
    quoted.boxed()
}

/// The JSON text of a value of a type, or null.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the types that `every_type` does not list"
)]
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
        DataType::Date32 => shown(any::<i32>(), |out, days| time::write_date(out, days.into())),
        DataType::Time64(_) => shown(0_i64..86_400_000_000, time::write_time),
        DataType::Timestamp(..) => shown(any::<i64>(), |out, micros| {
            time::write_timestamp(out, micros, false, time::Style::Iso);
        }),
        DataType::Interval(_) => shown(any::<(i32, i32, i64)>(), |out, (months, days, nanos)| {
            time::write_interval(out, IntervalMonthDayNano::new(months, days, nanos));
        }),
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
                    FormatKind::Json | FormatKind::Parquet => line.trim_ascii().is_empty(),
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
