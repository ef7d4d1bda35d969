//! The queries of `benchmarks/nexmark`, answered by PostgreSQL too: over the same rows, loaded as
//! tables, it must come to the same result, row for row.
//!
//! PostgreSQL is asked the same text. Only what it does not know is given to it: windows as views, and an
//! `avg` of all digits.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use postgres::{Client, SimpleQueryMessage};
use rusqlite::types::Value;

use crate::services;
use crate::support::{Exit, tables, tidemark};

/// Those that `check` refuses: none any more.
const REFUSED: [usize; 0] = [];

const QUERIES: usize = 23;

/// Four windows of 10 seconds, and a part of a fifth.
const EVENTS: &str = "22000";
const EVENTS_PER_SECOND: &str = "500";

const SCHEMA: &str = "tidemark_nexmark_test";

/// What PostgreSQL is given besides the tables.
const GIVEN: &str = "
CREATE TABLE side_input AS
  SELECT n AS key, 'value-' || n AS value FROM generate_series(0, 9999) n;
CREATE VIEW bid_tumbled AS
  SELECT *, start AS window_start, start + INTERVAL '10' SECOND AS window_end
  FROM bid, date_bin('10 s', date_time, TIMESTAMP 'epoch') start;
CREATE VIEW auction_tumbled AS
  SELECT *, start AS window_start, start + INTERVAL '10' SECOND AS window_end
  FROM auction, date_bin('10 s', date_time, TIMESTAMP 'epoch') start;
CREATE VIEW person_tumbled AS
  SELECT *, start AS window_start, start + INTERVAL '10' SECOND AS window_end
  FROM person, date_bin('10 s', date_time, TIMESTAMP 'epoch') start;
CREATE VIEW bid_hopped AS
  SELECT bid.*, start AS window_start, start + INTERVAL '10' SECOND AS window_end
  FROM bid, generate_series(0, 4) step,
       LATERAL (SELECT date_bin('2 s', date_time, TIMESTAMP 'epoch') - step * INTERVAL '2' SECOND) w(start);
CREATE VIEW bid_sessions AS
  WITH begun AS (
    SELECT *, CASE WHEN date_time - lag(date_time) OVER w < INTERVAL '10' SECOND THEN 0 ELSE 1 END AS begins
    FROM bid WINDOW w AS (PARTITION BY bidder ORDER BY date_time)
  ), numbered AS (
    SELECT *, sum(begins) OVER (PARTITION BY bidder ORDER BY date_time) AS session FROM begun
  )
  SELECT *, min(date_time) OVER w AS window_start, max(date_time) OVER w + INTERVAL '10' SECOND AS window_end
  FROM numbered WINDOW w AS (PARTITION BY bidder, session);
CREATE FUNCTION added(state NUMERIC[], x BIGINT) RETURNS NUMERIC[]
  AS 'SELECT ARRAY[state[1] + x, state[2] + 1]' LANGUAGE sql;
CREATE FUNCTION averaged(state NUMERIC[]) RETURNS NUMERIC
  AS 'SELECT round(state[1]::NUMERIC(60, 40) / nullif(state[2], 0), 16)' LANGUAGE sql;
CREATE AGGREGATE exact_avg(BIGINT)
  (sfunc = added, stype = NUMERIC[], finalfunc = averaged, initcond = '{0,0}');
";

/// What stands for what PostgreSQL does not know.
const IN_OTHER_WORDS: [(&str, &str); 7] = [
    (
        "TUMBLE(bid, date_time, INTERVAL '10' SECOND)",
        "bid_tumbled",
    ),
    (
        "TUMBLE(auction, date_time, INTERVAL '10' SECOND)",
        "auction_tumbled",
    ),
    (
        "TUMBLE(person, date_time, INTERVAL '10' SECOND)",
        "person_tumbled",
    ),
    (
        "HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)",
        "bid_hopped",
    ),
    (
        "SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10' SECOND)",
        "bid_sessions",
    ),
    ("avg(", "exact_avg("),
    (
        "CAST(total AS NUMERIC(38, 0))",
        "CAST(total AS NUMERIC(60, 40))",
    ),
];

#[test]
fn the_queries_that_are_refused_are_those_of_the_list() {
    let refused: Vec<usize> = (0..QUERIES)
        .filter(|query| {
            let ended = tidemark(
                Path::new("."),
                &["check", file(*query).to_str().unwrap()],
                &[],
            );
            ended.how != Exit::Code(0)
        })
        .collect();

    assert_eq!(refused, REFUSED);
}

#[test]
fn postgresql_comes_to_the_same_results_over_the_same_rows() {
    let Some((mut client, url)) = services::postgres_with_url("the Nexmark queries") else {
        return;
    };
    load(&mut client, &url);
    let mut different = String::new();
    for query in 0..QUERIES {
        let expected = theirs(&mut client, query);
        assert!(!expected.is_empty(), "q{query} has no rows");
        if REFUSED.contains(&query) {
            continue;
        }
        for (threads, pace) in [("1", None), ("3", Some("1"))] {
            let ours = ours(query, threads, pace);
            if let Err(difference) = same(&ours, &expected) {
                let _ = writeln!(different, "q{query}, {threads} threads: {difference}");
            }
        }
    }
    assert!(different.is_empty(), "{different}");
    let sql = format!("DROP SCHEMA {SCHEMA} CASCADE");
    client.batch_execute(&sql).unwrap();
}

