//! The records: a known sequence per partition, written into the topic while the test lasts.
//!
//! | partition | what is special |
//! |---|---|
//! | all | every 7th row is late, every 11th record is no row, every 13th is against a CHECK |
//! | 1 | two minutes behind the others |
//! | the last | stops until it counts as idle, and comes back further on |
//!
//! A record is a function of its partition and index. When the last partition returns is not: the
//! oracle reads from the marks what its floor was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidemark::engine::spawn_named;
use tidemark::types::Clock;

use crate::topics::{self, LIMIT, client};

pub const PARTITIONS: i32 = 5;
/// Records per second and partition.
const RATE: u64 = 200;
/// Event time between two records: it runs faster than the clock on the wall.
const STEP_MS: i64 = 100;
/// 2026-01-01.
const BEGINNING_MS: i64 = 1_767_225_600_000;
/// How many records the last partition has between two stops, and by how much it then jumps.
const RUN: u64 = 1000;
const JUMP_MS: i64 = 100_000;
/// It returns after so long even if nobody has called it idle.
const STOP_MAX: Duration = Duration::from_secs(15);

/// One record as it was meant, before it was text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: i64,
    pub at_ms: i64,
    pub customer: String,
    pub amount: i64,
}

/// Record `index` of a partition; None if it is no row.
pub fn row(partition: i32, index: u64) -> Option<Row> {
    if index % 11 == 5 || index % 13 == 7 {
        return None;
    }
    let i = i64::try_from(index).unwrap();
    let mut at_ms = BEGINNING_MS + i * STEP_MS;
    if index % 7 == 3 {
        at_ms -= 30_000;
    }
    if partition == 1 {
        at_ms -= 120_000;
    }
    if partition == PARTITIONS - 1 {
        at_ms += i64::try_from(index / RUN).unwrap() * JUMP_MS;
    }
    Some(Row {
        id: i * i64::from(PARTITIONS) + i64::from(partition),
        at_ms,
        customer: format!(
            "c{}",
            (index * 31 + u64::try_from(partition).unwrap() * 7) % 23
        ),
        amount: i % 997,
    })
}

/// The same as it is written.
pub fn text(partition: i32, index: u64) -> String {
    let id = index * u64::try_from(PARTITIONS).unwrap() + u64::try_from(partition).unwrap();
    match row(partition, index) {
        Some(row) => format!(
            r#"{{"id":{},"at":{},"everyone":"all","customer":"{}","amount":{}}}"#,
            row.id, row.at_ms, row.customer, row.amount
        ),
        None if index % 11 == 5 => format!(r#"{{"id":{id},"at":"never"#),
        None => format!(
            r#"{{"id":{id},"at":{BEGINNING_MS},"everyone":"all","customer":"x","amount":-1}}"#
        ),
    }
}

/// The producer, until it is told to stop.
pub struct Feed {
    stop: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    returns: Arc<AtomicU64>,
    written: Arc<Mutex<Vec<u64>>>,
    thread: JoinHandle<()>,
}

impl Feed {
    pub fn start(broker: &str, topic: &str, clock: &Clock) -> Self {
        let (stop, idle, returns) = (Arc::default(), Arc::default(), Arc::default());
        let mut producing = Producing {
            producer: client(broker)
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", "0")
                .set("linger.ms", "5")
                .set("reconnect.backoff.max.ms", "500")
                .create()
                .unwrap(),
            topic: topic.to_owned(),
            next: vec![0; usize::try_from(PARTITIONS).unwrap()],
            stopped_at: None,
            stop: Arc::clone(&stop),
            idle: Arc::clone(&idle),
            returns: Arc::clone(&returns),
            clock: clock.clone(),
        };
        let written: Arc<Mutex<Vec<u64>>> = Arc::default();
        let total = Arc::clone(&written);
        let thread = spawn_named("feed", move || {
            producing.run();
            *total.lock().unwrap() = producing.next;
        });
        Self {
            stop,
            idle,
            returns,
            written,
            thread,
        }
    }

    /// Says that the last partition counts as idle now.
    pub fn hear_idle(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.idle)
    }

    /// Stops, and waits until all that was written is in the topic. How many records each partition
    /// has, and how often the last one came back.
    pub fn end(self) -> (Vec<u64>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let records = std::mem::take(&mut *self.written.lock().unwrap());
        (records, self.returns.load(Ordering::SeqCst))
    }
}

struct Producing {
    producer: BaseProducer,
    topic: String,
    next: Vec<u64>,
    /// When the last partition stopped, if it has.
    stopped_at: Option<Duration>,
    stop: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    returns: Arc<AtomicU64>,
    clock: Clock,
}

impl Producing {
    fn run(&mut self) {
        let last = usize::try_from(PARTITIONS - 1).unwrap();
        let begun = self.clock.elapsed();
        for round in 1.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            for partition in 0..self.next.len() {
                if partition != last || self.last_goes_on() {
                    self.send(partition);
                }
            }
            self.producer.poll(Duration::ZERO);
            assert_eq!(self.producer.client().fatal_error(), None);
            self.clock
                .wait_until(begun + Duration::from_secs(1) * round / u32::try_from(RATE).unwrap());
        }
        let limit = self.clock.elapsed() + LIMIT;
        while self.producer.in_flight_count() > 0 {
            assert!(
                self.clock.elapsed() < limit,
                "the feed could not write its last records"
            );
            self.producer.poll(Duration::from_millis(10));
        }
    }

    /// Whether the partition that stops now and then is not stopped.
    fn last_goes_on(&mut self) -> bool {
        let last = self.next.len() - 1;
        let Some(since) = self.stopped_at else {
            if self.next[last].is_multiple_of(RUN) && self.next[last] > 0 {
                self.stopped_at = Some(self.clock.elapsed());
                self.idle.store(false, Ordering::SeqCst);
                return false;
            }
            return true;
        };
        let long = self.clock.elapsed() > since + STOP_MAX;
        if !long && !self.idle.load(Ordering::SeqCst) {
            return false;
        }
        self.stopped_at = None;
        self.returns.fetch_add(1, Ordering::SeqCst);
        self.send(last);
        true
    }

    fn send(&mut self, partition: usize) {
        let number = i32::try_from(partition).unwrap();
        let value = text(number, self.next[partition]);
        loop {
            let record: BaseRecord<'_, [u8], str> = BaseRecord::to(&self.topic)
                .partition(number)
                .payload(&value);
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("the feed could not write: {error}"),
            }
        }
        self.next[partition] += 1;
    }
}

/// The indexes of the records that are in the topic, per partition by offset; each is compared with
/// what was written.
pub fn read_back(broker: &str, topic: &str, clock: &Clock) -> Vec<BTreeMap<u64, u64>> {
    let mut found = vec![BTreeMap::new(); usize::try_from(PARTITIONS).unwrap()];
    topics::read(broker, (topic, PARTITIONS), clock, |message| {
        let partition = message.partition();
        let own: &mut BTreeMap<u64, u64> = &mut found[usize::try_from(partition).unwrap()];
        let index = own.len() as u64;
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        assert_eq!(value, text(partition, index), "partition {partition}");
        own.insert(u64::try_from(message.offset()).unwrap(), index);
    });
    found
}
