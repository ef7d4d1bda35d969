//! `tidemark demo`: all that is made up goes through Kafka and is in the tables, or is said why not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use postgres::Client;
use rusqlite::Connection;
use tidemark::engine::spawn_named;
use tidemark::types::Clock;

use crate::services::{kafka, postgres_with_url};
use crate::support::{Exit, tables, tidemark};

const ROWS: i64 = 40_000;
/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

fn demo(folder: &Path, options: &[&str]) -> String {
    let rows = ROWS.to_string();
    let all = ["demo", "--rows", &rows, "--rate", "40000", "--folder", "."];
    let ended = tidemark(folder, &[&all, options].concat(), &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    ended.stdout
}

#[test]
fn a_newcomer_sees_every_trip_come_through_the_broker_in_the_process() {
    let folder = tempfile::tempdir().unwrap();

    let said = demo(folder.path(), &[]);

    assert!(said.contains("trips by borough, so far"), "{said}");
    assert!(said.contains("ended with it"), "{said}");
    let found = tables(&folder.path().join("demo.db"));
    let count = |name: &str, column: &str| -> i64 {
        let table = found.iter().find(|table| table.name == name).unwrap();
        let at = table.columns.iter().position(|c| c == column).unwrap();
        let values = table.rows.iter().map(|row| {
            let rusqlite::types::Value::Integer(number) = &row[at] else {
                panic!("{:?} is no number", row[at])
            };
            *number
        });
        values.sum()
    };
    let letters = found.iter().find(|t| t.name == "trips_dead").unwrap();
    let kind = letters.columns.iter().position(|c| c == "kind").unwrap();
    let is_late = |row: &&Vec<rusqlite::types::Value>| {
        row[kind] == rusqlite::types::Value::Text("late".to_owned())
    };
    let late = i64::try_from(letters.rows.iter().filter(is_late).count()).unwrap();
    let rejected = i64::try_from(letters.rows.len()).unwrap() - late;
    assert!(late > 0 && rejected > 0, "{late} late, {rejected} rejected");
    assert_eq!(count("trips_by_borough", "trips"), ROWS - rejected);
    assert_eq!(count("trips_by_minute", "trips"), ROWS - rejected - late);
}

#[test]
fn the_demo_through_real_servers_comes_to_the_same_however_often_it_is_shown() {
    let (Some(broker), Some((mut client, url))) =
        (kafka("this test"), postgres_with_url("this test"))
    else {
        return;
    };
    let schema = "tidemark_demo_test";
    let sql = format!("drop schema if exists {schema} cascade; create schema {schema}");
    client.batch_execute(&sql).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{url}?options=-csearch_path%3D{schema}");
    let options = ["--kafka", broker.as_str(), "--postgres", url.as_str()];
    let count = |client: &mut Client| -> i64 {
        let sql = format!(
            "select ((select sum(trips) from {schema}.trips_by_borough)
                + (select count(*) from {schema}.trips_dead where kind = 'rejected'))::bigint"
        );
        client.query_one(&sql, &[]).unwrap().get(0)
    };

    for _ in 0..2 {
        let said = demo(folder.path(), &options);

        assert!(!said.contains("ended with it"), "{said}");
        assert_eq!(count(&mut client), ROWS);
    }
    client
        .batch_execute(&format!("drop schema {schema} cascade"))
        .unwrap();
}

/// Nobody listens at port 1.
const NOBODY: &str = "postgres://me@127.0.0.1:1/none";

#[test]
fn a_database_that_is_away_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        "demo",
        "--rows",
        "10",
        "--folder",
        ".",
        "--postgres",
        NOBODY,
    ];

    let ended = tidemark(folder.path(), &options, &[]);

    assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
    let said = ["could not connect", "start the server"];
    let says = said.iter().all(|text| ended.stderr.contains(text));
    assert!(says, "{}", ended.stderr);
}

#[test]
fn a_demo_of_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for option in ["--rows", "--rate"] {
        let ended = tidemark(folder.path(), &["demo", option, "0"], &[]);

        assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(option), "{}", ended.stderr);
    }
}

#[test]
fn one_signal_ends_the_sending_too() {
    let folder = tempfile::tempdir().unwrap();
    // Two minutes of rows.
    let mut run = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["demo", "--rows", "60000", "--rate", "500", "--folder", "."])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let clock = Clock::machine();
    let file = folder.path().join("demo.db");
    // The file and its tables appear a moment after the start.
    let has_rows = || -> rusqlite::Result<bool> {
        let database = Connection::open(&file)?;
        database.query_row("select count(*) > 0 from trips_by_borough", [], |row| {
            row.get(0)
        })
    };
    while !has_rows().unwrap_or(false) {
        assert!(clock.elapsed() < LIMIT, "no row comes");
    }

    let id = run.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.unwrap().success());
    };
    signal("-INT");

    let (end, ended) = sync_channel(1);
    let _waits = spawn_named("waits", move || {
        // Nobody waits for it any more where this fails.
        let _ = end.send(run.wait());
    });
    let Ok(ended) = ended.recv_timeout(LIMIT) else {
        signal("-KILL");
        panic!("it goes on");
    };
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[test]
fn a_file_that_no_demo_wrote_stays_and_the_demos_own_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.sql");
    demo(folder.path(), &[]);
    let written = std::fs::read_to_string(&file).unwrap();
    demo(folder.path(), &[]);
    let mine = format!("{written}-- and a line of mine\n");
    std::fs::write(&file, &mine).unwrap();

    let ended = tidemark(
        folder.path(),
        &["demo", "--rows", "10", "--folder", "."],
        &[],
    );

    assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("is there already"),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mine);
}

#[test]
fn tables_that_are_not_the_demos_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    // By its file's name this pipeline is called `demo`.
    let mine = "
        CREATE TABLE ticks (n BIGINT) WITH (connector = 'generator', rows = '7');
        CREATE TABLE seen (n BIGINT) WITH (connector = 'sqlite', path = 'demo.db');
        INSERT INTO seen SELECT n FROM ticks;";
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/demo.sql"), mine).unwrap();
    let ended = tidemark(folder.path(), &["run", "mine/demo.sql"], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let rows = |name: &str| {
        let found = tables(&folder.path().join("demo.db"));
        let found = found.into_iter().find(|table| table.name == name);
        found.map(|table| table.rows.len())
    };
    assert_eq!(rows("seen"), Some(7));

    demo(folder.path(), &[]);
    assert_eq!(rows("seen"), Some(7));

    // One of a name that the demo has, of which nothing is known.
    let database = Connection::open(folder.path().join("demo.db")).unwrap();
    let sql = "delete from tidemark_tables where pipeline <> 'demo';
        delete from tidemark_marks where pipeline <> 'demo'";
    database.execute_batch(sql).unwrap();
    let boroughs = rows("trips_by_borough");
    let ended = tidemark(
        folder.path(),
        &["demo", "--rows", "10", "--folder", "."],
        &[],
    );
    assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert_eq!(rows("trips_by_borough"), boroughs);
}
