//! librdkafka's batch interface, with a safe face.
//!
//! ```text
//!   partition queues ──▶ one queue per consumer ──▶ batches of messages ──▶ a closure, one by one
//! ```
//!
//! Taking messages one at a time costs twice the processor time of taking them a thousand at a
//! time, and the wrapper that takes them one at a time loses the partition and offset of an
//! error. The batch call is only in the C interface.
//!
//! `unsafe` stands for calls into librdkafka with pointers that it gave us and that live as long
//! as the client, and for reading messages that are ours until they are destroyed. Nothing of a
//! message outlives the closure that it is lent to. librdkafka's handles may be used from any
//! thread; this one is used from one at a time.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::NativeClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaType;

use super::identity::milliseconds;

/// Messages taken at a time, at most.
const BATCH: usize = 8192;

/// Reports of trouble that nobody has asked for are kept up to here.
const REPORTS_MAX: usize = 64;

/// Reads partitions of one topic.
pub(super) struct BatchConsumer {
    topic: String,
    // The queues before the client: they are given back before it ends.
    queue: Queue,
    /// Partitions whose messages stay in a queue of their own for now.
    held: BTreeMap<i32, Queue>,
    client: Client<Reports>,
    taken: Vec<*mut c::rd_kafka_message_t>,
}

/// What librdkafka reports of its brokers.
#[derive(Debug, Default)]
struct Reports(Mutex<Vec<Report>>);

impl ClientContext for Reports {}

/// Something about a connection.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub code: RDKafkaErrorCode,
    /// What librdkafka says; it begins with the name of the broker.
    pub text: String,
}

/// What a partition has to say.
pub(super) enum Taken<'a> {
    Message(Message<'a>),
    /// Not a record: the end was reached, or something is wrong.
    Event {
        code: RDKafkaErrorCode,
        /// Where the consumer stood.
        offset: i64,
        text: String,
    },
}

/// A message, lent.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(&'a c::rd_kafka_message_t);

// SAFETY: the pointers are handles of librdkafka, which may be used from any thread; `taken` is
// empty between two calls.
unsafe impl Send for BatchConsumer {}

impl BatchConsumer {
    /// A consumer that reads nothing yet. Asks nothing of the outside.
    pub fn new(
        config: &rdkafka::ClientConfig,
        native: NativeClientConfig,
        topic: &str,
    ) -> Result<Self, KafkaError> {
        // SAFETY: the configuration is ours, and both functions match what the C side calls. The
        // client makes its context the `opaque` that `on_error` is called with.
        unsafe {
            c::rd_kafka_conf_set_error_cb(native.ptr(), Some(on_error));
            c::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
        }
        let kind = RDKafkaType::RD_KAFKA_CONSUMER;
        let client = Client::new(config, native, kind, Reports::default())?;
        // SAFETY: the client lives; with a `group.id` it has a consumer queue.
        let queue = unsafe {
            c::rd_kafka_poll_set_consumer(client.native_ptr());
            Queue::of(c::rd_kafka_queue_get_consumer(client.native_ptr()))
        };
        let queue = queue.ok_or_else(|| {
            KafkaError::ClientCreation("the consumer has no queue: `group.id` is not set".into())
        })?;
        Ok(Self {
            topic: topic.to_owned(),
            queue,
            held: BTreeMap::new(),
            client,
            taken: Vec::with_capacity(BATCH),
        })
    }

    /// Reads these partitions too, from these offsets on.
    pub fn assign(&self, from: &[(i32, i64)]) -> Result<(), String> {
        let list = self.list(from)?;
        // SAFETY: client and list live; the call copies the list.
        let error = unsafe { c::rd_kafka_incremental_assign(self.client.native_ptr(), list.ptr()) };
        outcome(error)
    }

    /// Reads these partitions no more.
    pub fn unassign(&mut self, partitions: &[(i32, i64)]) -> Result<(), String> {
        for (partition, _) in partitions {
            self.held.remove(partition);
        }
        let list = self.list(partitions)?;
        // SAFETY: client and list live; the call copies the list.
        let error =
            unsafe { c::rd_kafka_incremental_unassign(self.client.native_ptr(), list.ptr()) };
        outcome(error)
    }

