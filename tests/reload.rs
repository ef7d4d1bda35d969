//! Tables that are read again while a pipeline runs, crashes and goes on: what was computed is
//! always that of the stream and the table's last contents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;

use postgres::Client;
use rusqlite::types::Value;

use crate::buckets::{self, ask};
use crate::cluster::Run;
use crate::services::{kafka, postgres_with_url, s3};
use crate::support::{Ended, Exit, tables, tidemark};

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
            .starts_with("log-cities")
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
    goes_on(&["--threads", "2"]);
}

/// Of those that serve metrics only one holds the log of what was read.
#[test]
fn processes_that_are_watched_read_the_table_when_it_is_due() {
    goes_on(&["--processes", "2", "--metrics-port", "0"]);
}

fn goes_on(options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    hold(folder, 0);

    let run_on = Run::start(folder, options);
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

/// A schema of its own in the test database, which goes with it.
struct Schema {
    client: Client,
    name: String,
    url: String,
}

impl Schema {
    fn new(test: &str) -> Option<Self> {
        let (mut client, url) = postgres_with_url(test)?;
        let name = format!("reload_{test}_{}", std::process::id());
        let made = format!(
            "DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}; SET search_path TO {name}"
        );
        client.batch_execute(&made).unwrap();
        let url = format!("{url}?options=-csearch_path%3D{name}");
        Some(Self { client, name, url })
    }

    fn does(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap();
    }

    /// The rows that one query has and the other has not, as text.
    fn difference(&mut self, one: &str, other: &str) -> Vec<String> {
        let query = format!(
            "SELECT 'only in the first: ' || t::text FROM (({one}) EXCEPT ALL ({other})) t
             UNION ALL
             SELECT 'only in the second: ' || t::text FROM (({other}) EXCEPT ALL ({one})) t"
        );
        let rows = self.client.query(&query, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn run(&self, folder: &Path, options: &[&str], crash: Option<u32>) -> Ended {
        let crash = crash.map(|step| step.to_string());
        let mut variables = vec![("DATABASE_URL", self.url.as_str())];
        variables.extend(crash.as_deref().map(|step| ("TIDEMARK_CRASH_AT", step)));
        tidemark(folder, options, &variables)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = format!("DROP SCHEMA {} CASCADE", self.name);
        let _ = self.client.batch_execute(&drop);
    }
}

const UNTIL_CAUGHT_UP: [&str; 4] = ["run", "pipeline.sql", "--quiet", "--until-caught-up"];

/// A table of every type, which a pipeline copies.
const EVERY_TYPE: &str = "
CREATE TABLE given (
  id BIGINT PRIMARY KEY, yes BOOLEAN, small SMALLINT, whole INT, real4 REAL, real8 DOUBLE PRECISION,
  money DECIMAL(20, 4), text TEXT, \"Mixed Case\" TEXT, bytes BYTEA, day DATE, clock TIME, at TIMESTAMP,
  at_zone TIMESTAMPTZ, span INTERVAL, body JSONB, loose JSON, numbers INT[], words TEXT[],
  loud AS upper(text)
) WITH (connector = 'postgres', url = '${DATABASE_URL}', 'reload.interval' = '1s');
CREATE TABLE copied (
  id BIGINT PRIMARY KEY, yes BOOLEAN, small SMALLINT, whole INT, real4 REAL, real8 DOUBLE PRECISION,
  money DECIMAL(20, 4), text TEXT, \"Mixed Case\" TEXT, bytes BYTEA, day DATE, clock TIME, at TIMESTAMP,
  at_zone TIMESTAMPTZ, span INTERVAL, body JSONB, loose JSON, numbers INT[], words TEXT[], loud TEXT
) WITH (connector = 'postgres', url = '${DATABASE_URL}');
INSERT INTO copied SELECT * FROM given;
";

#[test]
fn a_table_of_postgresql_is_read_as_it_is_whatever_its_types() {
    let Some(mut schema) = Schema::new("types") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), EVERY_TYPE).unwrap();
    schema.does(
        r#"CREATE TABLE given (
             id BIGINT PRIMARY KEY, yes BOOLEAN, small SMALLINT, whole INT, real4 REAL,
             real8 DOUBLE PRECISION, money NUMERIC(20, 4), text TEXT, "Mixed Case" VARCHAR(20),
             bytes BYTEA, day DATE, clock TIME, at TIMESTAMP, at_zone TIMESTAMPTZ, span INTERVAL,
             body JSONB, loose JSON, numbers INT[], words TEXT[], not_declared TEXT);
           INSERT INTO given (id) VALUES (-9223372036854775808);
           INSERT INTO given VALUES
             (1, true, -32768, 2147483647, 0.1, 0.1, 1234567890123456.7891, E'a\nb\t"c"\\ €\x01\x02\x7f', '',
              '\x00ff5c', '2024-02-29', '23:59:59.999999', '1969-12-31 23:59:59.999999',
              '2024-03-31 02:30:00+02', '1 mon -2 days 03:04:05.678', '{"a": [1, {"b": null}]}',
              E'{"a":\n  1}', '{1,NULL,3}', ARRAY['x,y', NULL, '', '"']),
             (9223372036854775807, false, 0, 0, 'NaN', '-Infinity', -0.0001, '', 'null', '', '0001-01-01',
              '00:00:00', '9999-12-31 00:00:00', '1970-01-01 00:00:00+00', '0', '"x"', '[null]', '{}', '{}'),
             (2, NULL, 1, 1, 1e-40, 1e308, 0, '\.', '{', '\x0a', '2000-01-01', '12:00', '2000-01-01',
              '2000-01-01+00', '400 days', '[]', '1', '{-1}', ARRAY['NULL'])"#,
    );

    let ended = schema.run(folder.path(), &UNTIL_CAUGHT_UP, None);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let given = r#"SELECT id, yes, small, whole, real4, real8, money, text, "Mixed Case", bytes, day, clock,
        at, at_zone, span, body, loose::jsonb, numbers, words, upper(text) FROM given"#;
    let copied = "SELECT * FROM copied";
    assert_eq!(schema.difference(given, copied), [""; 0]);

    // Values become others, and NULL; rows go and come.
    schema.does(
        "UPDATE given SET text = NULL, real8 = 0 WHERE id = 1;
         UPDATE given SET yes = NOT yes, numbers = numbers || 7; DELETE FROM given WHERE id = 2;
         INSERT INTO given (id, text) SELECT i, 'made ' || i FROM generate_series(10, 30000) i",
    );
    let ended = schema.run(folder.path(), &UNTIL_CAUGHT_UP, None);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert_eq!(schema.difference(given, copied), [""; 0]);
}

