//! Messages of one partition into a block: their bytes side by side, their positions and times,
//! and of what comes with them only what the pipeline asks for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::batch::Message;
use crate::format::{Block, Metadata, Records, room_after};
use crate::types::{Offset, batch};

/// What a block is cut at.
const RECORDS_MAX: usize = 8192;
const BYTES_MAX: usize = 1 << 20;

/// The columns that come with a record, as the pipeline wants them.
#[derive(Debug)]
pub(super) struct Layout {
    topic: String,
    columns: Vec<(Metadata, DataType)>,
    schema: SchemaRef,
}

impl Layout {
    pub fn new(topic: &str, columns: &[(Metadata, FieldRef)]) -> Self {
        let loose = |(what, field): &(Metadata, FieldRef)| -> Field {
            let field = field.as_ref().clone().with_nullable(true);
            match what {
                // Whether it is text is seen where a record can be rejected for it.
                Metadata::Key => field.with_data_type(DataType::Binary),
                Metadata::Topic
                | Metadata::Partition
                | Metadata::Offset
                | Metadata::Timestamp
                | Metadata::Headers
                | Metadata::Tombstone => field,
            }
        };
        let typed = columns
            .iter()
            .map(|(what, field)| (*what, field.data_type().clone()));
        Self {
            topic: topic.to_owned(),
            columns: typed.collect(),
            schema: Arc::new(Schema::new(columns.iter().map(loose).collect::<Vec<_>>())),
        }
    }

    fn wants(&self, what: Metadata) -> bool {
        self.columns.iter().any(|(wanted, _)| *wanted == what)
    }
}

/// A block being filled.
#[derive(Debug)]
pub(super) struct Draft {
    layout: Arc<Layout>,
    partition: i32,
    bytes: Vec<u8>,
    places: Vec<u32>,
    offsets: Vec<u64>,
    timestamps: Vec<i64>,
    tombstones: Vec<u32>,
    keys: Option<BinaryBuilder>,
    headers: Option<StringBuilder>,
    /// How many bytes and records the last block held: the next will be about as large.
    usual: (usize, usize),
}

impl Draft {
    pub fn new(layout: &Arc<Layout>, partition: i32) -> Self {
        Self {
            layout: Arc::clone(layout),
            partition,
            bytes: Vec::new(),
            places: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
            tombstones: Vec::new(),
            keys: layout.wants(Metadata::Key).then(BinaryBuilder::new),
            headers: layout.wants(Metadata::Headers).then(StringBuilder::new),
            usual: (0, 0),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.offsets.len() >= RECORDS_MAX || self.bytes.len() >= BYTES_MAX
    }

    /// Adds a message, at an offset that is no less than any before.
    #[inline]
    pub fn push(&mut self, message: Message<'_>, offset: u64) {
        if self.offsets.is_empty() {
            let (bytes, records) = self.usual;
            self.bytes.reserve(bytes);
            self.places.reserve(records + 1);
            self.offsets.reserve(records);
            self.timestamps.reserve(records);
        }
        let place = u32::try_from(self.bytes.len()).expect("a block is far smaller than 4 GiB");
        match message.payload() {
            Some(payload) => self.bytes.extend_from_slice(payload),
            None => {
                let index = u32::try_from(self.offsets.len()).expect("a block has few records");
                self.tombstones.push(index);
            }
        }
        self.bytes.push(b'\n');
        self.places.push(place);
        self.offsets.push(offset);
        self.timestamps
            .push(message.timestamp_ms().saturating_mul(1000));
        if let Some(keys) = &mut self.keys {
            keys.append_option(message.key());
        }
        if let Some(headers) = &mut self.headers {
            headers.append_value(headers_as_json(message));
        }
    }

    /// The block, from where its reader stood; begins the next.
    pub fn finish(&mut self, start: Offset) -> Block {
        let last = *self
            .offsets
            .last()
            .expect("a block of no records is not finished");
        self.usual = (
            room_after(self.bytes.len()).min(BYTES_MAX + BYTES_MAX / 8),
            room_after(self.offsets.len()).min(RECORDS_MAX),
        );
        let end = u32::try_from(self.bytes.len()).expect("a block is far smaller than 4 GiB");
        self.places.push(end);
        let metadata = self.metadata();
        let records = Records {
            places: std::mem::take(&mut self.places),
            offsets: std::mem::take(&mut self.offsets),
            timestamps: std::mem::take(&mut self.timestamps),
            tombstones: std::mem::take(&mut self.tombstones),
            metadata,
        };
        Block {
            bytes: Arc::new(std::mem::take(&mut self.bytes)),
            start,
            end: Offset(last + 1),
            line: 0,
            header: None,
            columns: None,
            records: Some(Arc::new(records)),
        }
    }

    fn metadata(&mut self) -> RecordBatch {
        let layout = Arc::clone(&self.layout);
        let columns = layout.columns.iter();
        let columns = columns.map(|(what, of)| self.column(*what, of)).collect();
        batch(Arc::clone(&layout.schema), columns, self.offsets.len())
            .expect("each column was made with its type and a value per record")
    }

    fn column(&mut self, what: Metadata, data_type: &DataType) -> ArrayRef {
        let count = self.offsets.len();
        let signed = |offset: &u64| i64::try_from(*offset).expect("Kafka's offsets have 63 bits");
        match what {
            Metadata::Topic => {
                let name = self.layout.topic.as_str();
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                    name, count,
                )))
            }
            Metadata::Partition => Arc::new(Int32Array::from_value(self.partition, count)),
            Metadata::Offset => Arc::new(Int64Array::from_iter_values(
                self.offsets.iter().map(signed),
            )),
            Metadata::Timestamp => {
                let known = |time: &i64| (*time >= 0).then_some(*time);
                let times: TimestampMicrosecondArray = self.timestamps.iter().map(known).collect();
                Arc::new(times.with_data_type(data_type.clone()))
            }
            Metadata::Key => Arc::new(
                self.keys
                    .as_mut()
                    .expect("made where keys are wanted")
                    .finish(),
            ),
            Metadata::Tombstone => {
                let mut is_one = vec![false; count];
                for &record in &self.tombstones {
                    is_one[record as usize] = true;
                }
                Arc::new(BooleanArray::from(is_one))
            }
            Metadata::Headers => Arc::new(
                self.headers
                    .as_mut()
                    .expect("made where they are wanted")
                    .finish(),
            ),
        }
    }
}

/// `{"name":"text","other":null}`. Of headers with one name the last counts, as it does in Java.
fn headers_as_json(message: Message<'_>) -> String {
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    message.headers(|name, value| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let name = text(name);
        all.retain(|(other, _)| *other != name);
        all.push((name, value.map(text)));
    });
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let member = |(name, value): &(String, Option<String>)| {
        let value = value.as_deref().map_or_else(|| "null".to_owned(), quoted);
        format!("{}:{value}", quoted(name))
    };
    let members: Vec<String> = all.iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}
