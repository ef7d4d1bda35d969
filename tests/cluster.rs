//! What becomes of a process that is there and should not be: one that stands still, and one that
//! another start has replaced.

use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use tidemark::engine::spawn_named;

use crate::eyes::fetch;
use crate::produce::Topic;
use crate::services::postgres_with_url;

/// Nothing here takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Never ends; every row counts.
const PIPELINE: &str = "
SET 'commit.interval' = '20ms';
CREATE TABLE made (n BIGINT, at TIMESTAMP)
  WITH (connector = 'generator', rate = '2000', partitions = '3', 'fields.n.kind' = 'sequence');
CREATE TABLE kept (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO kept SELECT n FROM made;
";

/// A run, and what it says.
pub struct Run {
    pub process: Child,
    lines: Receiver<String>,
}

impl Run {
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tidemark"))
            .current_dir(folder)
            .args(["run", "pipeline.sql", "--quiet"])
            .args(options)
            .env("TIDEMARK_LOG", "debug")
            .env("TIDEMARK_CLUSTER_SECRET", "a secret of sixteen bytes")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (sender, lines) = sync_channel(1 << 20);
        spawn_named("log", move || {
            for line in log.lines().map_while(Result::ok) {
                // Nobody may be listening any more.
                let _ = sender.send(line);
            }
        });
        Self { process, lines }
    }

    /// Reads on until a line that has `text` in it.
    pub fn until(&self, text: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => said.push(line),
                Err(_) => panic!("it never said `{text}`, but:\n{}", said.join("\n")),
            }
        }
    }

    /// How it ended, and what it said until then.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut said = Vec::new();
        // The lines end with the process; a process that says nothing for long hangs.
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => said.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("it does not end: {error}"),
            }
        }
        (self.process.wait().unwrap(), said.join("\n"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn signal(signal: &str, process: u32) {
    let status = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// The processes that one has started, the first first.
fn children(parent: u32) -> Vec<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(file).unwrap();
    let mut all: Vec<u32> = text
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    all.sort_unstable();
    all
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    folder
}

/// Every number of each partition (row n is in partition n mod 3) is there once, up to some.
fn assert_whole(folder: &Path) {
    let database = Connection::open(folder.join("out.db")).unwrap();
    let sql = "select n % 3, count(*), count(distinct n), max(n) / 3 + 1 from kept group by 1";
    let mut query = database.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?]));
    let partitions: Vec<(i64, [i64; 3])> = query
        .query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(partitions.len(), 3);
    for (partition, [rows, different, expected]) in partitions {
        assert_eq!(
            (rows, different),
            (expected, expected),
            "partition {partition}"
        );
    }
}

#[test]
fn a_process_that_stands_still_is_noticed_and_all_start_again() {
    let folder = folder();
    let options = [
        "--processes",
        "3",
        "--heartbeat",
        "2",
        "--metrics-port",
        "0",
    ];
    let run = Run::start(folder.path(), &options);
    run.until("published");
    let stopped = children(run.process.id())[1];

    signal("-STOP", stopped);

    let reason = run.until("all start again");
    assert!(reason.contains("did not end and was killed"), "{reason}");
    let address = run.until("the metrics are at http://");
    run.until("all processes run");
    run.until("published");
    let address = address.split_once("http://").unwrap().1.trim();
    let (_, metrics) = fetch(address.parse().unwrap(), "/metrics");
    assert!(
        metrics.contains("\ntidemark_restarts_total 1\n"),
        "{metrics}"
    );
    signal("-TERM", run.process.id());
    let (status, said) = run.end();
    assert!(status.success(), "{said}");
    assert_whole(folder.path());
}

/// A supervisor hangs up on all when one process has died: also on one that is only beginning.
#[test]
fn a_process_whose_supervisor_hung_up_before_it_spoke_may_be_started_again() {
    let folder = folder();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);

    let ended = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .current_dir(folder.path())
        .args(["run", "pipeline.sql", "--quiet", "--member"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(75), "{said}");
    assert!(said.contains("the supervisor is gone"), "{said}");
}

