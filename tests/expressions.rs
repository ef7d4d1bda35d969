//! What expressions come to, beside PostgreSQL: the same rows, the same SQL, compared as text.
//!
//! An expression that fails there rejects its record here.

mod numbers;
mod written;

use std::fmt::Write as _;
use std::fs;

use postgres::{Client, SimpleQueryMessage};
use rusqlite::types::Value;

use crate::services;
use crate::support::{Exit, tables, tidemark};

/// The columns, with the types that both know.
const COLUMNS: [(&str, &str); 23] = [
    ("id", "INT NOT NULL"),
    ("i", "INT"),
    ("n", "INT"),
    ("b", "BOOLEAN"),
    ("bn", "BOOLEAN"),
    ("x", "DOUBLE PRECISION"),
    ("y", "DOUBLE PRECISION"),
    ("price", "NUMERIC(10, 2)"),
    ("s", "TEXT"),
    ("p", "TEXT"),
    ("ts", "TIMESTAMP"),
    ("ts2", "TIMESTAMP"),
    ("tz", "TIMESTAMPTZ"),
    ("zone", "TEXT"),
    ("d", "DATE"),
    ("tm", "TIME"),
    ("iv", "INTERVAL"),
    ("iv2", "INTERVAL"),
    ("l", "INT[]"),
    ("u", "UUID"),
    ("j", "JSON"),
    ("tags", "TEXT[]"),
    ("until", "DATE"),
];

/// The rows; an empty field is NULL. Lists are written as PostgreSQL writes them.
const ROWS: &[&str] = &[
    "1;7;;true;;2.5;-8;12.50;a$b;a.b;2026-03-01 09:30:15.5;2026-12-26 10:30:15.5;2026-03-01 08:30:15.5+00;Europe/Berlin;2026-03-01;09:30:00.5;1 day;25:00:00;{1,NULL,3};a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11;{\"a\": [1, 2, 3]};{x,y};9999-12-31",
    "2;;3;false;true;0;1;-3.75;line\nfeed;e.f;2026-03-29 02:30:00;2026-03-30 03:30:00;2026-03-29 00:59:59+00;Europe/Berlin;2026-01-31;00:00:00;1 mon;30 days;{1,2,3};;[1, [2], null];{};2026-03-01",
    "3;4;4;;false;-1;0.5;0.00;;;2026-10-25 02:30:00;2026-10-25 02:30:00;2026-10-25 00:30:00+00;America/New_York;2024-02-29;23:59:59.999999;-1 day -02:00:00;-26:00:00;{};;3;;1600-01-01",
    "4;;;;;;;;;;;;;;;;;;;;;;",
    "5;1;2;true;false;1000;3;99.99;Grüße;%;1969-12-31 23:59:59.5;1970-01-01 00:00:00;2000-07-04 12:00:00+00;UTC;1900-01-01;12:00:00;1 year 2 mons 3 days 04:05:06.7;5 days;{NULL};;\"x\";{NULL,x};2263-01-01",
    "6;-2;1;false;false;1e-5;-1;0.01;ab;b;2026-11-01 01:30:00;2026-11-08 01:30:00.25;2026-11-01 05:30:00+00;Asia/Kathmandu;2027-01-03;00:00:00.000001;00:00:00;-00:00:01;{7,8,9};;true;{x,y,x};2026-03-01",
];

