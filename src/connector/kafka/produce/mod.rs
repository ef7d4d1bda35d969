//! `tidemark produce`: files or made-up rows into a topic, each record once, however often it is
//! stopped.
//!
//! ```text
//!   input ──▶ parts (a file, a generator's partition) ──▶ one of N producers each, in order:
//!                                                          │  files one by one, partitions in turns
//!                                                          └─▶ transaction: records + position
//! ```
//!
//! The position of every part is a record of its own in `tidemark_marks`, in the transaction of the
//! records that it counts. So what a run that was killed had committed is known exactly, and the next
//! goes on behind it. A producer's transactional id is stable: a run takes them all over, and one that
//! hangs somewhere cannot add to the topic any more. How many there are is known before the second of
//! them begins.

mod admission;
mod input;
mod position;
mod send;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

pub use self::admission::Admission;
use self::input::{Opened, Part};
use self::position::{JobName, Positions};
use self::send::Sender;
use self::turns::{send_in_turns, takes_turns};
use super::admin::{Wish, make_topic};
use super::ask::Asker;
use super::marks::{self, TOPIC, Until};
use super::settings::Cluster;
use super::transaction::{Failed, Outgoing, Transactions};
use crate::connector::ConnectorError;
use crate::metrics::{self, Metrics};
use crate::plan::Table;
use crate::types::Clock;

/// What to send where.
#[derive(Clone, Debug)]
pub struct ProduceJob {
    /// Brokers to ask first.
    pub servers: String,
    /// Other options of the connection, by the connector's names.
    pub options: Vec<(String, String)>,
    /// The topic.
    pub topic: String,
    /// Which job this is: it goes on where one of this name stopped.
    pub job: String,
    /// Whether it forgets how far the job is.
    pub fresh: bool,
    /// How many send side by side.
    pub producers: usize,
    /// Make the topic with so many partitions, if it is not there.
    pub partitions: Option<u32>,
    /// With so many copies.
    pub replication: Option<u32>,
    /// How batches are packed.
    pub compression: String,
    /// Records per second, in all.
    pub rate: Option<f64>,
    /// The field that is the key.
    pub key: Option<String>,
    /// Whether CSV becomes JSON objects.
    pub objects: bool,
    /// Where the records are from.
    pub input: ProduceInput,
    /// Whether the cluster has to remember for good how far the job is: a show is over when it ends.
    pub lasts: bool,
}

/// Where records are from.
#[derive(Clone, Debug)]
pub enum ProduceInput {
    /// Files, folders or patterns; the format by name, or by each file's name and content.
    Files {
        /// The files.
        patterns: Vec<String>,
        /// `csv` or `json`.
        format: Option<String>,
        /// Whether the first line of CSV names its columns.
        header: Option<bool>,
    },
    /// A declared table: its rows as JSON objects or as CSV, those that it lets in.
    Table(Box<Table>, Admission),
}

/// How far it is, for whoever watches, and whether they have seen enough.
#[derive(Debug, Default)]
pub struct ProduceProgress {
    /// Nothing more is wanted: what was sent is committed, and that is all.
    pub enough: AtomicBool,
    /// Records that were sent, by this run.
    pub sent: AtomicU64,
    /// Those of them that are committed.
    pub committed: AtomicU64,
    /// Those that did not convert and went as they stood.
    pub as_they_were: AtomicU64,
    /// Where the first of them begins.
    pub first_odd: OnceLock<String>,
    /// Rows of a table that break its word, and were not sent.
    pub rejected: AtomicU64,
    /// Where the first of them is, and why.
    pub first_rejected: OnceLock<String>,
    /// How far the parts are read, in their own unit, and how long they are, if that is known.
    pub distance: AtomicU64,
    /// All of it; 0 if that is not known.
    pub length: AtomicU64,
    /// Records or bytes that an earlier run had sent, in the parts' own unit.
    pub before: AtomicU64,
    /// What was produced, failed, and how long it took.
    pub metrics: Metrics,
}

/// Makes the topic, if it is not there and the job says with how many partitions.
pub fn make_topic_of(job: &ProduceJob) -> Result<(), ConnectorError> {
    let cluster = cluster_of(job);
    match find_topic(job, &cluster)? {
        true => Ok(()),
        false => make_missing(job, &cluster),
    }
}

fn cluster_of(job: &ProduceJob) -> Cluster {
    let options = job.options.iter();
    let options = options.map(|(name, value)| (name.as_str(), value.as_str()));
    Cluster::new(&job.servers, options)
}

