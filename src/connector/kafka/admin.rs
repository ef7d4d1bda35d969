//! Making topics.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use super::settings::{Cluster, refused};
use crate::connector::ConnectorError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A topic to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub topic: &'a str,
    pub partitions: u32,
    /// None: as the broker thinks best.
    pub replication: Option<u32>,
    /// Whether only the last record of each key is to be kept.
    pub compacted: bool,
}

/// Makes a topic, unless it is there.
pub(super) fn make_topic(cluster: &Cluster, wish: &Wish<'_>) -> Result<(), ConnectorError> {
    let topic = wish.topic;
    let failed = |reason: String| {
        ConnectorError::hinted(
            format!("cannot create topic `{topic}`: {reason}"),
            "create it yourself, or let this user CREATE it",
        )
    };
    let signed = |number| i32::try_from(number).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(wish.replication.map_or(-1, signed));
    let mut new = NewTopic::new(topic, signed(wish.partitions), replication);
    if wish.compacted {
        // Only segments that are closed are compacted, and a writer reads the topic at its start:
        // they are small, so that it stays short however often marks are written.
        new = new
            .set("cleanup.policy", "compact")
            .set("segment.bytes", "4194304")
            .set("segment.ms", "600000")
            .set("min.cleanable.dirty.ratio", "0.1");
    }
    let made = ask(cluster, |admin, options| {
        admin.create_topics([&new], options)
    })?;
    let outcome = made.map_err(|error| failed(error.to_string()))?.pop();
    match outcome {
        Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
        Some(Err((_, code))) => Err(failed(code.to_string())),
    }
}

/// Removes a topic.
pub(super) fn remove_topic(cluster: &Cluster, topic: &str) -> Result<(), ConnectorError> {
    let removed = ask(cluster, |admin, options| {
        admin.delete_topics(&[topic], options)
    })?;
    let failed =
        |reason: String| ConnectorError::permanent(format!("cannot remove `{topic}`: {reason}"));
    match removed.map_err(|error| failed(error.to_string()))?.pop() {
        Some(Err((_, code))) => Err(failed(code.to_string())),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn ask<T, F: Future<Output = KafkaResult<T>>>(
    cluster: &Cluster,
    work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
) -> Result<KafkaResult<T>, ConnectorError> {
    let admin: AdminClient<_> = cluster.with(&[]).create().map_err(|e| refused(&e))?;
    let options = AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| ConnectorError::permanent(format!("cannot wait for Kafka: {error}")))?;
    Ok(runtime.block_on(work(&admin, &options)))
}
