//! `sink.lanes`: what a crash at any commit of any lane leaves, what `check` and `explain` say, and
//! what is refused.

use std::path::Path;

use postgres::Client;

use crate::services;
use crate::support::{Exit, tidemark};

const SCHEMA: &str = "tidemark_lanes_test";

/// `kept` has its lanes; `pages` and `windows` move together beside them.
const PIPELINE: &str = "
CREATE TABLE clicks (
  at TIMESTAMP NOT NULL, page TEXT NOT NULL, ms DOUBLE PRECISION,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'clicks/*.csv', format = 'csv');
CREATE TABLE kept (at TIMESTAMP, page TEXT, ms DOUBLE PRECISION, line TEXT)
  WITH (connector = 'postgres', url = '${URL}'LANES);
CREATE TABLE pages (page TEXT PRIMARY KEY, n BIGINT)
  WITH (connector = 'postgres', url = '${URL}');
CREATE TABLE windows (window_end TIMESTAMP, n BIGINT)
  WITH (connector = 'postgres', url = '${URL}');
INSERT INTO kept SELECT at, page, ms, page || ' ' || at FROM clicks WHERE page <> 'pay';
INSERT INTO pages SELECT page, count(*) FROM clicks GROUP BY page;
INSERT INTO windows SELECT window_end, count(*)
  FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end;
";

/// Two files; every third row stands there twice, so that a lane has equal rows to count.
fn write(folder: &Path, lanes: &str) {
    std::fs::create_dir_all(folder.join("clicks")).unwrap();
    for file in 0..2 {
        let mut csv = "at,page,ms\n".to_owned();
        for i in 0..60 {
            let (minute, second) = (i * 7 / 60 + 1, (i * 7 + file) % 60);
            let page = ["home", "cart", "pay"][i % 3];
            let row = format!("2024-05-01 12:{minute:02}:{second:02},{page},0.{i}\n");
            csv.push_str(&row.repeat(1 + i % 3 / 2 + i % 2));
        }
        std::fs::write(folder.join(format!("clicks/{file}.csv")), csv).unwrap();
    }
    let lanes = match lanes {
        "" => String::new(),
        lanes => format!(", 'sink.lanes' = '{lanes}'"),
    };
    let sql = PIPELINE.replace("LANES", &lanes);
    std::fs::write(folder.join("lanes.sql"), sql).unwrap();
}

/// An empty schema; None where there is no server.
fn afresh() -> Option<(Client, String)> {
    let (mut client, url) = services::postgres_with_url("this test")?;
    let sql = format!(
        "set client_min_messages = warning;
         drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}; set search_path = {SCHEMA}"
    );
    client.batch_execute(&sql).unwrap();
    Some((client, format!("{url}?options=-csearch_path%3D{SCHEMA}")))
}

fn run(folder: &Path, url: &str, (threads, crash): (&str, Option<u32>)) -> Exit {
    let crash = crash.map(|commit| commit.to_string());
    let mut variables = vec![
        ("URL", url),
        ("TIDEMARK_TEST_PACE", "1"),
        ("TIDEMARK_TEST_BLOCK", "1000"),
    ];
    if let Some(commit) = &crash {
        variables.push(("TIDEMARK_CRASH_AT", commit));
    }
    let options = ["run", "lanes.sql", "--quiet", "--threads", threads];
    let ended = tidemark(folder, &options, &variables);
    assert_ne!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert_ne!(ended.how, Exit::Code(2), "{}", ended.stderr);
    ended.how
}

fn content(client: &mut Client) -> Vec<String> {
    let sql = "select 'kept ' || concat_ws('|', at, page, ms, line) from kept
               union all select 'pages ' || concat_ws('|', page, n) from pages
               union all select 'windows ' || concat_ws('|', window_end, n) from windows";
    let rows = client.query(sql, &[]).unwrap();
    let mut lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.sort();
    lines
}

