//! Topics with records in them, and what a consumer makes of them.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset as Place, TopicPartitionList};

use crate::connector::fixtures;
use crate::connector::{
    ConnectorError, Consumer, Fetched, Reads, SharedSource, inspect_source, open_source,
};
use crate::format::{Block, Decoded, METADATA};
use crate::plan::{Column, Place as FilePlace, Role, Table};
use crate::types::{Clock, Offset};

/// No answer takes longer, or the test fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The address of the broker, or None where there is none: the test is skipped then, unless
/// `scripts/test` runs it.
pub fn broker(test: &str) -> Option<String> {
    let found = variable("TIDEMARK_TEST_KAFKA");
    if found.is_none() {
        let required = std::env::var_os("TIDEMARK_TEST_SERVICES").is_some();
        assert!(!required, "{test} needs Kafka, which is not up");
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test} needs Kafka; `scripts/services up kafka` starts it"
        );
    }
    found
}

fn variable(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".services/env");
    let text = std::fs::read_to_string(file).ok()?;
    let start = format!("export {name}=");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.map(str::to_owned)
}

/// Key, value and headers of a record.
pub type Kept = (Option<String>, Option<String>, String);

/// A topic of the test's own.
pub struct Topic {
    pub servers: String,
    pub name: String,
}

/// What to write as one record.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a str>,
    pub timestamp: Option<i64>,
    pub headers: &'a [(&'a str, Option<&'a str>)],
}

pub fn record(partition: i32, value: &str) -> Record<'_> {
    Record {
        partition,
        value: Some(value),
        ..Record::default()
    }
}

impl Topic {
    /// A new topic at the real broker, if there is one.
    pub fn new(test: &str, partitions: usize) -> Option<Self> {
        Self::with(test, partitions, &[])
    }

    /// As `new`, with settings of the topic.
    pub fn with(test: &str, partitions: usize, settings: &[(&str, &str)]) -> Option<Self> {
        let topic = Self {
            servers: broker(test)?,
            name: format!("{test}-{}", unique()),
        };
        topic.make(partitions, settings);
        Some(topic)
    }

