//! What a table's options say about a cluster: the settings of librdkafka, and what they may not
//! be.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::start::Start;
use crate::connector::open::required;
use crate::connector::option::{self, Absent, ConnectorOption, Side, ValueKind};
use crate::connector::{ConnectorError, Reads};
use crate::plan::Table;
use crate::types::nearest;

/// How often new partitions are looked for, unless the table says.
pub(super) const DISCOVERY: &str = "10s";

/// Which topic it is, whatever the mark says: an option.
pub(super) const TOPIC_ID: &str = "topic.id";

/// For how many milliseconds a broker keeps an answer back that has nothing to bring. Idle
/// processes cost little by it.
const WAIT: &str = "500";

/// The same where somebody waits to be told of the end: only such an answer says so.
const WAIT_TO_END: &str = "20";

/// Which brokers: an option.
const SERVERS: &str = "bootstrap.servers";

/// Options that go to librdkafka by their own names.
const PASSED_ON: &[&str] = &[
    SERVERS,
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
];

/// Settings on which a promise rests.
const OURS: &[&str] = &[
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "isolation.level",
    "transactional.id",
];

/// An optional text that reading and writing take alike.
pub(super) const fn text(name: &'static str, help: &'static str) -> ConnectorOption {
    ConnectorOption {
        name,
        help,
        default: Absent::Means("librdkafka's"),
        side: Side::Both,
        kind: ValueKind::Text,
    }
}

/// A topic to read, and how.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub cluster: Cluster,
    pub topic: String,
    /// The id that the topic is said to have, whatever it had before.
    pub topic_id: Option<String>,
    pub group: String,
    pub start: Start,
    pub discovery: Duration,
    /// Whether records that retention has removed are skipped.
    pub skips_lost: bool,
}

impl Settings {
    pub fn new(table: &Table) -> Result<Self, ConnectorError> {
        let group = table.option("group.id").map(str::to_owned);
        let discovery = table.option("partition.discovery").unwrap_or(DISCOVERY);
        Ok(Self {
            cluster: Cluster::of(table)?,
            topic: required(table, "topic")?.to_owned(),
            topic_id: table.option(TOPIC_ID).map(str::to_owned),
            group: group.unwrap_or_else(|| format!("tidemark-{}", table.name)),
            start: Start::of(table).map_err(|(_, message)| ConnectorError::permanent(message))?,
            discovery: option::length(discovery).unwrap_or(Duration::from_secs(10)),
            skips_lost: table.option("offset.lost") == Some("skip"),
        })
    }

    /// For asking about it.
    pub fn asking(&self) -> ClientConfig {
        let mut config = self.cluster.asking("read_committed");
        // For showing the progress.
        config.set("group.id", &self.group);
        config
    }

    /// For reading it, as measured to be fastest.
    pub fn reading(&self, reads: Reads) -> ClientConfig {
        self.cluster.reading(&self.group, reads)
    }
}

/// A cluster and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub servers: String,
    given: ClientConfig,
}

impl Cluster {
    /// By a table's options.
    pub fn of(table: &Table) -> Result<Self, ConnectorError> {
        let options = table.options.iter();
        let options = options.map(|(name, value)| (name.as_str(), value.text.as_str()));
        Ok(Self::new(required(table, "bootstrap.servers")?, options))
    }

    /// By options, of which others than those of connections are left aside.
    pub fn new<'a>(servers: &str, options: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut given = ClientConfig::new();
        for (name, value) in options {
            if PASSED_ON.contains(&name) {
                given.set(name, value);
            } else if let Some(name) = name.strip_prefix("kafka.") {
                given.set(name, value);
            }
        }
        given.set("bootstrap.servers", servers);
        Self {
            servers: servers.to_owned(),
            given,
        }
    }

    /// Settings that those given go before.
    pub fn with(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "tidemark");
        // A broker that comes back is found within a second, and one that hangs is given up
        // sooner than its silence would pass for the end of a partition.
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("socket.timeout.ms", "10000");
        config.set("socket.keepalive.enable", "true");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        for (name, value) in self.given.config_map() {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Critical);
        config
    }

    /// For asking about topics.
    pub fn asking(&self, isolation: &str) -> ClientConfig {
        let mut config = self.with(&[]);
        config.set("isolation.level", isolation);
        config.set("enable.auto.commit", "false");
        config
    }

    /// For reading committed records.
    pub fn reading(&self, group: &str, reads: Reads) -> ClientConfig {
        let wait = match reads {
            Reads::On => WAIT,
            Reads::ToItsEnd => WAIT_TO_END,
        };
        let mut config = self.with(&[
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.message.max.bytes", "1048576"),
            // Of what came and is not taken, for each consumer. With 4 MiB it waited for the broker where
            // the machine is busy, and took as much processor time.
            ("queued.max.messages.kbytes", "16384"),
            ("check.crcs", "true"),
            ("fetch.wait.max.ms", wait),
        ]);
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true");
        config.set("group.id", group);
        config
    }
}

