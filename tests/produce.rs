//! `tidemark produce` against a real broker: killed in the middle, run again, nothing twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::eyes::fetch;
use crate::services::kafka;
use crate::support::{Exit, tidemark};

/// Nothing here takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Topic {
    pub servers: String,
    pub name: String,
    started: Instant,
}

/// Key and value.
pub type Record = (Option<String>, String);

impl Topic {
    pub fn new(test: &str) -> Option<Self> {
        let servers = kafka(test)?;
        let unique = tempfile::tempdir().unwrap();
        let unique = unique
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        #[allow(clippy::disallowed_methods, reason = "a test's own time limit")]
        let started = Instant::now();
        Some(Self {
            servers,
            name: format!("produce-{}", unique.trim_start_matches('.')),
            started,
        })
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        command.current_dir(folder).env("KAFKA", &self.servers);
        command.args(["produce", "--topic", &self.name, "--partitions", "3"]);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    pub fn produce(&self, folder: &Path, arguments: &[&str]) -> String {
        let output: Output = self.command(folder, arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }

    /// Removes the topic, and waits until the broker says so.
    fn delete(&self) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let deleted = admin.delete_topics(&[&self.name], &AdminOptions::new());
        runtime
            .unwrap()
            .block_on(deleted)
            .unwrap()
            .remove(0)
            .unwrap();
        let consumer = self.consumer();
        let is_there = || {
            let metadata = consumer.fetch_metadata(None, LIMIT).unwrap();
            metadata.topics().iter().any(|it| it.name() == self.name)
        };
        while is_there() {
            assert!(self.started.elapsed() < LIMIT, "the topic stays");
        }
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", "produce-test")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap()
    }

    /// Waits until so many positions of partition 0 are committed.
    fn wait_for(&self, committed: i64) {
        let consumer = self.consumer();
        loop {
            assert!(self.started.elapsed() < LIMIT, "nothing is committed");
            let bounds = consumer.fetch_watermarks(&self.name, 0, LIMIT);
            // The topic may not be there yet.
            if bounds.is_ok_and(|(_, end)| end > committed) {
                return;
            }
        }
    }

    /// What is committed, in the order of each partition.
    pub fn records(&self) -> Vec<Vec<Record>> {
        let consumer = self.consumer();
        let mut list = TopicPartitionList::new();
        for partition in 0..3 {
            list.add_partition_offset(&self.name, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut records, mut ended) = (vec![Vec::new(); 3], 0);
        while ended < 3 {
            assert!(self.started.elapsed() < LIMIT, "the topic has no end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let key = message.key().map(text);
                    let value = text(message.payload().unwrap());
                    records[usize::try_from(message.partition()).unwrap()].push((key, value));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        records
    }
}

/// Files of numbered rows, each with one of a hundred keys.
fn write_files(folder: &Path, files: usize, rows: usize) {
    for file in 0..files {
        let mut text = "n,key\n".to_owned();
        for row in 0..rows {
            writeln!(text, "{},f{file}k{}", file * rows + row, row % 100).unwrap();
        }
        std::fs::write(folder.join(format!("{file}.csv")), text).unwrap();
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_producer_that_is_killed_goes_on_where_it_stopped_and_doubles_nothing() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), 3, 40_000);
    let slow = [
        "--key",
        "key",
        "--producers",
        "2",
        "--rate",
        "30000",
        "*.csv",
    ];

    for committed in [0, 15_000] {
        let child = topic.command(folder.path(), &slow).spawn().unwrap();
        topic.wait_for(committed);
        kill(child);
    }
    let said = topic.produce(
        folder.path(),
        &["--key", "key", "--producers", "3", "*.csv"],
    );
    let again = topic.produce(folder.path(), &["--key", "key", "*.csv"]);

    assert!(said.contains("behind what was there already"), "{said}");
    assert!(again.starts_with("everything is in"), "{again}");
    let mut last: BTreeMap<String, (usize, i64)> = BTreeMap::new();
    let mut seen = vec![0; 120_000];
    for (partition, records) in topic.records().into_iter().enumerate() {
        for (key, value) in records {
            let key = key.unwrap();
            let value: serde_json::Value = serde_json::from_str(&value).unwrap();
            assert_eq!(value["key"], key.as_str());
            let number = value["n"].as_i64().unwrap();
            seen[usize::try_from(number).unwrap()] += 1;
            let before = last.insert(key, (partition, number));
            assert!(before.is_none_or(|(same, n)| same == partition && n < number));
        }
    }
    assert!(
        seen.iter().all(|times| *times == 1),
        "some are missing or twice"
    );
}

/// Whoever sends other files, or other producers the same ones, forgets nothing that was sent.
#[test]
fn what_was_sent_is_known_whatever_is_sent_in_between() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), 4, 10);
    let sent = || topic.records().iter().map(Vec::len).sum::<usize>();

