//! Where files and topic meet: what retention removes of the topic, and what both have and reject.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{SQLITE, TRIPS, left, pipeline, replay, scratch, trips};
use crate::services;
use crate::support::{Ended, Exit, Summary, tidemark};

/// No answer takes longer, or the test fails.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the topic takes over.
const FROM: &str = "2024-05-01 02:30:00";
const FOLLOW: [&str; 5] = [
    "--then-follow",
    "--from",
    FROM,
    "--until-caught-up",
    "--set",
];
const OFTEN: &str = "snapshot.interval=1ms";
const NEVER: &str = "snapshot.interval=1h";

/// A topic of the test's own, with records that were written when they happened.
struct Topic {
    servers: String,
    name: String,
}

impl Topic {
    fn new(folder: &Path, partitions: i32) -> Option<Self> {
        let servers = services::kafka("this test")?;
        let random = folder.file_name().unwrap().to_str().unwrap();
        let name = format!("joint-{}", random.trim_start_matches('.'));
        let topic = Self { servers, name };
        // What is removed is the test's business.
        let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1));
        let new = new.set("retention.ms", "-1");
        let made = topic.ask(|admin, options| admin.create_topics([&new], options));
        made.unwrap().remove(0).unwrap();
        Some(topic)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn ask<T, F: Future<Output = T>>(
        &self,
        work: impl FnOnce(&AdminClient<rdkafka::client::DefaultClientContext>, &AdminOptions) -> F,
    ) -> T {
        let admin: AdminClient<_> = self.config().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work(&admin, &options))
    }

    /// Sends records of CSV, each with its time, and returns once they are there.
    fn send(&self, partition: i32, csv: &str) {
        let producer: BaseProducer = self.config().create().unwrap();
        for record in csv.lines().skip(1) {
            let (at, rest) = record.split_once(',').unwrap();
            let (zone, fare) = rest.split_once(',').unwrap();
            let text = format!("{{\"at\":\"{at}\",\"zone\":{zone},\"fare\":\"{fare}\"}}");
            let time = chrono::NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S%.f").unwrap();
            let sent: BaseRecord<'_, str, str> = BaseRecord::to(&self.name).partition(partition);
            let sent = sent.timestamp(time.and_utc().timestamp_millis());
            let sent = producer.send(sent.payload(&text));
            sent.map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    }

    /// What retention does.
    fn remove(&self, partition: i32, records: usize) {
        let mut list = TopicPartitionList::new();
        let first = Offset::Offset(i64::try_from(records).unwrap());
        list.add_partition_offset(&self.name, partition, first)
            .unwrap();
        let removed = self.ask(|admin, options| admin.delete_records(&list, options));
        removed.unwrap().elements()[0].error().unwrap();
    }

    fn follow(&self, folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Ended {
        let own = [("KAFKA", self.servers.as_str()), ("TOPIC", &self.name)];
        replay(
            folder,
            &[&FOLLOW[..], more].concat(),
            &[&own[..], variables].concat(),
        )
    }
}

/// How many of the first records happened before the topic takes over.
fn before(csv: &str) -> usize {
    let records = csv.lines().skip(1);
    records.take_while(|record| *record < FROM).count()
}

/// What the tables are without a topic.
fn expected() -> Vec<String> {
    let folder = scratch();
    let ended = replay(folder.path(), &[], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    left(folder.path())
}

/// The topic has what happened between 2:15 and 3:00. What the tables are told to take from nowhere is said,
/// and where files and topic meet or overlap nothing is.
#[test]
fn it_is_said_where_files_and_topic_do_not_meet() {
    let gap = "the topic has records between the last row of the files and --from";
    let no_row = "no row of the files is before --from: all are filtered";
    let future = "--from is in the future";
    let all = ["a.csv", "b.csv", "c.csv"];
    let cases: [(&str, &[&str], Option<&str>); 6] = [
        (FROM, &all, None),
        ("2024-05-01 03:00:20", &all, None),
        (FROM, &["a.csv", "c.csv"], Some(gap)),
        ("2024-05-01 02:00:20", &["a.csv", "c.csv"], None),
        ("2024-04-30", &all, Some(no_row)),
        ("2924-01-01", &all, Some(future)),
    ];
    for (from, files, expected) in cases {
        let folder = scratch();
        let folder = folder.path();
        let Some(topic) = Topic::new(folder, 2) else {
            return;
        };
        topic.send(0, &trips(4500..5000));
        topic.send(1, &trips(5000..TRIPS));
        for other in all.iter().filter(|name| !files.contains(name)) {
            fs::remove_file(folder.join("history").join(other)).unwrap();
        }

        let follow = ["--then-follow", "--from", from, "--until-caught-up"];
        let own = [("KAFKA", topic.servers.as_str()), ("TOPIC", &topic.name)];
        let variables = [&own[..], &[("TIDEMARK_LOG", "warn")]].concat();
        let ended = replay(folder, &follow, &variables);

        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        for message in [gap, no_row, future] {
            let said = ended.stderr.matches(message).count();
            assert_eq!(
                said,
                usize::from(expected == Some(message)),
                "{from}: {}",
                ended.stderr
            );
        }
        if expected == Some(gap) {
            assert!(
                ended.stderr.contains("files_end=2024-05-01 02:00:1"),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn it_is_said_when_a_run_goes_on_without_the_files() {
    let folder = scratch();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 1) else {
        return;
    };
    topic.send(0, &trips(4700..TRIPS));
    let log = ("TIDEMARK_LOG", "info");
    let cut = [("TIDEMARK_TEST_PACE", "1"), ("TIDEMARK_CRASH_AT", "3"), log];
    let not_needed = "the files are not needed any more: `tidemark run` goes on";
    let again = "all files were read before and are not needed any more";

    let killed = topic.follow(folder, &[OFTEN, "--threads", "1"], &cut);
    assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);
    assert!(!killed.stderr.contains(not_needed), "{}", killed.stderr);
    let ended = topic.follow(folder, &[OFTEN], &[log]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches(not_needed).count(),
        1,
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(again), "{}", ended.stderr);
    let ended = topic.follow(folder, &[OFTEN], &[log]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert!(ended.stderr.contains(again), "{}", ended.stderr);

    let refused = |why: &str, how: i32| {
        let ended = topic.follow(folder, &[OFTEN], &[]);
        assert_eq!(ended.how, Exit::Code(how), "{}", ended.stderr);
        for word in [why, "`tidemark run`"] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        ended.stderr
    };
    let (file, away) = (folder.join("history/b.csv"), folder.join("b.csv"));
    fs::rename(&file, &away).unwrap();
    let gone = "`history/b.csv` of `trips` is gone; all its files were read";
    assert!(!refused(gone, 1).contains("--fresh"));
    let (history, gone) = (folder.join("history"), folder.join("gone"));
    fs::rename(&history, &gone).unwrap();
    assert!(!refused("no file matches", 2).contains("--fresh"));

    let own = [("KAFKA", topic.servers.as_str()), ("TOPIC", &topic.name)];
    let run = ["run", "trips.sql", "--quiet", "--until-caught-up"];
    let ended = tidemark(folder, &run, &own);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    fs::rename(&gone, &history).unwrap();
    fs::rename(&away, &file).unwrap();
    refused("`tidemark run` has gone on without them", 1);
}

/// A quiet partition loses all that it has, and another one all that the files have too.
#[test]
fn what_retention_removes_while_files_are_read_is_no_loss_if_they_have_it() {
    let folder = scratch();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 4) else {
        return;
    };
    let both = trips(4700..5500);
    topic.send(0, &trips(4500..4700));
    topic.send(1, &both);
    topic.send(2, &trips(5500..TRIPS));
    topic.send(3, &trips(4000..4100));
    topic.remove(3, 100);

    let log = ("TIDEMARK_LOG", "warn");
    let cut = [("TIDEMARK_TEST_PACE", "1"), ("TIDEMARK_CRASH_AT", "3"), log];
    let killed = topic.follow(folder, &[OFTEN, "--threads", "1"], &cut);
    assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);
    let nobody_knows = "this partition has lost all its records";
    assert!(killed.stderr.contains(nobody_knows), "{}", killed.stderr);
    topic.remove(0, 200);
    topic.remove(1, before(&both));
    let ended = topic.follow(folder, &[OFTEN, "--close-windows"], &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert!(left(folder) == expected());
}

#[test]
fn what_retention_removes_of_what_only_the_topic_has_ends_the_run() {
    let folder = scratch();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 1) else {
        return;
    };
    let both = trips(4700..TRIPS);
    topic.send(0, &both);

    let cut = [("TIDEMARK_TEST_PACE", "1"), ("TIDEMARK_CRASH_AT", "3")];
    let killed = topic.follow(folder, &[OFTEN, "--threads", "1"], &cut);
    assert_eq!(killed.how, Exit::Aborted, "{}", killed.stderr);
    let gone = before(&both) + 1;
    topic.remove(0, gone);
    let ended = topic.follow(folder, &[OFTEN], &[]);

    assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
    let why = format!("{gone} records are gone");
    assert!(ended.stderr.contains(&why), "{}", ended.stderr);
}

/// Without a snapshot all is read again, also what was filtered then and is gone now.
#[test]
fn what_was_filtered_may_be_gone_where_the_topic_is_read_again() {
    let folder = scratch();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 2) else {
        return;
    };
    let both = trips(4700..5500);
    topic.send(0, &trips(4500..4700));
    topic.send(1, &both);
    let ended = topic.follow(folder, &[NEVER], &[]);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);

    fs::remove_dir_all(folder.join(".tidemark")).unwrap();
    topic.remove(0, 200);
    topic.remove(1, before(&both));
    topic.send(1, &trips(5500..TRIPS));
    let ended = topic.follow(folder, &[NEVER, "--close-windows"], &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    assert!(left(folder) == expected());
}

/// One that both have counts once where its time is known, and in both where it is not.
#[test]
fn a_reject_that_files_and_topic_have_counts_once_if_its_time_is_known() {
    let folder = scratch();
    let folder = folder.path();
    let Some(topic) = Topic::new(folder, 1) else {
        return;
    };
    let sql = pipeline(SQLITE).replace("DECIMAL(10, 2),", "DECIMAL(10, 2) CHECK (fare >= 0),");
    fs::write(folder.join("trips.sql"), sql).unwrap();
    let bad = "at,zone,fare\n2024-05-01 02:20:00,1,-1\n2024-05-01 02:40:00,1,-2\n\
               2024-05-01 02:20:00,1,x\n2024-05-01 02:40:00,1,y\n";
    fs::write(folder.join("history/bad.csv"), bad).unwrap();
    topic.send(0, bad);
    topic.send(0, &trips(4500..TRIPS));

    let ended = topic.follow(folder, &[NEVER, "--close-windows"], &[]);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let summary = Summary::read(&folder.join("summary.json"));
    for insert in &summary.inserts {
        assert_eq!((insert.accepted, insert.rejected), (TRIPS, 2 + 4));
    }
    assert!(left(folder) == expected());
}
