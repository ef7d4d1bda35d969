//! Rows of a table as records of its topic: key, value, headers.
//!
//! A table with a PRIMARY KEY is a changelog: its key is the record's, and a key that is gone has
//! a record without a value, which compaction understands. Other tables are appended to.
//!
//! A row that is larger than a record may be ends the run, but not a dead letter: how large it is
//! was for a stranger to say. It goes without its payload.

mod letters;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use self::letters::Letters;

use crate::connector::kafka::settings::TOPIC_ID;
use crate::connector::kafka::transaction::{Failed, Outgoing, Transactions};
use crate::connector::open::format_of;
use crate::connector::option;
use crate::connector::{ConnectorError, TableChanges};
use crate::format::{Encoder, json_text, value_text};
use crate::plan::Table;

/// The value is one column as it stands, and the others are headers.
pub(in crate::connector::kafka) const RAW: &str = "raw";
/// The column that it is, where there are several.
const PAYLOAD: &str = "payload";

/// A table and how its rows become records.
pub(super) struct TopicTable {
    /// Its name in the pipeline file.
    pub name: String,
    pub topic: String,
    /// The id that the topic is said to have, whatever it had before.
    pub id: Option<String>,
    /// Create the topic with so many, if it is not there.
    pub partitions: Option<u32>,
    pub replication: Option<u32>,
    letters: Option<Letters>,
    key: Key,
    value: Value,
}

/// What a record's key is made of.
struct Key {
    /// Positions among the columns of a row.
    columns: Vec<usize>,
    form: KeyForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyForm {
    /// The one column's text.
    Text,
    /// An object of all of them.
    Object,
}

enum Value {
    Encoded(Encoder),
    /// The position of the column that is the value; the names of all.
    Raw(usize, Vec<String>),
}

impl TopicTable {
    pub fn new(table: &Table, topic: &str) -> Result<Self, ConnectorError> {
        let count = |name| {
            let count = table.option(name).and_then(option::count);
            count.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
        };
        Ok(Self {
            name: table.name.clone(),
            topic: topic.to_owned(),
            id: table.option(TOPIC_ID).map(str::to_owned),
            partitions: count("partitions"),
            replication: count("replication"),
            letters: Letters::of(table)?,
            key: Key::new(table)?,
            value: Value::new(table)?,
        })
    }

    /// Sends the changes of an epoch.
    pub fn send(&self, change: &TableChanges, to: &Transactions) -> Result<(), Failed> {
        let mut draft = Draft::default();
        if let Some(deletes) = &change.deletes {
            let columns: Vec<usize> = (0..deletes.num_columns()).collect();
            for row in 0..deletes.num_rows() {
                let key = self.key.write(deletes, &columns, row, &mut draft.key);
                to.send(Outgoing {
                    topic: &self.topic,
                    key: key.then_some(draft.key.as_bytes()),
                    ..Outgoing::default()
                })?;
            }
        }
        if let Some(upserts) = &change.upserts {
            for row in 0..upserts.num_rows() {
                let mut key = self.write(upserts, row, &mut draft);
                if let Some(letters) = &self.letters
                    && let Some(shorter) = letters.shorter(upserts, row, draft.size())
                {
                    key = self.write(&shorter, 0, &mut draft);
                }
                to.send(Outgoing {
                    topic: &self.topic,
                    key: key.then_some(draft.key.as_bytes()),
                    value: draft.value.as_deref(),
                    headers: &draft.headers,
                    origin: None,
                    partition: None,
                })?;
                if row % 1024 == 0 {
                    to.serve();
                }
            }
        }
        Ok(())
    }

    /// Makes the record of a row; returns whether it has a key.
    fn write(&self, rows: &RecordBatch, row: usize, draft: &mut Draft) -> bool {
        let columns = &self.key.columns;
        let key = self.key.write(rows, columns, row, &mut draft.key);
        self.value.write(rows, row, draft);
        key
    }
}

/// A record being made; kept for its memory.
#[derive(Default)]
struct Draft {
    key: String,
    text: String,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<String>)>,
}

impl Draft {
    /// Not less than it takes in a batch.
    fn size(&self) -> usize {
        /// Of a batch with one record, and of a header.
        const FRAME: usize = 256;
        const HEADER: usize = 16;
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| HEADER + name.len() + value.as_ref().map_or(0, String::len));
        let value = self.value.as_ref().map_or(0, Vec::len);
        FRAME + self.key.len() + value + headers.sum::<usize>()
    }
}

