//! Crashes at every durable step: run once undisturbed, then once for each commit, killed just
//! before or just after it, and resumed. What the databases hold must be the same every time.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Exit, Summary, tables, tidemark};

pub const PIPELINE: &str = "
CREATE TABLE clicks (
  at TIMESTAMP NOT NULL, page TEXT NOT NULL, ms DOUBLE PRECISION,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'clicks/*.csv', format = 'csv', 'dead.letter' = 'dead');
CREATE TABLE again (at TEXT, page TEXT NOT NULL)
  WITH (connector = 'file', path = 'clicks/*.csv', format = 'csv');
CREATE TABLE dead (kind TEXT, reason TEXT, payload TEXT)
  WITH (connector = 'sqlite', path = 'one.db', table = 'dead');
CREATE TABLE by_window (window_end TIMESTAMP, page TEXT, n BIGINT, ms DOUBLE PRECISION)
  WITH (connector = 'sqlite', path = 'one.db', table = 'by_window');
CREATE TABLE by_page (page TEXT, n BIGINT, slowest DOUBLE PRECISION, PRIMARY KEY (page))
  WITH (connector = 'sqlite', path = 'two.db', table = 'by_page');
CREATE TABLE pages (page TEXT, n BIGINT, PRIMARY KEY (page))
  WITH (connector = 'sqlite', path = 'two.db', table = 'pages');
INSERT INTO pages SELECT page, count(*) FROM again GROUP BY page;
INSERT INTO by_window
  SELECT window_end, page, count(*), sum(ms)
  FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page;
INSERT INTO by_page SELECT page, count(*), max(ms) FROM clicks GROUP BY page;
";

/// Keys that have no record for longer than `state.ttl`, some of which come again; and what is made
/// of them, in another database.
const FORGETS: &str = "
SET 'state.ttl' = '40 seconds';
CREATE TABLE clicks (
  at TIMESTAMP NOT NULL, page TEXT NOT NULL, ms DOUBLE PRECISION,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'clicks/*.csv', format = 'csv');
CREATE TABLE per_key (k TEXT PRIMARY KEY, n BIGINT, ms DOUBLE PRECISION)
  WITH (connector = 'sqlite', path = 'one.db', table = 'per_key');
CREATE TABLE keys (n BIGINT PRIMARY KEY, keys BIGINT, ms DOUBLE PRECISION)
  WITH (connector = 'sqlite', path = 'two.db', table = 'keys');
CREATE VIEW totals AS
  SELECT page || (extract(minute FROM at) % 3) AS k, count(*) AS n, sum(ms) AS ms
  FROM clicks GROUP BY page || (extract(minute FROM at) % 3);
INSERT INTO per_key SELECT coalesce(k, ''), n, ms FROM totals;
INSERT INTO keys SELECT n, count(*), sum(ms) FROM totals GROUP BY n;
";

/// Two sources, whose operators have nothing to do with each other but a snapshot: two partitions
/// each. Every fifth row is a minute behind, every eleventh record is no row.
pub fn write(folder: &Path) {
    write_with(folder, PIPELINE);
}

fn write_with(folder: &Path, pipeline: &str) {
    std::fs::create_dir(folder.join("clicks")).unwrap();
    for partition in 0..2 {
        let mut csv = "at,page,ms\n".to_owned();
        for i in 0..60 {
            let (minute, second) = ((i * 7 + partition) / 60 + 1, (i * 7 + partition) % 60);
            let minute = if i % 5 == 4 { minute - 1 } else { minute };
            let page = ["home", "cart", "pay"][i % 3];
            csv.push_str(&if i % 11 == 10 {
                format!("never,{partition},{i}\n")
            } else {
                format!("2024-05-01 12:{minute:02}:{second:02},{page},0.{i}\n")
            });
        }
        std::fs::write(folder.join(format!("clicks/{partition}.csv")), csv).unwrap();
    }
    std::fs::write(folder.join("crash.sql"), pipeline).unwrap();
}

