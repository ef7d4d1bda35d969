//! Dead letters out of a topic: committed ones, up to where its partitions end now.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef, Schema};
use rdkafka::error::RDKafkaErrorCode;

use super::ask::{Asker, When, number};
use super::batch::{BatchConsumer, Message, Taken};
use super::settings::{Cluster, refused};
use super::sink::RAW;
use super::start::milliseconds;
use crate::connector::letters::{EachLetter, KeptLetter, PAYLOAD};
use crate::connector::open::{format_of, required};
use crate::connector::{ConnectorError, Reads};
use crate::format::{Block, Decoder, Records, Wanted, decoder, value_text};
use crate::plan::Table;
use crate::types::{Clock, Offset, batch};

/// The consumer group that librdkafka wants to be named; nothing is committed in it.
const GROUP: &str = "tidemark-letters";

/// How long a topic that has more may have nothing to say: somebody's transaction is open, or the
/// broker is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a record becomes a letter.
enum Form {
    /// The value is the payload, the headers are the other columns.
    Raw,
    /// The value is a row.
    Row(Box<dyn Decoder>),
}

/// Reads all that is there, partition by partition in its order.
pub(super) fn read(table: &Table, each: &mut EachLetter<'_>) -> Result<(), ConnectorError> {
    let mut form = Form::of(table)?;
    let topic = required(table, "topic")?;
    let cluster = Cluster::of(table)?;
    let asker = Asker::new(&cluster.asking("read_committed"), topic)?;
    let Some(count) = asker.count_partitions()? else {
        return Err(asker.no_topic());
    };
    let bounds: Vec<(u64, u64)> = (0..count)
        .map(|partition| asker.bounds(number(partition)))
        .collect::<Result<_, _>>()?;
    let config = cluster.reading(GROUP, Reads::ToItsEnd);
    let native = config.create_native_config().map_err(|e| refused(&e))?;
    let mut consumer = BatchConsumer::new(&config, native, topic).map_err(|e| refused(&e))?;
    let failed = |why| ConnectorError::Transient(format!("could not read topic `{topic}`: {why}"));
    let signed = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let mut open: Vec<bool> = bounds.iter().map(|(first, end)| first < end).collect();
    let all = open.iter().zip(&bounds).enumerate();
    let from: Vec<(i32, i64)> = all
        .filter(|(_, (open, _))| **open)
        .map(|(partition, (_, (first, _)))| (number(partition), signed(*first)))
        .collect();
    consumer.assign(&from).map_err(failed)?;
    let clock = Clock::machine();
    let mut heard = clock.elapsed();
    while open.contains(&true) {
        let mut outcome = Ok(ControlFlow::Continue(()));
        consumer.take(Duration::from_millis(100), |partition, _, taken| {
            heard = clock.elapsed();
            let partition = usize::try_from(partition).unwrap_or(usize::MAX);
            let Some((_, end)) = bounds.get(partition) else {
                return;
            };
            let next = match taken {
                Taken::Message(message) => {
                    let goes_on = matches!(outcome, Ok(ControlFlow::Continue(())));
                    if goes_on
                        && message.offset() < signed(*end)
                        && let Some(letter) = form.letter(table, message)
                    {
                        outcome = each(letter);
                    }
                    message.offset() + 1
                }
                Taken::Event {
                    code: RDKafkaErrorCode::PartitionEOF,
                    offset,
                    ..
                } => {
                    // Committed records only: what is behind an open transaction is not there yet.
                    offset.max(signed(*end))
                }
                Taken::Event { text, .. } => {
                    if outcome.is_ok() {
                        outcome = Err(failed(text));
                    }
                    return;
                }
            };
            open[partition] &= next < signed(*end);
        });
        if outcome?.is_break() {
            break;
        }
        if clock.elapsed() > heard + PATIENCE {
            return Err(failed("nobody answers".to_owned()));
        }
    }
    Ok(())
}

impl Form {
    fn of(table: &Table) -> Result<Self, ConnectorError> {
        if table.option("format") == Some(RAW) {
            return Ok(Self::Raw);
        }
        let fields = table.columns.iter();
        let fields: Vec<FieldRef> = fields.map(|c| FieldRef::clone(&c.field)).collect();
        let wanted = Wanted {
            declared: fields.iter().map(|field| field.name().clone()).collect(),
            schema: Arc::new(Schema::new(fields)),
            tombstones: false,
        };
        let decoder = decoder(&format_of(table)?, &wanted);
        Ok(Self::Row(decoder.map_err(|error| {
            ConnectorError::permanent(error.to_string())
        })?))
    }

    /// The letter that a record is, if it is one: others may write to the topic too.
    fn letter(&mut self, table: &Table, message: Message<'_>) -> Option<KeptLetter> {
        let mut letter = KeptLetter::default();
        match self {
            Self::Raw => {
                message.headers(|name, value| {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    letter.set(&text(name), value.map(text));
                });
                letter.payload = message.payload().map(<[u8]>::to_vec);
            }
            Self::Row(decoder) => {
                let decoded = decoder.decode(&block(message.payload()?));
                if decoded.rows.num_rows() == 0 {
                    let (topic, offset) = (table.option("topic"), message.offset());
                    tracing::warn!(topic, offset, "not a letter; passed over");
                    return None;
                }
                for (at, column) in table.columns.iter().enumerate() {
                    let (name, values) = (column.field.name(), decoded.rows.column(at));
                    if name != PAYLOAD {
                        letter.set(name, value_text(values, 0));
                    } else if values.data_type() == &DataType::Binary {
                        let there = values.is_valid(0);
                        letter.payload = there.then(|| values.as_binary::<i32>().value(0).to_vec());
                    } else {
                        letter.payload = value_text(values, 0).map(String::into_bytes);
                    }
                }
            }
        }
        Some(letter)
    }
}

/// A block of one record.
fn block(value: &[u8]) -> Block {
    let mut bytes = value.to_vec();
    bytes.push(b'\n');
    let none = batch(Arc::new(Schema::empty()), Vec::new(), 1);
    let end = u32::try_from(bytes.len()).expect("a message is far smaller than 4 GiB");
    Block {
        columns: None,
        records: Some(Arc::new(Records {
            places: vec![0, end],
            offsets: vec![0],
            timestamps: vec![-1],
            tombstones: Vec::new(),
            metadata: none.expect("no columns and one row"),
        })),
        bytes: Arc::new(bytes),
        start: Offset(0),
        end: Offset(1),
        line: 0,
        header: None,
    }
}

/// The first record of each partition of a source's topic that is not older than a time, such as
/// `2026-01-31 12:00:00` or milliseconds since 1970.
pub fn places_at(source: &Table, time: &str) -> Result<Vec<Option<Offset>>, ConnectorError> {
    let milliseconds = milliseconds(time).ok_or_else(|| {
        ConnectorError::hinted(
            format!("`{time}` is no time"),
            "write it as `2026-01-31 12:00:00`, in UTC, or as milliseconds since 1970",
        )
    })?;
    let cluster = Cluster::of(source)?;
    let asker = Asker::new(
        &cluster.asking("read_committed"),
        required(source, "topic")?,
    )?;
    match asker.count_partitions()? {
        Some(count) => asker.places(count, When::From(milliseconds)),
        None => Err(asker.no_topic()),
    }
}
