//! Reading a topic: order, cuts, positions, ends, what comes with a record.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use super::kit::{
    Reading, Record, Topic, blocks, caught_up, decode, metadata_types, open, record, refusal,
    values,
};
use crate::connector::{Fetched, Reads};
use crate::types::{EventTime, Offset, Reason};

pub fn numbered(count: usize, partition: i32) -> Vec<String> {
    (0..count)
        .map(|n| format!("{{\"n\":{n},\"p\":{partition}}}"))
        .collect()
}

pub fn write(topic: &Topic, partition: i32, texts: &[String]) {
    let records: Vec<Record<'_>> = texts.iter().map(|text| record(partition, text)).collect();
    topic.write(&records);
}

fn offsets(places: Vec<Offset>) -> Vec<u64> {
    places.into_iter().map(|offset| offset.0).collect()
}

#[test]
fn each_partition_comes_whole_and_in_its_order_in_blocks_that_meet() {
    let Some(topic) = Topic::new("order", 2) else {
        return;
    };
    let texts = [numbered(20_000, 0), numbered(3, 1)];
    write(&topic, 0, &texts[0]);
    write(&topic, 1, &texts[1]);

    let all = Reading::new(&topic.open(&[]), &[(0, 0), (1, 0)]).read_to_end(&[0, 1]);

    for (partition, texts) in texts.iter().enumerate() {
        let expected: Vec<(u64, String)> = (0..).zip(texts.iter().cloned()).collect();
        assert!(values(&all, partition) == expected, "partition {partition}");
        assert_eq!(caught_up(&all, partition), Some(texts.len() as u64));
        let mut next = 0;
        for block in blocks(&all, partition) {
            let records = block.records.as_ref().unwrap();
            assert_eq!(block.start, Offset(next));
            assert!(records.len() <= 8192, "{}", records.len());
            next = block.end.0;
        }
        assert_eq!(next, texts.len() as u64);
    }
}

#[test]
fn a_block_is_cut_at_a_mebibyte() {
    let Some(topic) = Topic::new("cut", 1) else {
        return;
    };
    let long = vec![format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(100_000)); 30];
    write(&topic, 0, &long);

    let all = Reading::new(&topic.open(&[]), &[(0, 0)]).read_to_end(&[0]);

    assert_eq!(values(&all, 0).len(), 30);
    let longest = blocks(&all, 0).iter().map(|block| block.bytes.len()).max();
    assert!(longest.unwrap() < 1_200_000, "{longest:?}");
}

#[test]
fn reading_goes_on_at_the_offset_that_it_is_given() {
    let Some(topic) = Topic::new("from", 1) else {
        return;
    };
    write(&topic, 0, &numbered(10, 0));

    let all = Reading::new(&topic.open(&[]), &[(0, 7)]).read_to_end(&[0]);

    assert_eq!(
        values(&all, 0)
            .iter()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [7, 8, 9]
    );
    assert_eq!(blocks(&all, 0)[0].start, Offset(7));
}

#[test]
fn the_first_run_begins_where_the_options_say() {
    let Some(topic) = Topic::new("start", 2) else {
        return;
    };
    let stamped = |partition, timestamp| Record {
        timestamp: Some(timestamp),
        ..record(partition, "{\"n\":1}")
    };
    let day = 86_400_000;
    topic.write(&[
        stamped(0, day),
        stamped(0, 2 * day),
        stamped(0, 3 * day),
        stamped(1, day),
    ]);
    topic.remove_before(0, 1);
    let begins = |options: &[(&str, &str)]| {
        let source = topic.open(options);
        offsets(source.live().unwrap().beginning().unwrap())
    };

    assert_eq!(begins(&[]), [1, 0]);
    assert_eq!(begins(&[("scan.startup.mode", "latest")]), [3, 1]);
    assert_eq!(begins(&[("scan.startup.mode", "earliest-offset")]), [1, 0]);
    let at = ("scan.startup.mode", "timestamp");
    assert_eq!(
        begins(&[at, ("scan.startup.timestamp", "1970-01-04")]),
        [2, 1]
    );
    assert_eq!(
        begins(&[at, ("scan.startup.timestamp", "172800000")]),
        [1, 1]
    );
    let at = ("scan.startup.mode", "offsets");
    assert_eq!(begins(&[at, ("scan.startup.offsets", "0:2")]), [2, 0]);
    let ends = topic.open(&[]).live().unwrap().ends().unwrap();
    assert_eq!(offsets(ends), [3, 1]);
}