    fn make(&self, partitions: usize, settings: &[(&str, &str)]) {
        let partitions = i32::try_from(partitions).unwrap();
        // The broker removes records by their own timestamps, and some tests write old ones.
        let mut new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "-1");
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let created = self.admin(|admin, options| admin.create_topics([&new], options));
        created.unwrap().remove(0).unwrap();
    }

    /// Deletes it, and makes another one of its name.
    pub fn make_anew(&self, partitions: usize) {
        self.delete();
        self.make(partitions, &[]);
    }

    /// A topic of a mock cluster, which has as many partitions as asked for.
    pub fn at(servers: String) -> Self {
        let name = "topic".to_owned();
        Self { servers, name }
    }

    fn admin<T, F: Future<Output = T>>(
        &self,
        work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> F,
    ) -> T {
        let admin: AdminClient<_> = self.config().create().unwrap();
        let options = AdminOptions::new()
            .operation_timeout(Some(LIMIT))
            .request_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work(&admin, &options))
    }

    pub fn grow(&self, partitions: usize) {
        let new = NewPartitions::new(&self.name, partitions);
        let grown = self.admin(|admin, options| admin.create_partitions([&new], options));
        grown.unwrap().remove(0).unwrap();
    }

    /// What retention does.
    pub fn remove_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Place::Offset(offset))
            .unwrap();
        let removed = self.admin(|admin, options| admin.delete_records(&list, options));
        removed.unwrap().elements()[0].error().unwrap();
    }

    pub fn delete(&self) {
        let name = self.name.as_str();
        let deleted = self.admin(|admin, options| admin.delete_topics(&[name], options));
        deleted.unwrap().remove(0).unwrap();
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// Writes records, and waits until they are there.
    pub fn write(&self, records: &[Record<'_>]) {
        let producer: BaseProducer = self.config().set("linger.ms", "5").create().unwrap();
        self.send(&producer, records);
        producer.flush(LIMIT).unwrap();
    }

    fn send(&self, producer: &BaseProducer, records: &[Record<'_>]) {
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in record.headers {
                headers = headers.insert(Header { key, value: *value });
            }
            let mut sent: BaseRecord<'_, [u8], str> = BaseRecord::to(&self.name)
                .partition(record.partition)
                .headers(headers);
            sent.key = record.key;
            sent.payload = record.value;
            sent.timestamp = record.timestamp;
            producer.send(sent).map_err(|(error, _)| error).unwrap();
        }
    }

    /// Writes records in a transaction, which is committed or not.
    pub fn transaction(&self, records: &[Record<'_>], commit: bool) {
        let mut config = self.config();
        config.set("transactional.id", format!("test-{}", unique()));
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        self.send(&producer, records);
        producer.flush(LIMIT).unwrap();
        if commit {
            producer.commit_transaction(LIMIT).unwrap();
        } else {
            producer.abort_transaction(LIMIT).unwrap();
        }
    }

    /// A source table on the topic: `n BIGINT`, and these columns that come with a record.
    pub fn table(&self, metadata: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
        let mut all = vec![
            ("connector", "kafka"),
            ("topic", self.name.as_str()),
            ("bootstrap.servers", self.servers.as_str()),
            ("format", "json"),
        ];
        all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
        all.extend(options);
        let mut table = fixtures::table(Role::Source, &[("n", DataType::Int64)], &all);
        for (what, data_type) in metadata {
            let marked = HashMap::from([(METADATA.to_owned(), (*what).to_owned())]);
            let field = Field::new(*what, data_type.clone(), true).with_metadata(marked);
            table.columns.push(Column {
                field: Arc::new(field),
                computed: None,
                place: FilePlace::default(),
            });
        }
        table
    }

    pub fn open(&self, options: &[(&str, &str)]) -> SharedSource {
        open(&self.table(&[], options)).unwrap()
    }

    /// Everything that is committed in partition 0, as (key, value, headers).
    pub fn committed(&self) -> Vec<Kept> {
        let options = [("format", "csv")];
        let mut kept = Vec::new();
        let types = metadata_types();
        let wanted = [types[0].clone(), types[4].clone()];
        let source = open(&self.table(&wanted, &options)).unwrap();
        let all = Reading::new(&source, &[(0, 0)]).read_to_end(&[0]);
        for block in blocks(&all, 0) {
            let records = block.records.as_ref().unwrap();
            let keys = records.metadata.column(0).as_binary::<i32>();
            let headers = records.metadata.column(1).as_string::<i32>();
            for at in 0..records.len() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let value = text(&block.bytes[records.bytes(at)]);
                kept.push((
                    keys.is_valid(at).then(|| text(keys.value(at))),
                    (!records.is_tombstone(at)).then_some(value),
                    headers.value(at).to_owned(),
                ));
            }
        }
        kept
    }

    /// What `tidemark check` says.
    pub fn inspect(&self, options: &[(&str, &str)]) -> Result<(), ConnectorError> {
        inspect_source(&self.table(&[], options), &[0], Path::new("."))
    }
}

pub fn open(table: &Table) -> Result<SharedSource, ConnectorError> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    open_source(table, &columns, Path::new("."), &Clock::machine())
}

/// A name that no other test has: topics outlive a test, and so do transactional ids.
pub fn unique() -> String {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    name.trim_start_matches('.').to_owned()
}

