//! What is under test: a pipeline with a table of every kind, and the processes that run it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tidemark::engine::spawn_named;
use tidemark::types::Clock;

use crate::phases::Phases;
use crate::servers::{Killer, Servers, children};

pub const TOPIC: &str = "crash";

/// The topics that it writes to; and the one with the marks, which nobody else uses here.
pub const CLOSED_TOPIC: &str = "crash_closed";
pub const PARTS_TOPIC: &str = "crash_parts";
pub const DEAD_TOPIC: &str = "crash_dead";
pub const MARKS_TOPIC: &str = "tidemark_marks";
pub const PARTITIONS_OUT: i32 = 3;

/// `closed`, `closed_elsewhere` and `closed_topic` are appended to as windows close, `seen` as rows
/// come; the others are kept current by key. `again` reads the same records once more, without event
/// time, so that a topic gets dead letters too. All tables of a database move together, so none has lanes.
const SQL: &str = "
SET 'commit.interval' = '50ms';
SET 'snapshot.interval' = '700ms';

CREATE TABLE events (
  id BIGINT NOT NULL, at TIMESTAMP(3) NOT NULL, everyone TEXT NOT NULL, customer TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0),
  part INT METADATA FROM 'partition',
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (
  connector = 'kafka', topic = 'crash', format = 'json', 'bootstrap.servers' = '${BROKER}',
  'timestamp.format' = 'unix_ms', 'watermark.idle-timeout' = '2s', 'dead.letter' = 'dead'
);
CREATE TABLE again (
  id BIGINT NOT NULL, at BIGINT NOT NULL, customer TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0)
) WITH (
  connector = 'kafka', topic = 'crash', format = 'json', 'bootstrap.servers' = '${BROKER}',
  'dead.letter' = 'dead_topic'
);