/// What a run did with snapshots, by its log.
#[derive(Clone, Copy, Default)]
pub struct Used {
    /// Runs that began with one.
    pub begun: usize,
    /// Snapshots published before the run was where the last one had been.
    in_replay: usize,
}

impl Used {
    fn read(log: &str) -> Self {
        let epoch = |line: &str| {
            let (_, rest) = line.split_once("epoch=")?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let lines = |word: &'static str| log.lines().filter(move |line| line.contains(word));
        let held = lines(" resumes ").filter_map(epoch).max().unwrap_or(0);
        let published = lines("took_ms=").filter_map(epoch);
        Self {
            begun: lines("begins with a snapshot").count(),
            in_replay: published.filter(|epoch| *epoch <= held).count(),
        }
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.begun += other.begun;
        self.in_replay += other.in_replay;
    }
}

/// Runs with epochs cut by `pace` and as many threads, killed at a durable step or not. Says how
/// it ended, and what it did with snapshots.
fn run(
    folder: &Path,
    (pace, snapshots): (&str, &str),
    crash: Option<u32>,
    state: Option<&Elsewhere<'_>>,
) -> (Exit, Used) {
    let crash = crash.map(|commit| commit.to_string());
    let mut variables = vec![("TIDEMARK_TEST_PACE", pace), ("TIDEMARK_TEST_BLOCK", "300")];
    variables.push(("TIDEMARK_LOG", "debug"));
    if let Some(commit) = &crash {
        variables.push(("TIDEMARK_CRASH_AT", commit));
    }
    let mut options = vec![
        "run",
        "crash.sql",
        "--set",
        snapshots,
        "--quiet",
        "--threads",
        pace,
        "--summary",
        "summary.json",
    ];
    if let Some((place, needed)) = state {
        options.extend(["--state", place]);
        variables.extend(needed);
    }
    let ended = tidemark(folder, &options, &variables);
    assert_ne!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert_ne!(ended.how, Exit::Code(2), "{}", ended.stderr);
    (ended.how, Used::read(&ended.stderr))
}

/// Where snapshots are kept if not beside the pipeline, and the variables that this needs.
type Elsewhere<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// Everything that a run leaves for people to see.
fn left(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in ["one.db", "two.db"] {
        for table in tables(&folder.join(file)) {
            lines.extend(
                table
                    .rows
                    .iter()
                    .map(|row| format!("{}: {row:?}", table.name)),
            );
        }
    }
    let summary = Summary::read(&folder.join("summary.json"));
    lines.extend(summary.inserts.iter().map(|insert| format!("{insert:?}")));
    lines
}

/// The lines that one side has more often than the other.
fn difference(expected: &[String], found: &[String]) -> String {
    let mut counts: BTreeMap<&String, i32> = BTreeMap::new();
    for (lines, side) in [(expected, -1), (found, 1)] {
        for line in lines {
            *counts.entry(line).or_default() += side;
        }
    }
    let differ = counts.iter().filter(|(_, count)| **count != 0);
    differ
        .map(|(line, count)| format!("{count:+} {line}\n"))
        .collect()
}

#[test]
fn a_crash_at_any_commit_leaves_nothing_lost_and_nothing_twice() {
    let (crashes, _) = crash_at_every_step(PIPELINE, "snapshot.interval=1h", None);
    assert!(crashes >= 8, "there were only {crashes} to crash at");
}

#[test]
fn a_crash_at_any_step_of_a_snapshot_leaves_nothing_lost_and_nothing_twice() {
    let (crashes, used) = crash_at_every_step(PIPELINE, "snapshot.interval=1ms", None);
    assert!(crashes >= 12, "there were only {crashes} to crash at");
    let Used { begun, in_replay } = used;
    assert!(begun >= 5, "only {begun} runs began with a snapshot");
    assert!(in_replay >= 5, "only {in_replay} were taken in a replay");
}

/// It is filled from the beginning, in more epochs than there were; the other one is where it was.
#[test]
fn a_destination_that_is_lost_is_filled_again_also_if_that_crashes() {
    const SNAPSHOTS: &str = "snapshot.interval=1ms";
    let undisturbed = tempfile::tempdir().unwrap();
    write(undisturbed.path());
    run(undisturbed.path(), ("1", SNAPSHOTS), None, None);
    let expected = left(undisturbed.path());
    for step in 1.. {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        run(folder.path(), ("10", SNAPSHOTS), None, None);
        for file in ["one.db", "one.db-wal", "one.db-shm"] {
            // The last two are there only while it is open.
            let _ = std::fs::remove_file(folder.path().join(file));
        }

        let (ended, _) = run(folder.path(), ("1", SNAPSHOTS), Some(step), None);
        run(folder.path(), ("3", SNAPSHOTS), None, None);

        let found = left(folder.path());
        assert!(
            found == expected,
            "killed at step {step}:\n{}",
            difference(&expected, &found)
        );
        if ended == Exit::Code(0) {
            assert!(step > 8, "there were only {step} to crash at");
            return;
        }
    }
}

/// A replay is cut into other epochs and begins with another snapshot: what it forgets is what the
/// first run forgot, or a row would stay for a key that is held no more.
#[test]
fn a_crash_where_keys_are_forgotten_leaves_neither_rows_nor_gaps() {
    assert_forgets();
    for snapshots in ["snapshot.interval=1h", "snapshot.interval=1ms"] {
        let (crashes, _) = crash_at_every_step(FORGETS, snapshots, None);
        assert!(crashes >= 8, "there were only {crashes} to crash at");
    }
}

/// Keys are over, and some of them begin anew: of the records that went in, the table counts fewer.
fn assert_forgets() {
    let folder = tempfile::tempdir().unwrap();
    write_with(folder.path(), FORGETS);
    run(folder.path(), ("1", "snapshot.interval=1h"), None, None);

    let summary = Summary::read(&folder.path().join("summary.json"));
    let inserts = summary.inserts.iter();
    let accepted = inserts.filter(|insert| insert.table == "per_key");
    let accepted: u64 = accepted.map(|insert| insert.accepted).sum();
    let database = rusqlite::Connection::open(folder.path().join("one.db")).unwrap();
    let held = database.query_row("select sum(n) from per_key", [], |row| row.get(0));
    let held: u64 = held.unwrap();
    assert!(held > 0, "nothing is held");
    assert!(2 * held < accepted, "of {accepted} records {held} are held");
}

/// Crashes at each durable step in turn. Says how many there were, and what the runs after a crash
/// did with snapshots.
pub fn crash_at_every_step(
    pipeline: &str,
    snapshots: &str,
    state: Option<Elsewhere<'_>>,
) -> (u32, Used) {
    let undisturbed = tempfile::tempdir().unwrap();
    write_with(undisturbed.path(), pipeline);
    run(undisturbed.path(), ("1", snapshots), None, None);
    let expected = left(undisturbed.path());

    let (mut crashes, mut used) = (0, Used::default());
    loop {
        let step = crashes + 1;
        let folder = tempfile::tempdir().unwrap();
        write_with(folder.path(), pipeline);
        // Each its own.
        let place = state.as_ref().map(|(place, _)| format!("{place}/{step}"));
        let state = place
            .as_deref()
            .zip(state.clone().map(|(_, needed)| needed));
        let state = state.as_ref();
        if run(folder.path(), ("1", snapshots), Some(step), state).0 == Exit::Code(0) {
            return (crashes, used);
        }
        crashes += 1;

        // Killed once more while it catches up, and cut into other epochs than before.
        let again = run(folder.path(), ("2", snapshots), Some(1 + step % 3), state);
        let workers = ["1", "3", "4", "10"][crashes as usize % 4];
        let last = run(folder.path(), (workers, snapshots), None, state);
        used += again.1;
        used += last.1;

        let found = left(folder.path());
        assert!(
            found == expected,
            "killed at step {step}:\n{}",
            difference(&expected, &found)
        );
    }
}