#[test]
fn the_end_is_said_each_time_it_is_reached() {
    for reads in [Reads::On, Reads::ToItsEnd] {
        let Some(topic) = Topic::new("end", 1) else {
            return;
        };
        let mut reading = Reading::with(reads, &topic.open(&[]), &[(0, 0)]);

        let all = reading.read_to_end(&[0]);
        assert_eq!(caught_up(&all, 0), Some(0));
        write(&topic, 0, &numbered(3, 0));
        let all = reading.read_to_end(&[0]);

        assert_eq!(values(&all, 0).len(), 3);
        assert_eq!(caught_up(&all, 0), Some(3));
    }
}

#[test]
fn records_of_an_aborted_transaction_are_not_seen_and_its_end_is_passed() {
    let Some(topic) = Topic::new("aborted", 1) else {
        return;
    };
    topic.transaction(&[record(0, "good")], true);
    topic.transaction(&[record(0, "bad"), record(0, "worse")], false);
    topic.write(&[record(0, "last")]);
    topic.transaction(&[record(0, "bad again")], false);

    let source = topic.open(&[]);
    let all = Reading::new(&source, &[(0, 0)]).read_to_end(&[0]);

    let expected = [(0, "good".to_owned()), (5, "last".to_owned())];
    assert_eq!(values(&all, 0), expected);
    assert_eq!(caught_up(&all, 0), Some(8));
    assert_eq!(offsets(source.live().unwrap().ends().unwrap()), [8]);
}

#[test]
fn a_tombstone_is_a_reject_and_so_is_an_empty_value() {
    let Some(topic) = Topic::new("tombstone", 1) else {
        return;
    };
    let tombstone = Record {
        key: Some(b"k"),
        ..Record::default()
    };
    topic.write(&[
        record(0, "{\"n\":1}"),
        tombstone,
        record(0, ""),
        record(0, "{\"n\":2}"),
    ]);
    for format in ["json", "csv"] {
        let source = topic.open(&[("format", format)]);

        let all = Reading::new(&source, &[(0, 0)]).read_to_end(&[0]);

        let mut rejects = Vec::new();
        for block in blocks(&all, 0) {
            let of = |reject: &crate::format::RejectedRecord| {
                let at = block.records.as_ref().unwrap().at(reject.span.start);
                (
                    block.records.as_ref().unwrap().offsets[at],
                    reject.reject.reason,
                )
            };
            rejects.extend(decode(&source, block).rejects.iter().map(of));
        }
        rejects.retain(|(offset, _)| [1, 2].contains(offset));
        assert_eq!(
            rejects,
            [(1, Reason::Missing), (2, Reason::Malformed)],
            "{format}"
        );
    }
}

#[test]
fn what_comes_with_a_record_is_there_where_it_is_asked_for() {
    let Some(topic) = Topic::new("metadata", 2) else {
        return;
    };
    topic.write(&[
        Record {
            partition: 1,
            key: Some(b"k\xc3\xa9"),
            value: Some("{\"n\":1}"),
            timestamp: Some(1_500),
            headers: &[("a", Some("1")), ("b", None), ("a", Some("\"2\""))],
        },
        Record {
            timestamp: Some(2_500),
            value: None,
            ..record(1, "")
        },
    ]);
    let source = open(&topic.table(&metadata_types(), &[])).unwrap();

    let all = Reading::new(&source, &[(1, 0)]).read_to_end(&[1]);

    let records = blocks(&all, 1)[0].records.clone().unwrap();
    assert_eq!(records.timestamps, [1_500_000, 2_500_000]);
    let metadata = &records.metadata;
    let column = |name: &str| metadata.column_by_name(name).unwrap();
    assert_eq!(column("key").as_binary::<i32>().value(0), b"k\xc3\xa9");
    assert!(column("key").is_null(1));
    assert_eq!(
        column("partition").as_primitive::<Int32Type>().values(),
        &[1, 1]
    );
    assert_eq!(
        column("offset").as_primitive::<Int64Type>().values(),
        &[0, 1]
    );
    let times = column("timestamp").as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[1_500_000, 2_500_000]);
    let headers = column("headers").as_string::<i32>();
    assert_eq!(headers.value(0), r#"{"b":null,"a":"\"2\""}"#);
    assert_eq!(headers.value(1), "{}");
    assert_eq!(column("topic").as_string::<i32>().value(1), topic.name);
    let tombstones = column("tombstone").as_boolean();
    assert_eq!([0, 1].map(|row| tombstones.value(row)), [false, true]);
    let names: Vec<&String> = metadata
        .schema_ref()
        .fields()
        .iter()
        .map(|f| f.name())
        .collect();
    assert_eq!(
        names,
        [
            "key",
            "partition",
            "offset",
            "timestamp",
            "headers",
            "topic",
            "tombstone"
        ]
    );
}