    /// Fetches anew from these offsets on. What was fetched and not taken is dropped, and an end
    /// that was reached is said again. Does not wait; what cannot be sought is left as it is.
    pub fn seek(&self, to: &[(i32, i64)]) -> Result<(), String> {
        let list = self.list(to)?;
        // SAFETY: client and list live; without a time limit the call does not wait.
        let error = unsafe { c::rd_kafka_seek_partitions(self.client.native_ptr(), list.ptr(), 0) };
        outcome(error)
    }

    /// Keeps a partition's messages back: they stay in a queue of their own, which librdkafka
    /// fills up to its limit and no further. Nothing that was fetched is lost, unlike by
    /// `rd_kafka_pause_partitions`, which drops it.
    pub fn hold(&mut self, partition: i32) -> Result<(), String> {
        let topic = self.topic_name()?;
        // SAFETY: client and name live; the queue is given back when it is dropped. A queue that
        // is forwarded nowhere keeps its messages.
        let queue = unsafe {
            let client = self.client.native_ptr();
            Queue::of(c::rd_kafka_queue_get_partition(
                client,
                topic.as_ptr(),
                partition,
            ))
        };
        let queue = queue.ok_or_else(|| format!("partition {partition} is not read"))?;
        // SAFETY: the queue lives.
        unsafe { c::rd_kafka_queue_forward(queue.0, ptr::null_mut()) };
        self.held.insert(partition, queue);
        Ok(())
    }

    /// Lets a partition's messages come again, first those that were kept back.
    pub fn release(&mut self, partition: i32) {
        if let Some(queue) = self.held.remove(&partition) {
            // SAFETY: both queues live. What has gathered goes over with the forwarding.
            unsafe { c::rd_kafka_queue_forward(queue.0, self.queue.0) };
        }
    }

    /// Takes what has come, waiting for the first of it at most this long, and lends it to `each`
    /// with its partition and the broker that it came from.
    pub fn take(&mut self, wait: Duration, each: impl FnMut(i32, i32, Taken<'_>)) {
        // The call waits until the batch is full, so the wait is for one, and the rest is what
        // is there.
        if self.fill(1, milliseconds(wait)) {
            self.fill(BATCH - 1, 0);
        }
        self.lend(each);
    }

    /// The same, waiting for a full batch: for who wants all there is and no part of it soon.
    pub fn take_full(&mut self, wait: Duration, each: impl FnMut(i32, i32, Taken<'_>)) {
        self.fill(BATCH, milliseconds(wait));
        self.lend(each);
    }

    fn lend(&mut self, mut each: impl FnMut(i32, i32, Taken<'_>)) {
        for message in self.taken.drain(..) {
            // SAFETY: librdkafka gave us the message, and it is ours until it is destroyed, once,
            // after the closure has returned.
            unsafe {
                let lent = &*message;
                let broker = c::rd_kafka_message_broker_id(message);
                each(lent.partition, broker, Taken::of(lent));
                c::rd_kafka_message_destroy(message);
            }
        }
    }

    /// Takes up to `count` more; returns whether it got any.
    fn fill(&mut self, count: usize, wait: c_int) -> bool {
        let free = self.taken.spare_capacity_mut();
        let count = count.min(free.len());
        // SAFETY: there is room for `count` pointers, and the call says how many it has written.
        let got = unsafe {
            let room = free.as_mut_ptr().cast();
            let got = c::rd_kafka_consume_batch_queue(self.queue.0, wait, room, count);
            let got = usize::try_from(got).unwrap_or(0);
            self.taken.set_len(self.taken.len() + got);
            got
        };
        got > 0
    }

    /// What was reported since the last call.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports = lock(&self.client.context().0);
        std::mem::take(&mut *reports)
    }

    fn list(&self, places: &[(i32, i64)]) -> Result<TopicPartitionList, String> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for &(partition, offset) in places {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| error.to_string())?;
        }
        Ok(list)
    }

    fn topic_name(&self) -> Result<CString, String> {
        CString::new(self.topic.as_str()).map_err(|error| error.to_string())
    }
}

