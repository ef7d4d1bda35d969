//! What files suggest.

use super::*;

fn table(path: &str, sample: &str) -> String {
    infer(path, sample.as_bytes()).unwrap().to_string()
}

#[test]
fn a_csv_file_gives_its_columns_and_their_types() {
    let sample = "id,at,fare,zone,Zip,ratio,ok,note\n\
        1,2024-05-01 10:00:00,12.5,a,007,0.333333,true,\n\
        2,2024-05-01,3,b,12,1e-3,false,\"x,\ny\"\n\
        3,2024-0";

    assert_eq!(
        table("data/my trips.csv.gz", sample),
        "CREATE TABLE my_trips (\n\
        \x20 id    BIGINT NOT NULL,\n\
        \x20 at    TIMESTAMP NOT NULL,\n\
        \x20 fare  DECIMAL(20,1) NOT NULL,\n\
        \x20 zone  TEXT NOT NULL,\n\
        \x20 \"Zip\" TEXT NOT NULL,\n\
        \x20 ratio DOUBLE PRECISION NOT NULL,\n\
        \x20 ok    BOOLEAN NOT NULL,\n\
        \x20 note  TEXT\n\
        \x20 -- how late rows may come, for windows over this table:\n\
        \x20 -- , WATERMARK FOR at AS at - INTERVAL '10' SECOND\n\
        ) WITH (connector = 'file', path = 'data/my trips.csv.gz', format = 'csv');"
    );
}

#[test]
fn a_file_without_header_gets_numbered_columns() {
    let text = table("x.tsv", "1\ta\n2\tb\n");

    assert!(
        text.contains("c1 BIGINT NOT NULL,\n  c2 TEXT NOT NULL\n"),
        "{text}"
    );
    assert!(
        text.ends_with(r"'csv.header' = 'false', 'csv.delimiter' = '\t');"),
        "{text}"
    );
}

#[test]
fn json_keys_become_columns_in_the_order_seen() {
    let sample = "{\"user\":\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\",\"n\":1,\"tags\":[1]}\n\
        {\"n\":12345678901234567890,\"day\":\"2024-05-01\",\"number\":\"12\"}\n";

    let found = infer("events", sample.as_bytes()).unwrap();

    let columns: Vec<(&str, &str, bool)> = found
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.sql_type.as_str(), c.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("user", "UUID", true),
            ("n", "DECIMAL(20,0)", false),
            ("tags", "JSON", true),
            ("day", "DATE", true),
            ("number", "TEXT", true),
        ]
    );
    assert!(found.to_string().contains("\"user\" UUID,"));
}

#[test]
fn an_array_is_named_for_what_it_is() {
    let error = infer("all.json", b"\n [{\"n\": 1}, {\"n\": 2}]").unwrap_err();

    assert!(error.message.contains("is one JSON array"), "{error:?}");
    assert!(error.message.contains("jq -c '.[]' all.json"), "{error:?}");
}

#[test]
fn nothing_is_known_of_columns_that_have_a_name_only() {
    let found = infer("head.csv", b"a,b\n").unwrap();

    assert!(found.columns.iter().all(|column| column.nullable));
}

#[test]
fn a_format_is_told_by_the_name_or_the_first_character() {
    let told = |name, sample: &[u8]| infer(name, sample).unwrap().is_told;

    assert!(told("a.csv", b"x,y\n1,2\n"));
    assert!(told("export", b"{\"n\": 1}\n"));
    assert!(!told("pipeline.sql", b"CREATE TABLE a (b INT)\n"));
}

#[test]
fn an_empty_file_has_no_columns() {
    let error = infer("empty.csv", b"").unwrap_err();

    assert_eq!(
        error.message,
        "cannot infer columns: `empty.csv` has no records"
    );
}

#[test]
fn texts_of_which_some_are_json_are_text() {
    let mixed = table("a.csv", "w,v\nx,\"[1,2]\"\n\"[1,2]\",{}\n");

    assert!(
        mixed.contains("w TEXT NOT NULL,\n  v JSON NOT NULL\n"),
        "{mixed}"
    );
}

#[test]
fn a_record_of_nothing_but_delimiters_has_no_values() {
    let text = table("a.tsv", "a\tb\n1\t2\n\t\n");

    assert!(text.contains("a BIGINT,\n  b BIGINT\n"), "{text}");
}

#[test]
fn a_number_stays_one_if_nearly_all_values_are() {
    let line = |value: &str| format!("{{\"qty\": {value}, \"zip\": \"x\"}}\n");
    let mut sample = "{\"qty\": 1.5, \"zip\": 12}\n".repeat(298);
    sample += &line("\"many\"");
    sample += "{\"qty\": \"few\", \"zip\": 13}\n";

    let text = table("a.json", &sample);
    let too_many = table("a.json", &(sample.clone() + &line("\"a few\"").repeat(3)));

    assert!(
        text.contains("  qty DECIMAL(18,1) NOT NULL, -- 2 of 300 values are none: such records"),
        "{text}"
    );
    assert!(text.contains("  zip BIGINT NOT NULL -- 1 of 300"), "{text}");
    assert!(too_many.contains("qty TEXT NOT NULL,\n"), "{too_many}");
}

#[test]
fn numbers_that_are_names_are_text_however_few_say_so() {
    let sample = "zip\n".to_owned() + &"12345\n".repeat(200) + "02139\n";

    assert!(table("a.csv", &sample).contains("zip TEXT NOT NULL\n"));
}

#[test]
fn a_time_that_says_its_zone_is_one_with_a_zone() {
    let sample = "{\"at\": \"2026-03-01T09:00:00Z\", \"due\": \"2026-03-01 09:00:00\"}\n\
        {\"at\": \"2026-03-01T09:00:00+02:00\", \"due\": \"2026-03-02\"}\n";

    let text = table("a.json", sample);

    assert!(text.contains("at  TIMESTAMPTZ NOT NULL,"), "{text}");
    assert!(text.contains("due TIMESTAMP NOT NULL\n"), "{text}");
    assert!(text.contains("WATERMARK FOR at AS at"), "{text}");
}

#[test]
fn what_cannot_be_read_is_left_out_and_said() {
    let column = |name: &str, remark| InferredColumn {
        name: name.to_owned(),
        sql_type: "BIGINT".to_owned(),
        nullable: true,
        remark,
    };
    let map = || Some(Remark::Unreadable("a map".to_owned()));

    let text = told("a.parquet", vec![column("id", None), column("m", map())]).to_string();

    assert!(
        text.contains("  id BIGINT\n  -- m  is a map, which cannot be read\n)"),
        "{text}"
    );
}

#[test]
fn columns_of_one_name_are_left_out_and_said() {
    let text = table("a.csv", "a,b,a\n1,2,3\n");

    let out = "-- a is in the header line twice, which cannot be read\n";
    assert_eq!(text.matches(out).count(), 2, "{text}");
    assert!(text.contains("  b BIGINT NOT NULL\n"), "{text}");
}

#[test]
fn json_that_is_not_one_object_per_line_is_told_how_to_become_that() {
    let told = |sample: &str| infer("a.json", sample.as_bytes()).unwrap_err().to_string();

    assert!(told("\u{feff}[{\"a\": 1}]").contains("jq -c '.[]' a.json"));
    assert!(told("{\n  \"a\": 1\n}\n").contains("jq -c . a.json"));
}