#[test]
fn a_run_until_caught_up_ends_where_its_first_start_did_however_often_it_starts_again() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sql = format!(
        "SET 'commit.interval' = '20ms';
         CREATE TABLE read (n BIGINT) WITH (connector = 'kafka', topic = '{}',
           'bootstrap.servers' = '{}', format = 'json');
         CREATE TABLE kept (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO kept SELECT n FROM read;",
        topic.name, topic.servers
    );
    std::fs::write(folder.path().join("pipeline.sql"), sql).unwrap();
    let numbers = |count: usize| (0..count).map(|n| format!("{n}\n")).collect::<String>();
    std::fs::write(
        folder.path().join("a.csv"),
        format!("n\n{}", numbers(200_000)),
    )
    .unwrap();
    std::fs::write(folder.path().join("b.csv"), format!("n\n{}", numbers(1000))).unwrap();
    topic.produce(folder.path(), &["a.csv"]);
    let run = Run::start(folder.path(), &["--processes", "2", "--until-caught-up"]);
    run.until("published");
    let process = children(run.process.id())[1];
    signal("-STOP", process);

    topic.produce(folder.path(), &["b.csv"]);
    signal("-KILL", process);

    let (status, said) = run.end();
    assert!(status.success(), "{said}");
    assert!(said.contains("all start again"), "{said}");
    let database = Connection::open(folder.path().join("out.db")).unwrap();
    let count = "select count(*), count(distinct n) from kept";
    let count = database.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(count.unwrap(), (200_000, 200_000));
}

/// The lags that a process knows of partitions, and how many records `why` has left to read.
fn lags(address: SocketAddr) -> (Vec<String>, Option<u64>) {
    let (_, metrics) = fetch(address, "/metrics");
    let lines = metrics.lines();
    let lags = lines.filter(|line| line.starts_with("tidemark_partition_lag{"));
    let (_, status) = fetch(address, "/api/status");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let lags = lags.map(str::to_owned).collect();
    (lags, status["sources"][0]["lag"].as_u64())
}

/// Records that `produce` sent end with the mark of its transaction, which is no record.
#[test]
fn each_partition_has_one_lag_among_the_processes_and_it_comes_to_nothing() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sql = format!(
        "SET 'commit.interval' = '20ms';
         CREATE TABLE read (n BIGINT, at TIMESTAMP METADATA FROM 'timestamp',
           WATERMARK FOR at AS at - INTERVAL '1' SECOND)
         WITH (connector = 'kafka', topic = '{}', 'bootstrap.servers' = '{}', format = 'json',
           'watermark.idle-timeout' = '1s');
         CREATE TABLE kept (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
         INSERT INTO kept SELECT n FROM read;",
        topic.name, topic.servers
    );
    std::fs::write(folder.path().join("pipeline.sql"), sql).unwrap();
    let numbers: String = (0..3000).map(|n| format!("{n}\n")).collect();
    std::fs::write(folder.path().join("a.csv"), format!("n\n{numbers}")).unwrap();
    topic.produce(folder.path(), &["--key", "n", "a.csv"]);
    let run = Run::start(folder.path(), &["--processes", "2", "--metrics-port", "0"]);
    let addresses = [(); 2].map(|()| {
        let line = run.until("the metrics are at http://");
        let address = line.split_once("http://").unwrap().1.trim();
        address.parse::<SocketAddr>().unwrap()
    });
    run.until("published");

    let mut known = (0..600).map(|_| {
        // The log goes on while nothing comes of the topic: a pause, and no more.
        let _ = run.lines.recv_timeout(Duration::from_millis(100));
        addresses.map(lags)
    });
    let is_read = |known: &[(Vec<String>, Option<u64>); 2]| {
        let lags: Vec<_> = known.iter().flat_map(|(lags, _)| lags).collect();
        lags.len() == 3
            && lags.iter().all(|lag| lag.ends_with(" 0"))
            && known.iter().all(|(_, to_read)| *to_read == Some(0))
    };
    assert!(
        known.any(|known| is_read(&known)),
        "{:?}",
        addresses.map(lags)
    );

    signal("-TERM", run.process.id());
    let (status, said) = run.end();
    assert!(status.success(), "{said}");
}

#[test]
fn a_supervisor_that_is_started_before_its_database_waits_for_it() {
    let Some((mut client, url)) = postgres_with_url("this test") else {
        return;
    };
    let drop = "drop table if exists waited_for; do $$ begin
        if to_regclass('tidemark_marks') is not null then
          delete from tidemark_marks where pipeline = 'waited';
          delete from tidemark_tables where pipeline = 'waited';
        end if; end $$";
    client.batch_execute(drop).unwrap();
    let (before, rest) = url.rsplit_once('@').unwrap();
    let (real, name) = rest.split_once('/').unwrap();
    // A port that nobody listens at until we do.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::mem::drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let sql = format!(
        "SET 'pipeline.name' = 'waited';
         CREATE TABLE made (n BIGINT)
           WITH (connector = 'generator', rows = '100', 'fields.n.kind' = 'sequence');
         CREATE TABLE waited_for (n BIGINT)
           WITH (connector = 'postgres', url = '{before}@{address}/{name}', sslmode = 'disable');
         INSERT INTO waited_for SELECT n FROM made;"
    );
    std::fs::write(folder.path().join("pipeline.sql"), sql).unwrap();
    let run = Run::start(folder.path(), &["--processes", "2"]);
    run.until("waiting for it to begin");

    forward(TcpListener::bind(address).unwrap(), real.to_owned());

    let (status, said) = run.end();
    assert!(status.success(), "{said}");
    let count = client.query_one("select count(*) from waited_for", &[]);
    assert_eq!(count.unwrap().get::<_, i64>(0), 100);
    client.batch_execute(drop).unwrap();
}

