//! The load of a scenario: the rows of its generator, written once and kept.
//!
//! What is made has a checksum of what it was made from for its name: scenarios with the same load share
//! it, and one that changes gets another. Of several that want to make it at once, one does.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::spec::{Input, Scenario};
use super::task::{Options, plan, source_of};
use crate::connector::{
    ConnectorError, ProduceInput, ProduceJob, ProduceProgress, Source, open_source, produce,
};
use crate::format::{Encoder, FormatOptions};
use crate::plan::Table;
use crate::types::{Clock, Offset};

/// How much text is gathered before it is written.
const CHUNK: usize = 1 << 20;

/// How many partitions a topic has, and a generator makes.
pub const PARTITIONS: u32 = 10;

/// A load that is ready.
#[derive(Clone, Debug)]
pub struct Load {
    /// How a pipeline reads it.
    pub options: Options,
    /// The files, if it is files.
    pub files: Vec<PathBuf>,
    /// The topic, if it is one.
    pub topic: Option<String>,
}

/// Makes the load of a scenario, unless it is there.
pub fn make(
    scenario: &Scenario,
    rows: u64,
    data: &Path,
    servers: Option<&str>,
) -> Result<Load, String> {
    let mut table = generator(scenario, rows)?;
    if scenario.input == Input::Kafka {
        in_one_part(&mut table);
    }
    let columns = table.columns.iter().map(|column| &column.field);
    let options = table
        .options
        .iter()
        .map(|(name, value)| (name, &value.text));
    let (columns, options): (Vec<_>, Vec<_>) = (columns.collect(), options.collect());
    let made_from = format!("{columns:?} {options:?} {}", scenario.format);
    // By what is in it and not by whose it is: scenarios with the same load share it.
    let name = format!("load-{:016x}", xxh3_64(made_from.as_bytes()));
    let _alone = alone(data, &name)?;
    match (scenario.input, servers) {
        (Input::Files, _) => files(&table, &scenario.format, &data.join(name)),
        (Input::Kafka, Some(servers)) => topic(table, &format!("bench-{name}"), servers),
        (Input::Kafka, None) => Err("it needs a broker".to_owned()),
    }
}

/// Waits for whoever makes the same load in the same folder. A lock ends with its process.
fn alone(data: &Path, name: &str) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("could not lock the load: {error}");
    std::fs::create_dir_all(data).map_err(failed)?;
    let lock = File::create(data.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

/// The scenario's source, as it stands in the file.
fn generator(scenario: &Scenario, rows: u64) -> Result<Table, String> {
    let pipeline = plan(&scenario.name, &scenario.text, rows)?;
    Ok(pipeline.tables[source_of(&pipeline)?].clone())
}

fn open(table: &Table) -> Result<Arc<dyn Source>, ConnectorError> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    open_source(table, &columns, Path::new(""), &Clock::manual())
}

fn encoder(format: &str) -> Result<Encoder, String> {
    let options = FormatOptions::parse(format, &std::collections::BTreeMap::new());
    Ok(Encoder::new(&options.map_err(|error| error.to_string())?))
}

fn files(table: &Table, format: &str, folder: &Path) -> Result<Load, String> {
    let source = open(table).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("could not write the load: {error}");
    let path = |index: usize| folder.join(format!("part-{index:02}.{format}"));
    let count = source.partitions().len();
    let done = folder.join("done");
    if !done.exists() {
        std::fs::create_dir_all(folder).map_err(failed)?;
        for index in 0..count {
            let file = File::create(path(index)).map_err(failed)?;
            write(table, &*source, (index, format), BufWriter::new(file))?;
        }
        File::create(&done).map_err(failed)?;
    }
    let pattern = folder.join(format!("*.{format}")).display().to_string();
    let options = [
        ("connector", "file"),
        ("path", &pattern),
        ("format", format),
    ];
    Ok(Load {
        options: owned(&options),
        files: (0..count).map(path).collect(),
        topic: None,
    })
}

fn write(
    table: &Table,
    source: &dyn Source,
    (index, format): (usize, &str),
    mut file: BufWriter<File>,
) -> Result<(), String> {
    let encoder = encoder(format)?;
    let mut text = String::with_capacity(2 * CHUNK);
    encoder.write_header(&table.schema(), &mut text);
    let said = |error: ConnectorError| error.to_string();
    let failed = |error: std::io::Error| format!("could not write the load: {error}");
    let mut reader = source.open(index, Offset(0)).map_err(said)?;
    let mut decoder = source.decoder();
    while let Some(block) = reader.next().map_err(said)? {
        encoder.encode(&decoder.decode(&block).rows, &mut text);
        if text.len() >= CHUNK {
            file.write_all(text.as_bytes()).map_err(failed)?;
            text.clear();
        }
    }
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.flush().map_err(failed)
}

/// Parts are sent one after the other: only one keeps each of the topic's partitions in the order of
/// time, so that no record is late.
fn in_one_part(table: &mut Table) {
    if let Some(partitions) = table.options.get_mut("partitions") {
        partitions.text = "1".to_owned();
    }
}

fn topic(table: Table, topic: &str, servers: &str) -> Result<Load, String> {
    let admission = crate::engine::admission(&table);
    let job = ProduceJob {
        servers: servers.to_owned(),
        options: Vec::new(),
        topic: topic.to_owned(),
        job: "bench".to_owned(),
        fresh: false,
        producers: 1,
        partitions: Some(PARTITIONS),
        replication: None,
        compression: "lz4".to_owned(),
        rate: None,
        key: None,
        objects: true,
        input: ProduceInput::Table(Box::new(table), admission),
        lasts: false,
    };
    produce(&job, &ProduceProgress::default()).map_err(|error| error.to_string())?;
    Ok(Load {
        options: read_topic(topic, servers),
        files: Vec::new(),
        topic: Some(topic.to_owned()),
    })
}

/// How a pipeline reads a topic of JSON.
pub fn read_topic(topic: &str, servers: &str) -> Options {
    owned(&[
        ("connector", "kafka"),
        ("topic", topic),
        ("bootstrap.servers", servers),
        ("format", "json"),
    ])
}

/// Some records of the load, to be sent over and over.
pub fn lines(scenario: &Scenario, rows: u64) -> Result<Vec<String>, String> {
    let table = generator(scenario, rows)?;
    let source = open(&table).map_err(|error| error.to_string())?;
    let encoder = encoder("json")?;
    let mut decoder = source.decoder();
    let mut text = String::new();
    for index in 0..source.partitions().len() {
        let said = |error: ConnectorError| error.to_string();
        let mut reader = source.open(index, Offset(0)).map_err(said)?;
        while let Some(block) = reader.next().map_err(said)? {
            encoder.encode(&decoder.decode(&block).rows, &mut text);
        }
    }
    Ok(text.lines().map(str::to_owned).collect())
}

pub fn owned(options: &[(&str, &str)]) -> Options {
    let pairs = options.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
