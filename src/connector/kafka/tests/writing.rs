//! Topics as a destination: each epoch once, whoever dies when.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::kit::{Kept, LIMIT, Topic, refusal, unique};
use crate::connector::kafka::marks::{TOPIC, Until, keeps, make, read};
use crate::connector::kafka::settings::Cluster;
use crate::connector::kafka::sink::KafkaSink;
use crate::connector::kafka::transaction::Transactions;
use crate::connector::open::SinkOrigin;
use crate::connector::{ConnectorError, Destination, TableChanges, fixtures, validate};
use crate::plan::{Role, Table};
use crate::types::{Clock, Epoch, Mark, Recipe};

pub fn sink_table(topic: &Topic, columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let mut all = vec![
        ("connector", "kafka"),
        ("topic", topic.name.as_str()),
        ("bootstrap.servers", topic.servers.as_str()),
        ("format", "json"),
    ];
    all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
    all.extend(options);
    fixtures::table(Role::Sink, columns, &all)
}

pub const PAIR: [(&str, DataType); 2] = [("id", DataType::Int64), ("name", DataType::Utf8)];

pub fn open(pipeline: &str, table: &Table) -> Result<KafkaSink, ConnectorError> {
    assert_eq!(validate(table), []);
    KafkaSink::from_origin(&SinkOrigin {
        pipeline,
        tables: vec![table],
        beside: Vec::new(),
        share: None,
        base: Path::new("."),
    })
}