/// The epochs that the lanes hold.
fn epochs(client: &mut Client) -> Vec<i64> {
    let there = "select to_regclass('tidemark_lanes') is not null";
    if !client.query_one(there, &[]).unwrap().get::<_, bool>(0) {
        return Vec::new();
    }
    let sql = "select coalesce(epoch, 0) from tidemark_lanes order by lane";
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_crash_at_any_commit_of_any_lane_leaves_nothing_lost_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "");
    let Some((mut client, url)) = afresh() else {
        return;
    };
    assert_eq!(run(folder.path(), &url, ("1", None)), Exit::Code(0));
    let expected = content(&mut client);
    assert!(expected.len() > 150, "{} rows", expected.len());

    let (mut crashes, mut unequal) = (0, 0);
    loop {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "3");
        let (mut client, url) = afresh().unwrap();
        let how = run(folder.path(), &url, ("1", Some(crashes + 1)));
        if how != Exit::Code(0) {
            crashes += 1;
            let held = epochs(&mut client);
            unequal += usize::from(held.iter().any(|&epoch| epoch != held[0]));
            // Once more while it catches up, cut into other epochs.
            run(folder.path(), &url, ("2", Some(1 + crashes % 4)));
            let threads = ["1", "3"][crashes as usize % 2];
            assert_eq!(run(folder.path(), &url, (threads, None)), Exit::Code(0));
        }

        assert_eq!(content(&mut client), expected, "crash {crashes}");
        if how == Exit::Code(0) {
            break;
        }
    }
    assert!(crashes > 12, "{crashes} commits");
    assert!(unequal > 2, "{unequal} resumes with unequal marks");
}

#[test]
fn another_number_of_lanes_is_refused_until_one_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut client, url)) = services::postgres_with_url("this test") else {
        return;
    };
    let schema = "tidemark_lanes_changed";
    let sql = format!(
        "set client_min_messages = warning;
         drop schema if exists {schema} cascade; create schema {schema}; set search_path = {schema}"
    );
    client.batch_execute(&sql).unwrap();
    let url = format!("{url}?options=-csearch_path%3D{schema}");
    let options = ["run", "lanes.sql", "--quiet", "--threads", "1"];
    let start = |options: &[&str]| tidemark(folder.path(), options, &[("URL", &url)]);

    write(folder.path(), "3");
    assert_eq!(start(&options).how, Exit::Code(0));
    let expected = content(&mut client);
    for lanes in ["2", "4", ""] {
        write(folder.path(), lanes);
        let refused = start(&options);
        assert_eq!(refused.how, Exit::Code(2), "{lanes}");
        let checked = start(&["check", "lanes.sql"]);
        assert_eq!(checked.how, Exit::Code(2), "{lanes}");
        for said in [refused.stderr, checked.stderr] {
            assert!(said.contains("was written in 3 lanes"), "{said}");
            assert!(said.contains("'sink.lanes' = '3'"), "{said}");
        }
    }

    for lanes in ["2", "", "5"] {
        write(folder.path(), lanes);
        assert_eq!(
            start(&[&options[..], &["--fresh", "--yes"]].concat()).how,
            Exit::Code(0)
        );
        assert_eq!(content(&mut client), expected, "{lanes} lanes");
        let lanes: usize = lanes.parse().unwrap_or_default();
        assert_eq!(epochs(&mut client).len(), lanes);
    }

    // Nor is a table taken over that was written whole: filled, or empty with a mark.
    write(folder.path(), "");
    let fresh = [&options[..], &["--fresh", "--yes"]].concat();
    assert_eq!(start(&fresh).how, Exit::Code(0));
    write(folder.path(), "3");
    for sql in ["select", "truncate kept"] {
        client.batch_execute(sql).unwrap();
        let refused = start(&options);
        assert_eq!(refused.how, Exit::Code(2), "{sql}");
        assert!(
            refused.stderr.contains("was written without lanes"),
            "{}",
            refused.stderr
        );
    }
    client
        .batch_execute(&format!("drop schema {schema} cascade"))
        .unwrap();
}

#[test]
fn check_and_explain_say_that_lanes_are_outside_the_consistent_cut() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "3");
    let Some((_, url)) = services::postgres_with_url("this test") else {
        return;
    };

    let check = tidemark(folder.path(), &["check", "lanes.sql"], &[("URL", &url)]).stdout;
    let explain = tidemark(folder.path(), &["explain", "lanes.sql"], &[("URL", &url)]).stdout;

    let promise = "exactly once in each of 3 lanes, outside the consistent cut";
    assert!(check.contains(&format!("  kept: {promise}\n")), "{check}");
    assert!(
        check.contains("one transaction moves pages, windows\n"),
        "{check}"
    );
    assert!(
        check.contains("4 destinations wait for each other"),
        "{check}"
    );
    assert!(
        explain.contains(&format!("kept: appended to; {promise}\n")),
        "{explain}"
    );
}