/// Expressions that both compute.
const SAME: &[&str] = &[
    // Intervals are as long as they are.
    "ts2 - ts < INTERVAL '2 days'",
    "ts2 - ts > INTERVAL '25 hours'",
    "ts2 - ts >= INTERVAL '1 month'",
    "ts2 - ts BETWEEN INTERVAL '0 days' AND INTERVAL '30 days'",
    "ts2 - ts = ts2 - ts",
    "iv > '1 day'",
    "iv < iv2",
    "'1 day' = iv",
    "-iv < iv2",
    "(ts2 - ts) IS DISTINCT FROM INTERVAL '25 hours'",
    "iv <= iv2",
    "iv = iv2",
    "iv <> iv2",
    "iv IS DISTINCT FROM iv2",
    "iv IS NOT DISTINCT FROM iv2",
    "iv IN (INTERVAL '30 days', INTERVAL '25 hours', INTERVAL '24 hours')",
    "iv NOT IN (INTERVAL '30 days', INTERVAL '24 hours')",
    "iv NOT BETWEEN INTERVAL '1 day' AND INTERVAL '1 month'",
    "CASE iv WHEN INTERVAL '24 hours' THEN 'a day' WHEN INTERVAL '30 days' THEN 'a month' END",
    "nullif(iv, INTERVAL '24 hours') IS NULL",
    "iv2 = '5 days'::interval",
    "'5'::interval = INTERVAL '5 seconds'",
    "ts + (ts2 - ts) = ts2",
    // Dates and intervals make timestamps.
    "d + INTERVAL '12 hours'",
    "d - INTERVAL '1 hour'",
    "INTERVAL '36 hours' + d",
    "d + INTERVAL '1 month'",
    "d + (ts2 - ts)",
    "d + iv",
    "(d + INTERVAL '1 day')::date",
    "d + INTERVAL '1 day' > ts",
    "d - DATE '2026-01-01'",
    // Time zones.
    "tz AT TIME ZONE 'Europe/Berlin'",
    "tz AT TIME ZONE 'America/New_York'",
    "tz AT TIME ZONE 'Asia/Kathmandu'",
    "tz AT TIME ZONE 'UTC'",
    "tz AT TIME ZONE zone",
    "ts AT TIME ZONE 'Europe/Berlin'",
    "ts AT TIME ZONE 'America/New_York'",
    "ts AT TIME ZONE 'UTC'",
    "ts AT TIME ZONE zone",
    "timezone('Europe/Berlin', ts)",
    "ts AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'America/New_York'",
    "ts AT TIME ZONE 'Europe/Berlin' = TIMESTAMPTZ '2026-03-01 08:30:15.5Z'",
    "ts AT TIME ZONE 'Europe/Berlin' < tz",
    "(tz AT TIME ZONE 'Europe/Berlin')::date",
    "extract(hour FROM tz AT TIME ZONE 'Europe/Berlin')",
    "date_trunc('day', tz AT TIME ZONE 'Europe/Berlin')",
    "date_trunc('day', tz AT TIME ZONE 'Europe/Berlin') AT TIME ZONE 'Europe/Berlin'",
    "to_char(tz AT TIME ZONE 'Europe/Berlin', 'YYYY-MM-DD HH24:MI')",
    "d AT TIME ZONE 'Europe/Berlin'",
    "TIMESTAMP '2018-11-04 00:30:00' AT TIME ZONE 'America/Sao_Paulo'",
    "TIMESTAMP '2011-12-30 12:00:00' AT TIME ZONE 'Pacific/Apia'",
    "TIMESTAMP '1890-01-01 00:00:00' AT TIME ZONE 'Europe/Berlin'",
    "TIMESTAMP '1947-06-29 02:30:00' AT TIME ZONE 'Europe/Berlin'",
    "TIMESTAMP '2026-04-05 02:00:00' AT TIME ZONE 'Australia/Lord_Howe'",
    "TIMESTAMP '2026-10-04 02:15:00' AT TIME ZONE 'Australia/Lord_Howe'",
    "TIMESTAMP '2050-07-01 12:00:00' AT TIME ZONE 'America/New_York'",
    "TIMESTAMPTZ '2098-10-26 00:30:00+00' AT TIME ZONE 'Europe/Berlin'",
    // Rows.
    "(i, n) = (7, NULL)",
    "(i, n) <> (7, NULL)",
    "(i, n) = (4, 4)",
    "(i, n) < (4, 5)",
    "(n, i) < (1, 2)",
    "(i, n) <= (4, 4)",
    "(i, n) > (1, 1)",
    "(i, n, id) >= (1, 2, 5)",
    "ROW(i, n) = ROW(1, 2)",
    "(i, n) IN ((7, 1), (1, 2))",
    "(i, n) NOT IN ((7, 1), (1, 2))",
    "(i, n) IS DISTINCT FROM (4, 4)",
    "(i, n) IS NOT DISTINCT FROM (7, NULL)",
    "(i, n) IS NULL",
    "(i, n) IS NOT NULL",
    "(i, n) BETWEEN (1, 1) AND (4, 4)",
    "NOT (i + 1, n) = (5, 4)",
    "(i IS NULL, n) = (true, 3)",
    // Lists.
    "1 = ANY(l)",
    "4 = ANY(l)",
    "i = ANY(l)",
    "NOT (4 = ANY(l))",
    "4 = ANY(ARRAY[1, NULL, 3])",
    "3 = ANY(ARRAY[1, NULL, 3])",
    "i = ANY(ARRAY[7, 4])",
    "2 < ANY(l)",
    "3 < ANY(l)",
    "1 <> ANY(l)",
    "2 >= ANY(l)",
    "0 >= ANY(l)",
    "4 <> ALL(l)",
    "1 = ALL(l)",
    "0 < ALL(l)",
    "3 >= ALL(l)",
    "s = ANY(ARRAY['ab', NULL])",
    "l[1]",
    "l[-1]",
    "l[0]",
    "l[4]",
    "l[i]",
    "array_to_string(l[2:3], ',')",
    "array_to_string(l[-1:2], ',')",
    "array_to_string(l[i:3], ',')",
    "array_to_string(l[1:i], ',')",
    "array_to_string(l[2:0], ',')",
    // Parts of times.
    "CAST(extract(second FROM ts) AS DOUBLE PRECISION)",
    "date_part('second', tm)",
    "date_part('milliseconds', ts)",
    "extract(microseconds FROM tm)",
    "date_part('epoch', ts)",
    "date_part('epoch', tz)",
    "date_part('epoch', d)",
    "date_part('epoch', tm)",
    "date_part('epoch', iv)",
    "date_part('epoch', ts2 - ts)",
    "extract(year FROM ts)",
    "extract(isoyear FROM d)",
    "extract(week FROM d)",
    "extract(quarter FROM ts)",
    "extract(month FROM d)",
    "extract(day FROM ts)",
    "extract(hour FROM ts2 - ts)",
    "extract(minute FROM ts2 - ts)",
    "date_part('second', ts2 - ts)",
    "extract(day FROM ts2 - ts)",
    "extract(month FROM ts2 - ts)",
    "extract(year FROM iv)",
    "extract(month FROM iv)",
    "extract(day FROM iv)",
    "extract(hour FROM iv)",
    "extract(hour FROM iv2)",
    "extract(minute FROM iv)",
    "date_part('second', iv)",
    "extract(dow FROM d)",
    "extract(isodow FROM d)",
    "extract(doy FROM d)",
    "extract(decade FROM d)",
    "extract(century FROM d)",
    "extract(millennium FROM d)",
    // Times as text.
    "to_char(ts, 'MONTH')",
    "to_char(ts, 'Month') || '|'",
    "to_char(ts, 'month') || '|'",
    "to_char(ts, 'MON Mon mon')",
    "to_char(d, 'DAY') || '|'",
    "to_char(d, 'Day') || '|'",
    "to_char(d, 'DY Dy dy')",
    "to_char(ts, 'FMDay, FMDDth FMMonth YYYY')",
    "to_char(ts, 'YYYY-MM-DD HH24:MI:SS.MS')",
    "to_char(ts, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    "to_char(ts, 'yyyy/mm/dd hh12:mi:ss am')",
    "to_char(ts, 'HH:MI P.M.')",
    "to_char(ts, 'FMHH12:MI AM')",
    "to_char(ts, 'Y,YYY YYY YY Y')",
    "to_char(d, 'IYYY IYY IY I IW ID')",
    "to_char(d, 'Q CC WW W DDD D J')",
    "to_char(ts, 'SSSS FF1 FF3 FF6')",
    "to_char(tz, 'TZ tz TZH TZM OF')",
    "to_char(ts, 'TZ|TZH')",
    "to_char(tm, 'HH24:MI:SS.US')",
    "to_char(ts, 'DDTH DDth MMth')",
    "to_char(ts2, 'FMHH24:FMMI:SS FMDD.FMMM.YY')",
    "to_char(ts, 'YYYYMMDDHH24MISS')",
    "to_char(ts, '\"quoted \\\" text\" YYYY')",
    // Patterns.
    "s ~ 'e.f'",
    "s ~ p",
    "s !~ 'e.f'",
    "s ~* 'E.F'",
    "s ~ 'a\\$b'",
    "regexp_replace(s, '\\$', '$1')",
    "regexp_replace(s, '(.)b', '<\\1|\\&|$0>')",
    "regexp_replace(s, 'b', '\\\\1')",
    "regexp_replace(s, '[aeiou]', '-', 'g')",
    "regexp_replace(s, 'e.f', 'x')",
    "regexp_replace(s, '^f', 'x', 'n')",
    "regexp_replace(s, '.', p)",
    "(regexp_match(s, 'n(.*)d'))[1]",
    "regexp_like(s, 'e.f')",
    "regexp_count(s, '.')",
    // Functions with a range.
    "ln(nullif(abs(y), 0))",
    "sqrt(abs(y))",
    "exp(y)",
    "power(2, y)",
    "2.0::double precision ^ y",
    "atanh(1::double precision)",
    // Conditions.
    "bn IS DISTINCT FROM true AND false",
    "i = 7 AND b IS DISTINCT FROM true OR i = 7",
    "i IS NOT DISTINCT FROM n AND b IS NULL",
    "NOT i IS DISTINCT FROM n",
    "i IS DISTINCT FROM n + 1",
    "b IS DISTINCT FROM i = 7",
    "i IS DISTINCT FROM n OR b AND false",
    // What docs/sql.md names, besides.
    "upper(p) || lower(s)",
    "initcap(p)",
    "length(s)",
    "substring(s from 2 for 2)",
    "substring(s from -1 for 3)",
    "left(s, 2) || '|' || left(s, -1)",
    "right(s, 2) || '|' || right(s, -1)",
    "trim(' ' || s || ' ')",
    "trim(both 'ab' from s)",
    "lpad(s, 6, '*') || rpad(s, 3, '*')",
    "replace(s, 'b', 'cc')",
    "split_part(s, 'b', 1)",
    "split_part(s, 'b', -1)",
    "position('b' in s)",
    "concat(s, '-', p)",
    "concat_ws('-', s, p)",
    "starts_with(s, 'a')",
    "translate(s, 'ab', 'x')",
    "reverse(s)",
    "s LIKE 'a%' OR s ILIKE 'LINE_F%'",
    "s || p",
    "abs(y)",
    "round(price, 1)",
    "ceil(y) + floor(y)",
    "mod(i, 2)",
    "i / 2 + i % 2",
    "power(i, 2)",
    "greatest(i, n)",
    "least(i, n, 2)",
    "date_trunc('month', ts)",
    "date_trunc('week', ts)",
    "date_trunc('quarter', tz)",
    "date_bin(INTERVAL '15 minutes', ts, TIMESTAMP '2026-01-01 00:00:00')",
    "to_date('01.03.2026', 'DD.MM.YYYY')",
    "make_date(2026, 3, id)",
    "ts::date",
    "tz::timestamp",
    "ts::timestamptz",
    "ts::time",
    "d::timestamp",
    "ts + iv",
    "ts - iv",
    "tz + iv",
    "ts < ts2",
    "d < ts",
    "md5(s)",
    "encode(sha256(CAST(s AS BYTEA)), 'hex')",
    "coalesce(i, n, 0)",
    "nullif(i, n)",
    "CASE WHEN b THEN 'yes' WHEN NOT b THEN 'no' ELSE '?' END",
    "CASE i WHEN 7 THEN 'seven' WHEN n THEN 'same' END",
    "cardinality(l)",
    "array_length(l, 1)",
    "array_position(l, 3)",
    "array_to_string(l, ',')",
    "array_to_string(l, ',', '?')",
    "array_to_string(string_to_array(s, 'b'), '|')",
    "CAST(price AS INT)",
    "CAST(y AS INT)",
    "CAST(price AS TEXT) || CAST(y AS TEXT)",
    "price * 2 + i",
    "CAST(b AS TEXT)",
    "b AND bn OR NOT b",
    "i BETWEEN n AND 7",
    "i NOT IN (1, 2, NULL)",
    "i IN (1, n)",
    "(b AND bn) IS UNKNOWN",
    "ts2 - ts > '1 day'",
    "'2 days' >= ts2 - ts",
    "iv + iv2 > INTERVAL '2 days'",
    "INTERVAL '1.5 days' = INTERVAL '36 hours'",
    "-i ^ 2",
    "2 - -n ^ 2 * 3",
    "- (i ^ 2)",
    "encode(CAST(s AS BYTEA), 'base64')",
    "ceil(price)",
    "floor(price)",
    "floor(-0.5) + ceil(-0.5) + ceil(2.1)",
    "tm + INTERVAL '1 hour'",
    "CAST(iv AS TEXT) || ' ' || CAST(iv2 AS TEXT)",
    "ts2 - ts",
    "ts - d",
    "tm - tm",
    "iv - iv2",
    "INTERVAL '90 minutes'",
    "CAST('1 day 02:00:00' AS INTERVAL)",
    "CAST('1 year 2 mons -3 days' AS INTERVAL)",
    "CAST('-1:30:00.5' AS INTERVAL)",
    "CAST('90' AS INTERVAL)",
    "CAST('2 hours 30' AS INTERVAL)",
];

