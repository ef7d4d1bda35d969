//! Topics as a destination: one transaction per epoch, rows and mark together.
//!
//! ```text
//!   take over   take the transactional id (fences who had it) ─▶ read the mark to its end
//!               ─▶ commit a mark of our own incarnation
//!   publish     begin ─▶ rows ─▶ mark ─▶ commit
//!                                          ├─ not known? take the id again, read the mark: its
//!                                          │  epoch says whether it happened
//!                                          └─ fenced? whoever took over says so in the mark; if
//!                                             nobody does, the transaction was open for too long
//! ```
//!
//! The mark is the last record of the pipeline's name in the compacted topic `tidemark_marks`.
//! Readers that want every row once read committed records only.

mod identity;
mod rows;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::identity::Ids;
pub(super) use self::rows::RAW;
use self::rows::TopicTable;
use super::admin::{Wish, make_topic};
use super::ask::Asker;
use super::marks::{self, TOPIC, Until};
use super::settings::Cluster;
use super::transaction::{Failed, Outgoing, Transactions};
use crate::connector::open::{SinkOrigin, required};
use crate::connector::{ConnectorError, Destination, Finding, TableChanges};
use crate::plan::Table;
use crate::types::{Clock, Epoch, Mark};

/// How long whoever takes the transactional id may take to write its mark, and how often it is
/// looked for.
const TAKEN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(200);

/// A mark of more bytes has many files in it.
const MARK_IS_LARGE: usize = 100_000;

/// The topics that one pipeline writes to in one cluster.
pub struct KafkaSink {
    cluster: Cluster,
    pipeline: String,
    tables: Vec<TopicTable>,
    session: Option<Session>,
    /// A mark of ours may be there already, although nobody said so.
    has_tried: bool,
}

/// What there is once this start has taken over.
struct Session {
    /// None after a commit whose outcome is not known: before the next one it is found out.
    transactions: Option<Transactions>,
    generation: u64,
    incarnation: u64,
    /// Which topics it writes to.
    topics: Ids,
    /// The last epoch whose transaction was open for too long.
    dropped: Option<Epoch>,
}

/// What stands in the mark's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MarkRecord {
    generation: u64,
    /// Hexadecimal: people read it, and some of their tools know no such large numbers.
    incarnation: String,
    /// Which topics have the rows; older marks do not say.
    #[serde(default, skip_serializing_if = "Ids::is_empty")]
    topics: Ids,
    mark: Option<Mark>,
}

/// The cluster that a table is kept in, spelled the same whatever the order of the brokers.
pub(super) fn database(table: &Table) -> String {
    let servers = table.option("bootstrap.servers").unwrap_or_default();
    let mut servers: Vec<&str> = servers.split(',').map(str::trim).collect();
    servers.sort_unstable();
    format!("kafka {}", servers.join(","))
}

impl KafkaSink {
    /// Asks nothing of the cluster yet.
    pub(super) fn from_origin(origin: &SinkOrigin<'_>) -> Result<Self, ConnectorError> {
        let first = origin.tables.first().expect("a destination has tables");
        let mut tables: Vec<TopicTable> = Vec::new();
        for table in &origin.tables {
            let table = TopicTable::new(table, required(table, "topic")?)?;
            if let Some(twin) = tables.iter().find(|other| other.topic == table.topic) {
                return Err(ConnectorError::hinted(
                    format!(
                        "`{}` and `{}` are the same topic `{}`",
                        twin.name, table.name, table.topic
                    ),
                    "insert into one of them twice, or give one of them another `topic`",
                ));
            }
            tables.push(table);
        }
        Ok(Self {
            cluster: Cluster::of(first)?,
            pipeline: origin.pipeline.to_owned(),
            tables,
            session: None,
            has_tried: false,
        })
    }

    /// Both the transactional id and what fences an older process.
    fn open(&self) -> Result<Transactions, ConnectorError> {
        let name = format!("tidemark-{}", self.pipeline);
        Transactions::open(&self.cluster, &name, &[("compression.type", "lz4")])
    }

