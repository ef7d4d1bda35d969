//! A topic whose records are versions of their keys: one without a value ends its key.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rusqlite::types::Value;

use crate::services::kafka;
use crate::support::{Exit, tables, tidemark};

const LIMIT: Duration = Duration::from_secs(60);

const PIPELINE: &str = "
CREATE TABLE rates (
  currency TEXT METADATA FROM 'key', rate INT,
  since TIMESTAMP(3) METADATA FROM 'timestamp', gone BOOLEAN METADATA FROM 'tombstone',
  PRIMARY KEY (currency), WATERMARK FOR since AS since
) WITH (connector = 'kafka', topic = '${TOPIC}', 'bootstrap.servers' = '${KAFKA}', format = 'json');
CREATE TABLE orders (at TIMESTAMP, currency TEXT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'orders.csv', format = 'csv');
CREATE TABLE priced (at TIMESTAMP, currency TEXT, rate INT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE found (at TIMESTAMP) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE deletions (currency TEXT, rate INT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO priced SELECT o.at, o.currency, r.rate
FROM orders o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.at AS r ON r.currency = o.currency;
INSERT INTO found SELECT o.at
FROM orders o JOIN rates FOR SYSTEM_TIME AS OF o.at AS r ON r.currency = o.currency;
INSERT INTO deletions SELECT currency, rate FROM rates WHERE gone;
";

/// The answer of an administrator, who does not keep one waiting for longer than the limit.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(answer) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return answer;
        }
        std::thread::yield_now();
    }
}

/// A record: when, key, value.
pub type Record<'a> = (i64, &'a str, Option<&'a str>);

/// A topic of these records.
pub fn write(servers: &str, topic: &str, records: &[Record<'_>]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let made = wait(admin.create_topics([&new], &options)).unwrap();
    assert!(made[0].is_ok(), "{made:?}");
    send(servers, topic, records);
}

/// Sends records to a topic that is there.
pub fn send(servers: &str, topic: &str, records: &[Record<'_>]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    let producer: BaseProducer = config.create().unwrap();
    for (at, key, value) in records {
        let record = BaseRecord::<str, str>::to(topic).key(key).timestamp(*at);
        let record = match value {
            Some(value) => record.payload(*value),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

#[test]
fn a_record_without_a_value_ends_the_version_of_its_key() {
    let Some(servers) = kafka("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unique = folder.path().file_name().unwrap().to_str().unwrap();
    let topic = format!("versions-{}", unique.trim_start_matches('.'));
    let records = [
        (1000, "EUR", Some("{\"rate\": 1}")),
        (2000, "USD", Some("{\"rate\": 2}")),
        (3000, "EUR", None),
        (4000, "EUR", Some("{\"rate\": 4}")),
        (9000, "USD", None),
    ];
    write(&servers, &topic, &records);
    let orders = "at,currency\n\
                  1970-01-01 00:00:00.5,EUR\n1970-01-01 00:00:01,EUR\n1970-01-01 00:00:03.5,EUR\n\
                  1970-01-01 00:00:04.5,EUR\n1970-01-01 00:00:05,USD\n1970-01-01 00:00:09.5,USD\n";
    std::fs::write(folder.path().join("orders.csv"), orders).unwrap();
    std::fs::write(folder.path().join("versions.sql"), PIPELINE).unwrap();

    let arguments = [
        "run",
        "versions.sql",
        "--until-caught-up",
        "--close-windows",
    ];
    let variables = [("TOPIC", topic.as_str()), ("KAFKA", servers.as_str())];
    let ran = tidemark(folder.path(), &arguments, &variables);

    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);
    let expected = [
        "deletions: EUR NULL",
        "deletions: USD NULL",
        "found: 1970-01-01 00:00:01",
        "found: 1970-01-01 00:00:04.5",
        "found: 1970-01-01 00:00:05",
        "priced: 1970-01-01 00:00:00.5 EUR NULL",
        "priced: 1970-01-01 00:00:01 EUR 1",
        "priced: 1970-01-01 00:00:03.5 EUR NULL",
        "priced: 1970-01-01 00:00:04.5 EUR 4",
        "priced: 1970-01-01 00:00:05 USD 2",
        "priced: 1970-01-01 00:00:09.5 USD NULL",
    ];
    assert_eq!(told(folder.path()), expected);
}

/// Every row of every table of `out.db`.
pub fn told(folder: &Path) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Real(_) | Value::Blob(_) => unreachable!("no column is one"),
    };
    let mut told = Vec::new();
    for table in tables(&folder.join("out.db")) {
        for row in table.rows {
            let row: Vec<String> = row.iter().map(text).collect();
            told.push(format!("{}: {}", table.name, row.join(" ")));
        }
    }
    told
}
