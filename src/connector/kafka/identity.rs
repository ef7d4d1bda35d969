//! Which topics they are: each has an id, and one that is made under an old name has another.
//!
//! The wrapper does not have the call (`rd_kafka_DescribeTopics`), so it is made here, with a safe
//! face. `unsafe` stands for calls into librdkafka with objects that it gave us, each of which is
//! given back once, and for reading texts that belong to an answer while the answer lives.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// How much longer than the request the answer is waited for: librdkafka answers for a broker
/// that does not.
const SLACK: Duration = Duration::from_secs(1);

/// What a broker gives that knows of no ids: all bits are zero.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The ids of those of `topics` that have one, as `kafka-topics --describe` shows them, by the word of one
/// broker: any knows, and not every cluster has a controller to ask. A topic that is not there has none, nor
/// have those of brokers before 2.8.
pub(super) fn ids<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topics: &[&str],
    patience: Duration,
) -> Result<BTreeMap<String, String>, RDKafkaErrorCode> {
    let texts: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let texts = texts.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut names: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let request = milliseconds(patience);
    // SAFETY: the client and the texts live. What is made here is given back here, after librdkafka has copied what
    // it needs of it. The answer is ours once it is taken from the queue.
    unsafe {
        let native = client.native_ptr();
        let collection =
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = c::rd_kafka_AdminOptions_new(native, kind);
        // What it does not take stays as it thinks best: a longer time, the controller.
        c::rd_kafka_AdminOptions_set_request_timeout(options, request, ptr::null_mut(), 0);
        c::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
        let queue = c::rd_kafka_queue_new(native);
        c::rd_kafka_DescribeTopics(native, collection, options, queue);
        let answer = c::rd_kafka_queue_poll(queue, milliseconds(patience + SLACK));
        let told = match answer.is_null() {
            true => Err(RDKafkaErrorCode::RequestTimedOut),
            false => told(answer),
        };
        if !answer.is_null() {
            c::rd_kafka_event_destroy(answer);
        }
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AdminOptions_destroy(options);
        c::rd_kafka_TopicCollection_destroy(collection);
        told
    }
}

/// What an answer says.
///
/// # Safety
///
/// `answer` is one of librdkafka's, and lives.
unsafe fn told(
    answer: *mut c::rd_kafka_event_t,
) -> Result<BTreeMap<String, String>, RDKafkaErrorCode> {
    // SAFETY: by the word of the caller; what is read of the answer lives as long as it does.
    unsafe {
        let code = RDKafkaErrorCode::from(c::rd_kafka_event_error(answer));
        let result = c::rd_kafka_event_DescribeTopics_result(answer);
        if code != RDKafkaErrorCode::NoError || result.is_null() {
            return Err(code);
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = BTreeMap::new();
        for index in 0..count {
            let topic = *topics.add(index);
            let id = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(topic));
            if id.is_null() {
                continue;
            }
            let name = CStr::from_ptr(c::rd_kafka_TopicDescription_name(topic));
            if let Some(id) = as_shown(&CStr::from_ptr(id).to_string_lossy()) {
                ids.insert(name.to_string_lossy().into_owned(), id);
            }
        }
        Ok(ids)
    }
}

/// An id as Kafka's own tools show it: they have other characters for the last two.
fn as_shown(id: &str) -> Option<String> {
    (id != NONE).then(|| id.replace('+', "-").replace('/', "_"))
}

/// A time as librdkafka's functions take it.
pub(super) fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_kafkas_tools_show_and_zero_is_none() {
        assert_eq!(as_shown("a+b/c+").as_deref(), Some("a-b_c-"));
        assert_eq!(as_shown(NONE), None);
    }
}
