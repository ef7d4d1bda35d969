//! Kafka by itself, for benchmarks: what a topic can give, and a load that keeps its schedule.
//!
//! `drain` reads with the settings of sources, by as many consumers, each of which waits until a batch
//! is full, and drops the records: that is about what a broker gives on this machine. It is no proof that a
//! pipeline cannot be faster, since both wait for the broker. `feed` sends each record at its time,
//! whatever became of those before it, and the record bears the time at which it was due: latency that is
//! measured from there has what waiting adds in it (coordinated omission).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::admin::{Wish, make_topic, remove_topic};
use super::ask::{Asker, When, number};
use super::batch::{BatchConsumer, Taken};
use super::settings::{Cluster, refused};
use crate::connector::{ConnectorError, Reads};
use crate::types::Clock;

/// How long nothing may come before a topic counts as read.
const SILENCE: Duration = Duration::from_secs(10);

/// How late records may be besides while a load begins.
const START: Duration = Duration::from_secs(1);

/// How long a full batch is waited for.
const FULL: Duration = Duration::from_millis(10);

/// How far apart the looks at the clock are while records are sent.
const STEP: Duration = Duration::from_millis(1);

/// A cluster to measure with.
#[derive(Clone, Debug)]
pub struct KafkaBench {
    cluster: Cluster,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// The topic; it is made anew.
    pub topic: &'a str,
    /// How many partitions it has.
    pub partitions: u32,
    /// What is sent, over and over.
    pub lines: &'a [String],
    /// Records per second.
    pub rate: f64,
    /// How many.
    pub records: u64,
    /// When the first is due: microseconds since 1970.
    pub from: i64,
    /// So many of them do not count for how far it is behind: what a start takes is no lag.
    pub warm: u64,
    /// A load that is further behind its schedule is given up.
    pub patience: Duration,
}