/// Sends everything that is not there yet.
pub fn produce(job: &ProduceJob, progress: &ProduceProgress) -> Result<(), ConnectorError> {
    let opened = Opened::new(job, &PathBuf::new(), &Clock::machine())?;
    let cluster = cluster_of(job);
    let name = JobName::new(&job.topic, &job.job);
    if !find_topic(job, &cluster)? {
        find_nothing_sent(job, &cluster, &name)?;
        make_missing(job, &cluster)?;
    }
    if job.lasts {
        marks::look(&cluster)?;
    }
    marks::make(&cluster)?;
    // Who was here before cannot commit any more; only then is what they committed all there is.
    let producers = take_names(job, &cluster, &name)?;
    let mut known = marks::read(&cluster, name.prefix(), Until::End)?;
    if job.fresh {
        known.remove(&name.of_producers());
        forget(&producers[0], &known)?;
        known.clear();
    }
    let topic = (job.topic.as_str(), id_of(job, &cluster)?);
    let positions = Positions::of(&name, &known)?.in_topic(topic, &job.job)?;
    positions.check(&opened.parts, &job.job)?;
    count(&opened.parts, &positions, progress);
    let outcome = send_all((job, &name), &opened, &producers, &positions, progress);
    let (sent, committed) = (&progress.sent, &progress.committed);
    let failed = sent.load(Ordering::Relaxed) - committed.load(Ordering::Relaxed);
    let topic = [job.topic.as_str()];
    progress
        .metrics
        .add(&metrics::PRODUCE_FAILED, &topic, failed);
    outcome
}

/// Whether the topic is there. It has to be, unless the job says how to make it.
fn find_topic(job: &ProduceJob, cluster: &Cluster) -> Result<bool, ConnectorError> {
    let config = cluster.asking("read_uncommitted");
    let asker = Asker::new(&config, &job.topic)?;
    match (asker.count_partitions()?, job.partitions) {
        (Some(count), Some(wanted)) if count != wanted as usize => Err(ConnectorError::hinted(
            format!("topic `{}` has {count} partitions, not {wanted}", job.topic),
            "leave --partitions out, or name another topic",
        )),
        (Some(_), _) => Ok(true),
        (None, Some(_)) => Ok(false),
        (None, None) => {
            let error = asker.no_topic();
            let ConnectorError::Permanent { message, hint } = error else {
                return Err(error);
            };
            let hint = hint.unwrap_or_default();
            let hint = format!("--partitions N creates it; {hint}");
            Err(ConnectorError::hinted(message, hint))
        }
    }
}

/// Which topic it is, where that is told.
fn id_of(job: &ProduceJob, cluster: &Cluster) -> Result<Option<String>, ConnectorError> {
    Asker::new(&cluster.asking("read_uncommitted"), &job.topic)?.id()
}

fn make_missing(job: &ProduceJob, cluster: &Cluster) -> Result<(), ConnectorError> {
    let wish = Wish {
        topic: &job.topic,
        partitions: job.partitions.unwrap_or(1),
        replication: job.replication,
        compacted: false,
    };
    make_topic(cluster, &wish)
}

/// Refuses a topic that is gone with what was sent there: one that is made in its place is empty.
fn find_nothing_sent(
    job: &ProduceJob,
    cluster: &Cluster,
    name: &JobName,
) -> Result<(), ConnectorError> {
    let known = marks::read(cluster, name.prefix(), Until::Settled)?;
    if job.fresh || Positions::of(name, &known)?.is_empty() {
        return Ok(());
    }
    Err(ConnectorError::hinted(
        format!(
            "topic `{}` is gone, and with it what job `{}` has sent there",
            job.topic, job.job
        ),
        "--fresh-job sends everything again",
    ))
}

/// Takes the names of this run's producers, and those of an earlier run that had more. Whoever has the
/// first name is alone: so many as the mark says, and no more, may have begun.
fn take_names(
    job: &ProduceJob,
    cluster: &Cluster,
    name: &JobName,
) -> Result<Vec<Transactions>, ConnectorError> {
    let settings = [
        ("compression.type", job.compression.as_str()),
        ("linger.ms", "20"),
        ("batch.num.messages", "100000"),
        ("batch.size", "1000000"),
    ];
    let open = |index| Transactions::open(cluster, &name.of_producer(index), &settings);
    let mut producers = vec![open(0)?];
    let known = marks::read(cluster, &name.of_producers(), Until::End)?;
    let known = position::producers(name, &known)?;
    if known < job.producers {
        let (key, count) = (name.of_producers(), job.producers.to_string());
        write_marks(&producers[0], &[(key, Some(count.into_bytes()))])?;
    }
    for index in 1..known.max(job.producers) {
        producers.push(open(index)?);
    }
    producers.truncate(job.producers);
    Ok(producers)
}

