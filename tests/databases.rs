//! One pipeline into SQLite and into PostgreSQL: both hold the same, also after a crash at any
//! commit. What one of them cannot hold is missing in that one alone.

use std::path::Path;

use postgres::Client;
use rusqlite::types::Value;

use crate::services;
use crate::support::{Exit, tables, tidemark};

/// The queries are the same; `S` and `P` are the tables of the two databases.
const PIPELINE: &str = "
CREATE TABLE clicks (
  at TIMESTAMP NOT NULL, page TEXT NOT NULL, ms DOUBLE PRECISION,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'clicks.csv', format = 'csv', 'dead.letter' = 'dead');
CREATE TABLE dead (kind TEXT, reason TEXT, payload TEXT)
  WITH (connector = 'postgres', url = '${URL}');
CREATE TABLE s_by_window (window_end TIMESTAMP, page TEXT, n BIGINT, ms DOUBLE PRECISION)
  WITH (connector = 'sqlite', path = 'out.db', table = 'by_window');
CREATE TABLE p_by_window (window_end TIMESTAMP, page TEXT, n BIGINT, ms DOUBLE PRECISION)
  WITH (connector = 'postgres', url = '${URL}', table = 'by_window');
CREATE TABLE s_by_page (page TEXT, n BIGINT, slowest DOUBLE PRECISION, PRIMARY KEY (page))
  WITH (connector = 'sqlite', path = 'out.db', table = 'by_page');
CREATE TABLE p_by_page (page TEXT, n BIGINT, slowest DOUBLE PRECISION, PRIMARY KEY (page))
  WITH (connector = 'postgres', url = '${URL}', table = 'by_page', indexes = 'n');
INSERT INTO s_by_window
  SELECT window_end, page, count(*), sum(ms)
  FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page;
INSERT INTO p_by_window
  SELECT window_end, page, count(*), sum(ms)
  FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page;
INSERT INTO s_by_page SELECT page, count(*), max(ms) FROM clicks GROUP BY page;
INSERT INTO p_by_page SELECT page, count(*), max(ms) FROM clicks GROUP BY page;
";

const SCHEMA: &str = "tidemark_crash_test";

/// Every fifth row is a minute behind, every eleventh record is no row.
fn write(folder: &Path) {
    let mut csv = "at,page,ms\n".to_owned();
    for i in 0..60 {
        let (minute, second) = (i * 7 / 60 + 1, i * 7 % 60);
        let minute = if i % 5 == 4 { minute - 1 } else { minute };
        let page = ["home", "cart", "pay"][i % 3];
        csv.push_str(&if i % 11 == 10 {
            format!("never,{i}\n")
        } else {
            format!("2024-05-01 12:{minute:02}:{second:02},{page},0.{i}\n")
        });
    }
    std::fs::write(folder.join("clicks.csv"), csv).unwrap();
    std::fs::write(folder.join("crash.sql"), PIPELINE).unwrap();
}

fn run(folder: &Path, url: &str, crash: Option<u32>) -> Exit {
    let crash = crash.map(|commit| commit.to_string());
    let mut variables = vec![
        ("URL", url),
        ("TIDEMARK_TEST_PACE", "1"),
        ("TIDEMARK_TEST_BLOCK", "150"),
    ];
    if let Some(commit) = &crash {
        variables.push(("TIDEMARK_CRASH_AT", commit));
    }
    let ended = tidemark(folder, &["run", "crash.sql", "--quiet"], &variables);
    assert_ne!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert_ne!(ended.how, Exit::Code(2), "{}", ended.stderr);
    ended.how
}

/// The rows of the SQLite tables, as text.
fn of_sqlite(folder: &Path) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Blob(_) => unreachable!("no column is one"),
    };
    let mut lines = Vec::new();
    for table in tables(&folder.join("out.db")) {
        for row in &table.rows {
            let values: Vec<String> = row.iter().map(text).collect();
            lines.push(format!("{}: {}", table.name, values.join("|")));
        }
    }
    lines.sort();
    lines
}

/// The same rows in PostgreSQL.
fn of_postgres(client: &mut Client) -> Vec<String> {
    let sql = format!(
        "select 'by_window: ' || concat_ws('|', window_end, page, n, ms) from {SCHEMA}.by_window
         union all
         select 'by_page: ' || concat_ws('|', page, n, slowest) from {SCHEMA}.by_page"
    );
    let rows = client.query(&sql, &[]).unwrap();
    let mut lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.sort();
    lines
}

#[test]
fn check_says_which_tables_move_together_and_what_waits_for_what() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.csv"), "n\n1\n").unwrap();
    let sink = |name: &str, file: &str| {
        format!(
            "CREATE TABLE {name} (n BIGINT) WITH (connector = 'sqlite', path = '{file}');
             INSERT INTO {name} SELECT n FROM numbers;\n"
        )
    };
    let one = "CREATE TABLE numbers (n BIGINT)
         WITH (connector = 'file', path = 'in.csv', format = 'csv');\n"
        .to_owned()
        + &sink("a", "one.db")
        + &sink("b", "one.db");
    std::fs::write(folder.path().join("one.sql"), &one).unwrap();
    std::fs::write(folder.path().join("two.sql"), one + &sink("c", "two.db")).unwrap();

    let said = |file| tidemark(folder.path(), &["check", file], &[]).stdout;

    let (one, two) = (said("one.sql"), said("two.sql"));
    assert!(one.contains("one.db one transaction moves a, b\n"), "{one}");
    assert!(!one.contains("wait for each other"), "{one}");
    assert!(two.contains("2 destinations wait for each other"), "{two}");
    assert!(two.contains("--only a,b runs these"), "{two}");
}

