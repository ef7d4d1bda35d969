//! Topics: made, deleted, and read to their end as a careful reader does, committed records only.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemark::types::Clock;

use crate::pipeline::{CLOSED_TOPIC, DEAD_TOPIC, PARTITIONS_OUT, PARTS_TOPIC};

/// No answer takes longer, or the test fails.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Makes a topic.
pub fn create(broker: &str, topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = ask(broker, |admin, options| {
        admin.create_topics([&new], options)
    });
    created.unwrap().remove(0).unwrap();
}

/// Removes a topic, if it is there.
pub fn delete(broker: &str, topic: &str) {
    let deleted = ask(broker, |admin, options| {
        admin.delete_topics(&[topic], options)
    });
    match deleted.unwrap().remove(0) {
        Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
        Err((_, error)) => panic!("the topic of an earlier test cannot be deleted: {error}"),
    }
}

fn ask<T, F: Future<Output = T>>(
    broker: &str,
    work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
) -> T {
    let admin: AdminClient<_> = client(broker).create().unwrap();
    let options = AdminOptions::new()
        .operation_timeout(Some(LIMIT))
        .request_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work(&admin, &options))
}

pub fn client(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config
}

/// Hands each record of a topic to `each`, in the order of its partition.
pub fn read(
    broker: &str,
    (topic, partitions): (&str, i32),
    clock: &Clock,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) {
    let consumer: BaseConsumer = client(broker)
        .set("group.id", "oracle")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut ended, limit) = (0, clock.elapsed() + LIMIT);
    while ended < partitions {
        assert!(clock.elapsed() < limit, "`{topic}` could not be read back");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("`{topic}` cannot be read back: {error}"),
            Some(Ok(message)) => each(&message),
        }
    }
}

/// What is in the topics that the pipeline writes to, as lines.
pub fn lines(broker: &str, clock: &Clock) -> [(&'static str, Vec<String>); 3] {
    let value = |message: &BorrowedMessage<'_>| {
        message
            .payload()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let mut closed = Vec::new();
    read(broker, (CLOSED_TOPIC, PARTITIONS_OUT), clock, |message| {
        let value = value(message).unwrap();
        let (end, rest) = value.split_once(',').unwrap();
        let end = chrono::NaiveDateTime::parse_from_str(end, "%Y-%m-%d %H:%M:%S").unwrap();
        let end = end.and_utc().timestamp_millis();
        closed.push(format!("{end}|{}", rest.replace(',', "|")));
    });
    // What a compacted topic keeps: the last of each key, and nothing of one that is gone.
    let mut parts = BTreeMap::new();
    read(broker, (PARTS_TOPIC, PARTITIONS_OUT), clock, |message| {
        let key = message.key().unwrap().to_vec();
        match value(message) {
            Some(value) => parts.insert(key, value.replace(',', "|")),
            None => parts.remove(&key),
        };
    });
    let mut dead = Vec::new();
    read(broker, (DEAD_TOPIC, PARTITIONS_OUT), clock, |message| {
        let headers = message.headers().unwrap();
        let header = |name: &str| {
            let mut named = headers.iter().filter(|header| header.key == name);
            let value = named.next().unwrap().value.unwrap();
            String::from_utf8(value.to_vec()).unwrap()
        };
        dead.push(format!(
            "{}|{}|{}|{}",
            header("kind"),
            header("partition"),
            header("offset"),
            value(message).unwrap()
        ));
    });
    [
        ("closed_topic", closed),
        ("parts_topic", parts.into_values().collect()),
        ("dead_topic", dead),
    ]
}
