//! Files of several sources, and of several processes: who is ahead waits for who is behind, whatever
//! is behind goes on, and the tables are the same.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::services;
use crate::support::{Contents, Ended, Exit, tables, tidemark};

/// Seconds that a file of history goes on for.
pub const PART: u64 = 2000;

pub const PIPELINE: &str = "
CREATE TABLE trips (at TIMESTAMP NOT NULL, k INT NOT NULL, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
  WITH (connector = 'kafka', topic = '${TOPIC:-none}', 'bootstrap.servers' = '${KAFKA:-localhost:1}', format = 'json');
CREATE TABLE minutes (minute TIMESTAMP, n BIGINT) WITH (connector = 'sqlite', path = 'out.db', table = 'minutes');
INSERT INTO minutes SELECT window_start, count(*) FROM TUMBLE(trips, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
";

/// The same with a second source.
const JOINED: &str = "
CREATE TABLE clicks (at TIMESTAMP NOT NULL, k INT NOT NULL, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
  WITH (connector = 'kafka', topic = '${TOPIC:-none}', 'bootstrap.servers' = '${KAFKA:-localhost:1}', format = 'json');
CREATE TABLE pairs (k INT, trip TIMESTAMP, click TIMESTAMP) WITH (connector = 'sqlite', path = 'out.db', table = 'pairs');
INSERT INTO pairs SELECT t.k, t.at, c.at FROM trips t JOIN clicks c
  ON t.k = c.k AND c.at BETWEEN t.at AND t.at + INTERVAL '3' SECOND;
";

pub fn time(second: u64) -> String {
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("2024-05-01 {hour:02}:{minute:02}:{second:02}")
}

fn history(seconds: Range<u64>) -> String {
    let mut csv = "at,k\n".to_owned();
    for second in seconds {
        writeln!(csv, "{},{}", time(second), second % 5).unwrap();
    }
    csv
}

/// Trips in four files, clicks in three, each a part of history.
pub fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let joined = PIPELINE.to_owned() + JOINED;
    fs::write(folder.path().join("pipeline.sql"), joined).unwrap();
    for (source, files) in [("trips", 4), ("clicks", 3)] {
        fs::create_dir(folder.path().join(source)).unwrap();
        for file in 0..files {
            let csv = history(file * PART..(file + 1) * PART);
            let name = format!("{source}/{file}.csv");
            fs::write(folder.path().join(name), csv).unwrap();
        }
    }
    folder
}

pub const TRIPS: [&str; 2] = ["--source", "trips=trips/*.csv"];
const CLICKS: [&str; 2] = ["--source", "clicks=clicks/*.csv"];
/// A block is a small part of a file, and what may be read ahead a few of them.
const LITTLE: [&str; 2] = ["--set", "queue.bytes=20000"];

fn replay(folder: &Path, options: &[&[&str]], variables: &[(&str, &str)]) -> Ended {
    let command = ["replay", "pipeline.sql", "--quiet"];
    let variables = [&[("TIDEMARK_TEST_BLOCK", "4000")], variables].concat();
    tidemark(
        folder,
        &[&command[..], &options.concat()].concat(),
        &variables,
    )
}

fn left(folder: &Path) -> Vec<Contents> {
    tables(&folder.join("out.db"))
}

fn expected() -> Vec<Contents> {
    let folder = scratch();
    let ended = replay(folder.path(), &[&TRIPS, &CLICKS, &["--threads", "1"]], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let left = left(folder.path());
    let rows: Vec<usize> = left.iter().map(|table| table.rows.len()).collect();
    // A trip has one click in the same second; the last trips have none.
    let part = usize::try_from(PART).unwrap();
    assert_eq!(rows, [(4 * part).div_ceil(60), 3 * part]);
    left
}

/// Time closes no epoch here: who waits asks for it.
#[test]
fn sources_and_processes_that_wait_for_each_other_all_come_to_their_ends() {
    let expected = expected();
    let never = ["--set", "commit.interval=1h"];
    for (processes, threads, interval) in [
        ("1", "1", &never[..]),
        ("1", "3", &[]),
        ("2", "1", &never),
        ("3", "2", &[]),
    ] {
        let folder = scratch();
        let who = ["--processes", processes, "--threads", threads];
        let options = [&TRIPS[..], &CLICKS, &LITTLE, &who, interval];
        let ended = replay(folder.path(), &options, &[]);

        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert!(left(folder.path()) == expected, "{who:?}");
    }
}

#[test]
fn those_that_were_killed_go_on_as_one_process_or_several() {
    let expected = expected();
    for (crash, processes) in [("3", "2"), ("6", "1"), ("9", "3")] {
        let folder = scratch();
        let seldom = ["--set", "snapshot.interval=1h"];
        let options = [&TRIPS[..], &CLICKS, &LITTLE, &seldom, &["--threads", "1"]];
        let killed = replay(folder.path(), &options, &[("TIDEMARK_CRASH_AT", crash)]);
        assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);

        let who = ["--processes", processes, "--threads", "2"];
        let options = [&TRIPS[..], &CLICKS, &LITTLE, &seldom, &who];
        let ended = replay(folder.path(), &options, &[]);

        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert!(left(folder.path()) == expected, "killed at {crash}");
    }
}

/// All rows behind it are late, but they come.
#[test]
fn a_row_far_in_the_future_does_not_stop_a_paced_replay() {
    let tables = |speed: &[&str]| {
        let folder = scratch();
        let wild = history(0..50) + "2099-01-01 00:00:00,1\n" + &history(50..90)["at,k\n".len()..];
        fs::write(folder.path().join("clicks/0.csv"), wild).unwrap();
        let ended = replay(folder.path(), &[&TRIPS, &CLICKS, speed], &[]);
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        left(folder.path())
    };

    assert!(tables(&["--speed", "20000x"]) == tables(&[]));
}

/// A topic of one partition with the records of some files.
pub fn topic(folder: &Path, kafka: &str, files: &[&str]) -> String {
    let random = folder.file_name().unwrap().to_string_lossy();
    let topic = format!("aligned-{}", random.trim_start_matches('.').to_lowercase());
    let produce = ["produce", "--topic", &topic, "--partitions", "1", "--quiet"];
    let made = tidemark(folder, &[&produce, files].concat(), &[("KAFKA", kafka)]);
    assert_eq!(made.how, Exit::Code(0), "{}", made.stderr);
    topic
}

/// The end of the files is the end of their event time, though the other source goes on.
#[test]
fn files_beside_a_topic_that_is_not_replayed_come_to_their_ends() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    let expected = expected();
    for processes in ["1", "2"] {
        let folder = scratch();
        let clicks = ["clicks/0.csv", "clicks/1.csv", "clicks/2.csv"];
        let topic = topic(folder.path(), &kafka, &clicks);
        let who = ["--processes", processes, "--until-caught-up"];
        let world = [("KAFKA", kafka.as_str()), ("TOPIC", &topic)];

        let ended = replay(folder.path(), &[&TRIPS, &LITTLE, &who], &world);

        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        assert!(left(folder.path()) == expected, "{processes} processes");
    }
}

/// It holds nothing that is read, and event time does not wait for it until the end.
#[test]
fn a_file_that_lies_past_the_beginning_of_the_topic_is_read_first() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    let folder = scratch();
    fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    let topic = topic(folder.path(), &kafka, &["trips/3.csv"]);
    let world = [("KAFKA", kafka.as_str()), ("TOPIC", &topic)];
    let from = time(3 * PART);
    let follow = ["--then-follow", "--from", &from, "--until-caught-up"];

    let variables = [("TIDEMARK_TEST_PACE", "5"), ("TIDEMARK_CRASH_AT", "4")];
    let options = [&TRIPS[..], &follow, &["--threads", "1"]];
    let ended = replay(folder.path(), &options, &[&world[..], &variables].concat());

    assert_eq!(ended.how, Exit::Aborted, "{}", ended.stderr);
    let closed = left(folder.path())[0].rows.len();
    assert!((1..130).contains(&closed), "{closed} windows have closed");
}