#[test]
fn a_crash_at_any_commit_leaves_in_postgresql_what_it_leaves_in_sqlite() {
    let Some((mut client, url)) = services::postgres_with_url("this test") else {
        return;
    };
    let url = format!("{url}?options=-csearch_path%3D{SCHEMA}");
    let mut afresh = || {
        let sql = format!(
            "set client_min_messages = warning;
             drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}"
        );
        client.batch_execute(&sql).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        folder
    };
    let undisturbed = afresh();
    assert_eq!(run(undisturbed.path(), &url, None), Exit::Code(0));
    let expected = of_sqlite(undisturbed.path());
    let mut crashes = 0;
    loop {
        let folder = afresh();
        let crashed = run(folder.path(), &url, Some(crashes + 1)) != Exit::Code(0);
        if crashed {
            crashes += 1;
            assert_eq!(run(folder.path(), &url, None), Exit::Code(0));
        }

        let mut reader = services::postgres("this test").unwrap();
        assert_eq!(of_sqlite(folder.path()), expected, "commit {crashes}");
        assert_eq!(of_postgres(&mut reader), expected, "commit {crashes}");
        let sql = format!("select count(*) from {SCHEMA}.dead where kind = 'rejected'");
        let rejected: i64 = reader.query_one(&sql, &[]).unwrap().get(0);
        assert_eq!(rejected, 5);
        if !crashed {
            break;
        }
    }
    assert!(crashes > 10, "{crashes} commits");
    client
        .batch_execute(&format!("drop schema {SCHEMA} cascade"))
        .unwrap();
}

/// What PostgreSQL cannot hold goes into SQLite; `S` and `P` are the tables of the two databases.
const NUL: &str = "
CREATE TABLE people (id BIGINT, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'people.json', format = 'json');
CREATE TABLE p_people (id BIGINT, name TEXT)
  WITH (connector = 'postgres', url = '${URL}', table = 'people');
CREATE TABLE s_people (id BIGINT, name TEXT)
  WITH (connector = 'sqlite', path = 'out.db', table = 'people');
CREATE TABLE p_names (name TEXT, n BIGINT, PRIMARY KEY (name))
  WITH (connector = 'postgres', url = '${URL}', table = 'names');
CREATE TABLE s_names (name TEXT, n BIGINT, PRIMARY KEY (name))
  WITH (connector = 'sqlite', path = 'out.db', table = 'names');
CREATE TABLE s_all (one INT, n BIGINT, PRIMARY KEY (one))
  WITH (connector = 'sqlite', path = 'out.db', table = 'everyone');
INSERT INTO p_people SELECT id, name FROM people;
INSERT INTO s_people SELECT id, name FROM people;
INSERT INTO p_names SELECT name, count(*) FROM people GROUP BY name;
INSERT INTO s_names SELECT name, count(*) FROM people GROUP BY name;
INSERT INTO s_all SELECT 1, count(*) FROM people;
";

#[test]
fn what_postgresql_cannot_hold_is_rejected_for_its_tables_alone() {
    const SCHEMA: &str = "tidemark_nul_test";
    let Some((mut client, url)) = services::postgres_with_url("this test") else {
        return;
    };
    let url = format!("{url}?options=-csearch_path%3D{SCHEMA}");
    let sql = format!(
        "set client_min_messages = warning;
         drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}"
    );
    client.batch_execute(&sql).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let people = [(1, "ann"), (2, "\\u0000"), (3, "bob"), (4, "\\u0000")];
    let people = people.map(|(id, name)| format!("{{\"id\": {id}, \"name\": \"{name}\"}}\n"));
    std::fs::write(folder.path().join("people.json"), people.concat()).unwrap();
    std::fs::write(folder.path().join("nul.sql"), NUL).unwrap();

    let arguments = ["run", "nul.sql", "--threads", "2"];
    let ended = tidemark(folder.path(), &arguments, &[("URL", &url)]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let held = [
        "everyone: 1|4",
        "names: \0|2",
        "names: ann|1",
        "names: bob|1",
        "people: 1|ann",
        "people: 2|\0",
        "people: 3|bob",
        "people: 4|\0",
    ];
    assert_eq!(of_sqlite(folder.path()), held);
    let sql = format!(
        "select 'people: ' || concat_ws('|', id, name) from {SCHEMA}.people
         union all select 'names: ' || concat_ws('|', name, n) from {SCHEMA}.names order by 1"
    );
    let rows = client.query(&sql, &[]).unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        rows,
        [
            "names: ann|1",
            "names: bob|1",
            "people: 1|ann",
            "people: 3|bob"
        ]
    );
    client
        .batch_execute(&format!("drop schema {SCHEMA} cascade"))
        .unwrap();
}