/// A stream of files and a table of the database, into a table of the same database.
const BESIDE: &str = "
SET 'snapshot.interval' = '1ms';
CREATE TABLE sales (city INT, euros BIGINT NOT NULL)
  WITH (connector = 'file', path = 'sales/*.csv', format = 'csv', 'csv.header' = 'false');
CREATE TABLE cities (city INT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'postgres', url = '${DATABASE_URL}', 'reload.interval' = '1s');
CREATE TABLE by_name (name TEXT, n BIGINT, euros BIGINT, PRIMARY KEY (name))
  WITH (connector = 'postgres', url = '${DATABASE_URL}');
INSERT INTO by_name
  SELECT coalesce(c.name, '?'), count(*), sum(s.euros) FROM sales s LEFT JOIN cities c ON s.city = c.city
  GROUP BY coalesce(c.name, '?');
";

#[test]
fn a_crash_while_a_table_of_postgresql_changes_leaves_what_postgresql_says() {
    let Some(mut schema) = Schema::new("crash") else {
        return;
    };
    schema.does("CREATE TABLE sales (city INT, euros BIGINT)");
    for (city, euros) in (0..2).flat_map(sales) {
        schema.does(&format!("INSERT INTO sales VALUES ({city}, {euros})"));
    }
    let asked = "SELECT coalesce(c.name, '?') AS name, count(*) AS n, sum(s.euros)::bigint AS euros
        FROM sales s LEFT JOIN cities c ON s.city = c.city GROUP BY 1";
    for step in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder);
        std::fs::write(folder.join("pipeline.sql"), BESIDE).unwrap();
        schema.does(
            "DROP TABLE IF EXISTS cities, by_name, tidemark_marks, tidemark_tables;
             CREATE TABLE cities (city INT PRIMARY KEY, name TEXT NOT NULL);
             INSERT INTO cities SELECT i, 'city ' || i / 2 FROM generate_series(0, 6) i",
        );
        let crashed = schema.run(folder, &UNTIL_CAUGHT_UP, Some(step)).how;
        if crashed == Exit::Code(0) {
            assert!(step > 6, "there were only {step} to crash at");
            return;
        }
        schema.does(
            "DELETE FROM cities WHERE city % 3 = 0; UPDATE cities SET name = name || '!';
             INSERT INTO cities VALUES (7, 'new'), (8, 'city 1!')",
        );
        let workers = ["--threads", ["1", "2", "3"][step as usize % 3]];
        let options = [&UNTIL_CAUGHT_UP[..], &workers].concat();
        let ended = schema.run(folder, &options, None);

        assert_eq!(ended.how, Exit::Code(0), "step {step}: {}", ended.stderr);
        let difference = schema.difference(asked, "SELECT name, n, euros FROM by_name");
        assert_eq!(difference, [""; 0], "killed at step {step}");
    }
}

