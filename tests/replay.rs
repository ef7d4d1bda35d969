//! `tidemark replay`: tables filled from files equal those filled from the topic, and both what
//! PostgreSQL computes over the same rows; also when it is killed, goes on with the topic, and is left
//! to `tidemark run`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use postgres::Client;

use crate::services;
use crate::support::{Ended, Exit, Summary, tables, tidemark};

mod joint;

/// How many trips there are: one in 1.8 seconds, for three hours.
const TRIPS: u64 = 6000;

/// The trips of an hour, some of them up to twenty seconds late. The format is one that SQL, CSV and
/// JSON lines share.
fn trips(of: std::ops::Range<u64>) -> String {
    let mut csv = "at,zone,fare\n".to_owned();
    for trip in of {
        let millis = trip * 1800 + 20_000 - (trip * 7919) % 20_000;
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let (zone, fare) = (trip * 31 % 17, trip * 77 % 5000);
        writeln!(
            csv,
            "2024-05-01 {hour:02}:{minute:02}:{second:02}.{millis:03},{zone},{}.{:02}",
            fare / 100,
            fare % 100
        )
        .unwrap();
    }
    csv
}

/// Three files, an hour each, whose names are in no order of time.
fn write_history(folder: &Path) {
    fs::create_dir(folder.join("history")).unwrap();
    for (hour, name) in ["c.csv", "a.csv", "b.csv"].into_iter().enumerate() {
        let first = hour as u64 * TRIPS / 3;
        let csv = trips(first..first + TRIPS / 3);
        fs::write(folder.join("history").join(name), csv).unwrap();
    }
}

/// The pipeline; `sink` is what its tables are kept in.
fn pipeline(sink: &str) -> String {
    format!(
        "CREATE TABLE trips (
           at TIMESTAMP NOT NULL, zone INT NOT NULL, fare DECIMAL(10, 2),
           WATERMARK FOR at AS at - INTERVAL '30' SECOND
         ) WITH (connector = 'kafka', topic = '${{TOPIC:-none}}',
           'bootstrap.servers' = '${{KAFKA:-localhost:1}}', format = 'json',
           'scan.startup.mode' = '${{STARTUP:-earliest}}');
         CREATE TABLE minutes (minute TIMESTAMP, zone INT, n BIGINT, fare DECIMAL(20, 2))
           WITH ({sink}, table = 'minutes');
         CREATE TABLE zones (zone INT, n BIGINT, fare DECIMAL(20, 2), PRIMARY KEY (zone))
           WITH ({sink}, table = 'zones');
         INSERT INTO minutes
           SELECT window_start, zone, count(*), sum(fare)
           FROM TUMBLE(trips, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, zone;
         INSERT INTO zones SELECT zone, count(*), sum(fare) FROM trips GROUP BY zone;"
    )
}

const SQLITE: &str = "connector = 'sqlite', path = 'out.db'";
const HISTORY: [&str; 2] = ["--source", "trips=history/*.csv"];

/// Everything that a run leaves.
fn left(folder: &Path) -> Vec<String> {
    let tables = tables(&folder.join("out.db"));
    let rows = |table: &crate::support::Contents| -> Vec<String> {
        let rows = table.rows.iter();
        rows.map(|row| format!("{}: {row:?}", table.name)).collect()
    };
    tables.iter().flat_map(rows).collect()
}

fn replay(folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Ended {
    let arguments = [
        "replay",
        "trips.sql",
        "--quiet",
        "--summary",
        "summary.json",
    ];
    let variables = [&[("TIDEMARK_TEST_BLOCK", "4000")], variables].concat();
    tidemark(
        folder,
        &[&arguments[..], &HISTORY, more].concat(),
        &variables,
    )
}

fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trips.sql"), pipeline(SQLITE)).unwrap();
    write_history(folder.path());
    folder
}

/// The windows of the first hour are there before the last is read: event time waits for no file
/// that begins later.
#[test]
fn event_time_moves_from_file_to_file() {
    let folder = scratch();

    let ended = replay(
        folder.path(),
        &["--threads", "1"],
        &[("TIDEMARK_TEST_PACE", "5"), ("TIDEMARK_CRASH_AT", "5")],
    );

    assert_eq!(ended.how, Exit::Aborted, "{}", ended.stderr);
    let left = left(folder.path());
    let hour = |hour: &str| left.iter().filter(|line| line.contains(hour)).count();
    assert!(hour("2024-05-01 00:") > 17);
    assert_eq!(hour("2024-05-01 02:"), 0);
}

