//! What expressions mean: each is planned as the file says it and evaluated over one row.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::util::display::array_value_to_string;

use super::*;
use crate::plan::{Node, Operator};

/// A table with a column per type, of which only `id`, `price`, `at` and `body` have a value.
const TABLES: &str = "
CREATE TABLE t (
  id BIGINT, price NUMERIC(10,2), at TIMESTAMP, body JSON, small INT, ratio DOUBLE PRECISION,
  tags TEXT[], address STRUCT<street TEXT, number INT>
) WITH (connector = 'file');
CREATE TABLE out (value TEXT) WITH (connector = 'stdout');
";

fn plan_text(text: &str) -> Result<Pipeline, String> {
    let file = SourceText {
        path: "test.sql",
        text,
    };
    plan(&file, &Given::default()).map_err(|refused| {
        let problems = refused.problems.iter().map(|problem| problem.render(&file));
        problems.collect::<Vec<_>>().concat()
    })
}

/// One row.
fn row(schema: &arrow::datatypes::Schema) -> RecordBatch {
    use arrow::array::{
        Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use std::sync::Arc;
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from(vec![7])),
            "price" => {
                let price = Decimal128Array::from(vec![1250]);
                Arc::new(price.with_precision_and_scale(10, 2).unwrap())
            }
            "at" => Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_500_000])),
            "body" => Arc::new(StringArray::from(vec![
                r#"{"a": {"b": [1, 2.50]}, "s": "x"}"#,
            ])),
            "small" => Arc::new(Int32Array::from(vec![i32::MAX])),
            "ratio" => Arc::new(Float64Array::from(vec![2.5])),
            _ => new_null_array(field.data_type(), 1),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let columns = columns.collect();
    RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns, &options).unwrap()
}

/// The text of an expression's value, or its error.
fn value(expression: &str) -> String {
    let sql = format!("{TABLES} INSERT INTO out SELECT CAST({expression} AS TEXT) FROM t;");
    let pipeline = plan_text(&sql).unwrap_or_else(|problems| panic!("{problems}"));
    let [source, project] = pipeline.nodes.as_slice() else {
        panic!("expected a source and a projection: {:?}", pipeline.nodes);
    };
    let Operator::Project { columns, .. } = &project.operator else {
        return array_value_to_string(&row(&source.schema).column(0), 0).unwrap();
    };
    match columns[0].evaluate(&row(&source.schema)) {
        Ok(array) if array.is_null(0) => "NULL".to_owned(),
        Ok(array) => array_value_to_string(&array, 0).unwrap(),
        Err(error) => format!("error: {}", error.strip_backtrace()),
    }
}

