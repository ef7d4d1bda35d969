//! Topics that become more, and topics that forget: what a start makes of them.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rusqlite::Connection;
use serde_json::Value;

use crate::services::kafka;
use crate::support::{Exit, tidemark};

/// No answer takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(30);

/// Each record is a row, which has no key: what is read twice is there twice.
const PIPELINE: &str = "
CREATE TABLE clicks (
  n BIGINT, part INT NOT NULL METADATA FROM 'partition', place BIGINT NOT NULL METADATA FROM 'offset'
) WITH (
  connector = 'kafka', topic = '${TOPIC}', 'bootstrap.servers' = '${KAFKA}', format = 'json'
);
CREATE TABLE seen (part INT, place BIGINT, n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO seen SELECT part, place, n FROM clicks;
";

/// A topic of the test's own.
pub struct Topic {
    pub servers: String,
    pub name: String,
}

impl Topic {
    pub fn new(folder: &Path, partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let servers = kafka("this test")?;
        let unique = folder.file_name().unwrap().to_str().unwrap();
        let topic = Self {
            servers,
            name: format!("topics-{}", unique.trim_start_matches('.')),
        };
        topic.make(partitions, settings);
        let sql = PIPELINE.replace("${TOPIC}", &topic.name);
        let sql = sql.replace("${KAFKA}", &topic.servers);
        std::fs::write(folder.join("pipeline.sql"), sql).unwrap();
        Some(topic)
    }

    fn make(&self, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        let new = settings
            .iter()
            .fold(new, |new, (key, value)| new.set(key, value));
        let made = self.ask(|admin, options| admin.create_topics([&new], options));
        made.unwrap().remove(0).unwrap();
    }

    /// Deletes it, and makes another one of its name.
    pub fn make_anew(&self, partitions: i32) {
        let deleted =
            self.ask(|admin, options| admin.delete_topics(&[self.name.as_str()], options));
        deleted.unwrap().remove(0).unwrap();
        self.make(partitions, &[]);
    }

    fn ask<T, F: Future<Output = T>>(
        &self,
        work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
    ) -> T {
        let admin: AdminClient<_> = self.config().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work(&admin, &options))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn grow(&self, partitions: usize) {
        let new = NewPartitions::new(&self.name, partitions);
        let grown = self.ask(|admin, options| admin.create_partitions([&new], options));
        grown.unwrap().remove(0).unwrap();
    }

    fn set(&self, name: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&self.name));
        let change = change.set("cleanup.policy", "compact").set(name, value);
        let set = self.ask(|admin, options| admin.alter_configs([&change], options));
        set.unwrap().remove(0).unwrap();
    }

    /// Returns once they are there.
    pub fn send(&self, partition: i32, numbers: std::ops::Range<i64>) {
        let producer: BaseProducer = self.config().create().unwrap();
        for number in numbers {
            let (key, text) = (number.to_string(), format!("{{\"n\":{number}}}"));
            let record = BaseRecord::to(&self.name).partition(partition);
            let record: BaseRecord<'_, str, str> = record.key(key.as_str()).payload(text.as_str());
            let sent = producer.send(record);
            sent.map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    }
}

pub fn run(folder: &Path, threads: &str) {
    let arguments = [
        "run",
        "pipeline.sql",
        "--until-caught-up",
        "--threads",
        threads,
    ];
    let ended = tidemark(folder, &arguments, &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
}

/// Partition and offset of every row.
pub fn seen(database: &Connection) -> Vec<(i64, i64)> {
    let mut query = database
        .prepare("select part, place from seen order by part, place")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The workers of a run each look for new partitions when they come to it: a crash may come when 4
/// is in the mark and 3, which another worker reads, is not.
#[test]
fn partitions_found_out_of_turn_are_read_once_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 2, &[]) else {
        return;
    };
    topic.send(0, 0..5);
    run(folder, "2");
    topic.grow(5);
    for partition in 0..5 {
        topic.send(partition, 10..17);
    }
    run(folder, "2");
    let database = Connection::open(folder.join("out.db")).unwrap();
    let all = seen(&database);
    assert_eq!(all.len(), 5 + 5 * 7);

    // As the mark of an earlier epoch.
    let place = "select pipeline, mark from tidemark_marks";
    let row = database.query_row(place, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (pipeline, mark): (String, String) = row.unwrap();
    let mut mark: Value = serde_json::from_str(&mark).unwrap();
    let partitions = &mut mark["sources"]["clicks"]["partitions"];
    let taken = partitions.as_object_mut().unwrap().remove("3");
    assert!(taken.is_some(), "{mark}");
    let change = "update tidemark_marks set mark = ? where pipeline = ?";
    database
        .execute(change, (mark.to_string(), pipeline))
        .unwrap();
    database
        .execute("delete from seen where part = 3", [])
        .unwrap();
    std::fs::remove_dir_all(folder.join(".tidemark")).unwrap_or_default();
    topic.send(3, 17..20);
    run(folder, "3");

    let more = (7..10).map(|place| (3, place));
    let mut expected: Vec<(i64, i64)> = all.into_iter().chain(more).collect();
    expected.sort_unstable();
    assert_eq!(seen(&database), expected);
}

#[test]
fn a_compacted_topic_that_forgets_sooner_than_a_restart_reads_is_refused_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let compacted = [("cleanup.policy", "compact")];
    let Some(topic) = Topic::new(folder, 1, &compacted) else {
        return;
    };
    let Topic { name, servers } = &topic;

    for command in [&["check"][..], &["run"], &["run", "--fresh", "--yes"]] {
        let arguments = [&command[..1], &["pipeline.sql"], &command[1..]].concat();
        let ended = tidemark(folder, &arguments, &[]);

        assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
        let message = format!("topic `{name}` is compacted and its `min.compaction.lag.ms` is 0");
        assert!(ended.stderr.contains(&message), "{}", ended.stderr);
        let command = format!(
            "kafka-configs --bootstrap-server {servers} --alter --entity-type topics --entity-name \
             {name} --add-config min.compaction.lag.ms=86400000"
        );
        assert!(ended.stderr.contains(&command), "{}", ended.stderr);
    }
    assert!(!folder.join("out.db").exists());

    topic.set("min.compaction.lag.ms", "30000");
    let ended = tidemark(folder, &["check", "pipeline.sql"], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let longer = ["check", "pipeline.sql", "--set", "snapshot.interval=11s"];
    let ended = tidemark(folder, &longer, &[]);
    assert!(ended.stderr.contains("at least 33000"), "{}", ended.stderr);
}