#[test]
fn however_it_is_cut_paced_and_killed_the_tables_are_the_same() {
    let expected = {
        let folder = scratch();
        let ended = replay(folder.path(), &["--threads", "1"], &[]);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        let summary = Summary::read(&folder.path().join("summary.json"));
        for insert in &summary.inserts {
            assert_eq!((insert.read, insert.accepted), (TRIPS, TRIPS));
        }
        left(folder.path())
    };
    for (crash, threads) in [("2", "1"), ("5", "3"), ("9", "2")] {
        let folder = scratch();
        let killed = replay(
            folder.path(),
            &["--threads", threads],
            &[("TIDEMARK_TEST_PACE", crash), ("TIDEMARK_CRASH_AT", crash)],
        );
        assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);

        let options = ["--set", "snapshot.interval=1ms", "--speed", "20000x"];
        let ended = replay(folder.path(), &options, &[("TIDEMARK_TEST_PACE", "3")]);

        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert!(left(folder.path()) == expected, "killed at {crash}");
    }
}

/// What is read again is more than may wait, and the file of one worker is later than all of another's:
/// none waits for the other.
#[test]
fn workers_do_not_wait_for_each_other_s_files_in_a_resume() {
    let folder = scratch();
    let seldom = ["--set", "snapshot.interval=1h"];
    let one = [&seldom[..], &["--threads", "1"]].concat();
    let killed = replay(
        folder.path(),
        &one,
        &[("TIDEMARK_TEST_PACE", "5"), ("TIDEMARK_CRASH_AT", "9")],
    );
    assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);

    let little = ["--threads", "3", "--set", "queue.bytes=20000"];
    let little = [&seldom[..], &little].concat();
    let ended = replay(folder.path(), &little, &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let summary = Summary::read(&folder.path().join("summary.json"));
    assert!(summary.inserts.iter().all(|it| it.accepted == TRIPS));
}

/// At real time these three hours take three hours. They are killed when the first rows were read.
#[test]
fn a_paced_replay_that_is_killed_goes_on_where_it_was() {
    let folder = scratch();
    let mut paced = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .current_dir(folder.path())
        .args(["replay", "trips.sql", "--speed", "200x", "--log", "json"])
        .args(HISTORY)
        .env("TIDEMARK_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let lines = BufReader::new(paced.stderr.take().unwrap()).lines();
    let read = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()));
    let mut rows = read.filter_map(|line| line.ok()?["fields"]["rows"].as_u64());
    let seen = rows.find(|&rows| rows > 0).expect("it says how far it is");
    paced.kill().unwrap();
    paced.wait().unwrap();
    assert!(seen < TRIPS, "all rows came at once");

    let ended = replay(folder.path(), &[], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let undisturbed = scratch();
    replay(undisturbed.path(), &[], &[]);
    assert!(left(folder.path()) == left(undisturbed.path()));
}

/// By another option the same records are other rows.
#[test]
fn files_are_read_on_by_the_options_of_the_first_run() {
    let folder = scratch();
    let option = ["--option", "csv.null=-"];
    let cut = [("TIDEMARK_TEST_PACE", "5"), ("TIDEMARK_CRASH_AT", "5")];
    let killed = replay(folder.path(), &option, &cut);
    assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);

    let refused = replay(folder.path(), &[], &[]);
    let ended = replay(folder.path(), &option, &[]);

    assert_eq!(refused.how, Exit::Code(1), "{}", refused.stderr);
    let why = "the files of `trips` were read with csv.null=- before, and with no csv.null now";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
}

/// What PostgreSQL says of the trips in `input`.
const ORACLE: [(&str, &str); 2] = [
    (
        "minutes",
        "select date_trunc('minute', at), zone, count(*), sum(fare) from input group by 1, 2",
    ),
    (
        "zones",
        "select zone, count(*), sum(fare) from input group by 1",
    ),
];

/// A topic, a schema and a folder of a test's own.
struct World {
    folder: tempfile::TempDir,
    topic: String,
    kafka: String,
    url: String,
    schema: String,
    client: Client,
}