#[test]
fn expressions_mean_what_they_mean_in_postgresql() {
    let cases = [
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("mod(-7, 3)", "-1"),
        ("id / 2.0", "3.5000000000000000"),
        ("price / 3", "4.1666666666666667"),
        ("1 / 3.0", "0.3333333333333333"),
        ("2 / 3.0", "0.6666666666666667"),
        ("CAST(2.5 AS INT)", "3"),
        ("CAST(-2.5 AS INT)", "-3"),
        ("CAST(price AS BIGINT)", "13"),
        ("CAST(ratio AS INT)", "2"),
        ("1.10 + 2.2", "3.30"),
        ("0.1 + 0.2", "0.3"),
        ("round(2.345, 2)", "2.35"),
        ("2 ^ 3", "8"),
        ("'5'::int + 1", "6"),
        ("'a' || NULL", "NULL"),
        ("concat('a', NULL)", "a"),
        ("length('é')", "1"),
        ("substring('abc' from 2 for 1)", "b"),
        ("position('b' in 'abc')", "2"),
        ("split_part('a/b', '/', 2)", "b"),
        ("left('abc', -1)", "ab"),
        ("'abc' ~ 'b'", "true"),
        ("regexp_replace('abc', 'b', 'x')", "axc"),
        ("greatest(1, NULL, 3)", "3"),
        ("nullif(1, 1)", "NULL"),
        ("coalesce(NULL, 3)", "3"),
        ("id IN (1, 7)", "true"),
        ("at", "2023-11-14 22:13:20.5"),
        ("at::timestamptz", "2023-11-14 22:13:20.5+00"),
        ("at::date", "2023-11-14"),
        ("at + INTERVAL '1 day'", "2023-11-15 22:13:20.5"),
        ("date_trunc('hour', at)", "2023-11-14 22:00:00"),
        ("date_bin(INTERVAL '1 hour', at)", "2023-11-14 22:00:00"),
        ("extract(hour from at)", "22"),
        ("to_char(at, 'YYYY-MM-DD HH24:MI')", "2023-11-14 22:13"),
        ("to_char(at, '%Y-%m-%d')", "2023-11-14"),
        (
            "to_timestamp('31.12.2020', 'DD.MM.YYYY')",
            "2020-12-31 00:00:00",
        ),
        ("to_timestamp(0)", "1970-01-01 00:00:00"),
        ("extract(epoch from at)", "1700000000.500000"),
        ("ratio", "2.5"),
        ("1e0", "1"),
        ("true", "true"),
        ("body->'a'->'b'->>1", "2.50"),
        ("body->'a'->'b'", "[1, 2.50]"),
        ("body->>'s'", "x"),
        ("body#>>'{a,b,0}'", "1"),
        ("body->'zzz'->>'x'", "NULL"),
        ("body->>'s' = 'x'", "true"),
        ("tags[1]", "NULL"),
        ("address.street", "NULL"),
    ];

    let wrong: Vec<String> = cases
        .iter()
        .filter(|(expression, expected)| value(expression) != *expected)
        .map(|(expression, expected)| {
            format!("{expression} is {}, not {expected}", value(expression))
        })
        .collect();

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arithmetic_out_of_range_fails_instead_of_wrapping_around() {
    assert!(value("small * small * small").starts_with("error"));
    assert!(value("id % 0").starts_with("error"));
}

#[test]
fn columns_of_an_insert_may_repeat() {
    let sql = "CREATE TABLE s (a BIGINT) WITH (connector = 'file');
        CREATE TABLE o (x BIGINT, y BIGINT, z BIGINT) WITH (connector = 'stdout');
        INSERT INTO o SELECT a, a, a + 1 AS a FROM s;";

    assert!(plan_text(sql).is_ok(), "{:?}", plan_text(sql));
}

#[test]
fn the_fingerprint_changes_with_the_meaning_and_not_with_the_layout() {
    let fingerprint = |filter: &str| {
        let sql = format!("{TABLES} INSERT INTO out SELECT id::text FROM t WHERE {filter};");
        plan_text(&sql).unwrap().recipe.fingerprint
    };

    assert_eq!(
        fingerprint("id > 3"),
        fingerprint("\n  id   >\n 3 -- three")
    );
    assert_ne!(fingerprint("id > 3"), fingerprint("id > 4"));
}

#[test]
fn the_fingerprint_tells_columns_of_one_name_orders_and_formats_apart() {
    let fingerprint = |null: &str, query: &str| {
        let sql = format!(
            "CREATE TABLE a (id BIGINT NOT NULL, v BIGINT) WITH (connector = 'file', path = 'a', format = 'csv', 'csv.null' = '{null}');
            CREATE TABLE b (id BIGINT NOT NULL, v BIGINT) WITH (connector = 'file', path = 'b', format = 'csv');
            CREATE TABLE o (id BIGINT PRIMARY KEY, s TEXT) WITH (connector = 'sqlite', path = 'o');
            INSERT INTO o SELECT a.id, {query} FROM a JOIN b ON a.id = b.id GROUP BY a.id;"
        );
        plan_text(&sql).unwrap().recipe.fingerprint
    };
    let base = fingerprint("", "sum(a.v)::text");
    assert_eq!(base, fingerprint("", "sum(a.v)::text"));
    assert_ne!(base, fingerprint("", "sum(b.v)::text"));
    assert_ne!(base, fingerprint("NA", "sum(a.v)::text"));
    let listed =
        |order: &str| fingerprint("", &format!("string_agg(a.v::text, ',' ORDER BY {order})"));
    assert_ne!(listed("b.v"), listed("b.v NULLS FIRST"));
    assert_ne!(listed("b.v"), listed("a.v"));
}

#[test]
fn a_recipe_tells_which_statement_has_changed() {
    const FILE: &str = "SET 'allowed.lateness' = '1s';
        CREATE TABLE t (id BIGINT NOT NULL, v BIGINT) WITH (connector = 'file', path = 'a', format = 'json');
        CREATE TABLE o (id BIGINT, v BIGINT) WITH (connector = 'stdout');
        CREATE VIEW large AS SELECT id, v FROM t WHERE v > 10;
        CREATE VIEW unused AS SELECT id FROM t;
        INSERT INTO o SELECT id, v FROM large;
        INSERT INTO o SELECT id, -v FROM t;";
    let recipe = |sql: &str| plan_text(sql).unwrap().recipe;
    let said = |before: &str, after: &str| {
        assert!(FILE.contains(before), "{before}");
        let change = recipe(FILE).change_to(&recipe(&FILE.replacen(before, after, 1)));
        change.map_or_else(String::new, |change| change.to_string())
    };
    let different = |what: &str| format!("a different pipeline file: {what}");

    assert_eq!(
        said("v > 10", "v > 11"),
        different("CREATE VIEW `large` has changed")
    );
    assert_eq!(
        said("'1s'", "'2s'"),
        different("SET 'allowed.lateness' has changed")
    );
    assert_eq!(
        said("v BIGINT)", "v INT)"),
        different("CREATE TABLE `t` has changed")
    );
    assert_eq!(
        said("-v FROM", "v FROM"),
        different("INSERT INTO `o` (2) has changed")
    );
    assert_eq!(
        said("INSERT INTO o SELECT id, -v FROM t;", ""),
        different("INSERT INTO `o` (2) is gone")
    );
    assert_eq!(said("SELECT id FROM t", "SELECT v FROM t"), "");
    assert_eq!(said("path = 'a'", "path = 'b'"), "");
    assert_eq!(said("id, v FROM large", "id, /* all */ V from large"), "");
}

#[test]
fn a_filter_proves_that_what_it_tests_is_not_null() {
    let keyed = |query: &str| {
        let sql = format!(
            "{TABLES} CREATE TABLE keyed (k TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite');
            INSERT INTO keyed {query};"
        );
        plan_text(&sql)
    };

    let of_expression =
        "SELECT body->>'s', count(*) FROM t WHERE body->>'s' IS NOT NULL GROUP BY 1";
    let of_cast = "SELECT id::text, count(*) FROM t WHERE id > 3 GROUP BY id";
    let unproven = "SELECT body->>'s', count(*) FROM t WHERE body->>'x' IS NOT NULL GROUP BY 1";
    assert!(keyed(of_expression).is_ok(), "{:?}", keyed(of_expression));
    assert!(keyed(of_cast).is_ok(), "{:?}", keyed(of_cast));
    assert!(keyed(unproven).unwrap_err().contains("may be NULL here"));
}

#[test]
fn a_check_reads_as_it_was_written() {
    let text = "CREATE TABLE trips (fare DECIMAL(10,2) CHECK (fare>=0), CHECK (fare < 100 OR NULL))
          WITH (connector = 'file');
        CREATE TABLE kept (fare DECIMAL(10,2)) WITH (connector = 'stdout');
        INSERT INTO kept SELECT fare FROM trips;";

    let pipeline = plan_text(text).unwrap();

    let checks = pipeline.tables[0].checks.iter();
    let texts: Vec<&str> = checks.map(|check| check.predicate.text.as_str()).collect();
    assert_eq!(texts, ["fare >= 0", "fare < 100 OR NULL"]);
}

#[test]
fn a_refused_file_tells_what_its_tables_are_used_for() {
    let text = "
        CREATE TABLE s (k TEXT, v INT) WITH (connector = 'file');
        CREATE TABLE r (k TEXT PRIMARY KEY, name TEXT) WITH (connector = 'file');
        CREATE TABLE broken (k TEXTT) WITH (connector = 'file');
        CREATE TABLE o (k TEXT) WITH (connector = 'stdout');
        CREATE TABLE nobody (k TEXT) WITH (connector = 'stdout');
        INSERT INTO o SELECT nmae FROM s JOIN r ON s.k = r.k;";
    let file = SourceText {
        path: "test.sql",
        text,
    };

    let refused = plan(&file, &Given::default()).unwrap_err();

    let tables = refused.tables.iter();
    let roles: Vec<(&str, Role)> = tables.map(|t| (t.name.as_str(), t.role)).collect();
    assert_eq!(
        roles,
        [
            ("s", Role::Source),
            ("r", Role::Reference),
            ("o", Role::Sink),
            ("nobody", Role::Unused)
        ]
    );
}

/// A pipeline of one INSERT over an event stream and a reference table.
fn plan_query(keyed: &str, query: &str) -> Result<Pipeline, String> {
    plan_text(&format!(
        "CREATE TABLE s (k TEXT, b BOOLEAN, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at)
           WITH (connector = 'file');
         CREATE TABLE r (k TEXT PRIMARY KEY, name TEXT) WITH (connector = 'file');
         CREATE TABLE o ({keyed}) WITH (connector = 'sqlite');
         INSERT INTO o {query};"
    ))
}

#[test]
fn what_a_query_makes_not_null_stays_so_whatever_the_optimiser_writes() {
    for (keyed, query) in [
        (
            "k BOOLEAN PRIMARY KEY, n BIGINT",
            "SELECT coalesce(b, false), count(*) FROM s GROUP BY 1",
        ),
        (
            "k TEXT PRIMARY KEY, n BIGINT",
            "SELECT coalesce(k, '-'), count(*) FILTER (WHERE b AND k IS NOT NULL) FROM s GROUP BY 1",
        ),
        (
            "w TEXT, k TEXT, n BIGINT, PRIMARY KEY (w, k)",
            "SELECT CAST(window_end AS TEXT), coalesce(k, '-'), count(*)
             FROM TUMBLE(s, at, INTERVAL '1' HOUR) t GROUP BY window_end, coalesce(k, '-')",
        ),
        (
            "k TEXT PRIMARY KEY, n BIGINT",
            "SELECT coalesce(r.name, '-'), count(*) FROM s LEFT JOIN r ON s.k = r.k GROUP BY 1",
        ),
        (
            "k TEXT PRIMARY KEY, n BIGINT",
            "SELECT k, n FROM (SELECT coalesce(k, '-') AS k, count(*) AS n FROM s GROUP BY 1) WHERE k IS NOT NULL",
        ),
    ] {
        assert_eq!(plan_query(keyed, query).err(), None, "{query}");
    }
    let unproven = "SELECT coalesce(k, r.name), count(*) FROM s LEFT JOIN r USING (k) GROUP BY 1";
    let refused = plan_query("k TEXT PRIMARY KEY, n BIGINT", unproven).unwrap_err();
    assert!(refused.contains("may be NULL here"), "{refused}");
}

#[test]
fn a_reference_table_stays_looked_up_whatever_is_used_of_it() {
    for query in [
        "SELECT DISTINCT coalesce(r.name, '-') FROM s JOIN r ON s.k = r.k",
        "SELECT DISTINCT coalesce(s.k, '-') FROM s JOIN r ON s.k = r.k",
        "SELECT DISTINCT coalesce(s.k, '-') FROM s LEFT JOIN r ON s.k = r.k",
        "SELECT coalesce(s.k, '-') FROM s JOIN r ON s.k = r.k GROUP BY 1",
        "SELECT coalesce(s.k, '-') FROM r JOIN s ON s.k = r.k GROUP BY 1",
    ] {
        let pipeline = plan_query("k TEXT PRIMARY KEY", query).unwrap_or_else(|e| panic!("{e}"));
        let nodes = &pipeline.nodes;
        let is_lookup = |node: &Node| matches!(node.operator, Operator::Lookup { .. });
        assert_eq!(
            nodes.iter().filter(|node| is_lookup(node)).count(),
            1,
            "{query}"
        );
        assert_eq!(pipeline.tables[1].role, Role::Reference, "{query}");
    }
}

#[test]
fn a_condition_that_is_never_true_is_a_filter_of_the_stream() {
    for query in [
        "SELECT k FROM s WHERE k = 'home' AND k = ''",
        "SELECT k FROM s WHERE NULL",
        "SELECT s.k FROM s JOIN r ON s.k = r.k WHERE 1 = 2",
        "SELECT s.k FROM s LEFT JOIN r ON s.k = r.k WHERE r.name = 'a' AND r.name = 'b'",
        "SELECT s.k FROM s JOIN r ON s.k = r.k AND 1 = 2",
        "SELECT k FROM s WHERE 1 = 2 UNION ALL SELECT k FROM s",
        "SELECT window_start::text FROM TUMBLE(s, at, INTERVAL '1' HOUR) t WHERE false",
        "SELECT k FROM s WHERE k IN (SELECT k FROM r WHERE 1 = 2)",
    ] {
        let pipeline = plan_query("k TEXT", query).unwrap_or_else(|e| panic!("{e}"));
        let nodes = &pipeline.nodes;
        let is_source = |node: &Node| matches!(node.operator, Operator::Source { .. });
        assert!(nodes.iter().any(is_source), "{query}");
    }
    let always = plan_query("k TEXT", "SELECT k FROM s WHERE 1 = 1").unwrap();
    assert_eq!(always.nodes.len(), 2);
}

#[test]
fn the_documentation_names_every_setting_and_every_aggregate() {
    let text = include_str!("../../docs/sql.md");

    let named = settings::names().chain(functions::aggregate_names());
    let missing: Vec<&str> = named
        .filter(|name| {
            ![
                format!("`{name}`"),
                format!("`{name}("),
                format!(" {name}("),
            ]
            .iter()
            .any(|named| text.contains(named))
        })
        .collect();

    assert!(missing.is_empty(), "docs/sql.md does not name {missing:?}");
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that pipelines are made of, so that random sequences get far.
    const PIECES: &[&str] = &[
        "SELECT",
        "FROM",
        "t",
        "out",
        "INSERT INTO",
        "CREATE TABLE",
        "CREATE VIEW",
        "v",
        "AS",
        "(",
        ")",
        ",",
        ";",
        "id",
        "price",
        "at",
        "body",
        "tags",
        "count(*)",
        "sum(",
        "GROUP BY",
        "WHERE",
        "TUMBLE(",
        "HOP(",
        "INTERVAL '1' MINUTE",
        "window_start",
        "window_end",
        "JOIN",
        "LEFT JOIN",
        "ON",
        "=",
        "*",
        "+",
        "-",
        "/",
        "->>",
        "'x'",
        "1",
        "1.5",
        "NULL",
        "CAST(",
        "::int",
        "UNION ALL",
        "unnest(tags)",
        "DISTINCT",
        "HAVING",
        "CASE WHEN",
        "THEN",
        "END",
        "BIGINT",
        "WITH",
        "EMIT CHANGES",
        "IN",
        "EXISTS",
        "NOT",
        "PRIMARY KEY",
        "WATERMARK FOR",
        "SET",
        "ORDER BY",
        "LATERAL",
        "VALUES",
        "address.street",
        "tags[1]",
        "OVER ()",
        "FILTER (WHERE",
        "WITHIN GROUP (",
        "percentile_cont(0.5)",
        "first_value(id)",
        "\u{e9}",
        "\"",
        "'",
        "${X}",
        "--",
        "/*",
        "$1",
        "[",
        "]",
        "{",
        "}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the text is, it is planned or refused, and every problem can be shown.
        #[test]
        fn no_text_makes_the_planner_panic(text in ".{0,200}") {
            let _ = plan_text(&text);
        }

        #[test]
        fn no_sequence_of_sql_words_makes_the_planner_panic(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)
        ) {
            let _ = plan_text(&format!("{TABLES} INSERT INTO out SELECT {}", pieces.join(" ")));
            let _ = plan_text(&format!("{TABLES} {}", pieces.join(" ")));
        }

        #[test]
        fn no_damage_to_a_good_file_makes_the_planner_panic(at in 0usize..400, with in prop::sample::select(PIECES), cut in 0usize..30) {
            let good = "CREATE TABLE s (k BIGINT NOT NULL, v NUMERIC(10,2), at TIMESTAMP, tags TEXT[],
                WATERMARK FOR at AS at - INTERVAL '5' SECOND) WITH (connector = 'file', path = 'x');
                CREATE TABLE r (k BIGINT PRIMARY KEY, name TEXT) WITH (connector = 'file', path = 'y');
                CREATE TABLE o (w TIMESTAMP, name TEXT, n BIGINT, PRIMARY KEY (w, name)) WITH (connector = 'sqlite');
                INSERT INTO o SELECT window_start, coalesce(r.name, '?'), count(*) FROM TUMBLE(s, at, INTERVAL '1' HOUR) t
                LEFT JOIN r ON t.k = r.k CROSS JOIN UNNEST(t.tags) AS x(tag) WHERE v > 1 AND tag <> 'a'
                GROUP BY window_start, window_end, coalesce(r.name, '?') HAVING count(*) > 1;";
            let characters: Vec<char> = good.chars().collect();
            let at = at * characters.len() / 400;
            let end = (at + cut).min(characters.len());
            let damaged: String = characters[..at].iter().collect::<String>()
                + " " + with + " " + &characters[end..].iter().collect::<String>();
            let _ = plan_text(&damaged);
        }
    }
}
