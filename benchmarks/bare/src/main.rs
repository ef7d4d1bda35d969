//! librdkafka without Tidemark: fills a topic, feeds one at a rate, and reads one to its end with
//! the settings and the batch call that Tidemark uses, dropping what it reads.
//!
//! ```text
//! bare fill  SERVERS TOPIC PARTITIONS EVENTS   an hour of events, flat out
//! bare feed  SERVERS TOPIC RATE SECONDS        events of now; prints records, wall seconds, and how late it was, in ms
//! bare drain SERVERS TOPIC PARTITIONS          prints records, bytes and wall seconds
//! bare drop  SERVERS TOPIC                     removes it
//! ```
//!
//! It is a tool of `benchmarks/kafka`, and panics where something is wrong.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings as c;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TYPES: [&str; 6] = ["view", "click", "search", "cart", "purchase", "refund"];
const LOCATIONS: [&str; 10] = [
    "Amsterdam",
    "Berlin",
    "Chicago",
    "Dakar",
    "Edinburgh",
    "Fukuoka",
    "Geneva",
    "Hanoi",
    "Istanbul",
    "Jakarta",
];
/// 2024-05-01 12:00:00.
const START_MS: u64 = 1_714_564_800_000;
const SPAN_MS: u64 = 3_600_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fill", servers, topic, partitions, events] => {
            fill(servers, topic, number(partitions), number(events))
        }
        ["feed", servers, topic, rate, seconds] => {
            feed(servers, topic, number(rate), number(seconds))
        }
        ["drain", servers, topic, partitions] => drain(servers, topic, number(partitions)),
        ["drop", servers, topic] => drop_topic(servers, topic),
        _ => panic!("bare fill|feed|drain|drop: see the first lines of main.rs"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// SplitMix64: the same events on every machine.
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }
}

/// One event, as `benchmarks/end_to_end` makes them: about 190 bytes.
fn event(chance: &mut Chance, ms: u64, out: &mut String) {
    out.clear();
    let (high, low) = (chance.bits(), chance.bits());
    let (second, ms) = (ms / 1000, ms % 1000);
    let (day, second) = (second / 86_400, second % 86_400);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let kind = TYPES[chance.below(6) as usize];
    let location = LOCATIONS[chance.below(10) as usize];
    let device = if chance.below(3) > 0 {
        "mobile"
    } else {
        "desktop"
    };
    write!(
        out,
        "{{\"event_id\":\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\",\"event_type\":\"{kind}\",\"user_id\":\"user_{:06}\",\
         \"ts\":\"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\",\"device\":\"{device}\",\
         \"location\":\"{location}\",\"amount\":{}.{:02}}}",
        high >> 32, high >> 16 & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff,
        chance.below(1_000_000), chance.below(1000), chance.below(100),
    )
    .expect("a String takes all text");
}

/// Days since 1970 to year, month and day (Howard Hinnant's civil_from_days).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_year = if month < 10 { month + 3 } else { month - 9 };
    (
        year + era * 400 + u64::from(of_year <= 2),
        of_year,
        day - (153 * month + 2) / 5 + 1,
    )
}

fn producer(servers: &str, linger: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("compression.type", "lz4")
        .set("linger.ms", linger)
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.kbytes", "262144")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .expect("a producer")
}

/// Hands a record over, with the time that it is to bear, if that is not the time at which it is handed over.
fn send(producer: &BaseProducer, topic: &str, partition: u64, value: &str, due_ms: Option<u64>) {
    let mut record = BaseRecord::<(), str>::to(topic)
        .partition(partition as i32)
        .payload(value);
    record.timestamp = due_ms.map(u64::cast_signed);
    while let Err((error, back)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full, "a record was refused");
        producer.poll(Duration::from_millis(5));
        record = back;
    }
}

fn finish(producer: &BaseProducer) {
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(10));
    }
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .create()
        .expect("an admin client")
}

/// Makes the topic anew.
fn create(servers: &str, topic: &str, partitions: u64) {
    let new = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(1));
    let made = wait(admin(servers).create_topics([&new], &AdminOptions::new()));
    let made = made.expect("an answer").remove(0);
    made.unwrap_or_else(|(topic, error)| panic!("cannot make {topic}: {error}"));
}

fn drop_topic(servers: &str, topic: &str) {
    let gone = wait(admin(servers).delete_topics(&[topic], &AdminOptions::new()));
    let gone = gone.expect("an answer").remove(0);
    gone.unwrap_or_else(|(topic, error)| panic!("cannot remove {topic}: {error}"));
}

/// Runs a future without a runtime: librdkafka's threads do the work.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fill(servers: &str, topic: &str, partitions: u64, events: u64) {
    create(servers, topic, partitions);
    let producer = producer(servers, "50");
    let (mut chance, mut text, mut bytes) = (Chance(7), String::new(), 0);
    for i in 0..events {
        let ms = START_MS + 2000 + i * SPAN_MS / events - chance.below(2000);
        event(&mut chance, ms, &mut text);
        bytes += text.len();
        // By the thousand, so that batches are full and partitions level.
        send(&producer, topic, i / 1000 % partitions, &text, None);
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    finish(&producer);
    println!("{events} {bytes}");
}

/// Sends at a rate, in steps of a millisecond. Each record bears the time at which it was due, in its event time and
/// as the record's: after a stall those that follow at once are as late as they are, so the stall counts for each.
fn feed(servers: &str, topic: &str, rate: u64, seconds: u64) {
    let producer = producer(servers, "5");
    let (mut chance, mut text) = (Chance(7), String::new());
    let (start, mut sent, mut late) = (Instant::now(), 0, Duration::ZERO);
    let start_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    while sent < rate * seconds {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due.min(rate * seconds) {
            let at = Duration::from_secs_f64(sent as f64 / rate as f64);
            let due_ms = (start_time + at).as_millis() as u64;
            event(&mut chance, due_ms, &mut text);
            send(&producer, topic, sent % 10, &text, Some(due_ms));
            late = late.max(start.elapsed().saturating_sub(at));
            sent += 1;
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
    }
    finish(&producer);
    println!(
        "{sent} {:.3} {}",
        start.elapsed().as_secs_f64(),
        late.as_millis()
    );
}

fn drain(servers: &str, topic: &str, partitions: u64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.wait.max.ms", "20")
        .set("queued.max.messages.kbytes", "16384")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning)
            .expect("a partition");
    }
    let start = Instant::now();
    consumer.assign(&list).expect("an assignment");
    let (mut records, mut bytes, mut ended) = (0_u64, 0, 0);
    let mut taken: Vec<*mut c::rd_kafka_message_t> = vec![std::ptr::null_mut(); 8192];
    // SAFETY: the client outlives its queue, and each message is destroyed once, after its last use.
    unsafe {
        let queue = c::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        while ended < partitions {
            let count =
                c::rd_kafka_consume_batch_queue(queue, 100, taken.as_mut_ptr(), taken.len());
            for &message in &taken[..usize::try_from(count).expect("no error")] {
                if (*message).err as i32 == 0 {
                    records += 1;
                    bytes += (*message).len;
                } else {
                    assert_eq!(
                        (*message).err as i32,
                        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32
                    );
                    ended += 1;
                }
                c::rd_kafka_message_destroy(message);
            }
        }
        c::rd_kafka_queue_destroy(queue);
    }
    println!("{records} {bytes} {:.3}", start.elapsed().as_secs_f64());
}