/// One of librdkafka's queues, given back when it is dropped.
struct Queue(*mut c::rd_kafka_queue_t);

impl Queue {
    fn of(queue: *mut c::rd_kafka_queue_t) -> Option<Self> {
        (!queue.is_null()).then_some(Self(queue))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: whoever asks for a queue gives it back once.
        unsafe { c::rd_kafka_queue_destroy(self.0) };
    }
}

impl<'a> Taken<'a> {
    fn of(message: &'a c::rd_kafka_message_t) -> Self {
        let code = RDKafkaErrorCode::from(message.err);
        if code == RDKafkaErrorCode::NoError {
            return Self::Message(Message(message));
        }
        // SAFETY: the message lives; the text is its own, and ends with a zero.
        let text = unsafe { text(c::rd_kafka_message_errstr(message)) };
        let offset = message.offset;
        Self::Event { code, offset, text }
    }
}

impl<'a> Message<'a> {
    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The value, if it has one.
    pub fn payload(&self) -> Option<&'a [u8]> {
        // SAFETY: the message says how long its value is, and owns it.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The key, if it has one.
    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message says how long its key is, and owns it.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// Milliseconds since 1970; -1 if it has none.
    pub fn timestamp_ms(&self) -> i64 {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and the kind is written to a place of ours.
        unsafe { c::rd_kafka_message_timestamp(self.0, &raw mut kind) }
    }

    /// Lends the headers, in their order; `None` is a header without a value.
    pub fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives and owns its headers.
        let error = unsafe { c::rd_kafka_message_headers(self.0, &raw mut headers) };
        if RDKafkaErrorCode::from(error) != RDKafkaErrorCode::NoError {
            return; // It has none.
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message, and what they point to does too.
            unsafe {
                let found = c::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut len,
                );
                if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError {
                    return; // That was the last.
                }
                each(CStr::from_ptr(name).to_bytes(), bytes(value, len));
            }
        }
    }
}

/// Bytes of a message; `None` for a null.
///
/// # Safety
///
/// A `start` that is not null points to `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: by the word of the caller.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// A text of librdkafka's.
///
/// # Safety
///
/// A `start` that is not null points to a text that ends with a zero.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by the word of the caller.
    unsafe { CStr::from_ptr(start) }
        .to_string_lossy()
        .into_owned()
}

/// What an error object says; takes it.
fn outcome(error: *mut c::rd_kafka_error_t) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is ours, and is destroyed once, after its text was copied.
    unsafe {
        let message = text(c::rd_kafka_error_string(error));
        c::rd_kafka_error_destroy(error);
        Err(message)
    }
}

/// Called by librdkafka while messages are being taken.
extern "C" fn on_error(
    _client: *mut c::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    context: *mut c_void,
) {
    // SAFETY: the context is the client's, which lives while it takes messages.
    let (reports, text) = unsafe { (&*context.cast::<Reports>(), text(reason)) };
    let mut reports = lock(&reports.0);
    if reports.len() < REPORTS_MAX {
        let code = error_code(code);
        reports.push(Report { code, text });
    }
}

/// The code of an error, which the C side hands over as a number.
fn error_code(code: c_int) -> RDKafkaErrorCode {
    // By the few that are told apart; a number must not be made an enum unseen.
    const KNOWN: [RDKafkaErrorCode; 12] = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::Authentication,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::Fatal,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::Resolve,
        RDKafkaErrorCode::SSL,
        RDKafkaErrorCode::MessageTimedOut,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::UnknownTopic,
        RDKafkaErrorCode::UnknownTopicOrPartition,
    ];
    let known = KNOWN.into_iter().find(|known| *known as c_int == code);
    known.unwrap_or(RDKafkaErrorCode::Fail)
}

/// Called by librdkafka with a line of its log.
extern "C" fn on_log(
    _client: *const c::rd_kafka_t,
    _level: c_int,
    kind: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both are texts that live during the call.
    let (kind, line) = unsafe { (text(kind), text(line)) };
    tracing::debug!(target: "librdkafka", kind, "{line}");
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
