//! Topics that are deleted and made anew under their names, and brokers that give topics no id.

use super::kit::{LIMIT, Reading, Topic, refusal, unique};
use super::reading::{numbered, write};
use super::writing::{PAIR, mark, open, sink_table};
use crate::connector::{ConnectorError, Destination};
use crate::types::Clock;

/// What `look` refuses once the broker shows the topic that it has now.
fn refused_in_time(look: impl Fn() -> Result<usize, ConnectorError>) -> (String, String) {
    let clock = Clock::machine();
    loop {
        match look() {
            Err(ConnectorError::Permanent { message, hint }) if message.contains("made anew") => {
                return (message, hint.unwrap_or_default());
            }
            other => assert!(clock.elapsed() < LIMIT, "{other:?}"),
        }
    }
}

#[test]
fn a_topic_that_is_made_anew_while_it_is_read_is_another_for_who_looks_for_partitions() {
    let Some(topic) = Topic::new("anew", 1) else {
        return;
    };
    let source = topic.open(&[]);
    let live = source.live().unwrap();
    assert_eq!(live.count_partitions().unwrap(), 1);

    topic.make_anew(2);
    let (message, hint) = refused_in_time(|| live.count_partitions());

    let (was, is) = (live.identity().unwrap(), topic.open(&[]));
    let is = is.live().unwrap().identity().unwrap();
    let ids = format!("(its id was {was}, and is {is})");
    assert!(message.contains(&ids), "{message}");
    assert!(hint.contains(&format!("'topic.id' = '{is}'")), "{hint}");
}

#[test]
fn a_position_that_a_topic_made_anew_does_not_have_is_that_of_another_topic() {
    let Some(topic) = Topic::new("anew_short", 1) else {
        return;
    };
    write(&topic, 0, &numbered(9, 0));
    let source = topic.open(&[]);

    topic.make_anew(1);
    write(&topic, 0, &numbered(3, 0));
    let error = Reading::new(&source, &[(0, 9)]).fails();

    let (message, _) = refusal::<()>(Err(error));
    assert!(message.contains("was deleted and made anew"), "{message}");
}

#[test]
fn a_broker_that_gives_topics_no_id_is_read_as_before() {
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    cluster.create_topic(&topic.name, 1, 1).unwrap();
    // The last version of its answer from before there were any.
    let asked = rdkafka::types::RDKafkaApiKey::Metadata;
    cluster.apiversion(asked, Some(0), Some(9)).unwrap();
    let source = topic.open(&[]);
    let live = source.live().unwrap();

    assert_eq!(live.identity(), None);
    assert_eq!(live.count_partitions().unwrap(), 1);
    live.is_still("another").unwrap();
}

#[test]
fn a_topic_made_anew_has_not_the_rows_that_the_mark_counts() {
    let Some(topic) = Topic::new("sink_anew", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut old = open(&pipeline, &table).unwrap();
    old.take_over(1).unwrap();
    old.publish(&mark(1, 1, 1), &[]).unwrap();
    assert_eq!(old.peek().unwrap(), Some(mark(1, 1, 1)));

    topic.make_anew(1);
    let clock = Clock::machine();
    let error = loop {
        match open(&pipeline, &table).unwrap().peek() {
            Err(error) => break error,
            // The broker does not show the new one yet.
            Ok(_) => assert!(clock.elapsed() < LIMIT),
        }
    };

    let (message, hint) = refusal::<()>(Err(error));
    let expected = format!("topic `{}` was deleted and made anew", topic.name);
    assert!(message.starts_with(&expected), "{message}");
    let id = hint.split("'topic.id' = '").nth(1).unwrap();
    let id = id.split('\'').next().unwrap();
    let named = sink_table(&topic, &PAIR, &[("topic.id", id)]);
    let there = open(&pipeline, &named).unwrap().peek().unwrap();
    assert_eq!(there, Some(mark(1, 1, 1)));
    let other = sink_table(&topic, &PAIR, &[("topic.id", "another")]);
    let (message, _) = refusal(open(&pipeline, &other).unwrap().peek());
    assert!(message.contains("names another"), "{message}");
    let mut fresh = open(&pipeline, &table).unwrap();
    fresh.empty().unwrap();
    assert_eq!(fresh.take_over(2).unwrap(), None);
    assert_eq!(fresh.peek().unwrap(), None);
}
