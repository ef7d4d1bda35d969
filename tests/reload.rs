//! Tables that are read again while a pipeline runs, crashes and goes on: what was computed is
//! always that of the stream and the table's last contents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rusqlite::types::Value;

use crate::cluster::Run;
use crate::support::{Exit, tables, tidemark};

/// Two databases, so that one may be ahead of the other; a join that finds and one that misses.
const PIPELINE: &str = "
SET 'commit.interval' = '20ms';
SET 'snapshot.interval' = '1ms';
CREATE TABLE sales (city INT, euros BIGINT NOT NULL)
  WITH (connector = 'file', path = 'sales/*.csv', format = 'csv', 'csv.header' = 'false');
CREATE TABLE cities (city INT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'csv.header' = 'false',
        'reload.interval' = '1s');
CREATE TABLE by_name (name TEXT, n BIGINT, euros BIGINT, PRIMARY KEY (name))
  WITH (connector = 'sqlite', path = 'one.db');
CREATE TABLE unknown (city INT, n BIGINT, PRIMARY KEY (city)) WITH (connector = 'sqlite', path = 'two.db');
CREATE TABLE copied (city INT, name TEXT, PRIMARY KEY (city)) WITH (connector = 'sqlite', path = 'two.db');
INSERT INTO by_name
  SELECT c.name, count(*), sum(s.euros) FROM sales s JOIN cities c ON s.city = c.city GROUP BY c.name;
INSERT INTO unknown
  SELECT city, count(*) FROM sales s
  WHERE city IS NOT NULL AND NOT EXISTS (SELECT 1 FROM cities c WHERE c.city = s.city) GROUP BY city;
INSERT INTO copied SELECT city, name FROM cities;
";

const CITIES: i64 = 8;

/// The contents of the table at a reading: every city has another name each time, some are gone,
/// and two share one.
fn contents(reading: i64) -> BTreeMap<i64, String> {
    let there = (0..CITIES).filter(|city| (city + reading) % 3 != 0);
    there
        .map(|city| (city, format!("{}-{reading}", city / 2)))
        .collect()
}

fn sales(partition: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..60).map(move |i| ((i * 7 + partition) % (CITIES + 1), i))
}

fn write(folder: &Path) {
    std::fs::create_dir(folder.join("sales")).unwrap();
    for partition in 0..2 {
        let lines = sales(partition).map(|(city, euros)| format!("{city},{euros}\n"));
        let file = folder.join(format!("sales/{partition}.csv"));
        std::fs::write(file, lines.collect::<String>()).unwrap();
    }
    std::fs::write(folder.join("pipeline.sql"), PIPELINE).unwrap();
}

/// The table has these contents from here on. A reader sees the old file or the new one.
fn hold(folder: &Path, reading: i64) {
    let mut csv = String::new();
    for (city, name) in contents(reading) {
        writeln!(csv, "{city},{name}").unwrap();
    }
    std::fs::write(folder.join("next"), csv).unwrap();
    std::fs::rename(folder.join("next"), folder.join("cities.csv")).unwrap();
}