impl World {
    fn new(name: &str) -> Option<Self> {
        let kafka = services::kafka("this test")?;
        let (mut client, url) = services::postgres_with_url("this test")?;
        let folder = tempfile::tempdir().unwrap();
        let random = folder.path().file_name().unwrap().to_string_lossy();
        let random = random.trim_start_matches('.').to_lowercase();
        let schema = format!("replay_{name}");
        let sql = format!(
            "set client_min_messages = warning; drop schema if exists {schema} cascade;
             create schema {schema}; set search_path = {schema};
             create table input (at timestamp, zone int, fare numeric)"
        );
        client.batch_execute(&sql).unwrap();
        let sink = "connector = 'postgres', url = '${URL}'";
        fs::write(folder.path().join("trips.sql"), pipeline(sink)).unwrap();
        write_history(folder.path());
        Some(Self {
            topic: format!("replay-{name}-{random}"),
            kafka,
            url: format!("{url}?options=-csearch_path%3D{schema}"),
            folder,
            schema,
            client,
        })
    }

    fn tidemark(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ended {
        let variables = [
            ("KAFKA", self.kafka.as_str()),
            ("URL", &self.url),
            ("TOPIC", &self.topic),
            ("TIDEMARK_TEST_BLOCK", "9000"),
        ];
        tidemark(self.folder.path(), arguments, &[&variables, more].concat())
    }

    fn well(&self, arguments: &[&str]) {
        let ended = self.tidemark(arguments, &[]);
        assert_eq!(ended.how, Exit::Code(0), "{arguments:?}: {}", ended.stderr);
    }

    fn refused(&self, arguments: &[&str], why: &str) {
        let ended = self.tidemark(arguments, &[]);
        assert_eq!(ended.how, Exit::Code(1), "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(why),
            "{arguments:?}: {}",
            ended.stderr
        );
    }

    fn produce(&self, csv: &str) {
        fs::write(self.folder.path().join("sent.csv"), csv).unwrap();
        let topic = ["produce", "--topic", &self.topic, "--partitions", "3"];
        self.well(&[&topic[..], &["--fresh-job", "--quiet", "sent.csv"]].concat());
    }

    /// Gives PostgreSQL trips.
    fn load(&mut self, csv: &str) {
        let mut copy = self
            .client
            .copy_in("copy input from stdin with (format csv, header)")
            .unwrap();
        copy.write_all(csv.as_bytes()).unwrap();
        copy.finish().unwrap();
    }

    fn compare(&mut self, only: &[&str]) {
        for (table, query) in ORACLE.iter().filter(|(table, _)| only.contains(table)) {
            for difference in [
                format!("(table {table}) except all ({query})"),
                format!("({query}) except all (table {table})"),
            ] {
                let sql = format!("select count(*) from ({difference}) d");
                let count: i64 = self.client.query_one(&sql, &[]).unwrap().get(0);
                assert_eq!(count, 0, "{difference}");
            }
        }
    }

    fn end(mut self) {
        let sql = format!("drop schema {} cascade", self.schema);
        self.client.batch_execute(&sql).unwrap();
    }
}

#[test]
fn files_and_topic_fill_the_same_tables_and_postgresql_computes_them_too() {
    let Some(mut world) = World::new("same") else {
        return;
    };
    world.load(&trips(0..TRIPS));
    let replay = ["replay", "trips.sql", "--quiet"];

    world.well(&[&replay[..], &HISTORY].concat());
    world.compare(&["minutes", "zones"]);

    world.produce(&trips(0..TRIPS));
    world.refused(
        &["run", "trips.sql", "--quiet"],
        "`trips` was filled from files, and event time has ended with them",
    );
    let fresh = ["--fresh", "--yes", "--until-caught-up", "--close-windows"];
    world.well(&[&["run", "trips.sql", "--quiet"], &fresh[..]].concat());
    world.compare(&["minutes", "zones"]);
    world.refused(
        &[&replay[..], &HISTORY].concat(),
        "`trips` was read without `history/a.csv` before",
    );
    world.end();
}

/// The topic takes over in the middle of a file and holds some of what happened before: each trip
/// counts once.
#[test]
fn the_topic_goes_on_where_the_files_end() {
    let Some(mut world) = World::new("follow") else {
        return;
    };
    let replay = ["replay", "trips.sql", "--quiet", "--until-caught-up"];
    let follow = ["--then-follow", "--from", "2024-05-01 02:30:00"];
    let replay = [&replay[..], &HISTORY, &follow].concat();
    world.load(&trips(0..TRIPS));
    world.produce(&trips(4500..5500));

    // Killed while the files are read, the topic is no one's yet; then again and again.
    let crashes = ["3", "1", "5", "2", "8", "1"];
    for (seed, crash) in crashes.iter().enumerate() {
        let seed = (seed + 1).to_string();
        let variables = [
            ("TIDEMARK_TEST_PACE", seed.as_str()),
            ("TIDEMARK_CRASH_AT", crash),
        ];
        let threads = ["--threads", &seed, "--set", "snapshot.interval=1ms"];
        let ended = world.tidemark(&[&replay[..], &threads].concat(), &variables);
        assert_eq!(ended.how, Exit::Aborted, "{}", ended.stderr);
        if seed == "1" {
            world.refused(
                &["run", "trips.sql", "--quiet"],
                "`trips` is being filled from files",
            );
        }
    }
    let summary = ["--summary", "summary.json", "--set", "queue.bytes=20000"];
    world.well(&[&replay[..], &summary].concat());
    let summary = Summary::read(&world.folder.path().join("summary.json"));
    for insert in &summary.inserts {
        assert_eq!(insert.read, TRIPS + 1000);
        assert_eq!(insert.filtered, insert.read - insert.accepted);
        assert_eq!((insert.late, insert.rejected), (0, 0));
        assert_eq!(insert.accepted, 5500);
    }

    // More comes, and no one needs the files any more.
    world.produce(&trips(5500..5800));
    world.well(&["run", "trips.sql", "--quiet", "--until-caught-up"]);
    let run_went_on = "`trips` was filled from files, and `tidemark run` has gone on without them";
    world.refused(&replay, run_went_on);
    world.produce(&trips(5800..TRIPS));
    let close = ["--until-caught-up", "--close-windows", "--threads", "2"];
    world.well(&[&["run", "trips.sql", "--quiet"], &close[..]].concat());
    world.compare(&["minutes", "zones"]);

    // Without a snapshot everything is read again, and so the files would be.
    fs::remove_dir_all(world.folder.path().join(".tidemark")).unwrap();
    world.refused(
        &["run", "trips.sql", "--quiet", "--until-caught-up"],
        "no snapshot from after them is here",
    );
    world.end();
}

/// Without a snapshot everything is read again, files and topic at a time, by workers of which some
/// have the one and some the other, and more than may wait.
#[test]
fn files_and_topic_are_read_again_up_to_the_mark() {
    let Some(mut world) = World::new("again") else {
        return;
    };
    let replay = ["replay", "trips.sql", "--quiet", "--until-caught-up"];
    let follow = ["--then-follow", "--from", "2024-05-01 02:30:00"];
    let seldom = ["--close-windows", "--set", "snapshot.interval=1h"];
    let replay = [&replay[..], &HISTORY, &follow, &seldom].concat();
    world.load(&trips(0..TRIPS));
    world.produce(&trips(4500..TRIPS));
    for crash in ["4", "7", "9"] {
        let variables = [("TIDEMARK_TEST_PACE", "5"), ("TIDEMARK_CRASH_AT", crash)];
        let one = [&replay[..], &["--threads", "1", "--fresh", "--yes"]].concat();
        // How many blocks come of the topic is the broker's business: the last may come too late.
        let killed = world.tidemark(&one, &variables);
        assert_ne!(killed.how, Exit::Code(1), "{}", killed.stderr);

        world.well(
            &[
                &replay[..],
                &["--threads", "4", "--set", "queue.bytes=20000"],
            ]
            .concat(),
        );

        world.compare(&["minutes", "zones"]);
    }
    world.end();
}

/// Whoever follows the topic alone begins at its end; behind files it is read from where they end.
#[test]
fn the_topic_is_read_from_where_the_files_end_whatever_its_startup_mode() {
    let Some(mut world) = World::new("latest") else {
        return;
    };
    let replay = ["replay", "trips.sql", "--quiet", "--until-caught-up"];
    let follow = ["--then-follow", "--from", "2024-05-01 02:30:00"];
    let replay = [&replay[..], &HISTORY, &follow, &["--close-windows"]].concat();
    world.load(&trips(0..TRIPS));
    world.produce(&trips(4500..TRIPS));

    let ended = world.tidemark(&replay, &[("STARTUP", "latest")]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    world.compare(&["minutes", "zones"]);
    world.end();
}
