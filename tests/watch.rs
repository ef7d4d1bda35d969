//! `watch = 'true'`: files that come while a pipeline runs, between its runs, and after a crash.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use tidemark::types::Clock;

use crate::support::{Exit, Summary, tables, tidemark};

const PIPELINE: &str = "
SET 'commit.interval' = '5ms';
CREATE TABLE clicks (
  at TIMESTAMP NOT NULL, page TEXT NOT NULL, ms BIGINT,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'in', format = 'csv', watch = 'true', 'dead.letter' = 'dead');
CREATE TABLE dead (kind TEXT, partition TEXT, payload TEXT)
  WITH (connector = 'sqlite', path = 'one.db');
CREATE TABLE by_window (window_end TIMESTAMP, page TEXT, n BIGINT, ms BIGINT)
  WITH (connector = 'sqlite', path = 'one.db');
CREATE TABLE by_page (page TEXT PRIMARY KEY, n BIGINT, slowest BIGINT)
  WITH (connector = 'sqlite', path = 'two.db');
INSERT INTO by_window SELECT window_end, page, count(*), sum(ms)
  FROM TUMBLE(clicks, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page;
INSERT INTO by_page SELECT page, count(*), max(ms) FROM clicks GROUP BY page;
";

/// How many files there are in all, in the order of their event times.
const FILES: usize = 4;

fn prepare(folder: &Path) {
    std::fs::create_dir(folder.join("in")).unwrap();
    std::fs::write(folder.join("watch.sql"), PIPELINE).unwrap();
}

/// File `number`, put there whole: two minutes of clicks, each a bit out of order, one of them bad.
/// No file begins before the one before it ends.
fn put(folder: &Path, number: usize) {
    let unfinished = folder.join(format!("in/{number}.csv.part"));
    write(&unfinished, number);
    std::fs::rename(unfinished, folder.join(format!("in/{number}.csv"))).unwrap();
}

/// As if it had been written long ago: what was written just now is not taken yet.
fn write(path: &Path, number: usize) {
    let mut csv = "at,page,ms\n".to_owned();
    for i in 0..40 {
        let second = number * 120 + i * 3 + 4 - i % 2 * 4;
        let at = format!("2024-05-01 12:{:02}:{:02}", second / 60, second % 60);
        let page = ["home", "cart", "pay"][i % 3];
        csv.push_str(&if i == 17 {
            format!("never,{number},{i}\n")
        } else {
            format!("{at},{page},{i}\n")
        });
    }
    std::fs::write(path, csv).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

/// Reads what is there and stops; closes event time at the last.
fn run(folder: &Path, options: &[&str], crash: Option<u32>) -> (Exit, String) {
    let crash = crash.map(|step| step.to_string());
    let mut variables = vec![("TIDEMARK_TEST_BLOCK", "200")];
    if let Some(step) = &crash {
        variables.push(("TIDEMARK_CRASH_AT", step));
    }
    let mut arguments = vec!["run", "watch.sql", "--quiet", "--until-caught-up"];
    arguments.extend(["--summary", "summary.json"]);
    arguments.extend(options);
    let ended = tidemark(folder, &arguments, &variables);
    (ended.how, ended.stderr)
}

fn runs(folder: &Path, options: &[&str]) {
    let (how, said) = run(folder, options, None);
    assert_eq!(how, Exit::Code(0), "{said}");
}

/// The rows of all tables, whichever came first.
fn left(folder: &Path) -> Vec<String> {
    let files = ["one.db", "two.db"].map(|file| folder.join(file));
    let tables = files.iter().flat_map(|file| tables(file));
    let mut lines: Vec<String> = tables
        .flat_map(|table| {
            let rows = table.rows.into_iter();
            let name = table.name;
            rows.map(move |row| format!("{name}: {row:?}"))
        })
        .collect();
    lines.sort();
    lines
}

/// What is to come of it, whenever the files come.
fn expected() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    (0..FILES).for_each(|number| put(folder.path(), number));
    runs(folder.path(), &["--close-windows", "--threads", "1"]);
    let summary = Summary::read(&folder.path().join("summary.json"));
    let left = left(folder.path());
    assert!(left.len() > 100, "{} rows", left.len());
    let late = left.iter().filter(|line| line.contains("late")).count();
    assert_eq!(late, 0, "{summary:?}");
    left
}

#[test]
fn rows_that_are_not_late_are_counted_the_same_whenever_their_files_come() {
    let expected = expected();

    // How many files there are before each run.
    for (arrivals, threads) in [
        (&[4][..], "3"),
        (&[1, 2, 3, 4], "1"),
        (&[2, 4], "2"),
        (&[0, 1, 4], "3"),
        (&[1, 1, 4, 4], "2"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let mut there = 0;
        for &files in arrivals {
            (there..files).for_each(|number| put(folder.path(), number));
            there = files;
            runs(folder.path(), &["--threads", threads]);
        }
        runs(folder.path(), &["--close-windows", "--threads", "1"]);

        assert_eq!(left(folder.path()), expected, "{arrivals:?} on {threads}");
    }
}

#[test]
fn a_crash_at_any_commit_leaves_nothing_lost_and_nothing_twice() {
    let expected = expected();
    let (mut crashes, mut step) = (0, 0);
    loop {
        step += 1;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        put(folder.path(), 0);
        let first = run(folder.path(), &["--threads", "2"], Some(step)).0;
        put(folder.path(), 1);
        put(folder.path(), 2);
        let second = run(folder.path(), &["--threads", "1"], Some(step)).0;
        put(folder.path(), 3);
        runs(folder.path(), &["--threads", "3"]);
        runs(folder.path(), &["--close-windows"]);

        assert_eq!(left(folder.path()), expected, "killed at step {step}");
        if first == Exit::Code(0) && second == Exit::Code(0) {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 6, "{crashes} commits");
}

/// A pipeline that goes on, ended with the test.
struct Running(Child);

impl Running {
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
            .args(["run", "watch.sql", "--quiet", "--threads", "2"])
            .current_dir(folder)
            .stderr(Stdio::from(
                std::fs::File::create(folder.join("log")).unwrap(),
            ))
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Until so many clicks are counted.
    fn has_counted(&mut self, folder: &Path, clicks: i64) {
        let clock = Clock::machine();
        let limit = clock.elapsed() + Duration::from_secs(60);
        loop {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            let file = folder.join("two.db");
            let counted = Connection::open_with_flags(file, flags).and_then(|database| {
                let sql = "select coalesce(sum(n), 0) from by_page";
                database.query_row(sql, [], |row| row.get::<_, i64>(0))
            });
            if counted == Ok(clicks) {
                return;
            }
            let log = || std::fs::read_to_string(folder.join("log")).unwrap();
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            assert!(clock.elapsed() < limit, "{counted:?}: {}", log());
            clock.wait_until(clock.elapsed() + Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    /// As if the machine had failed.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn files_are_read_as_they_appear_and_once_also_after_kill_9() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);

    let mut running = Running::start(folder);
    put(folder, 0);
    running.has_counted(folder, 39);
    put(folder, 1);
    running.has_counted(folder, 2 * 39);
    drop(running);
    put(folder, 2);
    let mut running = Running::start(folder);
    running.has_counted(folder, 3 * 39);
    put(folder, 3);
    running.has_counted(folder, 4 * 39);
    drop(running);
    runs(folder, &["--close-windows"]);

    assert_eq!(left(folder), expected);
}

/// Files that come together, the last of them in the order of time the first to be read.
#[test]
fn rows_of_files_that_come_together_are_not_late_for_each_other() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    let pipeline = PIPELINE.replace("path = 'in'", "path = 'in/*/*.csv'");
    std::fs::write(folder.join("watch.sql"), pipeline).unwrap();

    let mut running = Running::start(folder);
    for (batch, files) in [("one", [0].as_slice()), ("more", &[3, 2, 1])] {
        let unfinished = folder.join(batch);
        std::fs::create_dir(&unfinished).unwrap();
        for (place, &number) in files.iter().enumerate() {
            write(&unfinished.join(format!("{place}.csv")), number);
        }
        std::fs::rename(unfinished, folder.join("in").join(batch)).unwrap();
        running.has_counted(
            folder,
            39 * files.len() as i64 + i64::from(batch == "more") * 39,
        );
    }
    drop(running);
    runs(folder, &["--close-windows"]);

    let counted = |lines: Vec<String>| -> Vec<String> {
        let of_tables = lines.into_iter().filter(|line| line.starts_with("by_"));
        of_tables.collect()
    };
    assert_eq!(counted(left(folder)), counted(expected));
}

#[test]
fn a_file_that_was_taken_may_not_change_or_go_away() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);
    put(folder, 0);
    put(folder, 1);
    std::fs::write(folder.join("in/later.csv.tmp"), "not yet").unwrap();
    runs(folder, &[]);

    let content = std::fs::read_to_string(folder.join("in/0.csv")).unwrap();
    for (change, said) in [
        (
            Some(content.replace("home", "away")),
            "`in/0.csv` has changed since it was taken",
        ),
        (None, "`in/0.csv` was taken before and is gone"),
    ] {
        match change {
            Some(change) => std::fs::write(folder.join("in/0.csv"), change).unwrap(),
            None => std::fs::remove_file(folder.join("in/0.csv")).unwrap(),
        }
        let (how, stderr) = run(folder, &[], None);
        assert_eq!(how, Exit::Code(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        let checked = tidemark(folder, &["check", "watch.sql"], &[]);
        assert_eq!(checked.how, Exit::Code(2));
        assert!(checked.stderr.contains(said), "{}", checked.stderr);
    }
    std::fs::write(folder.join("in/0.csv"), content).unwrap();
    put(folder, 2);
    runs(folder, &[]);
}

#[test]
fn check_says_that_a_folder_is_watched_and_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    prepare(folder);

    let checked = tidemark(folder, &["check", "watch.sql"], &[]);
    assert_eq!(checked.how, Exit::Code(0), "{}", checked.stderr);
    let says = "clicks: reads new files of in as they appear; event time does not end";
    assert!(checked.stdout.contains(says), "{}", checked.stdout);
    let options = ["run", "watch.sql", "--quiet", "--processes", "2"];
    let refused = tidemark(folder, &options, &[]);
    assert_eq!(refused.how, Exit::Code(2));
    assert!(
        refused.stderr.contains("which one process reads"),
        "{}",
        refused.stderr
    );

    std::fs::remove_dir(folder.join("in")).unwrap();
    let checked = tidemark(folder, &["check", "watch.sql"], &[]);
    assert_eq!(checked.how, Exit::Code(2));
    assert!(checked.stderr.contains("no folder"), "{}", checked.stderr);
}
