//! Asking a cluster about a topic: its partitions, and where they begin and end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};

use super::identity;
use super::settings::refused;
use crate::connector::ConnectorError;
use crate::types::{EventTime, Offset, nearest};

/// How long an answer may take. A first, shorter try finds out sooner that a password is wrong.
const TRIES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
];

/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether a client has closed.
const LOOK: Duration = Duration::from_millis(1);

/// Asks about one topic.
pub(super) struct Asker {
    consumer: BaseConsumer<Trouble>,
    topic: String,
    servers: String,
}

/// The last thing that went wrong with a connection.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl ClientContext for Trouble {
    fn log(&self, _level: RDKafkaLogLevel, kind: &str, line: &str) {
        tracing::debug!(target: "librdkafka", kind, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all are down says less than why one is.
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Trouble {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "could not show the progress to the consumer group");
        }
    }
}

/// A place in each partition.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// The first record that is there.
    First,
    /// After the last committed one.
    End,
    /// The first that is not older: milliseconds since 1970.
    From(i64),
}

impl When {
    /// The first record that was not written before `time`.
    pub fn since(time: EventTime) -> Self {
        // Below zero stand Kafka's words for the beginning and the end.
        Self::From(time.0.max(0).saturating_add(999) / 1000)
    }
}

impl Asker {
    /// Asks nothing yet.
    pub fn new(config: &ClientConfig, topic: &str) -> Result<Self, ConnectorError> {
        let consumer = config.create_with_context(Trouble::default());
        Ok(Self {
            consumer: consumer.map_err(|error| refused(&error))?,
            topic: topic.to_owned(),
            servers: config
                .get("bootstrap.servers")
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// How many partitions the topic has; none if it is not there.
    pub fn count_partitions(&self) -> Result<Option<usize>, ConnectorError> {
        let metadata = self.metadata(Some(&self.topic))?;
        let topic = metadata.topics().iter().find(|t| t.name() == self.topic);
        let error = topic.and_then(|topic| topic.error());
        if error.map(RDKafkaErrorCode::from) == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return Err(self.forbidden());
        }
        let count = topic.map_or(0, |topic| topic.partitions().len());
        Ok(Some(count).filter(|&count| count > 0))
    }

    /// Which topic it is, where that is told: one that is made under its name later is another.
    pub fn id(&self) -> Result<Option<String>, ConnectorError> {
        Ok(self.ids(&[&self.topic])?.remove(&self.topic))
    }

    /// The same of any topics; those without an id are left out.
    pub fn ids(&self, topics: &[&str]) -> Result<BTreeMap<String, String>, ConnectorError> {
        let metadata = self.metadata(Some(&self.topic))?;
        let mut brokers: Vec<i32> = metadata.brokers().iter().map(|it| it.id()).collect();
        // First the one that has just answered.
        brokers.sort_by_key(|&broker| broker != metadata.orig_broker_id());
        let mut failed = RDKafkaErrorCode::BrokerNotAvailable;
        for (broker, patience) in brokers.into_iter().zip(TRIES) {
            let told = identity::ids(self.consumer.client(), broker, topics, patience);
            self.serve();
            match told {
                Ok(ids) => return Ok(ids),
                Err(code) if is_away(code) => failed = code,
                // One that knows of ids tells them.
                Err(code) => {
                    tracing::debug!(%code, "Kafka does not say which topics they are");
                    return Ok(BTreeMap::new());
                }
            }
        }
        Err(ConnectorError::Transient(format!(
            "could not ask which topic `{}` is: {failed}",
            topics.join("`, `")
        )))
    }

    /// Refuses the topic of today where it is not the one that was `known`.
    pub fn is_still(&self, known: Option<&str>) -> Result<(), ConnectorError> {
        let Some(known) = known else {
            return Ok(());
        };
        // Whoever asks looks again later: one that is away now may be here then.
        let now = self.id().map_err(|error| match error {
            ConnectorError::Away { message, .. } => ConnectorError::Transient(message),
            other @ (ConnectorError::Permanent { .. }
            | ConnectorError::Transient(_)
            | ConnectorError::Fenced { .. }
            | ConnectorError::Rewound { .. }) => other,
        })?;
        match now {
            Some(now) if now != known => Err(made_anew(&self.topic, known, &now)),
            Some(_) | None => Ok(()),
        }
    }

    /// The topic is not for this user.
    pub fn forbidden(&self) -> ConnectorError {
        ConnectorError::hinted(
            format!("this user may not read topic `{}`", self.topic),
            "grant it DESCRIBE and READ on the topic, or name another 'sasl.username'",
        )
    }

    /// The partition is not what it was when it was read up to `read`.
    pub fn ends_before(&self, partition: i32, end: u64, read: u64) -> ConnectorError {
        ConnectorError::hinted(
            format!(
                "partition {partition} of topic `{}` ends at offset {end}, before {read}, where reading is to go on",
                self.topic
            ),
            "was the topic deleted and made again? `--fresh` starts over",
        )
    }

    /// The topic is not there.
    pub fn no_topic(&self) -> ConnectorError {
        self.absent("")
    }

    /// The topic is not there, and whoever reads does not make it.
    pub fn no_topic_to_read(&self) -> ConnectorError {
        self.absent("make it first, as with `tidemark produce --topic NAME --partitions N`; ")
    }

    fn absent(&self, how_to_make: &str) -> ConnectorError {
        let message = format!(
            "topic `{}` does not exist at `{}`",
            self.topic, self.servers
        );
        let metadata = self.metadata(None);
        let topics = metadata.iter().flat_map(|metadata| metadata.topics());
        let mut names: Vec<&str> = topics.map(|topic| topic.name()).collect();
        names.retain(|name| !name.starts_with("__"));
        names.sort_unstable();
        let hint = match nearest(&self.topic, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("{how_to_make}{}", what_is_there(&names)),
        };
        ConnectorError::hinted(message, hint)
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, ConnectorError> {
        self.serve();
        for patience in TRIES {
            match self.consumer.fetch_metadata(topic, patience) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => {
                    self.serve();
                    tracing::debug!(%error, "no answer from Kafka yet");
                }
            }
            if self.is_refused() {
                break; // It will not be let in later either.
            }
        }
        Err(self.unreachable())
    }

    fn is_refused(&self) -> bool {
        let last = self.trouble();
        last.is_some_and(|(code, _)| {
            matches!(
                code,
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL
            )
        })
    }

    fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        let last = &self.consumer.context().0;
        last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why nobody answers, and which option to look at.
    fn unreachable(&self) -> ConnectorError {
        let servers = &self.servers;
        let Some((code, reason)) = self.trouble() else {
            return ConnectorError::Away {
                message: format!("Kafka at `{servers}` does not answer"),
                hint: "is it up, and is 'bootstrap.servers' right? if it wants TLS or a login, \
                       say so with 'security.protocol'"
                    .to_owned(),
            };
        };
        if code == RDKafkaErrorCode::Authentication {
            return ConnectorError::hinted(
                format!("Kafka at `{servers}` refuses the login: {reason}"),
                "look at 'sasl.username', 'sasl.password' and 'sasl.mechanism'",
            );
        }
        if code == RDKafkaErrorCode::SSL {
            return ConnectorError::hinted(
                format!("cannot make a TLS connection to Kafka at `{servers}`: {reason}"),
                "look at 'ssl.ca.location' and 'security.protocol'",
            );
        }
        ConnectorError::Away {
            message: format!("cannot reach Kafka at `{servers}`: {reason}"),
            hint:
                "is it up, and is 'bootstrap.servers' right? it is host:port of one broker or more"
                    .to_owned(),
        }
    }

    /// Where `when` is in each of the first `count` partitions; none where no record is so young.
    pub fn places(&self, count: usize, when: When) -> Result<Vec<Option<Offset>>, ConnectorError> {
        let mut wanted = TopicPartitionList::with_capacity(count);
        let when = match when {
            When::First => Place::Beginning,
            When::End => Place::End,
            When::From(time) => Place::Offset(time),
        };
        for partition in 0..number(count) {
            wanted
                .add_partition_offset(&self.topic, partition, when)
                .map_err(|error| self.unanswered(&error))?;
        }
        let found = self.consumer.offsets_for_times(wanted, PATIENCE);
        self.serve();
        let found = found.map_err(|error| self.unanswered(&error))?;
        let mut places = vec![None; count];
        for element in found.elements() {
            element.error().map_err(|error| self.unanswered(&error))?;
            let partition = usize::try_from(element.partition()).expect("it was asked about");
            places[partition] = match element.offset() {
                Place::Offset(offset) => u64::try_from(offset).ok().map(Offset),
                Place::Beginning
                | Place::End
                | Place::Stored
                | Place::Invalid
                | Place::OffsetTail(_) => None,
            };
        }
        Ok(places)
    }

    fn unanswered(&self, error: &KafkaError) -> ConnectorError {
        ConnectorError::Transient(format!(
            "could not ask where the partitions of topic `{}` begin and end: {error}",
            self.topic
        ))
    }

    /// Where one partition begins and ends.
    pub fn bounds(&self, partition: i32) -> Result<(u64, u64), ConnectorError> {
        let bounds = self
            .consumer
            .fetch_watermarks(&self.topic, partition, PATIENCE);
        self.serve();
        let (first, end) = bounds.map_err(|error| self.unanswered(&error))?;
        let natural = |offset| u64::try_from(offset).unwrap_or(0);
        Ok((natural(first), natural(end)))
    }

    /// Commits positions in the consumer group, without waiting.
    pub fn show(&self, committed: &[(usize, Offset)]) {
        self.serve();
        let mut list = TopicPartitionList::with_capacity(committed.len());
        for (partition, offset) in committed {
            let place = Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
            if list
                .add_partition_offset(&self.topic, number(*partition), place)
                .is_err()
            {
                return;
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "could not show the progress to the consumer group");
        }
    }

    /// Takes what has gathered for the context: reports, lines of the log.
    fn serve(&self) {
        // A poll takes one of them, and nothing else waits here: a few at a time keep up.
        for _ in 0..8 {
            drop(self.consumer.poll(Duration::ZERO));
        }
    }
}

impl Drop for Asker {
    /// Left to the wrapper, a client with a group takes a tenth of a second to close: it looks no sooner.
    fn drop(&mut self) {
        // One without a group has nothing to close.
        if self.consumer.close_queue().is_ok() {
            while !self.consumer.closed() {
                drop(self.consumer.poll(LOOK));
            }
        }
    }
}

/// Whether nobody answered.
fn is_away(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::Resolve
    )
}

/// What was read of the topic was another's.
pub(super) fn made_anew(topic: &str, known: &str, now: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!(
            "topic `{topic}` was deleted and made anew since it was read (its id was {known}, and is {now}): the \
             offsets of the mark mean other records"
        ),
        same_records(
            "`--fresh` starts over, which empties the pipeline's tables",
            now,
        ),
    )
}

/// The way out for whoever moved a topic as it was.
pub(super) fn same_records(over: &str, now: &str) -> String {
    format!(
        "{over}; if it has the same records at the same offsets (a mirror, a backup), 'topic.id' = '{now}' says so"
    )
}

/// The topic is not the one that 'topic.id' names.
pub(super) fn not_named(topic: &str, named: &str, now: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!("topic `{topic}` has the id {now}, and 'topic.id' names {named}"),
        "was it deleted and made anew? name the id that it has, or leave the option out",
    )
}

/// Partitions are counted in 32 bits.
pub(super) fn number(partition: usize) -> i32 {
    i32::try_from(partition).expect("a topic has fewer partitions than 32 bits count")
}

/// Few names say what is there; of many, none is like the one that is missing.
fn what_is_there(names: &[&str]) -> String {
    const FEW: usize = 8;
    match names.len() {
        0 => "there are no topics that this user may see".to_owned(),
        1..=FEW => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there is {}", names.join(", "))
        }
        many => format!("none of the {many} topics there has a name like it"),
    }
}