    fn read(&self, until: Until) -> Result<Option<MarkRecord>, ConnectorError> {
        let mut found = marks::read(&self.cluster, &self.pipeline, until)?;
        let Some(text) = found.remove(&self.pipeline) else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&text).map_err(|error| {
            ConnectorError::permanent(format!(
                "cannot read the mark of `{}` in `{TOPIC}`: {error}",
                self.pipeline
            ))
        })?;
        Ok(Some(record))
    }

    fn topic_of(&self, table: &TopicTable) -> Result<Option<Asker>, ConnectorError> {
        let config = self.cluster.asking("read_uncommitted");
        let asker = Asker::new(&config, &table.topic)?;
        let is_there = asker.count_partitions()?.is_some();
        Ok((!is_there).then_some(asker))
    }

    /// Which topics there are now.
    fn ids(&self) -> Result<Ids, ConnectorError> {
        let config = self.cluster.asking("read_uncommitted");
        let topics = self.tables.iter().map(|table| table.topic.as_str());
        Asker::new(&config, TOPIC)?.ids(&topics.collect::<Vec<_>>())
    }

    /// Whether rows were committed, so that the topics have to be there.
    fn has_rows(&self) -> Result<bool, ConnectorError> {
        let record = self.read(Until::Settled)?;
        Ok(record.is_some_and(|record| record.mark.is_some()))
    }

    fn make_topics(&self) -> Result<(), ConnectorError> {
        for table in &self.tables {
            let Some(asker) = self.topic_of(table)? else {
                continue;
            };
            // Looked at before one is made: the next start would take an empty topic for the old one.
            if self.has_rows()? {
                let (message, hint) = deleted(&table.topic);
                return Err(ConnectorError::hinted(message, hint));
            }
            let Some(partitions) = table.partitions else {
                return Err(with_partitions(asker.no_topic()));
            };
            let wish = Wish {
                topic: &table.topic,
                partitions,
                replication: table.replication,
                compacted: false,
            };
            make_topic(&self.cluster, &wish)?;
        }
        marks::make(&self.cluster)
    }

    /// Two destinations in one cluster would fence each other, and each take the other's mark for its own.
    fn two_names(&self) -> ConnectorError {
        let servers = &self.cluster.servers;
        ConnectorError::hinted(
            format!("`{servers}` is a cluster that this pipeline writes to by another name, too"),
            "write the same 'bootstrap.servers' for all tables of one cluster",
        )
    }

    fn fenced(&self, epoch: Epoch) -> ConnectorError {
        ConnectorError::Fenced {
            destination: format!("kafka {}", self.cluster.servers),
            epoch,
        }
    }

    /// Sends what a transaction of this pipeline ends with.
    fn commit(&self, transactions: &Transactions, record: &MarkRecord) -> Result<(), Failed> {
        const LARGE: &str = "it names every file that is read: 'kafka.message.max.bytes' is how much is sent, \
                             the topic's max.message.bytes how much it takes; or have the files read \
                             from a topic";
        let text = serde_json::to_vec(record).expect("a mark is plain data");
        let sent = transactions.send(Outgoing {
            topic: TOPIC,
            key: Some(self.pipeline.as_bytes()),
            value: Some(&text),
            partition: Some(0),
            ..Outgoing::default()
        });
        sent.map_err(|failed| match failed {
            Failed::Refused { message, .. } if text.len() > MARK_IS_LARGE => Failed::Refused {
                message: format!("the mark is too large: {message}"),
                hint: LARGE,
            },
            other @ (Failed::Refused { .. }
            | Failed::Fenced
            | Failed::Aborted(_)
            | Failed::Unknown(_)) => other,
        })?;
        transactions.commit()
    }

    fn write(
        &self,
        transactions: &Transactions,
        record: &MarkRecord,
        changes: &[TableChanges],
    ) -> Result<(), Failed> {
        transactions.begin()?;
        for change in changes {
            self.tables[change.table].send(change, transactions)?;
        }
        self.commit(transactions, record)
    }

    /// Finds out whether an epoch is there, after a commit that nobody answered for. Takes the
    /// transactional id again, which ends whatever was open.
    fn reconnect(&self, session: &mut Session, epoch: Epoch) -> Result<bool, ConnectorError> {
        // A look first: taking the id from a process that took over would fence that one.
        if !is_of(session, &self.read(Until::Settled)?) {
            return Err(self.fenced(epoch));
        }
        let transactions = self.open()?;
        let record = self.read(Until::End)?;
        if !is_of(session, &record) {
            return Err(self.fenced(epoch));
        }
        session.transactions = Some(transactions);
        let mark = record.and_then(|record| record.mark);
        Ok(mark.is_some_and(|mark| mark.epoch >= epoch))
    }

    /// The cluster has fenced our producer. Whether somebody has taken over, who writes a mark as soon
    /// as it has the id; or else a transaction was open for longer than the cluster allows.
    fn is_taken(&self, session: &Session) -> Result<bool, ConnectorError> {
        let clock = Clock::machine();
        loop {
            if !is_of(session, &self.read(Until::Settled)?) {
                return Ok(true);
            }
            if clock.elapsed() > TAKEN {
                return Ok(false);
            }
            clock.wait_until(clock.elapsed() + LOOK);
        }
    }

    /// As `reconnect`. A cluster that does not answer now may answer later.
    fn is_there(&self, session: &mut Session, epoch: Epoch) -> Result<bool, ConnectorError> {
        self.reconnect(session, epoch).map_err(|error| match error {
            ConnectorError::Permanent { message, .. } => ConnectorError::Transient(message),
            other @ (ConnectorError::Transient(_)
            | ConnectorError::Away { .. }
            | ConnectorError::Fenced { .. }
            | ConnectorError::Rewound { .. }) => other,
        })
    }

    /// What a commit does whose answer was lost.
    #[cfg(test)]
    pub(super) fn lose_contact(&mut self) {
        self.session
            .as_mut()
            .expect("it was taken over")
            .transactions = None;
    }

    fn publish_in(
        &self,
        session: &mut Session,
        mark: &Mark,
        changes: &[TableChanges],
    ) -> Result<(), ConnectorError> {
        if session.transactions.is_none() && self.is_there(session, mark.epoch)? {
            return Ok(());
        }
        let record = MarkRecord {
            generation: session.generation,
            incarnation: incarnation_text(session.incarnation),
            topics: session.topics.clone(),
            mark: Some(mark.clone()),
        };
        let transactions = session.transactions.as_ref().expect("just connected");
        let servers = &self.cluster.servers;
        match self.write(transactions, &record, changes) {
            Ok(()) => Ok(()),
            Err(Failed::Fenced) => {
                session.transactions = None;
                if self.is_taken(session)? {
                    return Err(self.fenced(mark.epoch));
                }
                let message = format!(
                    "a transaction in Kafka at `{servers}` was open for too long, and was dropped"
                );
                // A machine that slept sends it in time when it is awake. What is too large never does.
                if session.dropped.replace(mark.epoch) == Some(mark.epoch) {
                    return Err(ConnectorError::hinted(
                        message,
                        "raise 'kafka.transaction.timeout.ms', or lower 'commit.interval'",
                    ));
                }
                Err(ConnectorError::Transient(message))
            }
            Err(Failed::Refused { message, hint }) => Err(ConnectorError::hinted(
                format!("cannot publish to Kafka at `{servers}`: {message}"),
                hint,
            )),
            Err(Failed::Aborted(message)) => Err(ConnectorError::Transient(format!(
                "could not publish to Kafka at `{servers}`: {message}"
            ))),
            Err(Failed::Unknown(message)) => {
                session.transactions = None;
                if self.is_there(session, mark.epoch)? {
                    return Ok(());
                }
                Err(ConnectorError::Transient(format!(
                    "could not publish to Kafka at `{servers}`: {message}"
                )))
            }
        }
    }
}