    for (files, producers, total) in [
        (&["1.csv", "2.csv", "3.csv"][..], "2", 30),
        (&["3.csv"], "1", 30),
        (&["0.csv", "1.csv", "2.csv", "3.csv"], "2", 40),
        (&["1.csv"], "2", 40),
        (&["0.csv", "1.csv", "2.csv", "3.csv"], "3", 40),
    ] {
        let options = ["--producers", producers];
        topic.produce(folder.path(), &[&options[..], files].concat());
        assert_eq!(sent(), total, "{files:?} by {producers}");
    }
}

/// A commit says where it is in what it sent, however many files there are.
#[test]
fn how_much_a_commit_writes_does_not_grow_with_the_number_of_files() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), 300, 1);
    let short = ["--option", "kafka.message.max.bytes=20000", "*.csv"];

    topic.produce(folder.path(), &short);
    write_files(folder.path(), 301, 1);
    let more = topic.produce(folder.path(), &short);

    assert!(more.starts_with("1 records"), "{more}");
    assert_eq!(topic.records().concat().len(), 301);
}

#[test]
fn the_metrics_count_what_is_committed_while_it_is_sent() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), 1, 50_000);
    let slow = ["--rate", "2000", "--metrics-port", "0", "0.csv"];
    let mut child = topic.command(folder.path(), &slow).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap();
    let address = address.split_once("http://").unwrap().1.parse().unwrap();

    let produced = loop {
        assert!(topic.started.elapsed() < LIMIT, "nothing is counted");
        let (_, text) = fetch(address, "/metrics");
        let name = format!(
            "tidemark_produced_records_total{{topic=\"{}\"}} ",
            topic.name
        );
        let mut found = text.lines().filter_map(|line| line.strip_prefix(&name));
        if let Some(count) = found.next() {
            assert!(
                text.contains("tidemark_produce_latency_seconds_count"),
                "{text}"
            );
            break count.parse::<f64>().unwrap();
        }
    };
    kill(child);

    assert!(produced > 0.0);
    let committed: usize = topic.records().iter().map(Vec::len).sum();
    assert!(produced <= committed as f64, "{produced} of {committed}");
}

#[test]
fn a_file_that_changed_is_refused_and_another_job_sends_it() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, "{\"n\": 1}\nnonsense\n").unwrap();
    topic.produce(folder.path(), &["a.json"]);

    std::fs::write(&file, "{\"n\": 2}\n").unwrap();
    let refused = topic.command(folder.path(), &["a.json"]).output().unwrap();
    topic.produce(folder.path(), &["a.json", "--job", "other"]);
    topic.produce(folder.path(), &["a.json", "--fresh-job"]);

    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("has changed since job `default` began to send it"),
        "{said}"
    );
    assert!(said.contains("--fresh-job"), "{said}");
    let mut values: Vec<String> = topic
        .records()
        .concat()
        .into_iter()
        .map(|(_, v)| v)
        .collect();
    values.sort();
    assert_eq!(
        values,
        ["nonsense", "{\"n\": 1}", "{\"n\": 2}", "{\"n\": 2}"]
    );
}

#[test]
fn a_topic_that_is_gone_is_not_made_anew_behind_what_was_sent() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{\"n\": 1}\n").unwrap();
    topic.produce(folder.path(), &["a.json"]);
    topic.delete();

    for _ in 0..2 {
        let refused = topic.command(folder.path(), &["a.json"]).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("is gone, and with it what job"), "{said}");
        assert!(said.contains("--fresh-job"), "{said}");
    }
    topic.produce(folder.path(), &["a.json", "--fresh-job"]);

    assert_eq!(topic.records().concat().len(), 1);

    // Somebody else makes it anew.
    topic.delete();
    std::fs::write(folder.path().join("b.json"), "{\"n\": 2}\n").unwrap();
    topic.produce(folder.path(), &["b.json", "--job", "other"]);
    let refused = topic.command(folder.path(), &["a.json"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("was deleted and made anew"), "{said}");
    topic.produce(folder.path(), &["a.json", "--fresh-job"]);
    assert_eq!(topic.records().concat().len(), 2);
}

#[test]
fn the_rows_of_a_table_are_sent_as_objects_or_as_csv() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let table = "CREATE TABLE made (id BIGINT, name TEXT) WITH (
        connector = 'generator', rows = '4', partitions = '2', 'fields.id.kind' = 'sequence',
        'fields.name.kind' = 'choice', 'fields.name.values' = 'a');";
    std::fs::write(folder.path().join("made.sql"), table).unwrap();
    let from = ["--from", "made.sql", "made", "--key", "id"];

    topic.produce(folder.path(), &from);
    let csv = [&from[..], &["--as", "csv", "--job", "csv"]].concat();
    topic.produce(folder.path(), &csv);

    let mut all = topic.records().concat();
    all.sort();
    let expected = (0..4).flat_map(|n| {
        let key = Some(n.to_string());
        [
            (key.clone(), format!("{n},a")),
            (key, format!("{{\"id\":{n},\"name\":\"a\"}}")),
        ]
    });
    assert_eq!(all, expected.collect::<Vec<_>>());
}

