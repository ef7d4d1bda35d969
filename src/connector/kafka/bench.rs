//! Kafka by itself, for benchmarks: what a topic can give, and a load that keeps its schedule.
//!
//! `drain` reads with the settings and the batch call that sources use, and drops the records: no
//! pipeline can be faster. `feed` sends each record at its time, whatever became of those before it, and
//! the record bears the time at which it was due: latency that is measured from there has what waiting
//! adds in it (coordinated omission).

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
}

impl KafkaBench {
    /// The cluster at `servers`.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self {
            cluster: Cluster::new(servers, std::iter::empty()),
        }
    }

    /// Reads a topic to its end: records, bytes, and how long it took.
    pub fn drain(
        &self,
        topic: &str,
        clock: &Clock,
    ) -> Result<(u64, u64, Duration), ConnectorError> {
        let asker = Asker::new(&self.cluster.asking("read_committed"), topic)?;
        let count = asker.count_partitions()?.ok_or_else(|| asker.no_topic())?;
        let first = asker.places(count, When::First)?;
        let config = self.cluster.reading("tidemark-bench", Reads::ToItsEnd);
        let native = config.create_native_config().map_err(|e| refused(&e))?;
        let mut consumer =
            BatchConsumer::new(&config, native, topic).map_err(|error| refused(&error))?;
        let began = clock.elapsed();
        let from = first.iter().enumerate().map(|(partition, place)| {
            let place = place.map_or(0, |offset| offset.0);
            (number(partition), i64::try_from(place).unwrap_or(i64::MAX))
        });
        let from: Vec<(i32, i64)> = from.collect();
        consumer.assign(&from).map_err(ConnectorError::permanent)?;
        let (mut records, mut bytes, mut ended, mut last) = (0, 0, 0, began);
        while ended < count && clock.elapsed() < last + SILENCE {
            consumer.take(Duration::from_millis(100), |_, _, taken| match taken {
                Taken::Message(message) => {
                    records += 1;
                    bytes += message.payload().map_or(0, <[u8]>::len) as u64;
                    last = clock.elapsed();
                }
                Taken::Event { code, .. } => {
                    ended += usize::from(code == RDKafkaErrorCode::PartitionEOF);
                }
            });
        }
        Ok((records, bytes, clock.elapsed() - began))
    }

    /// Sends a load. Says how far behind its schedule it was at worst.
    pub fn feed(&self, feed: &Feed<'_>, clock: &Clock) -> Result<Duration, ConnectorError> {
        let config = self.cluster.with(&[
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.messages", "1000000"),
        ]);
        let producer: BaseProducer = config.create().map_err(|e| refused(&e))?;
        let (began, wall) = (clock.elapsed(), clock.wall() / 1000);
        let mut behind = Duration::ZERO;
        for record in 0..feed.records {
            #[allow(clippy::cast_precision_loss, reason = "a record of some days")]
            let due = Duration::from_secs_f64(record as f64 / feed.rate);
            if clock.elapsed() < began + due {
                producer.poll(Duration::ZERO);
                clock.wait_until(began + due.max(clock.elapsed() - began + STEP));
            }
            behind = behind.max((clock.elapsed() - began).saturating_sub(due));
            let line = &feed.lines[usize::try_from(record).unwrap_or(0) % feed.lines.len()];
            let partition = i32::try_from(record % u64::from(feed.partitions)).unwrap_or(0);
            let at = wall + i64::try_from(due.as_millis()).unwrap_or(0);
            send(&producer, feed.topic, (partition, at), line)?;
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

/// Sends a record, waiting for room.
fn send(
    producer: &BaseProducer,
    topic: &str,
    (partition, at): (i32, i64),
    line: &str,
) -> Result<(), ConnectorError> {
    let record = BaseRecord::<(), str>::to(topic);
    let mut record = record.partition(partition).timestamp(at).payload(line);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => return Err(refused(&error)),
        }
    }
}