/// Whether two tables are one topic of one cluster: they name a broker in common.
pub(super) fn reads(source: &Table, sink: &Table, _: &Path) -> bool {
    let servers = |table: &Table| -> BTreeSet<String> {
        let servers = table.option("bootstrap.servers").unwrap_or_default();
        let servers = servers.split(',').map(str::trim);
        servers.map(str::to_ascii_lowercase).collect()
    };
    let topic = source.option("topic");
    topic.is_some() && topic == sink.option("topic") && !servers(source).is_disjoint(&servers(sink))
}

/// What is wrong with options that are right by themselves.
pub(super) fn check(table: &Table) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if let Err(problem) = Start::of(table) {
        problems.push(problem);
    }
    for name in table.options.keys() {
        if let Some(message) = not_to_set(name) {
            problems.push((name.clone(), message));
        }
    }
    if table.option("csv.header") == Some("true") {
        let message = "a topic has no line of names: its columns come in the declared order";
        problems.push(("csv.header".to_owned(), message.to_owned()));
    }
    problems
}

/// Why an option that begins with `kafka.` is none.
fn not_to_set(name: &str) -> Option<String> {
    let setting = name.strip_prefix("kafka.")?;
    if OURS.contains(&setting) {
        return Some(format!(
            "`{setting}` cannot be chosen: what Tidemark promises needs it"
        ));
    }
    let is_option = PASSED_ON.contains(&setting) || setting == "group.id";
    is_option.then(|| format!("`{name}` is the option `{setting}`: write it without `kafka.`"))
}

/// What is wrong with the name of an option of a connection that no table has, and what to write.
pub fn connection_option(name: &str) -> Result<(), (String, Option<String>)> {
    if let Some(message) = not_to_set(name) {
        return Err((message, None));
    }
    // Which brokers is said beside the options.
    let known = PASSED_ON.iter().copied().filter(|known| *known != SERVERS);
    let known: Vec<&str> = known.collect();
    let is_setting = |name: &str| !name.is_empty();
    if known.contains(&name) || name.strip_prefix("kafka.").is_some_and(is_setting) {
        return Ok(());
    }
    let hint = if name == SERVERS {
        "--bootstrap-servers says which".to_owned()
    } else if let Some(near) = nearest(name, known.iter().copied()) {
        format!("did you mean `{near}`?")
    } else {
        let known = known.join(", ");
        format!("there is {known}; any other setting of librdkafka begins with `kafka.`")
    };
    Err((
        format!("unknown option `{name}` of a connection"),
        Some(hint),
    ))
}

/// Settings that librdkafka does not take.
pub(super) fn refused(error: &KafkaError) -> ConnectorError {
    let KafkaError::ClientConfig(_, reason, name, value) = error else {
        return ConnectorError::permanent(format!("cannot make a Kafka client: {error}"));
    };
    let option = if PASSED_ON.contains(&name.as_str()) {
        name.clone()
    } else {
        format!("kafka.{name}")
    };
    ConnectorError::hinted(
        format!("librdkafka does not take `{value}` for `{name}`: {reason}"),
        format!("correct the option '{option}'"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_a_connection_is_one_that_goes_to_librdkafka() {
        let refused = |name| connection_option(name).unwrap_err();

        for name in ["sasl.username", "kafka.linger.ms"] {
            assert_eq!(connection_option(name), Ok(()), "{name}");
        }
        let (message, hint) = refused("sasl.usernme");
        assert_eq!(message, "unknown option `sasl.usernme` of a connection");
        assert_eq!(hint.unwrap(), "did you mean `sasl.username`?");
        assert!(refused("topic").1.unwrap().contains("ssl.ca.location"));
        assert!(refused(SERVERS).1.unwrap().contains("--bootstrap-servers"));
        let (message, _) = refused("kafka.transactional.id");
        assert!(message.contains("cannot be chosen"), "{message}");
        let (message, _) = refused("kafka.sasl.username");
        assert!(message.contains("without `kafka.`"), "{message}");
    }

    #[test]
    fn whoever_waits_for_the_end_is_told_of_it_soon_and_who_goes_on_asks_seldom() {
        let wait = |given: &[(&str, &str)], reads| {
            let cluster = Cluster::new("localhost:9092", given.iter().copied());
            let config = cluster.reading("group", reads);
            config.get("fetch.wait.max.ms").map(str::to_owned)
        };

        assert_eq!(wait(&[], Reads::On).unwrap(), "500");
        assert_eq!(wait(&[], Reads::ToItsEnd).unwrap(), "20");
        let given = [("kafka.fetch.wait.max.ms", "7")];
        assert_eq!(wait(&given, Reads::ToItsEnd).unwrap(), "7");
    }
}
