//! Delimited text: fields, quotes, headers.

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

    let preamble = read_preamble(b"\xef\xbb\xbf\r\nid,\"na\"\"me\"\r\n1,2\n", &options).unwrap();

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
