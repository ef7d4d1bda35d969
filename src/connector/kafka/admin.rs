//! Making topics, and asking how they are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

use super::settings::{Cluster, refused};
use crate::connector::ConnectorError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one may take that is not needed.
const SHORT: Duration = Duration::from_secs(5);

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
            match wish.compacted {
                true => {
                    "create it yourself, with one partition and cleanup.policy=compact, or let this \
                     user CREATE it"
                }
                false => "create it yourself, or let this user CREATE it",
            },
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
    let made = ask(cluster, PATIENCE, |admin, options| {
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
    let removed = ask(cluster, PATIENCE, |admin, options| {
        admin.delete_topics(&[topic], options)
    })?;
    let failed =
        |reason: String| ConnectorError::permanent(format!("cannot remove `{topic}`: {reason}"));
    match removed.map_err(|error| failed(error.to_string()))?.pop() {
        Some(Err((_, code))) => Err(failed(code.to_string())),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// The settings of a topic, or why they are not told.
pub(super) fn topic_settings(
    cluster: &Cluster,
    topic: &str,
) -> Result<BTreeMap<String, String>, String> {
    let which = [ResourceSpecifier::Topic(topic)];
    let told = ask(cluster, SHORT, |admin, options| {
        admin.describe_configs(&which, options)
    });
    let mut told = told
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let Some(settings) = told.pop() else {
        return Err("there was no answer".to_owned());
    };
    let settings = settings.map_err(|code| code.to_string())?.entries;
    let settings = settings.into_iter();
    Ok(settings
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect())
}

fn ask<T, F: Future<Output = KafkaResult<T>>>(
    cluster: &Cluster,
    patience: Duration,
    work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
) -> Result<KafkaResult<T>, ConnectorError> {
    let admin: AdminClient<_> = cluster.with(&[]).create().map_err(|e| refused(&e))?;
    let options = AdminOptions::new()
        .operation_timeout(Some(patience))
        .request_timeout(Some(patience));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| ConnectorError::permanent(format!("cannot wait for Kafka: {error}")))?;
    Ok(runtime.block_on(work(&admin, &options)))
}
