//! The compacted topic `tidemark_marks`: the last record of a key says how far its writer got.
//! It is written in the transaction of the records that it counts.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tracing::debug;

use super::admin::{Wish, make_topic, topic_settings};
use super::ask::Asker;
use super::batch::{BatchConsumer, Taken};
use super::compaction::POLICY;
use super::settings::{Cluster, refused};
use crate::connector::{ConnectorError, Reads};
use crate::types::Clock;

/// The topic.
pub(super) const TOPIC: &str = "tidemark_marks";

/// The consumer group that librdkafka wants to be named; nothing is committed in it.
const GROUP: &str = "tidemark-marks";

/// How long a transaction of someone else's may stand in the way of the last mark: as long as it
/// may be open, and a little more.
const PATIENCE: Duration = Duration::from_secs(90);

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Up to the first transaction that is still open: a look that waits for nobody.
    Settled,
    /// Up to everything that is there now. A mark of ours may stand behind an open transaction
    /// of someone else's, which hides it for as long.
    End,
}

/// Makes the topic, unless it is there.
pub(super) fn make(cluster: &Cluster) -> Result<(), ConnectorError> {
    let wish = Wish {
        topic: TOPIC,
        partitions: 1,
        replication: None,
        compacted: true,
    };
    match count_partitions(cluster)? {
        None => make_topic(cluster, &wish),
        Some(_) => Ok(()),
    }
}

/// What is against the topic as it is, if it is there: it has to keep the last mark of each writer.
pub(super) fn look(cluster: &Cluster) -> Result<(), ConnectorError> {
    match count_partitions(cluster)? {
        None => Ok(()),
        Some(_) => keeps(cluster, TOPIC),
    }
}

/// Whether a topic keeps the last mark of each writer for good. Where the cluster does not say how
/// it is kept, it is taken for right.
pub(super) fn keeps(cluster: &Cluster, topic: &str) -> Result<(), ConnectorError> {
    let settings = match topic_settings(cluster, topic) {
        Ok(settings) => settings,
        Err(reason) => {
            debug!(reason, topic, "could not read the settings of a topic");
            return Ok(());
        }
    };
    match settings.get(POLICY) {
        Some(policy) if !is_for_good(policy, &settings) => {
            Err(forgets(&cluster.servers, topic, policy))
        }
        Some(_) | None => Ok(()),
    }
}

/// With `delete`, beside `compact` too, a mark that is old enough is gone, unless nothing ever is.
fn is_for_good(policy: &str, settings: &BTreeMap<String, String>) -> bool {
    let has_no_end = |limit: &&str| settings.get(*limit).is_some_and(|it| it == "-1");
    policy.split(',').all(|policy| policy.trim() == "compact")
        || ["retention.ms", "retention.bytes"].iter().all(has_no_end)
}

fn forgets(servers: &str, topic: &str, policy: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!(
            "topic `{topic}` has {POLICY} = {policy}: in time it forgets what says which rows are there"
        ),
        format!(
            "kafka-configs --bootstrap-server {servers} --alter --entity-type topics --entity-name \
             {topic} --add-config {POLICY}=compact"
        ),
    )
}

fn count_partitions(cluster: &Cluster) -> Result<Option<usize>, ConnectorError> {
    Asker::new(&cluster.asking("read_uncommitted"), TOPIC)?.count_partitions()
}

/// The last value of each key that begins with `prefix`; none if there is no such topic.
pub(super) fn read(
    cluster: &Cluster,
    prefix: &str,
    until: Until,
) -> Result<BTreeMap<String, Vec<u8>>, ConnectorError> {
    let mut found = BTreeMap::new();
    let asker = Asker::new(&cluster.asking("read_uncommitted"), TOPIC)?;
    match asker.count_partitions()? {
        None => return Ok(found),
        Some(1) => {}
        Some(count) => {
            return Err(ConnectorError::hinted(
                format!(
                    "topic `{TOPIC}` has {count} partitions, but marks are in the order of one"
                ),
                "was it made by something else? delete it, or name another cluster",
            ));
        }
    }
    let (first, end) = asker.bounds(0)?;
    let config = cluster.reading(GROUP, Reads::ToItsEnd);
    let native = config.create_native_config().map_err(|e| refused(&e))?;
    let mut consumer = BatchConsumer::new(&config, native, TOPIC).map_err(|e| refused(&e))?;
    let signed = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let failed =
        |message| ConnectorError::Transient(format!("could not read `{TOPIC}`: {message}"));
    consumer.assign(&[(0, signed(first))]).map_err(failed)?;
    let clock = Clock::machine();
    let (mut position, mut settled, mut trouble) = (signed(first), false, None);
    while position < signed(end) && !(settled && until == Until::Settled) {
        if clock.elapsed() > PATIENCE {
            return Err(failed(match settled {
                true => "a transaction of another program stays open".to_owned(),
                false => "nobody answers".to_owned(),
            }));
        }
        consumer.take(Duration::from_millis(100), |_, _, taken| match taken {
            Taken::Message(message) => {
                position = message.offset() + 1;
                let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                let Some(key) = key.filter(|key| key.starts_with(prefix)) else {
                    return;
                };
                match message.payload() {
                    Some(value) => found.insert(key.to_owned(), value.to_vec()),
                    None => found.remove(key),
                };
            }
            Taken::Event {
                code: RDKafkaErrorCode::PartitionEOF,
                offset,
                ..
            } => {
                position = position.max(offset);
                settled = true;
            }
            Taken::Event { text, .. } => trouble = Some(text),
        });
        if let Some(text) = trouble.take() {
            return Err(failed(text));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_marks_for_good_if_it_is_compacted_or_never_forgets() {
        let weeks = BTreeMap::from([
            ("retention.ms".to_owned(), "604800000".to_owned()),
            ("retention.bytes".to_owned(), "-1".to_owned()),
        ]);
        assert!(is_for_good("compact", &weeks));
        assert!(!is_for_good("delete", &weeks));
        assert!(!is_for_good("compact,delete", &weeks));
        assert!(!is_for_good("delete, compact", &BTreeMap::new()));
        let for_ever = weeks.keys().map(|name| (name.clone(), "-1".to_owned()));
        assert!(is_for_good("compact,delete", &for_ever.collect()));
    }
}