impl Key {
    fn new(table: &Table) -> Result<Self, ConnectorError> {
        let names = table.option("key");
        if let (Some(_), false) = (names, table.primary_key.is_empty()) {
            return Err(ConnectorError::hinted(
                format!(
                    "`{}` has a PRIMARY KEY, which is the key of its records",
                    table.name
                ),
                "leave the option 'key' out",
            ));
        }
        let mut columns = table.primary_key.clone();
        for name in names.into_iter().flat_map(|names| names.split([',', ';'])) {
            let name = name.trim();
            let found = table
                .columns
                .iter()
                .position(|column| column.field.name() == name);
            columns.push(found.ok_or_else(|| {
                let message = format!(
                    "'key' names `{name}`, but `{}` has no such column",
                    table.name
                );
                ConnectorError::permanent(message)
            })?);
        }
        let form = match (table.option("key.format"), columns.len()) {
            (Some("json"), _) => KeyForm::Object,
            (Some(_), 2..) => {
                return Err(ConnectorError::hinted(
                    format!(
                        "the key of `{}` has several columns, which one text cannot hold",
                        table.name
                    ),
                    "'key.format' = 'json' makes it an object",
                ));
            }
            (None, 2..) => KeyForm::Object,
            (Some(_) | None, 0 | 1) => KeyForm::Text,
        };
        Ok(Self { columns, form })
    }

    /// Writes the key of a row of which `columns` are the key's; returns whether there is one.
    fn write(&self, rows: &RecordBatch, columns: &[usize], row: usize, out: &mut String) -> bool {
        out.clear();
        let schema = rows.schema_ref();
        match (self.form, columns) {
            (_, []) => false,
            (KeyForm::Text, [column, ..]) => {
                let text = value_text(rows.column(*column), row);
                out.push_str(text.as_deref().unwrap_or_default());
                text.is_some()
            }
            (KeyForm::Object, columns) => {
                let member = |&column: &usize| {
                    let field = schema.field(column);
                    let value = json_text(field, rows.column(column), row);
                    let name = serde_json::Value::from(field.name().as_str());
                    format!("{name}:{}", value.as_deref().unwrap_or("null"))
                };
                let members: Vec<String> = columns.iter().map(member).collect();
                out.push_str(&format!("{{{}}}", members.join(",")));
                true
            }
        }
    }
}

impl Value {
    fn new(table: &Table) -> Result<Self, ConnectorError> {
        if table.option("format") != Some(RAW) {
            return Ok(Self::Encoded(Encoder::new(&format_of(table)?)));
        }
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|c| c.field.name().clone())
            .collect();
        let payload = match names.iter().position(|name| name == PAYLOAD) {
            Some(payload) => payload,
            None if names.len() == 1 => 0,
            None => {
                return Err(ConnectorError::hinted(
                    format!(
                        "format `{RAW}` writes one column as it stands, and `{}` has {}",
                        table.name,
                        names.len()
                    ),
                    format!("call the column `{PAYLOAD}`: the others become headers"),
                ));
            }
        };
        Ok(Self::Raw(payload, names))
    }

    fn write(&self, rows: &RecordBatch, row: usize, draft: &mut Draft) {
        draft.headers.clear();
        let mut value = draft.value.take().unwrap_or_default();
        value.clear();
        match self {
            Self::Encoded(encoder) => {
                draft.text.clear();
                encoder.encode_row(rows, row, &mut draft.text);
                value.extend_from_slice(draft.text.as_bytes());
                draft.value = Some(value);
            }
            Self::Raw(payload, names) => {
                let column = rows.column(*payload);
                if column.is_valid(row) {
                    if column.data_type() == &DataType::Binary {
                        value.extend_from_slice(column.as_binary::<i32>().value(row));
                    } else if let Some(text) = value_text(column, row) {
                        value.extend_from_slice(text.as_bytes());
                    }
                    draft.value = Some(value);
                }
                for (at, name) in names.iter().enumerate().filter(|(at, _)| at != payload) {
                    if let Some(text) = value_text(rows.column(at), row) {
                        draft.headers.push((name.clone(), Some(text)));
                    }
                }
            }
        }
    }
}
