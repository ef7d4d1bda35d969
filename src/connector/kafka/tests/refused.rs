//! What is wrong is said at the start, with the option to look at.

use arrow::datatypes::DataType;

use super::kit::{Topic, open, refusal};
use crate::connector::{fixtures, validate};
use crate::plan::Role;

#[test]
fn a_topic_that_is_not_there_suggests_the_one_that_was_meant() {
    let Some(topic) = Topic::new("missing", 1) else {
        return;
    };
    let meant = topic.name.clone();
    let wrong = meant.replace("missing", "mising");

    let (message, hint) = refusal(topic.inspect(&[("topic", &wrong)]));

    let servers = &topic.servers;
    assert_eq!(
        message,
        format!("topic `{wrong}` does not exist at `{servers}`")
    );
    assert_eq!(hint, format!("did you mean `{meant}`?"));
}

#[test]
fn a_topic_that_is_like_no_other_is_to_be_made() {
    // Whatever else is there.
    let Some(topic) = Topic::new("unlike", 1) else {
        return;
    };

    let (_, hint) = refusal(topic.inspect(&[("topic", &"zq0".repeat(20))]));

    let make = "make it first, as with `tidemark produce --topic NAME --partitions N`; ";
    let there = hint.strip_prefix(make).expect(&hint);
    assert!(there.split('`').count() <= 17, "{there}");
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_option() {
    let topic = Topic::at("127.0.0.1:1".to_owned());

    let (message, hint) = refusal(open(&topic.table(&[], &[])));

    assert!(
        message.starts_with("cannot reach Kafka at `127.0.0.1:1`: "),
        "{message}"
    );
    assert!(hint.contains("'bootstrap.servers'"), "{hint}");
}

#[test]
fn a_login_that_the_broker_does_not_want_is_named() {
    let Some(topic) = Topic::new("login", 1) else {
        return;
    };
    let options = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "me"),
        ("sasl.password", "secret"),
    ];

    let (message, _) = refusal(topic.inspect(&options));

    assert!(message.contains(&topic.servers), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn a_setting_that_librdkafka_does_not_know_is_named() {
    let topic = Topic::at("127.0.0.1:1".to_owned());

    let (message, hint) = refusal(open(
        &topic.table(&[], &[("kafka.fetch.wait.maximum", "5")]),
    ));

    assert!(message.contains("`fetch.wait.maximum`"), "{message}");
    assert_eq!(hint, "correct the option 'kafka.fetch.wait.maximum'");
}

#[test]
fn an_offset_for_a_partition_that_is_not_there_is_refused() {
    let Some(topic) = Topic::new("offsets", 2) else {
        return;
    };
    let options = [
        ("scan.startup.mode", "offsets"),
        ("scan.startup.offsets", "2:5"),
    ];

    let (message, _) = refusal(topic.inspect(&options));

    assert!(message.contains("names partition 2, but"), "{message}");
}

fn problems(options: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![
        ("connector", "kafka"),
        ("topic", "t"),
        ("bootstrap.servers", "b:1"),
        ("format", "csv"),
    ];
    all.extend(options);
    let table = fixtures::table(Role::Source, &[("n", DataType::Int64)], &all);
    validate(&table)
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

#[test]
fn options_that_do_not_go_together_are_refused_before_anyone_is_asked() {
    let refused = |options: &[(&str, &str)], expected: &str| {
        let found = problems(options);
        assert!(
            found.iter().any(|message| message.contains(expected)),
            "{found:?}"
        );
    };

    assert_eq!(problems(&[("kafka.client.id", "me")]), Vec::<String>::new());
    refused(
        &[("scan.startup.mode", "timestamp")],
        "needs the option `scan.startup.timestamp`",
    );
    refused(
        &[("scan.startup.offsets", "0:1")],
        "only with 'scan.startup.mode' = 'offsets'",
    );
    let mode = ("scan.startup.mode", "offsets");
    refused(
        &[mode, ("scan.startup.offsets", "0=1")],
        "no list such as `0:42,1:300`",
    );
    refused(
        &[("kafka.isolation.level", "read_uncommitted")],
        "cannot be chosen",
    );
    refused(
        &[("kafka.sasl.username", "me")],
        "write it without `kafka.`",
    );
    refused(&[("csv.header", "true")], "no line of names");
    refused(&[("scan.startup.mode", "group-offsets")], "must be one of");
    refused(&[("kafka.", "x")], "unknown option");
}