#[test]
fn a_table_of_postgresql_that_is_looked_up_is_fixed_and_one_that_is_not_there_is_said() {
    let Some(mut schema) = Schema::new("fixed") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    let fixed = BESIDE.replace(", 'reload.interval' = '1s'", "");
    std::fs::write(folder.join("pipeline.sql"), fixed).unwrap();
    let check = ["check", "pipeline.sql"];

    let missing = schema.run(folder, &check, None);
    assert_eq!(missing.how, Exit::Code(2));
    assert!(
        missing
            .stderr
            .contains("relation \"cities\" does not exist"),
        "{}",
        missing.stderr
    );
    schema.does("CREATE TABLE cities (city INT PRIMARY KEY, name TEXT); INSERT INTO cities VALUES (1, NULL)");
    let null = schema.run(folder, &check, None);
    assert!(null.stderr.contains("cities:1: "), "{}", null.stderr);
    schema.does("UPDATE cities SET name = 'one'");

    let ended = schema.run(folder, &UNTIL_CAUGHT_UP, None);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let rows = schema
        .client
        .query("SELECT name FROM by_name ORDER BY 1", &[]);
    let names: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["?", "one"]);
    assert_eq!(
        schema.run(folder, &UNTIL_CAUGHT_UP, None).how,
        Exit::Code(0)
    );
    schema.does("UPDATE cities SET name = 'two'");
    let changed = schema.run(folder, &UNTIL_CAUGHT_UP, None);
    assert_eq!(changed.how, Exit::Code(1));
    assert!(
        changed
            .stderr
            .contains("`cities` of `cities` has changed since it was read"),
        "{}",
        changed.stderr
    );
}

#[test]
fn what_was_different_is_kept_in_a_bucket_as_well() {
    let Some(endpoint) = s3("this test") else {
        return;
    };
    ask(&endpoint, "PUT", "/reloads", "");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    // The server keeps what earlier tests put there.
    let own = folder.file_name().unwrap().to_str().unwrap();
    let place = format!("s3://reloads/{}", own.trim_start_matches('.'));
    let options = [&UNTIL_CAUGHT_UP[..], &["--state", &place]].concat();

    for reading in 0..5 {
        hold(folder, reading);
        let step = (reading * 3 + 2).to_string();
        let mut variables = buckets::variables(&endpoint);
        variables.push(("TIDEMARK_CRASH_AT", &step));
        tidemark(folder, &options, &variables);
        variables.pop();
        let ended = tidemark(folder, &options, &variables);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert_eq!(found(folder), expected(reading));
    }

    // Elsewhere there is nothing of it.
    let ended = tidemark(folder, &UNTIL_CAUGHT_UP, &[]);
    assert_eq!(ended.how, Exit::Code(1));
    let cause = "differences of `cities`, and `.tidemark/pipeline` holds 0";
    assert!(ended.stderr.contains(cause), "{}", ended.stderr);
}