/// What the tables hold when the stream was joined with the contents of one reading.
fn expected(reading: i64) -> Vec<String> {
    let cities = contents(reading);
    let (mut by_name, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    for (city, euros) in (0..2).flat_map(sales) {
        match cities.get(&city) {
            Some(name) => {
                let (n, sum) = by_name.entry(name).or_insert((0, 0));
                (*n, *sum) = (*n + 1, *sum + euros);
            }
            None => *unknown.entry(city).or_insert(0) += 1,
        }
    }
    let by_name = by_name.into_iter();
    let by_name = by_name.map(|(name, (n, sum))| format!("by_name: {name} {n} {sum}"));
    let copied = cities
        .iter()
        .map(|(city, name)| format!("copied: {city} {name}"));
    let unknown = unknown
        .into_iter()
        .map(|(city, n)| format!("unknown: {city} {n}"));
    by_name.chain(copied).chain(unknown).collect()
}

fn found(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in ["one.db", "two.db"] {
        for table in tables(&folder.join(file)) {
            lines.extend(table.rows.iter().map(|row| {
                let values = row.iter().map(|value| match value {
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => text.clone(),
                    other @ (Value::Null | Value::Real(_) | Value::Blob(_)) => format!("{other:?}"),
                });
                format!("{}: {}", table.name, values.collect::<Vec<_>>().join(" "))
            }));
        }
    }
    lines
}

/// Runs to the end of the stream, killed at a durable step or not.
fn run(folder: &Path, workers: &[&str], crash: Option<u32>) -> Exit {
    let crash = crash.map(|step| step.to_string());
    let mut variables = vec![("TIDEMARK_TEST_BLOCK", "100")];
    variables.extend(crash.as_deref().map(|step| ("TIDEMARK_CRASH_AT", step)));
    let mut options = vec!["run", "pipeline.sql", "--quiet", "--until-caught-up"];
    options.extend(workers);
    let ended = tidemark(folder, &options, &variables);
    let fine = matches!(ended.how, Exit::Code(0) | Exit::Aborted);
    assert!(fine, "{:?}\n{}", ended.how, ended.stderr);
    ended.how
}

/// The objects of the log, and how many of them are merged ones.
fn logged(folder: &Path) -> (usize, usize) {
    let state = folder.join(".tidemark/pipeline");
    let folders = std::fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let log = folders.into_iter().find(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("log-cities-")
    });
    let objects: Vec<_> = std::fs::read_dir(log.unwrap()).unwrap().collect();
    let merged = objects.iter().filter(|object| {
        object
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "whole")
    });
    (objects.len(), merged.count())
}

const WORKERS: [&[&str]; 4] = [
    &["--threads", "1"],
    &["--threads", "3"],
    &["--processes", "2"],
    &["--threads", "4"],
];

/// Crashes the run after `before` undisturbed ones at each durable step in turn, each time with
/// another table, and then goes on with yet another. Says how often, and how often the log was merged.
fn crash_at_every_step(before: i64) -> (u32, u32) {
    let (mut crashes, mut merges) = (0, 0);
    loop {
        let (step, folder) = (crashes + 1, tempfile::tempdir().unwrap());
        let folder = folder.path();
        write(folder);
        for reading in 0..before {
            hold(folder, reading);
            assert_eq!(run(folder, WORKERS[0], None), Exit::Code(0));
        }
        hold(folder, before);
        if run(folder, WORKERS[0], Some(step)) == Exit::Code(0) {
            assert_eq!(found(folder), expected(before));
            return (crashes, merges);
        }
        crashes += 1;

        // Killed once more where it catches up, and then not.
        hold(folder, before + 1);
        run(folder, WORKERS[1], Some(1 + step % 4));
        hold(folder, before + 2);
        let workers = WORKERS[crashes as usize % WORKERS.len()];
        assert_eq!(run(folder, workers, None), Exit::Code(0), "step {step}");

        assert_eq!(found(folder), expected(before + 2), "killed at step {step}");
        merges += u32::from(logged(folder).1 > 0);
    }
}

#[test]
fn a_crash_at_any_step_of_a_first_run_leaves_what_the_last_contents_say() {
    let (crashes, _) = crash_at_every_step(0);
    assert!(crashes >= 8, "there were only {crashes} to crash at");
}

#[test]
fn a_crash_at_any_step_of_a_later_run_leaves_what_the_last_contents_say() {
    let (crashes, merges) = crash_at_every_step(3);
    assert!(crashes >= 8, "there were only {crashes} to crash at");
    assert!(
        merges >= 4,
        "the log was merged in {merges} of {crashes} only"
    );
}

#[test]
fn a_run_that_goes_on_reads_the_table_when_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    hold(folder, 0);

    let run_on = Run::start(folder, &["--threads", "2"]);
    run_on.until("was read again, and is different");
    for reading in 1..3 {
        hold(folder, reading);
        run_on.until("was read again, and is different");
    }
    // Each commit is waited for, and there are fewer than this.
    let mut commits = 0..1000;
    while found(folder) != expected(2) {
        assert!(commits.next().is_some(), "{:?}", found(folder));
        run_on.until(" published");
    }
    drop(run_on);

    hold(folder, 3);
    assert_eq!(run(folder, WORKERS[2], None), Exit::Code(0));
    assert_eq!(found(folder), expected(3));
}