pub fn metadata_types() -> [(&'static str, DataType); 7] {
    [
        ("key", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        (
            "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, None),
        ),
        ("headers", DataType::Utf8),
        ("topic", DataType::Utf8),
        ("tombstone", DataType::Boolean),
    ]
}

/// What a consumer has said, by partition.
pub struct Reading {
    pub consumer: Box<dyn Consumer>,
    clock: Clock,
}

impl Reading {
    pub fn new(source: &SharedSource, from: &[(usize, u64)]) -> Self {
        Self::with(Reads::On, source, from)
    }

    pub fn with(reads: Reads, source: &SharedSource, from: &[(usize, u64)]) -> Self {
        let from: Vec<(usize, Offset)> = from.iter().map(|&(p, o)| (p, Offset(o))).collect();
        Self {
            consumer: source.live().unwrap().consumer(&from, reads).unwrap(),
            clock: Clock::machine(),
        }
    }

    /// Everything until `enough` says so.
    pub fn until(
        &mut self,
        mut enough: impl FnMut(&[(usize, Fetched)]) -> bool,
    ) -> Vec<(usize, Fetched)> {
        let mut all = Vec::new();
        while !enough(&all) {
            assert!(
                self.clock.elapsed() < LIMIT,
                "waited too long after {all:?}"
            );
            all.extend(self.consumer.poll(Duration::from_millis(100)).unwrap());
        }
        all
    }

    /// Everything up to the end of each of these partitions.
    pub fn read_to_end(&mut self, partitions: &[usize]) -> Vec<(usize, Fetched)> {
        self.until(|all| {
            partitions
                .iter()
                .all(|&partition| caught_up(all, partition).is_some())
        })
    }

    /// The error that comes.
    pub fn fails(&mut self) -> ConnectorError {
        loop {
            assert!(self.clock.elapsed() < LIMIT, "waited too long for an error");
            match self.consumer.poll(Duration::from_millis(100)) {
                Ok(fetched) => assert!(blocks(&fetched, 0).is_empty(), "{fetched:?}"),
                Err(error) => return error,
            }
        }
    }

    /// What comes within a while.
    pub fn during(&mut self, length: Duration) -> Vec<(usize, Fetched)> {
        let end = self.clock.elapsed() + length;
        let mut all = Vec::new();
        while self.clock.elapsed() < end {
            all.extend(self.consumer.poll(Duration::from_millis(20)).unwrap());
        }
        all
    }
}

/// Where a partition was last said to end.
pub fn caught_up(all: &[(usize, Fetched)], partition: usize) -> Option<u64> {
    let ends = all.iter().filter(|(of, _)| *of == partition);
    ends.filter_map(|(_, fetched)| match fetched {
        Fetched::CaughtUp(offset) => Some(offset.0),
        Fetched::Block(_) | Fetched::End | Fetched::Away => None,
    })
    .next_back()
}

pub fn blocks(all: &[(usize, Fetched)], partition: usize) -> Vec<&Block> {
    let of = all.iter().filter(|(of, _)| *of == partition);
    of.filter_map(|(_, fetched)| match fetched {
        Fetched::Block(block) => Some(block),
        Fetched::CaughtUp(_) | Fetched::End | Fetched::Away => None,
    })
    .collect()
}

/// The records of a partition, as (offset, value).
pub fn values(all: &[(usize, Fetched)], partition: usize) -> Vec<(u64, String)> {
    let mut values = Vec::new();
    for block in blocks(all, partition) {
        let records = block.records.as_ref().unwrap();
        for (at, offset) in records.offsets.iter().enumerate() {
            let bytes = block.bytes[records.bytes(at)].to_vec();
            values.push((*offset, String::from_utf8(bytes).unwrap()));
        }
    }
    values
}

pub fn decode(source: &SharedSource, block: &Block) -> Decoded {
    source.decoder().decode(block)
}

/// The message and the hint of an error.
pub fn refusal<T>(outcome: Result<T, ConnectorError>) -> (String, String) {
    match outcome {
        Err(ConnectorError::Permanent { message, hint }) => (message, hint.unwrap_or_default()),
        Err(ConnectorError::Away { message, hint }) => (message, hint),
        Err(other) => panic!("not permanent: {other}"),
        Ok(_) => panic!("nothing was refused"),
    }
}