CREATE TABLE dead (kind TEXT, partition TEXT, \"offset\" BIGINT, insert_into TEXT)
  WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE total (everyone TEXT PRIMARY KEY, n BIGINT, amount BIGINT)
  WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE parts (customer TEXT PRIMARY KEY, n BIGINT, amount BIGINT)
  WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE newest (customer TEXT PRIMARY KEY, id BIGINT, at TIMESTAMP)
  WITH (connector = 'postgres', url = '${FIRST}', 'upsert.by' = 'at');
CREATE TABLE seen (id BIGINT, part INT) WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE closed (window_end TIMESTAMP, customer TEXT, n BIGINT, amount BIGINT)
  WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE current (window_start TIMESTAMP, customer TEXT, n BIGINT, PRIMARY KEY (window_start, customer))
  WITH (connector = 'postgres', url = '${FIRST}');
CREATE TABLE parts_elsewhere (customer TEXT PRIMARY KEY, n BIGINT, amount BIGINT)
  WITH (connector = 'postgres', url = '${SECOND}');
CREATE TABLE closed_elsewhere (window_end TIMESTAMP, customer TEXT, n BIGINT, amount BIGINT)
  WITH (connector = 'postgres', url = '${SECOND}');
CREATE TABLE closed_topic (window_end TIMESTAMP, customer TEXT, n BIGINT, amount BIGINT)
  WITH (connector = 'kafka', topic = 'crash_closed', format = 'csv', partitions = '3', 'bootstrap.servers' = '${BROKER}');
CREATE TABLE parts_topic (customer TEXT PRIMARY KEY, n BIGINT, amount BIGINT)
  WITH (connector = 'kafka', topic = 'crash_parts', format = 'csv', partitions = '3', 'bootstrap.servers' = '${BROKER}');
CREATE TABLE dead_topic (kind TEXT, partition TEXT, \"offset\" BIGINT, payload BYTEA)
  WITH (connector = 'kafka', topic = 'crash_dead', format = 'raw', partitions = '3', 'bootstrap.servers' = '${BROKER}');

INSERT INTO total SELECT everyone, count(*), sum(amount) FROM events GROUP BY everyone;
INSERT INTO parts SELECT customer, count(*), sum(amount) FROM events GROUP BY customer;
INSERT INTO newest SELECT customer, id, at FROM events;
INSERT INTO seen SELECT id, part FROM events;
INSERT INTO closed
  SELECT window_end, customer, count(*), sum(amount)
  FROM TUMBLE(events, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, customer;
INSERT INTO current
  SELECT window_start, customer, count(*)
  FROM HOP(events, at, INTERVAL '10' SECOND, INTERVAL '20' SECOND)
  GROUP BY window_start, window_end, customer EMIT CHANGES;
INSERT INTO parts_elsewhere SELECT customer, count(*), sum(amount) FROM events GROUP BY customer;
INSERT INTO closed_elsewhere
  SELECT window_end, customer, count(*), sum(amount)
  FROM TUMBLE(events, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, customer;
INSERT INTO closed_topic
  SELECT window_end, customer, count(*), sum(amount)
  FROM TUMBLE(events, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, customer;
INSERT INTO parts_topic SELECT customer, count(*), sum(amount) FROM again GROUP BY customer;
";

/// The bound in `WATERMARK FOR`, and the windows.
pub const BOUND_MS: i64 = 5_000;
pub const TUMBLE_MS: i64 = 10_000;
pub const HOP_MS: (i64, i64) = (10_000, 20_000);

/// The binary, in the folder of the pipeline.
const BINARY: &str = "tidemark";

/// How many workers a start has: processes and threads of each.
pub const SHAPES: [(usize, usize); 4] = [(3, 1), (2, 2), (5, 2), (4, 1)];

/// How long a run that is asked to end, or to catch up, may take.
const END_MAX: Duration = Duration::from_secs(120);

/// The pipeline, running or not.
pub struct Pipeline {
    folder: PathBuf,
    variables: [(&'static str, String); 3],
    pub phases: Arc<Phases>,
    clock: Clock,
    running: Option<Running>,
}

struct Running {
    supervisor: Child,
    log: JoinHandle<()>,
}

impl Pipeline {
    pub fn new(folder: &Path, servers: &Servers, clock: &Clock) -> Self {
        std::fs::write(folder.join("crash.sql"), SQL).unwrap();
        // The one that is there now: a build must not change it in the middle.
        let binary = folder.join(BINARY);
        std::fs::hard_link(env!("CARGO_BIN_EXE_tidemark"), &binary)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_tidemark"), &binary).map(drop))
            .unwrap();
        let [first, second] = servers.databases.clone();
        Self {
            folder: folder.to_owned(),
            variables: [
                ("BROKER", servers.broker.clone()),
                ("FIRST", first),
                ("SECOND", second),
            ],
            phases: Arc::default(),
            clock: clock.clone(),
            running: None,
        }
    }

    /// Starts a supervisor with so many processes and threads.
    pub fn start(&mut self, (processes, threads): (usize, usize)) {
        let processes = processes.to_string();
        let options = [
            "--processes",
            &processes,
            "--failed-starts",
            "1000000",
            "--heartbeat",
            "5",
        ];
        self.spawn(&options, threads);
    }

    fn spawn(&mut self, options: &[&str], threads: usize) {
        let log = self.folder.join("log");
        let mut log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        let mut supervisor = Command::new(self.folder.join(BINARY))
            .current_dir(&self.folder)
            .args([
                "run",
                "crash.sql",
                "--quiet",
                "--threads",
                &threads.to_string(),
            ])
            .args(options)
            .envs(self.variables.clone())
            .env("TIDEMARK_LOG", "debug")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = supervisor.stderr.take().unwrap();
        let phases = Arc::clone(&self.phases);
        let log = spawn_named("log", move || {
            for line in BufReader::new(said).lines() {
                let line = line.unwrap();
                phases.hear(&line);
                writeln!(log, "{line}").unwrap();
            }
        });
        self.running = Some(Running { supervisor, log });
    }

    /// The supervisor. None if it is not there.
    pub fn supervisor(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.supervisor.id())
    }

    /// Its processes that live, process 0 first.
    pub fn processes(&self) -> Vec<u32> {
        self.supervisor().map(children).unwrap_or_default()
    }

    /// How the supervisor ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut()?.supervisor.try_wait().unwrap()
    }

    /// The supervisor has been killed: waits until all that it started is gone too.
    pub fn bury(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.supervisor.wait().unwrap();
        // The log ends when the last process has.
        running.log.join().unwrap();
        self.phases.ended();
    }

    /// Has all processes stop after the open epoch. None if they do not.
    pub fn stop(&mut self, killer: &mut Killer) -> Option<ExitStatus> {
        let supervisor = self.supervisor()?;
        killer.signal("TERM", &[supervisor]);
        self.wait(killer)
    }

    /// Reads what there is, with so many threads. None if that does not end.
    pub fn catch_up(
        &mut self,
        threads: usize,
        options: &[&str],
        killer: &mut Killer,
    ) -> Option<ExitStatus> {
        let all = [&["--until-caught-up"], options].concat();
        self.spawn(&all, threads);
        self.wait(killer)
    }

    fn wait(&mut self, killer: &mut Killer) -> Option<ExitStatus> {
        let limit = self.clock.elapsed() + END_MAX;
        while self.clock.elapsed() < limit {
            if let Some(status) = self.ended() {
                self.bury();
                return Some(status);
            }
            self.clock
                .wait_until(self.clock.elapsed() + Duration::from_millis(20));
        }
        killer.kill(&[self.supervisor()?]);
        self.bury();
        None
    }
}

/// Nothing is left running, also after a panic.
impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.supervisor.kill();
            let _ = running.supervisor.wait();
        }
    }
}