impl KafkaBench {
    /// The cluster at `servers`.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self {
            cluster: Cluster::new(servers, std::iter::empty()),
        }
    }

    /// Reads a topic to its end by some consumers: records, bytes, and how long it took.
    pub fn drain(
        &self,
        topic: &str,
        consumers: usize,
        clock: &Clock,
    ) -> Result<(u64, u64, Duration), ConnectorError> {
        let asker = Asker::new(&self.cluster.asking("read_committed"), topic)?;
        let count = asker.count_partitions()?.ok_or_else(|| asker.no_topic())?;
        let first = asker.places(count, When::First)?;
        let from = first.iter().enumerate().map(|(partition, place)| {
            let place = place.map_or(0, |offset| offset.0);
            (number(partition), i64::try_from(place).unwrap_or(i64::MAX))
        });
        let from: Vec<(i32, i64)> = from.collect();
        let share = count.div_ceil(consumers.max(1)).max(1);
        let began = clock.elapsed();
        let unstarted = |error: std::io::Error| ConnectorError::permanent(error.to_string());
        let drained = std::thread::scope(|scope| {
            let mut consumers = Vec::new();
            for share in from.chunks(share) {
                let drain = || self.drain_some(topic, share, clock);
                let consumer = std::thread::Builder::new().name("drain".to_owned());
                consumers.push(consumer.spawn_scoped(scope, drain).map_err(unstarted)?);
            }
            let ended = consumers.into_iter();
            let ended = ended.map(|it| it.join().expect("reading a topic does not panic"));
            ended.collect::<Result<Vec<_>, _>>()
        })?;
        let records = drained.iter().map(|(records, _, _)| records).sum();
        let bytes = drained.iter().map(|(_, bytes, _)| bytes).sum();
        let last = drained.iter().map(|&(_, _, last)| last).max();
        Ok((records, bytes, last.unwrap_or(began) - began))
    }

    /// Reads some partitions, each from an offset, to their ends: records, bytes, and when the last came.
    fn drain_some(
        &self,
        topic: &str,
        from: &[(i32, i64)],
        clock: &Clock,
    ) -> Result<(u64, u64, Duration), ConnectorError> {
        let config = self.cluster.reading("tidemark-bench", Reads::ToItsEnd);
        let native = config.create_native_config().map_err(|e| refused(&e))?;
        let mut consumer =
            BatchConsumer::new(&config, native, topic).map_err(|error| refused(&error))?;
        consumer.assign(from).map_err(ConnectorError::permanent)?;
        let (mut records, mut bytes, mut ended, mut last) = (0, 0, 0, clock.elapsed());
        while ended < from.len() && clock.elapsed() < last + SILENCE {
            let before = records;
            consumer.take_full(FULL, |_, _, taken| match taken {
                Taken::Message(message) => {
                    records += 1;
                    bytes += message.payload().map_or(0, <[u8]>::len) as u64;
                }
                Taken::Event { code, .. } => {
                    ended += usize::from(code == RDKafkaErrorCode::PartitionEOF);
                }
            });
            if records > before {
                last = clock.elapsed();
            }
        }
        Ok((records, bytes, last))
    }

    /// Sends a load, or some of it, until `enough` is set. Says how far behind its schedule it was at
    /// worst.
    pub fn feed(
        &self,
        feed: &Feed<'_>,
        enough: &AtomicBool,
        clock: &Clock,
    ) -> Result<Duration, ConnectorError> {
        let config = self.cluster.with(&[
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.messages", "1000000"),
        ]);
        let producer: BaseProducer = config.create().map_err(|e| refused(&e))?;
        let now = clock.elapsed();
        // When the first is due, by the clock that is never set.
        let passed = u64::try_from(clock.wall() - feed.from).unwrap_or(0);
        let due_after = |record: u64| {
            #[allow(clippy::cast_precision_loss, reason = "a record of some days")]
            let due = Duration::from_secs_f64(record as f64 / feed.rate);
            due
        };
        let passed = Duration::from_micros(passed);
        let since = || passed + (clock.elapsed() - now);
        let mut behind = Duration::ZERO;
        for record in 0..feed.records {
            let due = due_after(record);
            if enough.load(Ordering::Relaxed) {
                return Ok(behind);
            }
            if since() < due {
                producer.poll(Duration::ZERO);
                let left = (due - since().min(due)).max(STEP);
                clock.wait_until(clock.elapsed() + left);
            }
            let late = since().saturating_sub(due);
            let start = if record < feed.warm {
                START
            } else {
                Duration::ZERO
            };
            if late > feed.patience + start {
                let late = late.as_secs_f64();
                let message = format!("the load is {late:.1} s behind its schedule");
                return Err(ConnectorError::permanent(message));
            }
            if record >= feed.warm {
                behind = behind.max(late);
            }
            let line = &feed.lines[usize::try_from(record).unwrap_or(0) % feed.lines.len()];
            let partition = i32::try_from(record % u64::from(feed.partitions)).unwrap_or(0);
            let at = (feed.from + i64::try_from(due.as_micros()).unwrap_or(0)) / 1000;
            let record = BaseRecord::<(), str>::to(feed.topic).payload(line);
            send(&producer, record.partition(partition).timestamp(at), clock)?;
        }
        let flushed = producer.flush(SILENCE);
        flushed.map_err(|error| ConnectorError::permanent(error.to_string()))?;
        Ok(behind)
    }

    /// Makes a topic.
    pub fn make(&self, topic: &str, partitions: u32) -> Result<(), ConnectorError> {
        let wish = Wish {
            topic,
            partitions,
            replication: None,
            compacted: false,
        };
        make_topic(&self.cluster, &wish)
    }

    /// Removes a topic.
    pub fn remove(&self, topic: &str) -> Result<(), ConnectorError> {
        remove_topic(&self.cluster, topic)
    }
}

/// Sends a record, waiting for room, but not for ever.
fn send(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, (), str>,
    clock: &Clock,
) -> Result<(), ConnectorError> {
    let mut until = None;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if clock.elapsed() > *until.get_or_insert_with(|| clock.elapsed() + SILENCE) {
                    return Err(ConnectorError::permanent(
                        "the broker takes no more records",
                    ));
                }
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => return Err(refused(&error)),
        }
    }
}