fn rows(ids: &[i64], names: &[Option<&str>], table: &Table) -> RecordBatch {
    let ids = Int64Array::from_iter_values(ids.iter().copied());
    let names = StringArray::from(names.to_vec());
    RecordBatch::try_new(table.schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

fn inserts(rows: RecordBatch) -> TableChanges {
    TableChanges {
        table: 0,
        upserts: Some(rows),
        deletes: None,
    }
}

pub fn mark(epoch: u64, generation: u64, incarnation: u64) -> Mark {
    Mark {
        generation,
        incarnation,
        life: 0,
        epoch: Epoch(epoch),
        recipe: Recipe {
            fingerprint: "plan".to_owned(),
            ..Recipe::default()
        },
        sources: BTreeMap::new(),
    }
}

fn kept(key: Option<&str>, value: Option<&str>) -> Kept {
    (
        key.map(str::to_owned),
        value.map(str::to_owned),
        "{}".to_owned(),
    )
}

/// As a cluster makes a topic whose maker does not say how it is kept.
#[test]
fn marks_are_not_entrusted_to_a_topic_that_forgets_them() {
    for (policy, milliseconds, is_kept) in [
        ("compact", "604800000", true),
        ("delete", "604800000", false),
        ("compact,delete", "604800000", false),
        ("compact,delete", "-1", true),
    ] {
        let settings = [
            ("cleanup.policy", policy),
            ("retention.ms", milliseconds),
            ("retention.bytes", "-1"),
        ];
        let Some(topic) = Topic::with("keeps_marks", 1, &settings) else {
            return;
        };
        let table = sink_table(&topic, &PAIR, &[]);

        let outcome = keeps(&Cluster::of(&table).unwrap(), &topic.name);

        assert_eq!(outcome.is_ok(), is_kept, "{policy}: {outcome:?}");
        if !is_kept {
            let (message, hint) = refusal(outcome);
            assert!(message.contains("forgets"), "{message}");
            assert!(hint.contains("cleanup.policy=compact"), "{hint}");
        }
    }
}

#[test]
fn what_was_published_is_there_once_and_the_next_start_knows_how_far() {
    let Some(topic) = Topic::new("sink", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut first = open(&pipeline, &table).unwrap();
    assert_eq!(first.peek().unwrap(), None);

    assert_eq!(first.take_over(7).unwrap(), None);
    let one = inserts(rows(&[1, 2], &[Some("a"), None], &table));
    first.publish(&mark(1, 1, 7), &[one]).unwrap();
    let two = inserts(rows(&[3], &[Some("c")], &table));
    first.publish(&mark(2, 1, 7), &[two]).unwrap();
    let mut second = open(&pipeline, &table).unwrap();

    assert_eq!(second.peek().unwrap(), Some(mark(2, 1, 7)));
    assert_eq!(second.take_over(8).unwrap(), Some(mark(2, 2, 8)));
    let expected = [
        "{\"id\":1,\"name\":\"a\"}",
        "{\"id\":2,\"name\":null}",
        "{\"id\":3,\"name\":\"c\"}",
    ];
    let expected = expected.map(|value| kept(None, Some(value)));
    assert_eq!(topic.committed(), expected);
}

#[test]
fn who_was_taken_over_from_publishes_nothing_any_more() {
    let Some(topic) = Topic::new("fenced", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut old = open(&pipeline, &table).unwrap();
    old.take_over(1).unwrap();
    old.publish(&mark(1, 1, 1), &[inserts(rows(&[1], &[None], &table))])
        .unwrap();

    let mut new = open(&pipeline, &table).unwrap();
    new.take_over(2).unwrap();
    let outcome = old.publish(&mark(2, 1, 1), &[inserts(rows(&[2], &[None], &table))]);
    new.publish(&mark(2, 2, 2), &[inserts(rows(&[3], &[None], &table))])
        .unwrap();

    assert!(
        matches!(
            outcome,
            Err(ConnectorError::Fenced {
                epoch: Epoch(2),
                ..
            })
        ),
        "{outcome:?}"
    );
    old.lose_contact();
    let outcome = old.publish(&mark(2, 1, 1), &[]);
    assert!(
        matches!(outcome, Err(ConnectorError::Fenced { .. })),
        "{outcome:?}"
    );
    new.publish(&mark(3, 2, 2), &[]).unwrap();
    assert_eq!(topic.committed().len(), 2);
}

/// A cluster says the same to a producer whose transaction was open for too long as to one whose name
/// another one took: the mark knows which it was.
#[test]
fn a_producer_that_was_dropped_without_anybody_taking_over_begins_anew() {
    let Some(topic) = Topic::new("dropped", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut sink = open(&pipeline, &table).unwrap();
    sink.take_over(1).unwrap();
    let cluster = Cluster::new(&topic.servers, std::iter::empty());
    let name = format!("tidemark-{pipeline}");
    drop(Transactions::open(&cluster, &name, &[]).unwrap());

    let publish = |sink: &mut KafkaSink| {
        sink.publish(&mark(1, 1, 1), &[inserts(rows(&[1], &[None], &table))])
    };
    let first = publish(&mut sink);
    let second = publish(&mut sink);

    assert!(
        matches!(first, Err(ConnectorError::Transient(_))),
        "{first:?}"
    );
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(topic.committed().len(), 1);
}

/// Publishes after what was refused, as a run does: a broker may not know at once that the transaction before is
/// over, and says that it may be tried again.
fn in_the_end(sink: &mut KafkaSink, changes: &TableChanges) {
    let changes = std::slice::from_ref(changes);
    loop {
        match sink.publish(&mark(1, 1, 1), changes) {
            Err(ConnectorError::Transient(_)) => {}
            outcome => return outcome.unwrap(),
        }
    }
}

#[test]
fn a_row_that_is_larger_than_a_record_may_be_is_refused_for_good() {
    let Some(topic) = Topic::new("large", 1) else {
        return;
    };
    let options = [("kafka.message.max.bytes", "2000")];
    let table = sink_table(&topic, &PAIR, &options);
    let mut sink = open(&unique(), &table).unwrap();
    sink.take_over(1).unwrap();

    let large = "x".repeat(3000);
    let large = inserts(rows(&[1], &[Some(&large)], &table));
    let outcome = sink.publish(&mark(1, 1, 1), &[large]);
    let Err(ConnectorError::Permanent { message, hint }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(message.contains("a record of 3"), "{message}");
    assert!(hint.unwrap().starts_with("'kafka.message.max.bytes'"));
    in_the_end(&mut sink, &inserts(rows(&[1], &[None], &table)));
}

#[test]
fn a_row_that_is_too_large_is_refused_also_behind_many_that_are_not() {
    let Some(topic) = Topic::new("large_last", 1) else {
        return;
    };
    let options = [("kafka.message.max.bytes", "2000")];
    let table = sink_table(&topic, &PAIR, &options);
    let mut sink = open(&unique(), &table).unwrap();
    sink.take_over(1).unwrap();

    let (ids, large) = ((0..5001).collect::<Vec<i64>>(), "x".repeat(3000));
    let mut names = vec![None; 5000];
    names.push(Some(large.as_str()));
    let outcome = sink.publish(&mark(1, 1, 1), &[inserts(rows(&ids, &names, &table))]);

    let (message, hint) = refusal(outcome);
    assert!(message.contains("a record of 3"), "{message}");
    assert!(hint.starts_with("'kafka.message.max.bytes'"), "{hint}");
    in_the_end(&mut sink, &inserts(rows(&[1], &[None], &table)));
    assert_eq!(topic.committed().len(), 1);
}

#[test]
fn what_the_broker_finds_too_large_is_refused_at_the_first_try() {
    let Some(topic) = Topic::with("large_there", 1, &[("max.message.bytes", "2000")]) else {
        return;
    };
    let table = sink_table(&topic, &PAIR, &[]);
    let mut sink = open(&unique(), &table).unwrap();
    sink.take_over(1).unwrap();

    // Nothing that compression makes small.
    let mut state = 1_u64;
    let mut digit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    };
    let large: String = (0..9000).map(|_| digit()).collect();
    let large = inserts(rows(&[1], &[Some(&large)], &table));
    let (message, hint) = refusal(sink.publish(&mark(1, 1, 1), &[large]));

    assert!(message.contains("MessageSizeTooLarge"), "{message}");
    assert!(hint.contains("max.message.bytes"), "{hint}");
}

#[test]
fn a_cluster_that_one_start_knows_by_two_names_is_refused() {
    let Some(topic) = Topic::new("two_names", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut sinks = [
        open(&pipeline, &table).unwrap(),
        open(&pipeline, &table).unwrap(),
    ];
    sinks[0].take_over(7).unwrap();

    let outcome = sinks[1].take_over(7);

    assert!(
        matches!(&outcome, Err(ConnectorError::Permanent { message, .. }) if message.contains("by another name")),
        "{outcome:?}"
    );
}

#[test]
fn a_topic_that_is_gone_is_not_made_anew_behind_a_mark() {
    let Some(topic) = Topic::new("gone", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[("partitions", "1")]));
    let mut sink = open(&pipeline, &table).unwrap();
    sink.take_over(1).unwrap();
    let changes = [inserts(rows(&[1], &[None], &table))];
    sink.publish(&mark(1, 1, 1), &changes).unwrap();
    topic.delete();

    let clock = Clock::machine();
    let found = loop {
        // A broker may have it for another moment.
        let found = open(&pipeline, &table).unwrap().inspect().unwrap();
        if !found.is_empty() {
            break found;
        }
        assert!(clock.elapsed() < LIMIT, "it is not gone");
    };
    for _ in 0..2 {
        let outcome = open(&pipeline, &table).unwrap().take_over(2);
        let (message, hint) = refusal(outcome);
        assert!(message.contains("is gone, but the mark says"), "{message}");
        assert!(hint.contains("--fresh"), "{hint}");
    }
    assert!(found[0].message.contains("is gone, but"), "{found:?}");
    sink.empty().unwrap();
    assert_eq!(open(&pipeline, &table).unwrap().take_over(3).unwrap(), None);
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_done_again() {
    let Some(topic) = Topic::new("unknown", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut sink = open(&pipeline, &table).unwrap();
    sink.take_over(1).unwrap();
    let changes = |id| [inserts(rows(&[id], &[None], &table))];
    sink.publish(&mark(5, 1, 1), &changes(5)).unwrap();

    sink.lose_contact();
    sink.publish(&mark(5, 1, 1), &changes(5)).unwrap();
    sink.lose_contact();
    sink.publish(&mark(6, 1, 1), &changes(6)).unwrap();

    assert_eq!(sink.peek().unwrap(), Some(mark(6, 1, 1)));
    let values: Vec<_> = topic
        .committed()
        .into_iter()
        .map(|(_, value, _)| value.unwrap())
        .collect();
    assert_eq!(
        values,
        ["{\"id\":5,\"name\":null}", "{\"id\":6,\"name\":null}"]
    );
}

#[test]
fn a_keyed_table_is_a_changelog_with_tombstones() {
    let Some(topic) = Topic::new("keyed", 1) else {
        return;
    };
    let mut table = sink_table(&topic, &PAIR, &[("format", "csv")]);
    table.primary_key = vec![0];
    let mut sink = open(&unique(), &table).unwrap();
    sink.take_over(1).unwrap();

    sink.publish(
        &mark(1, 1, 1),
        &[inserts(rows(&[1, 2], &[Some("a"), Some("b,b")], &table))],
    )
    .unwrap();
    let gone = rows(&[1], &[None], &table).project(&[0]).unwrap();
    let changes = TableChanges {
        deletes: Some(gone),
        ..inserts(rows(&[2], &[Some("c")], &table))
    };
    sink.publish(&mark(2, 1, 1), &[changes]).unwrap();

    let expected = [
        kept(Some("1"), Some("1,a")),
        kept(Some("2"), Some("2,\"b,b\"")),
        kept(Some("1"), None),
        kept(Some("2"), Some("2,c")),
    ];
    assert_eq!(topic.committed(), expected);
}

#[test]
fn a_key_of_several_columns_is_an_object_and_one_that_is_null_is_none() {
    let Some(topic) = Topic::new("keys", 1) else {
        return;
    };
    let several = sink_table(&topic, &PAIR, &[("key", "name, id")]);
    let one = sink_table(&topic, &PAIR, &[("key", "name")]);
    let object = sink_table(&topic, &PAIR, &[("key", "id"), ("key.format", "json")]);
    for table in [&several, &one, &object] {
        let mut sink = open(&unique(), table).unwrap();
        sink.take_over(1).unwrap();
        sink.publish(&mark(1, 1, 1), &[inserts(rows(&[1], &[None], table))])
            .unwrap();
    }

    let keys: Vec<_> = topic
        .committed()
        .into_iter()
        .map(|(key, _, _)| key)
        .collect();
    let expected = [Some("{\"name\":null,\"id\":1}"), None, Some("{\"id\":1}")];
    assert_eq!(keys, expected.map(|key| key.map(str::to_owned)));
}

#[test]
fn raw_writes_the_payload_as_it_stands_and_the_rest_as_headers() {
    let Some(topic) = Topic::new("raw", 1) else {
        return;
    };
    let columns = [
        ("reason", DataType::Utf8),
        ("payload", DataType::Binary),
        ("offset", DataType::Int64),
    ];
    let table = sink_table(&topic, &columns, &[("format", "raw")]);
    let rows = RecordBatch::try_new(
        table.schema(),
        vec![
            Arc::new(StringArray::from(vec![Some("malformed"), None])),
            Arc::new(BinaryArray::from(vec![Some(b"{oops".as_slice()), None])),
            Arc::new(Int64Array::from(vec![42, 43])),
        ],
    );
    let mut sink = open(&unique(), &table).unwrap();
    sink.take_over(1).unwrap();

    sink.publish(&mark(1, 1, 1), &[inserts(rows.unwrap())])
        .unwrap();

    let expected = [
        (
            None,
            Some("{oops".to_owned()),
            r#"{"reason":"malformed","offset":"42"}"#.to_owned(),
        ),
        (None, None, r#"{"offset":"43"}"#.to_owned()),
    ];
    assert_eq!(topic.committed(), expected);
}

#[test]
fn a_missing_topic_is_found_by_a_look_and_made_where_the_table_says_so() {
    let Some(topic) = Topic::new("wanted", 1) else {
        return;
    };
    let name = format!("{}-other", topic.name);
    let missing = sink_table(&topic, &PAIR, &[("topic", &name)]);
    let sink = open(&unique(), &missing).unwrap();
    let findings = sink.inspect().unwrap();
    assert!(
        findings[0]
            .message
            .starts_with(&format!("topic `{name}` does not exist"))
    );
    assert!(
        findings[0]
            .hint
            .as_ref()
            .unwrap()
            .starts_with("partitions = '6' creates it")
    );

    let made = sink_table(&topic, &PAIR, &[("topic", &name), ("partitions", "2")]);
    let mut sink = open(&unique(), &made).unwrap();
    assert_eq!(sink.inspect().unwrap(), []);
    sink.take_over(1).unwrap();

    let there = open(&unique(), &missing).unwrap();
    assert_eq!(there.inspect().unwrap(), []);
}

#[test]
fn a_fresh_start_forgets_the_mark_and_fences_who_still_publishes() {
    let Some(topic) = Topic::new("fresh", 1) else {
        return;
    };
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut old = open(&pipeline, &table).unwrap();
    old.take_over(1).unwrap();
    old.publish(&mark(1, 1, 1), &[]).unwrap();

    let mut new = open(&pipeline, &table).unwrap();
    new.empty().unwrap();

    let outcome = old.publish(&mark(2, 1, 1), &[]);
    assert!(
        matches!(outcome, Err(ConnectorError::Fenced { .. })),
        "{outcome:?}"
    );
    assert_eq!(new.take_over(2).unwrap(), None);
}

#[test]
fn a_transaction_of_someone_else_does_not_hide_the_last_mark() {
    let Some(topic) = Topic::new("hidden", 1) else {
        return;
    };
    let cluster = Cluster::new(&topic.servers, std::iter::empty());
    make(&cluster).unwrap();
    let (pipeline, table) = (unique(), sink_table(&topic, &PAIR, &[]));
    let mut config = topic.config();
    config.set("transactional.id", unique());
    let other: BaseProducer = config.create().unwrap();
    other.init_transactions(LIMIT).unwrap();
    other.begin_transaction().unwrap();
    let record = BaseRecord::to(TOPIC)
        .key("someone")
        .payload("else")
        .partition(0);
    other.send(record).map_err(|(error, _)| error).unwrap();
    other.flush(LIMIT).unwrap();

    let mut sink = open(&pipeline, &table).unwrap();
    let seen = std::thread::scope(|scope| {
        // The start waits for the other transaction, which would hide the mark of a third one.
        let start = scope.spawn(|| {
            sink.take_over(1).unwrap();
            sink.publish(&mark(1, 1, 1), &[]).unwrap();
            read(&cluster, &pipeline, Until::End).unwrap()
        });
        read(&cluster, &pipeline, Until::Settled).unwrap();
        other.commit_transaction(LIMIT).unwrap();
        start.join().unwrap()
    });

    assert!(seen.contains_key(&pipeline));
}

/// It may pass.
fn is_away(error: &ConnectorError) -> bool {
    matches!(
        error,
        ConnectorError::Transient(_) | ConnectorError::Away { .. }
    )
}

#[test]
fn a_broker_that_is_away_is_no_end_and_what_it_missed_is_published_later() {
    let cluster = MockCluster::new(1).unwrap();
    let topic = Topic::at(cluster.bootstrap_servers());
    cluster.create_topic(&topic.name, 1, 1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let short = [
        ("kafka.transaction.timeout.ms", "2000"),
        ("kafka.socket.timeout.ms", "2000"),
    ];
    let table = sink_table(&topic, &PAIR, &short);
    let mut sink = open("p", &table).unwrap();
    sink.take_over(1).unwrap();
    let changes = |id| [inserts(rows(&[id], &[None], &table))];
    sink.publish(&mark(1, 1, 1), &changes(1)).unwrap();

    cluster.broker_down(1).unwrap();
    let outcome = sink.publish(&mark(2, 1, 1), &changes(2));
    let again = sink.publish(&mark(2, 1, 1), &changes(2));
    cluster.broker_up(1).unwrap();
    let clock = Clock::machine();
    while let Err(error) = sink.publish(&mark(2, 1, 1), &changes(2)) {
        assert!(is_away(&error), "{error}");
        assert!(clock.elapsed() < LIMIT, "{error}");
    }

    assert!(
        matches!(
            outcome,
            Err(ref error) if is_away(error)
        ),
        "{outcome:?}"
    );
    assert!(
        matches!(again, Err(ref error) if is_away(error)),
        "{again:?}"
    );
    assert_eq!(sink.peek().unwrap(), Some(mark(2, 1, 1)));
}

#[test]
fn options_of_a_key_that_cannot_be_are_refused() {
    let topic = Topic::at("127.0.0.1:1".to_owned());
    let mut keyed = sink_table(&topic, &PAIR, &[("key", "id")]);
    keyed.primary_key = vec![0];
    let text = sink_table(&topic, &PAIR, &[("key", "id,name"), ("key.format", "raw")]);
    let raw = sink_table(&topic, &PAIR, &[("format", "raw")]);
    let unknown = sink_table(&topic, &PAIR, &[("key", "nobody")]);

    let said = [&keyed, &text, &raw, &unknown].map(|table| refusal(open("p", table)).0);

    assert!(
        said[0].contains("has a PRIMARY KEY, which is the key"),
        "{}",
        said[0]
    );
    assert!(said[1].contains("several columns"), "{}", said[1]);
    assert!(said[2].contains("one column as it stands"), "{}", said[2]);
    assert!(said[3].contains("has no such column"), "{}", said[3]);
}
