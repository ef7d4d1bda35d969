//! Several processes are one run: they read the same, and what they keep is kept as one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::cluster::{Run, signal};

/// Counts for ever.
const COUNTS: &str = "
SET 'commit.interval' = '20ms';
SET 'snapshot.interval' = '500ms';
CREATE TABLE made (n BIGINT NOT NULL, at TIMESTAMP)
  WITH (connector = 'generator', rate = '2000', partitions = '4', 'fields.n.kind' = 'sequence');
CREATE TABLE totals (k BIGINT, rows BIGINT, PRIMARY KEY (k)) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO totals SELECT n % 100 AS k, count(*) FROM made GROUP BY n % 100;
";

#[test]
fn the_snapshot_at_the_end_is_kept_with_the_parts_of_all() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), COUNTS).unwrap();
    let run = Run::start(folder.path(), &["--processes", "2", "--state", "kept"]);
    // It has run for so long that the end is worth a snapshot.
    run.until("DEBUG snapshot epoch");

    signal("-TERM", run.process.id());
    let (status, said) = run.end();

    assert!(status.success(), "{said}");
    let database = rusqlite::Connection::open(folder.path().join("out.db")).unwrap();
    let last = "SELECT epoch FROM tidemark_marks";
    let last: i64 = database.query_row(last, [], |row| row.get(0)).unwrap();
    let manifest = format!("kept/pipeline/{last:020}/manifest.json");
    assert!(folder.path().join(manifest).exists(), "{last}: {said}");
}

const COPY: &str = "
CREATE TABLE rows (n BIGINT) WITH (connector = 'file', path = 'data', format = 'csv');
CREATE TABLE copied (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO copied SELECT n FROM rows;
";

/// A machine of a run: its own folder, with a file of its own.
fn machine(folder: &Path, name: &str, numbers: &str) -> PathBuf {
    let folder = folder.join(name);
    std::fs::create_dir_all(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/a.csv"), "n\n1\n2\n").unwrap();
    std::fs::write(folder.join("data/b.csv"), numbers).unwrap();
    std::fs::write(folder.join("pipeline.sql"), COPY).unwrap();
    folder
}

/// Starts a process on each machine, each with options of its own.
fn start(folder: &Path, machines: [(&Path, &[&str]); 2]) -> [Run; 2] {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = free.map(|free| free.local_addr().unwrap().to_string());
    std::fs::write(folder.join("hosts"), hosts.join("\n")).unwrap();
    let hosts = folder.join("hosts").display().to_string();
    let mut process = 0..;
    machines.map(|(machine, options)| {
        let process = process.next().unwrap_or(0).to_string();
        let options = [&["--hosts", &hosts, "--process", &process], options].concat();
        Run::start(machine, &options)
    })
}

#[test]
fn processes_that_find_other_files_are_not_one_run() {
    let folder = tempfile::TempDir::new().unwrap();
    let machines = [
        machine(folder.path(), "first", "n\n3\n"),
        machine(folder.path(), "second", "n\n4000\n"),
    ];

    let [first, second] = start(folder.path(), [(&machines[0], &[]), (&machines[1], &[])]);

    let (status, said) = second.end();
    assert!(!status.success());
    let cause = "the files of `rows` are not what process 0 has found";
    assert!(said.contains(cause), "{said}");
    assert!(!first.end().0.success());
    let database = rusqlite::Connection::open(machines[0].join("out.db")).unwrap();
    let foreign = "SELECT count(*) FROM copied WHERE n = 4000";
    let foreign: i64 = database.query_row(foreign, [], |row| row.get(0)).unwrap();
    assert_eq!(foreign, 0);
}

#[test]
fn processes_that_were_told_otherwise_are_not_one_run() {
    let folder = tempfile::TempDir::new().unwrap();
    let here = machine(folder.path(), "here", "n\n3\n");

    let options: [&[&str]; 2] = [&[], &["--threads", "2"]];
    let [first, second] = start(folder.path(), [(&here, options[0]), (&here, options[1])]);

    let cause = "process 0 runs with --threads 1, this one with --threads 2";
    assert!(second.until("--threads").contains(cause));
    assert!(!second.end().0.success());
    drop(first);
    assert!(!here.join("out.db").exists());
}