#[test]
fn rows_that_their_table_does_not_let_in_are_not_sent_and_said() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"v\": 1}\n{\"v\": -1}\nnonsense\n{\"w\": 2}\n{\"v\": 4}\n";
    std::fs::write(folder.path().join("in.json"), rows).unwrap();
    let table = "CREATE TABLE t (v BIGINT NOT NULL CHECK (v >= 0), w AS 10 / (v - 3))
        WITH (connector = 'file', path = 'in.json', format = 'json');";
    std::fs::write(folder.path().join("t.sql"), table).unwrap();

    let output = topic
        .command(folder.path(), &["--from", "t.sql", "t"])
        .output()
        .unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("2 records"), "{said}");
    assert!(said.contains("3 rows were not sent"), "{said}");
    assert!(said.contains("CHECK (v >= 0) is false"), "{said}");
    let mut sent = topic.records().concat();
    sent.sort();
    assert_eq!(
        sent,
        [
            (None, "{\"v\":1}".to_owned()),
            (None, "{\"v\":4}".to_owned())
        ]
    );
}

#[test]
fn csv_without_names_is_sent_once_it_is_said_what_its_first_line_is() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "country,2019\nfr,1\n").unwrap();

    let refused = topic.command(folder.path(), &["a.csv"]).output().unwrap();
    topic.produce(folder.path(), &["a.csv", "--header", "true"]);
    let without = ["a.csv", "--header", "false", "--key", "c1", "--job", "raw"];
    topic.produce(folder.path(), &without);

    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("does not look like names of columns"),
        "{said}"
    );
    assert!(said.contains("--header false"), "{said}");
    let mut sent = topic.records().concat();
    sent.sort();
    let key = |key: &str| Some(key.to_owned());
    let expected = [
        (None, "{\"country\":\"fr\",\"2019\":1}"),
        (key("country"), "{\"c1\":\"country\",\"c2\":2019}"),
        (key("fr"), "{\"c1\":\"fr\",\"c2\":1}"),
    ];
    assert_eq!(sent, expected.map(|(key, value)| (key, value.to_owned())));
}

/// What a topic's reader takes for late is what comes after rows that are much younger.
#[test]
fn partitions_of_a_made_up_table_are_sent_row_by_row_in_turns_also_after_a_kill() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let table = "CREATE TABLE made (id BIGINT) WITH (
        connector = 'generator', rows = '60000', partitions = '4', 'fields.id.kind' = 'sequence');";
    std::fs::write(folder.path().join("made.sql"), table).unwrap();
    let from = ["--from", "made.sql", "made", "--as", "csv"];
    let slow = [&from[..], &["--rate", "10000"]].concat();

    let child = topic.command(folder.path(), &slow).spawn().unwrap();
    topic.wait_for(0);
    kill(child);
    topic.produce(folder.path(), &from);

    let mut all: Vec<u64> = Vec::new();
    for partition in topic.records() {
        let numbers = partition.iter().map(|(_, value)| value.parse().unwrap());
        let numbers: Vec<u64> = numbers.collect();
        assert!(numbers.is_sorted(), "a row came after a later one");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..60_000), "some are missing or twice");
}

/// Before anybody is asked: of a password whose name is misspelt the cluster says that it is wrong.
#[test]
fn an_option_that_no_connection_has_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{\"n\": 1}\n").unwrap();
    let nobody = [("KAFKA", "127.0.0.1:1")];
    let refused = |option| {
        let arguments = ["produce", "--topic", "t", "a.json", "--option", option];
        let ended = tidemark(folder.path(), &arguments, &nobody);
        assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
        ended.stderr
    };

    let misspelt = refused("sasl.usernme=me");
    let of_a_table = refused("topic=other");

    assert!(
        misspelt.contains("unknown option `sasl.usernme`"),
        "{misspelt}"
    );
    assert!(
        misspelt.contains("did you mean `sasl.username`?"),
        "{misspelt}"
    );
    assert!(
        of_a_table.contains("unknown option `topic`"),
        "{of_a_table}"
    );
}

/// An object with a name twice is another one to everybody who reads it.
#[test]
fn csv_with_a_column_twice_becomes_no_objects() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("1.csv"), "id,qty\n1,2\n").unwrap();
    std::fs::write(folder.path().join("2.csv"), "id,qty,qty\n1,1,9\n").unwrap();

    let refused = topic.command(folder.path(), &["*.csv"]).output().unwrap();
    topic.produce(folder.path(), &["--as", "csv", "*.csv"]);

    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("column `qty` is in the header line of `2.csv` twice"),
        "{said}"
    );
    assert_eq!(topic.records().concat().len(), 2);
}

#[test]
fn a_record_that_is_too_large_to_send_is_named_with_its_file() {
    let Some(topic) = Topic::new("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let large = format!("{{\"n\": 1}}\n{{\"n\": \"{}\"}}\n", "x".repeat(3000));
    std::fs::write(folder.path().join("a.json"), large).unwrap();
    let options = ["--option", "kafka.message.max.bytes=2000", "a.json"];

    let refused = topic.command(folder.path(), &options).output().unwrap();

    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("a record of 3009 bytes"), "{said}");
    assert!(said.contains("behind byte 9 of "), "{said}");
    assert!(said.contains("a.json"), "{said}");
}