#[test]
fn a_paused_partition_is_silent_and_loses_nothing() {
    let Some(topic) = Topic::new("pause", 2) else {
        return;
    };
    let texts = numbered(30_000, 0);
    write(&topic, 0, &texts);
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0), (1, 0)]);
    let mut all = reading.until(|all| !blocks(all, 0).is_empty());

    reading.consumer.pause(0).unwrap();
    all.extend(reading.during(Duration::from_millis(300)));
    let silent = reading.during(Duration::from_millis(300));
    write(&topic, 1, &numbered(2, 1));
    let other = reading.read_to_end(&[1]);
    reading.consumer.resume(0).unwrap();
    write(&topic, 0, &["last".to_owned()]);
    let rest = reading.until(|all| caught_up(all, 0) == Some(30_001));

    assert!(blocks(&silent, 0).is_empty() && caught_up(&silent, 0).is_none());
    assert_eq!(values(&other, 1).len(), 2);
    all.extend(silent);
    all.extend(other);
    all.extend(rest);
    let mut expected: Vec<(u64, String)> = (0..).zip(texts).collect();
    expected.push((30_000, "last".to_owned()));
    assert!(values(&all, 0) == expected, "{}", values(&all, 0).len());
}

#[test]
fn an_offset_lost_to_retention_is_an_error_that_counts_what_is_gone() {
    let Some(topic) = Topic::new("lost", 1) else {
        return;
    };
    write(&topic, 0, &numbered(10, 0));
    topic.remove_before(0, 6);

    let error = Reading::new(&topic.open(&[]), &[(0, 2)]).fails();

    let name = &topic.name;
    let expected = format!(
        "partition 0 of topic `{name}` begins at offset 6, but reading is to go on at 2: 4 records are gone"
    );
    assert_eq!(refusal::<()>(Err(error)).0, expected);
}

/// Ten records, written a second after each other from the beginning of time on.
fn written_by_the_second(topic: &Topic) {
    let texts = numbered(10, 0);
    let mut records: Vec<Record<'_>> = texts.iter().map(|text| record(0, text)).collect();
    for (at, record) in (0..).zip(&mut records) {
        // None is what a producer takes zero for.
        record.timestamp = Some((at * 1000).max(1));
    }
    topic.write(&records);
}

#[test]
fn a_topic_that_follows_files_is_read_from_its_first_record_on_whatever_its_startup_mode() {
    let Some(topic) = Topic::new("follows", 1) else {
        return;
    };
    written_by_the_second(&topic);
    let second = |at: i64| EventTime(at * 1_000_000);
    let following = |options: &[(&str, &str)], from| {
        let source = topic.open(options);
        let all = source.live().unwrap().following(second(from));
        all.map(|all| [all[0].first.0, all[0].since.0])
    };
    let latest = [("scan.startup.mode", "latest")];
    assert_eq!(following(&latest, 5).unwrap(), [0, 5]);
    let third = [
        ("scan.startup.mode", "timestamp"),
        ("scan.startup.timestamp", "3000"),
    ];
    // All of it is there if it begins before, and not if it begins later.
    assert_eq!(following(&third, 5).unwrap(), [3, 5]);
    assert_eq!(following(&third, 2).unwrap(), [0, 2]);

    topic.remove_before(0, 6);
    assert_eq!(following(&latest, 7).unwrap(), [6, 7]);
    assert_eq!(following(&latest, 100).unwrap(), [6, 10]);
    let (message, hint) = refusal(following(&latest, 6));
    let name = &topic.name;
    assert_eq!(
        message,
        format!(
            "partition 0 of topic `{name}` begins at offset 6 with a record that was written after --from: what is \
             gone may be from after it too"
        )
    );
    assert!(hint.contains("later --from"), "{hint}");
    assert_eq!(following(&[("offset.lost", "skip")], 6).unwrap(), [6, 6]);

    // Nothing is left to tell, and a quiet partition is no reason to refuse the others.
    topic.remove_before(0, 10);
    assert_eq!(following(&latest, 7).unwrap(), [10, 10]);
}