#[test]
fn on_several_machines_a_place_that_all_of_them_reach_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    hold(folder, 0);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    std::fs::write(folder.join("hosts"), format!("{free}\n")).unwrap();
    let cluster = ["--process", "0", "--hosts", "hosts"];
    let secret = [("TIDEMARK_CLUSTER_SECRET", "a secret of sixteen bytes")];
    let options = [&UNTIL_CAUGHT_UP[..], &cluster].concat();

    let refused = tidemark(folder, &options, &secret);

    assert_eq!(refused.how, Exit::Code(1), "{}", refused.stderr);
    let cause = "no place that all machines reach for what was different in `cities`";
    assert!(refused.stderr.contains(cause), "{}", refused.stderr);
    let options = [&options[..], &["--state", "shared"]].concat();
    let ended = tidemark(folder, &options, &secret);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert_eq!(found(folder), expected(0));
}

#[test]
fn without_a_mark_every_run_begins_with_the_table_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    let sink =
        "CREATE TABLE copied (city INT, name TEXT, PRIMARY KEY (city)) WITH (connector = 'stdout');
                INSERT INTO copied SELECT city, name FROM cities;";
    let table = PIPELINE
        .split_inclusive(';')
        .filter(|one| one.contains("TABLE cities "));
    let pipeline = table.chain([sink]).collect::<String>();
    std::fs::write(folder.join("pipeline.sql"), pipeline).unwrap();

    for reading in 0..2 {
        hold(folder, reading);
        let ended = tidemark(folder, &UNTIL_CAUGHT_UP, &[]);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        for name in contents(reading).into_values() {
            assert!(ended.stdout.contains(&name), "{name}: {}", ended.stdout);
        }
        assert_eq!(ended.stdout.lines().count(), contents(reading).len());
    }
    assert!(!folder.join(".tidemark").exists());
}

/// The table as a changelog in a topic: a record per row that is new, and one without a value per row
/// that is gone.
const CHANGELOG: &str = "
SET 'pipeline.name' = '${TOPIC}';
CREATE TABLE given (city TEXT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'csv.header' = 'false',
        'reload.interval' = '1s');
CREATE TABLE changelog (city TEXT, name TEXT, PRIMARY KEY (city))
  WITH (connector = 'kafka', topic = '${TOPIC}', format = 'json', partitions = '2',
        'bootstrap.servers' = '${KAFKA}');
INSERT INTO changelog SELECT city, name FROM given;
";

/// That topic as a table again: the last record of a key is its row, and one without a value is none.
const OF_CHANGELOG: &str = "
CREATE TABLE changelog (
  city TEXT METADATA FROM 'key', name TEXT, place BIGINT METADATA FROM 'offset',
  gone BOOLEAN METADATA FROM 'tombstone'
) WITH (connector = 'kafka', topic = '${TOPIC}', format = 'json', 'bootstrap.servers' = '${KAFKA}');
CREATE VIEW records AS
  SELECT CAST(city AS INT) AS city, name, place, gone FROM changelog WHERE city IS NOT NULL;
CREATE VIEW last_records AS
  SELECT * FROM records QUALIFY row_number() OVER (PARTITION BY city ORDER BY place DESC) = 1;
CREATE VIEW cities AS SELECT city, name FROM last_records WHERE name IS NOT NULL AND NOT gone;
";

#[test]
fn a_topic_that_keeps_the_last_record_of_a_key_is_joined_as_the_table_that_it_is() {
    let Some(servers) = kafka("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder);
    let is_file = |one: &&str| one.contains("TABLE cities ");
    let others = PIPELINE.split_inclusive(';').filter(|one| !is_file(one));
    let pipeline = [OF_CHANGELOG].into_iter().chain(others).collect::<String>();
    std::fs::write(folder.join("pipeline.sql"), pipeline).unwrap();
    std::fs::write(folder.join("changelog.sql"), CHANGELOG).unwrap();
    let unique = folder.file_name().unwrap().to_str().unwrap();
    let topic = format!("changelog-{}", unique.trim_start_matches('.'));
    let variables = [("KAFKA", servers.as_str()), ("TOPIC", topic.as_str())];

    for reading in 0..4 {
        hold(folder, reading);
        let changelog = ["run", "changelog.sql", "--quiet", "--until-caught-up"];
        let ended = tidemark(folder, &changelog, &variables);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        let step = (2 * reading + 1).to_string();
        let crash = [&variables[..], &[("TIDEMARK_CRASH_AT", &step)]].concat();
        tidemark(folder, &UNTIL_CAUGHT_UP, &crash);
        let ended = tidemark(folder, &UNTIL_CAUGHT_UP, &variables);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert_eq!(found(folder), expected(reading));
    }
}