/// Passes connections on, until the test's process ends.
fn forward(listener: TcpListener, to: String) {
    spawn_named("forward", move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&to).unwrap();
            let (mut from_near, mut to_near) = (near.try_clone().unwrap(), near);
            let (mut from_far, mut to_far) = (far.try_clone().unwrap(), far);
            // One side ends the other; what it ends with does not matter here.
            spawn_named("there", move || {
                let _ = std::io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Write);
            });
            spawn_named("back", move || {
                let _ = std::io::copy(&mut from_far, &mut to_near);
                let _ = to_near.shutdown(Shutdown::Write);
            });
        }
    });
}

#[test]
fn of_two_copies_of_a_pipeline_the_older_is_refused_its_commit_and_ends() {
    let folder = folder();
    let older = Run::start(folder.path(), &[]);
    older.until("published");

    let newer = Run::start(folder.path(), &[]);
    newer.until("published");

    let (status, said) = older.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another process took over"), "{said}");
    newer.until("published");
    signal("-TERM", newer.process.id());
    let (status, said) = newer.end();
    assert!(status.success(), "{said}");
    assert_whole(folder.path());
}

/// Starts so many processes with a file of hosts, as they are on machines of their own.
fn on_hosts<const N: usize>(folder: &Path) -> [Run; N] {
    let free = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = free.map(|free| free.local_addr().unwrap().to_string());
    std::fs::write(folder.join("hosts"), hosts.join("\n")).unwrap();
    let mut numbers = 0..;
    [(); N].map(|()| {
        let number = numbers.next().unwrap_or(0).to_string();
        Run::start(folder, &["--hosts", "hosts", "--process", &number])
    })
}

/// A table that refuses one of the numbers.
fn refusing() -> tempfile::TempDir {
    let folder = folder();
    let database = Connection::open(folder.path().join("out.db")).unwrap();
    let table = "create table kept (n bigint check (n <> 3000))";
    database.execute_batch(table).unwrap();
    folder
}

/// Nobody takes the end of the others, which follows from it, for the reason.
#[test]
fn what_makes_a_run_fail_is_said_by_all_its_processes_and_is_final() {
    let folder = refusing();

    let runs: [Run; 3] = on_hosts(folder.path());

    for run in runs {
        let (status, said) = run.end();
        assert!(said.contains("CHECK constraint failed"), "{said}");
        assert!(!said.contains("error: lost process"), "{said}");
        assert_eq!(status.code(), Some(1), "{said}");
    }
}

#[test]
fn a_supervisor_does_not_try_again_what_was_refused() {
    let folder = refusing();

    let (status, said) = Run::start(folder.path(), &["--processes", "2"]).end();

    assert!(said.contains("CHECK constraint failed"), "{said}");
    assert!(!said.contains("all start again"), "{said}");
    assert_eq!(status.code(), Some(1), "{said}");
}

#[test]
fn a_process_that_waits_for_the_others_stops_when_it_is_asked_to() {
    let folder = folder();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{}\n127.0.0.1:1\n", free.local_addr().unwrap());
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    drop(free);
    let options = ["--hosts", "hosts", "--process", "0", "--meet-within", "600"];
    let run = Run::start(folder.path(), &options);
    run.until("meets the others");

    signal("-TERM", run.process.id());

    let (status, said) = run.end();
    assert!(status.success(), "{said}");
}

#[test]
fn a_supervisor_that_waits_for_a_server_stops_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens at port 1.
    let sql = "CREATE TABLE made (n BIGINT) WITH (connector = 'generator');
        CREATE TABLE kept (n BIGINT)
          WITH (connector = 'postgres', url = 'postgres://nobody@127.0.0.1:1/none');
        INSERT INTO kept SELECT n FROM made;";
    std::fs::write(folder.path().join("pipeline.sql"), sql).unwrap();
    let run = Run::start(folder.path(), &["--processes", "2"]);
    run.until("waiting for it to begin");

    signal("-TERM", run.process.id());

    let (status, said) = run.end();
    assert!(status.success(), "{said}");
}