/// Expressions that fail in the first row, with what PostgreSQL says to it.
const FAILS: &[&str] = &[
    "ln(i - 7)",
    "ln(y)",
    "log(i - 7)",
    "log(y)",
    "sqrt(y)",
    "exp(x * 1000)",
    "exp(x * -1000)",
    "power(y, 0.5)",
    "power(x, 1000)",
    "power(i - 7, -1)",
    "acos(x)",
    "asin(x)",
    "acosh(y)",
    "atanh(y)",
    "CAST(s AS INTERVAL)",
    "ts AT TIME ZONE s",
];

fn create(types: impl Fn(&str) -> String) -> String {
    let columns = COLUMNS.map(|(name, data_type)| format!("{name} {}", types(data_type)));
    columns.join(", ")
}

/// A folder with the rows and a pipeline over them.
fn written(pipeline: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = String::new();
    for row in ROWS {
        let fields = row.split(';').zip(COLUMNS).map(|field| match field {
            ("", _) => String::new(),
            (list, (_, data_type)) if data_type.ends_with("[]") => {
                format!("\"{}\"", as_json(list, data_type).replace('"', "\"\""))
            }
            (text, _) => format!("\"{}\"", text.replace('"', "\"\"")),
        });
        writeln!(rows, "{}", fields.collect::<Vec<_>>().join(",")).unwrap();
    }
    fs::write(folder.path().join("t.csv"), rows).unwrap();
    let source = format!(
        "CREATE TABLE t ({}) WITH (connector = 'file', path = 't.csv', format = 'csv',
           'csv.header' = 'false');\n{pipeline}",
        create(str::to_owned)
    );
    fs::write(folder.path().join("all.sql"), source).unwrap();
    folder
}