/// The oldest records of a topic go first while files are read for hours.
#[test]
fn what_is_lost_to_retention_is_missed_by_nobody_if_the_files_have_it() {
    let Some(topic) = Topic::new("without", 1) else {
        return;
    };
    written_by_the_second(&topic);
    topic.remove_before(0, 6);
    let reading = |before: u64| {
        let mut reading = Reading::new(&topic.open(&[]), &[(0, 2)]);
        reading.consumer.does_without(0, Offset(before));
        reading
    };

    for before in [6, 7, 10] {
        let all = reading(before).read_to_end(&[0]);
        let read = values(&all, 0).into_iter().map(|(offset, _)| offset);
        assert_eq!(read.collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert_eq!(blocks(&all, 0)[0].start, Offset(2));
    }
    // One of those that the files do not have is gone.
    let error = reading(5).fails();
    assert!(refusal::<()>(Err(error)).0.ends_with("4 records are gone"));

    topic.remove_before(0, 10);
    let all = reading(10).read_to_end(&[0]);
    assert!(blocks(&all, 0).is_empty());
    assert_eq!(caught_up(&all, 0), Some(10));
}

#[test]
fn lost_offsets_are_skipped_where_the_table_says_so() {
    let Some(topic) = Topic::new("skip", 1) else {
        return;
    };
    write(&topic, 0, &numbered(10, 0));
    topic.remove_before(0, 6);

    let source = topic.open(&[("offset.lost", "skip")]);
    let all = Reading::new(&source, &[(0, 2)]).read_to_end(&[0]);

    assert_eq!(
        values(&all, 0)
            .iter()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [6, 7, 8, 9]
    );
    assert_eq!(blocks(&all, 0)[0].start, Offset(2));
}

#[test]
fn a_position_beyond_the_end_is_an_error() {
    let Some(topic) = Topic::new("beyond", 1) else {
        return;
    };
    write(&topic, 0, &numbered(3, 0));

    let error = Reading::new(&topic.open(&[("offset.lost", "skip")]), &[(0, 9)]).fails();

    let (message, hint) = refusal::<()>(Err(error));
    assert!(message.contains("ends at offset 3, before 9"), "{message}");
    assert!(hint.contains("--fresh"), "{hint}");
}

#[test]
fn new_partitions_are_found_and_read_while_others_are() {
    let Some(topic) = Topic::new("grow", 1) else {
        return;
    };
    let source = topic.open(&[]);
    let live = source.live().unwrap();
    let mut reading = Reading::new(&source, &[(0, 0)]);
    reading.read_to_end(&[0]);
    assert_eq!(live.count_partitions().unwrap(), 1);

    topic.grow(3);
    assert_eq!(live.count_partitions().unwrap(), 3);
    reading.consumer.add(2, Offset(0)).unwrap();
    topic.write(&[record(2, "new"), record(0, "old")]);
    let all = reading.until(|all| caught_up(all, 2) == Some(1) && caught_up(all, 0) == Some(1));

    assert_eq!(values(&all, 2), [(0, "new".to_owned())]);
    assert_eq!(values(&all, 0), [(0, "old".to_owned())]);
}

#[test]
fn progress_is_shown_to_the_consumer_group() {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};
    let Some(topic) = Topic::new("progress", 1) else {
        return;
    };
    write(&topic, 0, &numbered(3, 0));
    let group = format!("group-{}", topic.name);
    let source = topic.open(&[("group.id", &group)]);
    let asker: BaseConsumer = topic.config().set("group.id", &group).create().unwrap();
    let clock = crate::types::Clock::machine();

    loop {
        source.live().unwrap().show_progress(&[(0, Offset(2))]);
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic.name, 0);
        let shown = asker.committed_offsets(list, super::kit::LIMIT).unwrap();
        if shown.elements()[0].offset() == Place::Offset(2) {
            break;
        }
        assert!(clock.elapsed() < super::kit::LIMIT, "never shown");
    }
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_is_found_by_who_looks_for_partitions() {
    let Some(topic) = Topic::new("deleted", 1) else {
        return;
    };
    let source = topic.open(&[]);
    let mut reading = Reading::new(&source, &[(0, 0)]);
    reading.read_to_end(&[0]);

    topic.delete();
    let (message, _) = refusal(source.live().unwrap().count_partitions());

    assert!(message.contains("does not exist"), "{message}");
}

#[test]
fn an_end_that_is_asked_for_is_said_again_and_records_that_came_go_before_it() {
    let Some(topic) = Topic::new("ask", 1) else {
        return;
    };
    write(&topic, 0, &numbered(3, 0));
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0)]);
    reading.read_to_end(&[0]);

    reading.consumer.ask(0).unwrap();
    let again = reading.until(|all| caught_up(all, 0) == Some(3));
    assert!(blocks(&again, 0).is_empty());

    write(&topic, 0, &["last".to_owned()]);
    reading.consumer.ask(0).unwrap();
    let all = reading.until(|all| caught_up(all, 0) == Some(4));
    assert_eq!(values(&all, 0), [(3, "last".to_owned())]);
}

#[test]
fn a_consumer_that_is_dropped_in_the_middle_ends() {
    let Some(topic) = Topic::new("dropped", 1) else {
        return;
    };
    write(&topic, 0, &numbered(50_000, 0));
    let mut reading = Reading::new(&topic.open(&[]), &[(0, 0)]);

    let all = reading.until(|all| !all.is_empty());
    reading.consumer.pause(0).unwrap();

    assert!(matches!(all[0], (0, Fetched::Block(_))));
}