fn deleted(topic: &str) -> (String, &'static str) {
    let message = format!("topic `{topic}` is gone, but the mark says that its rows are there");
    (message, "start over with --fresh")
}

/// Whether the mark is that of this start.
fn is_of(session: &Session, record: &Option<MarkRecord>) -> bool {
    let incarnation = incarnation_text(session.incarnation);
    record
        .as_ref()
        .is_some_and(|record| record.incarnation == incarnation)
}

fn incarnation_text(incarnation: u64) -> String {
    format!("{incarnation:016x}")
}

fn with_partitions(error: ConnectorError) -> ConnectorError {
    match error {
        ConnectorError::Permanent { message, hint } => ConnectorError::hinted(
            message,
            format!("partitions = '6' creates it; {}", hint.unwrap_or_default()),
        ),
        other @ (ConnectorError::Transient(_)
        | ConnectorError::Away { .. }
        | ConnectorError::Fenced { .. }
        | ConnectorError::Rewound { .. }) => other,
    }
}

impl Destination for KafkaSink {
    fn peek(&self) -> Result<Option<Mark>, ConnectorError> {
        // Before anything is taken over.
        marks::look(&self.cluster)?;
        let Some(record) = self.read(Until::Settled)? else {
            return Ok(None);
        };
        if record.mark.is_some() {
            identity::check(&self.tables, &record.topics, &self.ids()?)?;
        }
        Ok(record.mark)
    }