/// A list as JSON.
fn as_json(list: &str, data_type: &str) -> String {
    let items = list.trim_matches(['{', '}']).split(',');
    let items = items
        .filter(|item| !item.is_empty())
        .map(|item| match item {
            "NULL" => "null".to_owned(),
            text if data_type == "TEXT[]" => format!("\"{text}\""),
            number => number.to_owned(),
        });
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The rows as PostgreSQL's.
fn fill(client: &mut Client) {
    let columns = create(str::to_owned);
    let mut sql = format!("CREATE TEMP TABLE t ({columns});");
    for row in ROWS {
        let fields = row.split(';').map(|field| match field {
            "" => "NULL".to_owned(),
            text => format!("'{text}'"),
        });
        let fields = fields.collect::<Vec<_>>().join(", ");
        writeln!(sql, "INSERT INTO t VALUES ({fields});").unwrap();
    }
    client.batch_execute(&sql).unwrap();
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Text(text) => Some(text.clone()),
        other @ (Value::Real(_) | Value::Blob(_)) => panic!("a text was expected: {other:?}"),
    }
}

#[test]
fn expressions_come_to_what_postgresql_says() {
    let Some(mut client) = services::postgres("the comparison of expressions") else {
        return;
    };
    let all = SAME.iter().chain(numbers::SAME).chain(written::SAME);
    let all: Vec<&str> = all.copied().collect();
    let casts = all.iter().enumerate();
    let casts = casts.map(|(at, expr)| format!("CAST(({expr}) AS TEXT) AS c{at}"));
    let casts = casts.collect::<Vec<_>>().join(",\n  ");
    let columns = (0..all.len()).map(|at| format!("v{at} TEXT"));
    let folder = written(&format!(
        "CREATE TABLE o (id INT, {}) WITH (connector = 'sqlite', path = 'o.db');
         INSERT INTO o SELECT id,\n  {casts} FROM t;",
        columns.collect::<Vec<_>>().join(", ")
    ));

    let ended = tidemark(folder.path(), &["run", "all.sql"], &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    fill(&mut client);
    let ours = tables(&folder.path().join("o.db"));
    let ours = &ours[0].rows;
    assert_eq!(
        ours.len(),
        ROWS.len(),
        "records were rejected: {}",
        ended.stderr
    );
    let theirs = client.simple_query(&format!("SELECT id,\n  {casts} FROM t ORDER BY id"));
    let theirs = theirs.unwrap_or_else(|e| panic!("PostgreSQL: {e:?}"));
    let theirs = theirs.iter().filter_map(|message| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        Some(row)
    });
    let mut wrong = Vec::new();
    for (ours, theirs) in ours.iter().zip(theirs) {
        let id = text(&ours[0]).unwrap();
        for (at, expr) in all.iter().enumerate() {
            let (ours, theirs) = (text(&ours[at + 1]), theirs.get(at + 1).map(str::to_owned));
            if ours != theirs {
                wrong.push(format!("{expr} in row {id}: {ours:?} for {theirs:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_record_is_rejected_where_postgresql_fails() {
    let Some(mut client) = services::postgres("the comparison of failures") else {
        return;
    };
    let mut pipeline = String::new();
    let fails = FAILS.iter().chain(numbers::FAILS).chain(written::FAILS);
    let fails: Vec<&str> = fails.copied().collect();
    for (at, expr) in fails.iter().enumerate() {
        writeln!(
            pipeline,
            "CREATE TABLE e{at} (v TEXT) WITH (connector = 'sqlite', path = 'e.db');
             INSERT INTO e{at} SELECT CAST(({expr}) AS TEXT) FROM t WHERE id = 1;"
        )
        .unwrap();
    }
    let folder = written(&pipeline);

    let ended = tidemark(folder.path(), &["run", "all.sql"], &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    fill(&mut client);
    let found = tables(&folder.path().join("e.db"));
    for (at, expr) in fails.iter().enumerate() {
        let theirs = client.simple_query(&format!("SELECT {expr} FROM t WHERE id = 1"));
        assert!(theirs.is_err(), "PostgreSQL computes {expr}");
        let name = format!("e{at}");
        let ours = found.iter().find(|table| table.name == name).unwrap();
        assert!(ours.rows.is_empty(), "{expr}: {:?}", ours.rows);
    }
}
