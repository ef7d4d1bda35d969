//! Brokers that go and come back.

use rdkafka::mocking::MockCluster;

use super::kit::{Reading, Topic, caught_up, record, values};
use crate::connector::Fetched;

fn is_away(all: &[(usize, Fetched)], partition: usize) -> bool {
    let last = all.iter().rev().find(|(of, _)| *of == partition);
    matches!(last, Some((_, Fetched::Away)))
}

#[test]
fn a_broker_that_goes_is_waited_for_and_the_end_is_said_anew() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("topic", 2, 1).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    topic.write(&[record(0, "first")]);
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0), (1, 0)]);
    reading.read_to_end(&[0, 1]);

    cluster.broker_down(1).unwrap();
    let all = reading.until(|all| is_away(all, 0) && is_away(all, 1));
    assert_eq!(caught_up(&all, 0), None);
    cluster.broker_up(1).unwrap();
    let all = reading.read_to_end(&[0, 1]);

    assert_eq!(caught_up(&all, 0), Some(1));
    assert!(values(&all, 0).is_empty(), "nothing comes twice");
}

#[test]
fn what_is_written_after_a_broker_came_back_is_read_on() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("topic", 1, 1).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0)]);
    reading.read_to_end(&[0]);

    for round in 0..3_u64 {
        cluster.broker_down(1).unwrap();
        reading.until(|all| is_away(all, 0));
        cluster.broker_up(1).unwrap();
        topic.write(&[record(0, "again")]);
        let all = reading.until(|all| caught_up(all, 0) == Some(round + 1));

        assert_eq!(values(&all, 0), [(round, "again".to_owned())]);
    }
}

#[test]
fn only_the_partitions_of_the_broker_that_went_are_away() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic("topic", 2, 1).unwrap();
    cluster.partition_leader("topic", 0, Some(1)).unwrap();
    cluster.partition_leader("topic", 1, Some(2)).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0), (1, 0)]);
    reading.read_to_end(&[0, 1]);

    cluster.broker_down(2).unwrap();
    let all = reading.until(|all| is_away(all, 1));
    topic.write(&[record(0, "here")]);
    let more = reading.until(|all| !values(all, 0).is_empty());

    assert!(!is_away(&all, 0) && !is_away(&more, 0));
}

#[test]
fn a_consumer_that_starts_before_its_broker_reads_when_it_is_there() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("topic", 1, 1).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    let source = topic.open(&[]);
    cluster.broker_down(1).unwrap();

    let mut reading = Reading::new(&source, &[(0, 0)]);
    reading.until(|all| is_away(all, 0));
    cluster.broker_up(1).unwrap();
    let all = reading.read_to_end(&[0]);

    assert_eq!(caught_up(&all, 0), Some(0));
}