    fn take_over(&mut self, incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        marks::look(&self.cluster)?;
        self.make_topics()?;
        let ids = self.ids()?;
        let transactions = self.open()?;
        let found = self.read(Until::End)?;
        let is_ours = |record: &MarkRecord| record.incarnation == incarnation_text(incarnation);
        if !self.has_tried && found.as_ref().is_some_and(is_ours) {
            return Err(self.two_names());
        }
        self.has_tried = true;
        // What a broker does not tell just now stays as it was.
        let mut topics = BTreeMap::new();
        if let Some(known) = found.as_ref().filter(|known| known.mark.is_some()) {
            identity::check(&self.tables, &known.topics, &ids)?;
            topics.clone_from(&known.topics);
        }
        topics.extend(ids);
        let generation = found.as_ref().map_or(1, |record| record.generation + 1);
        let mark = found.and_then(|record| record.mark).map(|mark| Mark {
            generation,
            incarnation,
            ..mark
        });
        let record = MarkRecord {
            generation,
            incarnation: incarnation_text(incarnation),
            topics: topics.clone(),
            mark: mark.clone(),
        };
        let written = transactions
            .begin()
            .and_then(|()| self.commit(&transactions, &record));
        let servers = &self.cluster.servers;
        written.map_err(|failed| match failed {
            Failed::Fenced => self.fenced(mark.as_ref().map_or(Epoch(0), |mark| mark.epoch)),
            Failed::Refused { message, hint } => ConnectorError::hinted(
                format!("cannot take over topics at `{servers}`: {message}"),
                hint,
            ),
            Failed::Aborted(message) | Failed::Unknown(message) => ConnectorError::Transient(
                format!("could not take over topics at `{servers}`: {message}"),
            ),
        })?;
        self.session = Some(Session {
            transactions: Some(transactions),
            generation,
            incarnation,
            topics,
            dropped: None,
        });
        Ok(mark)
    }

    fn publish(&mut self, mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        let mut session = self
            .session
            .take()
            .expect("a destination is taken over before it publishes");
        let outcome = self.publish_in(&mut session, mark, changes);
        self.session = Some(session);
        outcome
    }

    /// Forgets the mark. What is in the topics stays: others may read and write them too.
    fn empty(&mut self) -> Result<(), ConnectorError> {
        self.session = None;
        if self.read(Until::Settled)?.is_none() {
            return Ok(());
        }
        let transactions = self.open()?;
        let forget = || -> Result<(), Failed> {
            transactions.begin()?;
            transactions.send(Outgoing {
                topic: TOPIC,
                key: Some(self.pipeline.as_bytes()),
                partition: Some(0),
                ..Outgoing::default()
            })?;
            transactions.commit()
        };
        let topics: Vec<&str> = self
            .tables
            .iter()
            .map(|table| table.topic.as_str())
            .collect();
        tracing::warn!(
            ?topics,
            "what is in topics stays there; the rows come again"
        );
        forget().map_err(|failed| match failed {
            Failed::Fenced => self.fenced(Epoch(0)),
            Failed::Refused { message, hint } => {
                ConnectorError::hinted(format!("cannot forget the mark: {message}"), hint)
            }
            Failed::Aborted(message) | Failed::Unknown(message) => {
                ConnectorError::Transient(format!("could not forget the mark: {message}"))
            }
        })
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        let mut findings = Vec::new();
        match marks::look(&self.cluster) {
            Err(ConnectorError::Permanent { message, hint }) => findings.push(Finding {
                table: 0,
                message,
                hint,
            }),
            other => other?,
        }
        for (index, table) in self.tables.iter().enumerate() {
            let Some(asker) = self.topic_of(table)? else {
                continue;
            };
            if self.has_rows()? {
                let (message, hint) = deleted(&table.topic);
                findings.push(Finding {
                    table: index,
                    message,
                    hint: Some(hint.to_owned()),
                });
                continue;
            }
            if table.partitions.is_some() {
                continue;
            }
            let error = with_partitions(asker.no_topic());
            let ConnectorError::Permanent { message, hint } = error else {
                return Err(error);
            };
            findings.push(Finding {
                table: index,
                message,
                hint,
            });
        }
        Ok(findings)
    }
}