fn forget(
    producer: &Transactions,
    marks: &BTreeMap<String, Vec<u8>>,
) -> Result<(), ConnectorError> {
    let none = marks.keys().map(|key| (key.clone(), None));
    write_marks(producer, &none.collect::<Vec<_>>())
}

/// Commits marks by themselves: keys and texts.
fn write_marks(
    producer: &Transactions,
    marks: &[(String, Option<Vec<u8>>)],
) -> Result<(), ConnectorError> {
    if marks.is_empty() {
        return Ok(());
    }
    let all = || -> Result<(), Failed> {
        producer.begin()?;
        for (key, text) in marks {
            producer.send(mark(key, text.as_deref()))?;
        }
        producer.commit()
    };
    all().map_err(|failed| stopped(&failed))
}

/// A mark as a record; without a text it is forgotten.
fn mark<'a>(key: &'a str, text: Option<&'a [u8]>) -> Outgoing<'a> {
    Outgoing {
        topic: TOPIC,
        key: Some(key.as_bytes()),
        value: text,
        partition: Some(0),
        ..Outgoing::default()
    }
}

fn stopped(failed: &Failed) -> ConnectorError {
    failed.to_error(
        "another process sends this job now",
        "one at a time, --job NAME makes another job; run again, it goes on behind the last record \
         that is committed",
    )
}

/// How much there is to do, and how much of it is done.
fn count(parts: &[Part], positions: &Positions, progress: &ProduceProgress) {
    let lengths: Option<Vec<u64>> = parts.iter().map(|part| part.length).collect();
    let length = lengths.map_or(0, |lengths| lengths.iter().sum());
    progress.length.store(length, Ordering::Relaxed);
    let done = parts.iter().map(|part| {
        let position = positions.of_part(part);
        match part.length {
            Some(length) if position.ended => length,
            Some(_) | None => position.offset.0,
        }
    });
    let done = done.sum();
    progress.before.store(done, Ordering::Relaxed);
    progress.distance.store(done, Ordering::Relaxed);
}

/// Every producer sends its parts: files one after the other, a made-up table's in turns.
fn send_all(
    (job, name): (&ProduceJob, &JobName),
    opened: &Opened,
    producers: &[Transactions],
    positions: &Positions,
    progress: &ProduceProgress,
) -> Result<(), ConnectorError> {
    let rate = job
        .rate
        .map(|rate| rate_of_one(rate, producers.len(), opened.parts.len()));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, producer) in producers.iter().enumerate() {
            let mine: Vec<&Part> = opened
                .parts
                .iter()
                .skip(index)
                .step_by(producers.len())
                .collect();
            if mine.is_empty() {
                continue;
            }
            let work = move || -> Result<(), ConnectorError> {
                let mut sender = Sender::new(producer, (&job.topic, name), rate, progress);
                if takes_turns(&mine) {
                    send_in_turns(&mut sender, opened, &mine, positions)?;
                } else {
                    for part in mine {
                        sender.send_part(part, opened.messages(part)?, positions.of_part(part))?;
                    }
                }
                sender.finish()
            };
            let thread = thread::Builder::new()
                .name(format!("produce {index}"))
                .spawn_scoped(scope, work)
                .map_err(|e| ConnectorError::permanent(format!("cannot start a thread: {e}")))?;
            threads.push(thread);
        }
        let outcomes: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a panic ends the process"))
            .collect();
        outcomes.into_iter().collect()
    })
}

/// How many records per second each producer sends, of those that have something to send.
fn rate_of_one(rate: f64, producers: usize, parts: usize) -> f64 {
    rate / producers.min(parts).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_those_who_have_something_to_send() {
        assert_eq!(rate_of_one(20.0, 4, 1), 20.0);
        assert_eq!(rate_of_one(20.0, 4, 9), 5.0);
        assert_eq!(rate_of_one(20.0, 4, 0), 20.0);
    }
}
