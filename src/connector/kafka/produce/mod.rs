//! `tidemark produce`: files or made-up rows into a topic, each record once, however often it is
//! stopped.
//!
//! ```text
//!   input ──▶ parts (a file, a generator's partition) ──▶ one of N producers each, in order:
//!                                                          │  files one by one, partitions in turns
//!                                                          └─▶ transaction: records + position
//! ```
//!
//! The position of every part is a record in `tidemark_marks`, in the transaction of the records
//! that it counts. So what a run that was killed had committed is known exactly, and the next goes
//! on behind it. A producer's transactional id is stable: a run takes it over, and one that hangs
//! somewhere cannot add to the topic any more.

mod input;
mod position;
mod send;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use self::input::{Opened, Part};
use self::position::Positions;
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
    },
    /// A declared table: its rows as JSON objects or as CSV.
    Table(Box<Table>),
}

/// How far it is, for whoever watches.
#[derive(Debug, Default)]
pub struct ProduceProgress {
    /// Records that were sent, by this run.
    pub sent: AtomicU64,
    /// Those of them that are committed.
    pub committed: AtomicU64,
    /// Those that did not convert and went as they stood.
    pub as_they_were: AtomicU64,
    /// Where the first of them begins.
    pub first_odd: OnceLock<String>,
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
    find_topic(job, &cluster_of(job))
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
    find_topic(job, &cluster)?;
    marks::make(&cluster)?;
    // Who was here before cannot commit any more; only then is what they committed all there is.
    let producers = take_names(job, &cluster)?;
    let mut marks = marks::read(&cluster, &prefix(job), Until::End)?;
    marks.retain(|key, _| is_mark_of(&prefix(job), key));
    let positions = if job.fresh {
        forget(&producers[0], &marks)?;
        Positions::default()
    } else {
        Positions::of(&marks)?
    };
    positions.check(&opened.parts, &job.job)?;
    count(&opened.parts, &positions, progress);
    let outcome = send_all(job, &opened, &producers, &positions, progress);
    let (sent, committed) = (&progress.sent, &progress.committed);
    let failed = sent.load(Ordering::Relaxed) - committed.load(Ordering::Relaxed);
    let topic = [job.topic.as_str()];
    progress
        .metrics
        .add(&metrics::PRODUCE_FAILED, &topic, failed);
    outcome
}

fn prefix(job: &ProduceJob) -> String {
    format!("produce/{}/{}/", job.topic, job.job)
}

/// The name of a producer: its transactional id, and the key of its mark.
fn name(job: &ProduceJob, index: usize) -> String {
    format!("{}{index}", prefix(job))
}

/// Whether a mark is of one of this job's producers; another job's name may go on where its name ends.
fn is_mark_of(prefix: &str, key: &str) -> bool {
    let index = key.strip_prefix(prefix);
    index.is_some_and(|index| index.parse::<usize>().is_ok())
}

fn find_topic(job: &ProduceJob, cluster: &Cluster) -> Result<(), ConnectorError> {
    let config = cluster.asking("read_uncommitted");
    let asker = Asker::new(&config, &job.topic)?;
    match (asker.count_partitions()?, job.partitions) {
        (Some(count), Some(wanted)) if count != wanted as usize => Err(ConnectorError::hinted(
            format!("topic `{}` has {count} partitions, not {wanted}", job.topic),
            "leave --partitions out, or name another topic",
        )),
        (Some(_), _) => Ok(()),
        (None, Some(partitions)) => make_topic(
            cluster,
            &Wish {
                topic: &job.topic,
                partitions,
                replication: job.replication,
                compacted: false,
            },
        ),
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

/// Takes the names of this run's producers, and those of an earlier run that had more.
fn take_names(job: &ProduceJob, cluster: &Cluster) -> Result<Vec<Transactions>, ConnectorError> {
    let settings = [
        ("compression.type", job.compression.as_str()),
        ("linger.ms", "20"),
        ("batch.num.messages", "100000"),
        ("batch.size", "1000000"),
    ];
    let known = marks::read(cluster, &prefix(job), Until::Settled)?;
    let of_known = known
        .keys()
        .filter_map(|key| key.rsplit('/').next()?.parse().ok());
    let known = of_known.map(|index: usize| index + 1).max().unwrap_or(0);
    let mut producers = Vec::new();
    for index in 0..known.max(job.producers) {
        producers.push(Transactions::open(cluster, &name(job, index), &settings)?);
    }
    producers.truncate(job.producers);
    Ok(producers)
}

fn forget(
    producer: &Transactions,
    marks: &BTreeMap<String, Vec<u8>>,
) -> Result<(), ConnectorError> {
    if marks.is_empty() {
        return Ok(());
    }
    let all = || -> Result<(), Failed> {
        producer.begin()?;
        for key in marks.keys() {
            producer.send(Outgoing {
                topic: TOPIC,
                key: Some(key.as_bytes()),
                ..Outgoing::default()
            })?;
        }
        producer.commit()
    };
    all().map_err(|failed| stopped(&failed))
}

fn stopped(failed: &Failed) -> ConnectorError {
    const AGAIN: &str = "run it again: it goes on behind the last record that is committed";
    match failed {
        Failed::Fenced => ConnectorError::hinted(
            "another process sends this job now",
            "one at a time; --job NAME makes another job",
        ),
        Failed::Refused { message, hint } => {
            ConnectorError::hinted(format!("cannot send: {message}"), *hint)
        }
        Failed::Aborted(message) => {
            ConnectorError::hinted(format!("could not send: {message}"), AGAIN)
        }
        Failed::Unknown(message) => ConnectorError::hinted(
            format!("it is not known whether the last records arrived: {message}"),
            AGAIN,
        ),
    }
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
    job: &ProduceJob,
    opened: &Opened,
    producers: &[Transactions],
    positions: &Positions,
    progress: &ProduceProgress,
) -> Result<(), ConnectorError> {
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
                let rate = job.rate.map(|rate| rate / producers.len() as f64);
                let known = (name(job, index), positions);
                let mut sender = Sender::new(producer, &job.topic, known, rate, progress);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_whose_name_begins_like_another_has_marks_of_its_own() {
        assert!(is_mark_of("produce/trips/a/", "produce/trips/a/0"));
        assert!(!is_mark_of("produce/trips/a/", "produce/trips/a/b/0"));
        assert!(!is_mark_of("produce/trips/a/", "produce/trips/a"));
    }
}
