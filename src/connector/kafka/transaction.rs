//! A producer whose records become visible together, or not at all.
//!
//! ```text
//!   open (fences whoever had the name) ──▶ begin ─▶ send .. ─▶ commit
//!                                             ▲       (fails: aborted, or not known)
//!                                             └───────────────────┘
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::settings::{Cluster, refused};
use crate::connector::ConnectorError;
use crate::types::{Clock, Offset};

/// How long the cluster may take to begin or to end a transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the cluster may take to drop one: who takes the name next drops it in any case.
const PATIENCE_TO_ABORT: Duration = Duration::from_secs(3);

/// How long librdkafka waits at a time until all that was under way is accounted for. It waits for
/// us to hear of it.
const ABORT_STEP: Duration = Duration::from_millis(50);

/// How often a commit that takes too long is waited for again.
const COMMIT_WAITS: usize = 3;

/// A producer with a name that one process at a time can have.
pub(super) struct Transactions {
    producer: BaseProducer<Reports>,
    servers: String,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another producer has the name now, or the transaction was open for longer than the cluster
    /// allows: it says the same of both. This producer is done.
    Fenced,
    /// Nothing of it is there, and it would be no other the next time.
    Refused { message: String, hint: &'static str },
    /// Nothing of it is there; it may be tried again.
    Aborted(String),
    /// It may be there or not, and this producer is done.
    Unknown(String),
}

impl Failed {
    /// What to say where the program ends with it. `taken` is what somebody else does if the name was
    /// taken, and `again` what comes of beginning again.
    pub fn to_error(&self, taken: &str, again: &str) -> ConnectorError {
        match self {
            Self::Fenced => {
                let slept = "this one slept for longer than a transaction may be open";
                ConnectorError::hinted(format!("{taken}, or {slept}"), again)
            }
            Self::Refused { message, hint } => {
                ConnectorError::hinted(format!("cannot send: {message}"), *hint)
            }
            Self::Aborted(message) => {
                ConnectorError::hinted(format!("could not send: {message}"), again)
            }
            Self::Unknown(message) => ConnectorError::hinted(
                format!("it is not known whether the last records arrived: {message}"),
                again,
            ),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outgoing<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    pub partition: Option<i32>,
    pub headers: &'a [(String, Option<String>)],
    /// What it was read from, for a message, and how far that was read before.
    pub origin: Option<(&'a str, Offset)>,
}

#[derive(Default)]
struct Reports {
    /// The first record that was not delivered: why. Not one that was given up because of another.
    undelivered: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientContext for Reports {
    fn log(&self, _level: RDKafkaLogLevel, kind: &str, line: &str) {
        tracing::debug!(target: "librdkafka", kind, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(reason, "report of a broker");
        if let Some(code) = error.rdkafka_error_code() {
            let mut last = lock(&self.trouble);
            if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
                *last = Some((code, reason.to_owned()));
            }
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        const GIVEN_UP: [RDKafkaErrorCode; 2] = [
            RDKafkaErrorCode::PurgeQueue,
            RDKafkaErrorCode::PurgeInflight,
        ];
        if let Err((error, _)) = result
            && !code(error).is_some_and(|code| GIVEN_UP.contains(&code))
        {
            let mut first = lock(&self.undelivered);
            first.get_or_insert_with(|| (code(error), error.to_string()));
        }
    }
}

impl Transactions {
    /// Takes the name: whoever had it cannot commit any more, and what it left open is aborted.
    pub fn open(
        cluster: &Cluster,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, ConnectorError> {
        let mut config = cluster.with(&[
            // As Java does, so that a key is in the partition where others would put it.
            ("partitioner", "murmur2_random"),
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", "1000000"),
            ("queue.buffering.max.kbytes", "131072"),
        ]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.set("transactional.id", name);
        let producer = config.create_with_context(Reports::default());
        let transactions = Self {
            producer: producer.map_err(|error| refused(&error))?,
            servers: cluster.servers.clone(),
        };
        let opened = transactions.producer.init_transactions(PATIENCE);
        opened.map_err(|error| transactions.not_opened(name, &error))?;
        Ok(transactions)
    }

    fn not_opened(&self, name: &str, error: &KafkaError) -> ConnectorError {
        let servers = &self.servers;
        let message = format!(
            "cannot begin transactions as `{name}` at `{servers}`: {}",
            text(error)
        );
        match code(error) {
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => ConnectorError::hinted(
                message,
                "the broker's transaction.max.timeout.ms is less than our transaction.timeout.ms: set 'kafka.transaction.timeout.ms' lower",
            ),
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => ConnectorError::hinted(
                message,
                format!("let this user WRITE with transactional ids that begin with `{name}`"),
            ),
            Some(_) | None => ConnectorError::Transient(message),
        }
    }

    pub fn begin(&self) -> Result<(), Failed> {
        *lock(&self.producer.context().undelivered) = None;
        self.producer
            .begin_transaction()
            .map_err(|error| self.failed(&error, At::Before))
    }

    /// Adds a record. Waits where too many are under way.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<(), Failed> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(outgoing.topic);
        record.key = outgoing.key;
        record.payload = outgoing.value;
        record.partition = outgoing.partition;
        if !outgoing.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
            for (key, value) in outgoing.headers {
                let value = value.as_deref();
                headers = headers.insert(Header { key, value });
            }
            record.headers = Some(headers);
        }
        loop {
            let Err((error, back)) = self.producer.send(record) else {
                return Ok(());
            };
            if code(&error) != Some(RDKafkaErrorCode::QueueFull) {
                let failed = self.failed(&error, At::Before);
                let Failed::Refused { message, hint } = failed else {
                    return Err(failed);
                };
                let (topic, bytes) = (outgoing.topic, outgoing.value.unwrap_or_default().len());
                let mut record = format!("a record of {bytes} bytes for topic `{topic}`");
                if let Some((name, at)) = outgoing.origin {
                    record.push_str(&format!(", behind byte {at} of {name}"));
                }
                let message = format!("{record}: {message}");
                return Err(Failed::Refused { message, hint });
            }
            record = back;
            self.producer.poll(Duration::from_millis(1));
        }
    }

    /// Takes what has been said of records that were sent.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Makes everything since `begin` visible.
    pub fn commit(&self) -> Result<(), Failed> {
        // `flush` waits in steps of a tenth of a second, which is longer than all the rest. What
        // cannot be delivered is given up by librdkafka within the transaction's time limit.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        let mut waits = 0;
        loop {
            let Err(error) = self.producer.commit_transaction(PATIENCE) else {
                return Ok(());
            };
            let is_late = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            waits += 1;
            if !is_late || waits == COMMIT_WAITS {
                return Err(self.failed(&error, At::Commit));
            }
        }
    }

    /// What an error means for the transaction. One that was not to be committed yet, and one that
    /// cannot be, is aborted.
    fn failed(&self, error: &KafkaError, at: At) -> Failed {
        const FENCED: [RDKafkaErrorCode; 3] = [
            RDKafkaErrorCode::Fenced,
            RDKafkaErrorCode::ProducerFenced,
            RDKafkaErrorCode::InvalidProducerEpoch,
        ];
        let fatal = self.producer.client().fatal_error();
        let fatal_code = fatal.as_ref().map(|(code, _)| *code);
        if fatal_code
            .or_else(|| code(error))
            .is_some_and(|code| FENCED.contains(&code))
        {
            return Failed::Fenced;
        }
        let is_lost = match (at, error) {
            (At::Before, _) => true,
            (At::Commit, KafkaError::Transaction(error)) => error.txn_requires_abort(),
            (At::Commit, _) => false,
        };
        let is_aborted = is_lost && fatal.is_none() && self.abort();
        let (cause, message) = self.cause(error);
        match (is_lost, cause.and_then(refusal)) {
            // Also where nobody has answered yet: who takes the name next drops what is open.
            (true, Some(hint)) => Failed::Refused { message, hint },
            (true, None) if is_aborted => Failed::Aborted(message),
            (true | false, _) => Failed::Unknown(message),
        }
    }

    /// Drops the open transaction. Whether the cluster has said that it did.
    fn abort(&self) -> bool {
        let clock = Clock::machine();
        loop {
            let Err(error) = self.producer.abort_transaction(ABORT_STEP) else {
                return true;
            };
            let goes_on = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !goes_on || clock.elapsed() > PATIENCE_TO_ABORT {
                return false;
            }
            // What is said of records that are given up waits to be heard, and the abort for that.
            self.producer.poll(ABORT_STEP / 10);
        }
    }

    /// What is behind an error: what is wrong with a record before, or else with the one at hand.
    fn cause(&self, error: &KafkaError) -> (Option<RDKafkaErrorCode>, String) {
        let own = (code(error), text(error));
        let undelivered = lock(&self.producer.context().undelivered).clone();
        let is_refusal = |code: Option<RDKafkaErrorCode>| code.and_then(refusal).is_some();
        match undelivered {
            Some(before) if is_refusal(before.0) || !is_refusal(own.0) => before,
            Some(_) | None => own,
        }
    }
}

/// What to do about what will be the same however often it is tried.
fn refusal(code: RDKafkaErrorCode) -> Option<&'static str> {
    const HINTS: &[(RDKafkaErrorCode, &str)] = &[
        (
            RDKafkaErrorCode::MessageSizeTooLarge,
            "'kafka.message.max.bytes' is how much is sent, the topic's max.message.bytes how much it takes",
        ),
        (
            RDKafkaErrorCode::InvalidRecord,
            "a compacted topic takes no record without a key",
        ),
        (
            RDKafkaErrorCode::PolicyViolation,
            "a policy of the cluster forbids it",
        ),
        (
            RDKafkaErrorCode::TopicAuthorizationFailed,
            "grant this user WRITE on the topic",
        ),
        // It has been looked for for a while already.
        (RDKafkaErrorCode::UnknownTopic, "was the topic deleted?"),
        (
            RDKafkaErrorCode::UnknownTopicOrPartition,
            "was the topic deleted?",
        ),
    ];
    let hint = HINTS.iter().find(|(of, _)| *of == code);
    hint.map(|(_, hint)| *hint)
}

/// What was being done when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Nothing was to be visible yet.
    Before,
    /// Everything was.
    Commit,
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    if let KafkaError::Transaction(error) = error {
        return Some(error.code());
    }
    error.rdkafka_error_code()
}

fn text(error: &KafkaError) -> String {
    if let KafkaError::Transaction(error) = error {
        return error.string();
    }
    error.to_string()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
