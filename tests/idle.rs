//! A partition that falls silent, and comes back late to a process that was killed meanwhile: the
//! tables are what the records say, whatever was running when.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rusqlite::Connection;

use crate::cluster::Run;
use crate::services::kafka;
use crate::support::{Exit, tidemark};

/// Nothing here takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Windows of ten seconds; what is late, and a table that every record changes.
const PIPELINE: &str = "
SET 'commit.interval' = '20ms';
CREATE TABLE clicks (
  at TIMESTAMP(3) NOT NULL, part INT NOT NULL METADATA FROM 'partition',
  WATERMARK FOR at AS at
) WITH (
  connector = 'kafka', topic = '${TOPIC}', 'bootstrap.servers' = '${KAFKA}', format = 'json',
  'timestamp.format' = 'unix_ms', 'watermark.idle-timeout' = '${TIMEOUT}', 'dead.letter' = 'dead'
);
CREATE TABLE dead (partition TEXT, \"offset\" BIGINT)
  WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE closed (window_end TIMESTAMP, n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE seen (part INT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO closed
  SELECT window_end, count(*) FROM TUMBLE(clicks, at, INTERVAL '10' SECOND)
  GROUP BY window_start, window_end;
INSERT INTO seen SELECT part, count(*) FROM clicks GROUP BY part;
";

/// 2026-01-01, in seconds.
const BEGINNING: i64 = 1_767_225_600;
const WINDOW: i64 = 10;

/// A topic with two partitions, and what was sent to it: the times in seconds since the beginning.
struct Topic {
    servers: String,
    name: String,
    producer: BaseProducer,
    sent: [Vec<i64>; 2],
}

impl Topic {
    fn new(folder: &Path) -> Option<Self> {
        let servers = kafka("this test")?;
        let unique = folder.file_name().unwrap().to_str().unwrap();
        let name = format!("idle-{}", unique.trim_start_matches('.'));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &servers);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let new = NewTopic::new(&name, 2, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let created = admin.create_topics([&new], &options);
        let created = runtime.unwrap().block_on(created).unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
        let producer = config.create().unwrap();
        Some(Self {
            servers,
            name,
            producer,
            sent: Default::default(),
        })
    }

    /// A pipeline that reads it, and waits so long for a silent partition.
    fn write_pipeline(&self, folder: &Path, timeout: &str) {
        let sql = PIPELINE.replace("${TOPIC}", &self.name);
        let sql = sql.replace("${KAFKA}", &self.servers);
        let sql = sql.replace("${TIMEOUT}", timeout);
        std::fs::write(folder.join("pipeline.sql"), sql).unwrap();
    }

    /// Returns once they are there.
    fn send(&mut self, partition: usize, seconds: impl IntoIterator<Item = i64>) {
        for second in seconds {
            let text = format!("{{\"at\":{}}}", (BEGINNING + second) * 1000);
            let record: BaseRecord<'_, [u8], str> = BaseRecord::to(&self.name)
                .partition(i32::try_from(partition).unwrap())
                .payload(&text);
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
            self.sent[partition].push(second);
        }
        self.producer.flush(LIMIT).unwrap();
    }
}

/// What the tables have to hold when event time was at `floor` as partition 1 came back with its
/// record `back`.
fn expected(sent: &[Vec<i64>; 2], (back, floor): (usize, i64)) -> BTreeMap<String, Vec<String>> {
    let (mut closed, mut dead) = (BTreeMap::<i64, i64>::new(), Vec::new());
    for (partition, seconds) in sent.iter().enumerate() {
        let mut watermark = i64::MIN;
        for (offset, &second) in seconds.iter().enumerate() {
            if (partition, offset) == (1, back) {
                watermark = watermark.max(floor);
            }
            let end = (second / WINDOW + 1) * WINDOW;
            if watermark >= end {
                dead.push(format!("{partition} {offset}"));
            } else {
                *closed.entry(end).or_default() += 1;
            }
            watermark = watermark.max(second);
        }
    }
    let closed = closed.iter().map(|(end, n)| format!("{end} {n}"));
    let seen = sent.iter().enumerate();
    let seen = seen.map(|(partition, seconds)| format!("{partition} {}", seconds.len()));
    BTreeMap::from([
        ("closed".to_owned(), closed.collect()),
        ("dead".to_owned(), dead),
        ("seen".to_owned(), seen.collect()),
    ])
}

/// The same as it is in the tables.
fn found(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let database = Connection::open(folder.join("out.db")).unwrap();
    let closed = format!(
        "select (unixepoch(window_end) - {BEGINNING}) || ' ' || n from closed order by window_end"
    );
    let queries = [
        ("closed", closed.as_str()),
        (
            "dead",
            "select partition || ' ' || \"offset\" from dead order by partition, \"offset\"",
        ),
        ("seen", "select part || ' ' || n from seen order by part"),
    ];
    let rows = |sql: &str| {
        let mut query = database.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let tables = queries.iter();
    tables
        .map(|(table, sql)| ((*table).to_owned(), rows(sql)))
        .collect()
}

/// Waits until so many windows have closed.
fn until_closed(run: &Run, folder: &Path, windows: i64) {
    until(run, folder, "select count(*) from closed", windows);
}

/// Waits until a query's number is so large.
fn until(run: &Run, folder: &Path, query: &str, number: i64) {
    loop {
        run.until(" published ");
        let database = Connection::open(folder.join("out.db")).unwrap();
        let now: i64 = database.query_row(query, [], |row| row.get(0)).unwrap();
        if now >= number {
            return;
        }
    }
}

fn killed(mut run: Run) {
    run.process.kill().unwrap();
    run.process.wait().unwrap();
}

/// The story, with as many threads in each of its runs.
fn story<'a>(snapshots: &'a str, threads: [&'a str; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut topic) = Topic::new(folder.path()) else {
        return;
    };
    topic.write_pipeline(folder.path(), "1s");
    let options = threads.map(|threads| ["--set", snapshots, "--threads", threads]);

    // Event time goes on to 60 without partition 1.
    topic.send(0, 0..=60);
    topic.send(1, (0..=25).step_by(3));
    let run = Run::start(folder.path(), &options[0]);
    until_closed(&run, folder.path(), 6);
    killed(run);

    // Nobody runs, and it comes back: behind, then level.
    let back = topic.sent[1].len();
    topic.send(0, 61..=80);
    topic.send(1, [30, 59, 45, 61, 58, 75]);
    let run = Run::start(folder.path(), &options[1]);
    until_closed(&run, folder.path(), 7);
    killed(run);

    finish(folder.path(), &options[2]);
    assert_eq!(found(folder.path()), expected(&topic.sent, (back, 60)));
}

fn finish(folder: &Path, options: &[&str]) {
    let more = [
        "run",
        "pipeline.sql",
        "--until-caught-up",
        "--close-windows",
    ];
    let ended = tidemark(folder, &[&more[..], options].concat(), &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
}

/// The first that comes back would take event time along, and make late what comes to the other.
#[test]
fn after_a_pause_of_the_whole_topic_no_partition_is_late_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut topic) = Topic::new(folder.path()) else {
        return;
    };
    // So long a busy machine may take to come from the first record after the pause to the second send.
    topic.write_pipeline(folder.path(), "15s");
    topic.send(0, 0..=60);
    topic.send(1, 0..=58);
    let run = Run::start(folder.path(), &["--threads", "2"]);
    for _ in 0..2 {
        run.until("is idle: event time does not wait for it");
    }

    topic.send(0, 61..=200);
    let read = topic.sent[0].len().try_into().unwrap();
    until(
        &run,
        folder.path(),
        "select n from seen where part = 0",
        read,
    );
    let back = topic.sent[1].len();
    topic.send(1, 61..=90);
    until_closed(&run, folder.path(), 9);
    killed(run);

    topic.send(1, [70, 99, 210]);
    finish(folder.path(), &["--threads", "1"]);
    let found = found(folder.path());
    assert_eq!(found, expected(&topic.sent, (back, 60)));
    assert_eq!(found["dead"].len(), 1);
}

#[test]
fn a_partition_that_comes_back_after_a_kill_finds_event_time_where_it_was() {
    story("snapshot.interval=20ms", ["2", "1", "3"]);
}

#[test]
fn a_partition_that_comes_back_after_a_kill_is_replayed_from_the_beginning() {
    story("snapshot.interval=1h", ["1", "2", "1"]);
}