#[test]
fn the_benchmark_measures_the_queries_that_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench nexmark --queries q2,q13 --events 1000 --threads 2 --repeat 1 --json";
    let arguments: Vec<&str> = arguments.split(' ').collect();

    let ended = tidemark(folder.path(), &arguments, &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let measured: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    for (index, query) in ["q2", "q13"].iter().enumerate() {
        assert_eq!(measured[index]["query"], *query);
        assert_eq!(measured[index]["runs"][0]["records"], 920);
        assert_eq!(measured[index]["runs"].as_array().unwrap().len(), 1);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn file(query: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benchmarks/nexmark/q{query}.sql"))
}

fn text(query: usize) -> String {
    std::fs::read_to_string(file(query)).unwrap()
}

/// Loads the events into PostgreSQL.
fn load(client: &mut Client, url: &str) {
    let sql = format!(
        "SET client_min_messages = warning;
         DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; SET search_path = {SCHEMA}"
    );
    client.batch_execute(&sql).unwrap();
    let tables = [
        (
            "person",
            "id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT, \
             date_time TIMESTAMP, extra TEXT",
        ),
        (
            "auction",
            "id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, \
             date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT",
        ),
        (
            "bid",
            "auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, \
             date_time TIMESTAMP, extra TEXT",
        ),
    ];
    let mut pipeline = String::new();
    for (name, columns) in tables {
        let _ = writeln!(
            pipeline,
            "CREATE TABLE {name} ({columns}) WITH (connector = 'nexmark', \"table\" = '{name}',
               events = '{EVENTS}', 'events.per.second' = '{EVENTS_PER_SECOND}');
             CREATE TABLE {name}_loaded ({columns})
               WITH (connector = 'postgres', url = '${{URL}}', \"table\" = '{name}');
             INSERT INTO {name}_loaded SELECT * FROM {name};"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("load.sql"), pipeline).unwrap();
    let url = format!("{url}?options=-csearch_path%3D{SCHEMA}");
    let ended = tidemark(
        folder.path(),
        &["run", "load.sql", "--quiet"],
        &[("URL", &url)],
    );
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    client.batch_execute(GIVEN).unwrap();
}

/// Rows as text, in the order of all columns.
type Rows = Vec<Vec<Option<String>>>;

/// What PostgreSQL answers, as values of the sink's columns.
fn theirs(client: &mut Client, query: usize) -> Rows {
    let text = text(query);
    let name = format!("q{query}");
    let (_, sink) = text.split_once(&format!("CREATE TABLE {name} (")).unwrap();
    let (columns, rest) = sink.split_once("\n) WITH").unwrap();
    let (_, select) = rest.split_once(&format!("INSERT INTO {name}\n")).unwrap();
    let select = IN_OTHER_WORDS
        .iter()
        .fold(select.to_owned(), |text, (ours, theirs)| {
            text.replace(ours, theirs)
        });
    let sql = format!(
        "CREATE TEMP TABLE {name} ({columns}); INSERT INTO {name} {select} SELECT * FROM {name};"
    );
    let answered = client
        .simple_query(&sql)
        .unwrap_or_else(|e| panic!("PostgreSQL refuses {sql}: {e:?}"));
    let row = |message: SimpleQueryMessage| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        let text = |column| row.get(column).map(str::to_owned);
        Some((0..row.len()).map(text).collect())
    };
    sorted(answered.into_iter().filter_map(row).collect())
}

/// What the pipeline comes to.
fn ours(query: usize, threads: &str, pace: Option<&str>) -> Rows {
    let folder = tempfile::tempdir().unwrap();
    let path = file(query);
    let arguments = [
        "run",
        path.to_str().unwrap(),
        "--quiet",
        "--threads",
        threads,
    ];
    let mut variables = vec![
        ("NEXMARK_EVENTS", EVENTS),
        ("NEXMARK_RATE", EVENTS_PER_SECOND),
        ("NEXMARK_PARTITIONS", threads),
    ];
    variables.extend(pace.map(|seed| ("TIDEMARK_TEST_PACE", seed)));
    let ended = tidemark(folder.path(), &arguments, &variables);
    assert_eq!(ended.how, Exit::Code(0), "q{query}: {}", ended.stderr);
    let text = |value: Value| match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(_) => unreachable!("no column is one"),
    };
    let table = tables(&folder.path().join("nexmark.db")).remove(0);
    let rows = table.rows.into_iter();
    sorted(
        rows.map(|row| row.into_iter().map(text).collect())
            .collect(),
    )
}

fn sorted(mut rows: Rows) -> Rows {
    rows.sort();
    rows
}

fn same(ours: &Rows, theirs: &Rows) -> Result<(), String> {
    let differ = ours
        .iter()
        .zip(theirs)
        .find(|(ours, theirs)| ours != theirs);
    match differ {
        Some((ours, theirs)) => Err(format!("we say {ours:?}\n   PostgreSQL {theirs:?}")),
        None if ours.len() == theirs.len() => Ok(()),
        None => Err(format!(
            "we have {} rows, PostgreSQL has {}",
            ours.len(),
            theirs.len()
        )),
    }
}
