//! A table of a PostgreSQL database, read whole: to be looked up, or to be read again.
//!
//! ```text
//!   COPY (select row_to_json(..) .. order by key) ──▶ a line per row ──▶ the JSON decoder
//! ```
//!
//! It is read by one statement, so it is as it was at one moment. Rows have no place in a table: what is
//! read as a stream has to be told apart by a key, and is only where it is read again.

use std::io::{self, BufRead as _};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Field;
use xxhash_rust::xxh3::Xxh3;

use super::address::Address;
use super::options::{address_of, limits_of};
use super::session::{self, Limits};
use super::{error, quoted};
use crate::connector::open::SourceOrigin;
use crate::connector::{ConnectorError, Partition, Reader, Source};
use crate::format::{Block, Decoder, FormatOptions, Wanted, decoder};
use crate::plan::{OptionValue, RELOAD, Role, Table};
use crate::types::Offset;

/// How many bytes are decoded at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// A row may be as long as the decoder allows.
const ROW_BYTES: &str = "256MiB";

/// How text is written whatever the role's settings are.
const SETTINGS: &str = "set intervalstyle = postgres; set bytea_output = hex;
    set extra_float_digits = 1; set default_transaction_read_only = on";

/// A table that was read.
pub(super) struct TableSource {
    partitions: [Partition; 1],
    blocks: Vec<Block>,
    format: FormatOptions,
    wanted: Wanted,
}

/// How a table is asked for.
struct Question {
    address: Address,
    limits: Limits,
    /// As it is named there.
    name: String,
    rows: String,
}

/// What is wrong with a table that is read, and is read once as if it were a stream.
pub(super) fn check(table: &Table) -> Vec<(String, String)> {
    if table.role != Role::Source || table.is_reloaded() {
        return Vec::new();
    }
    let message = format!(
        "rows of the database's table `{}` have no order to be read in as a stream: join it by its \
         PRIMARY KEY, or have it read again with '{RELOAD}'",
        table.name
    );
    vec![("connector".to_owned(), message)]
}

/// Whether the table is there, with its columns.
pub(super) fn inspect(origin: &SourceOrigin<'_>) -> Result<(), ConnectorError> {
    let question = Question::new(origin)?;
    let mut client = question.connect()?;
    let asked = client.prepare(&question.rows);
    asked.map(drop).map_err(|error| question.failed(&error))
}

/// Reads the table.
pub(super) fn open(origin: SourceOrigin<'_>) -> Result<TableSource, ConnectorError> {
    let question = Question::new(&origin)?;
    let format = format(origin.table);
    decoder(&format, &origin.wanted)
        .map_err(|error| ConnectorError::permanent(error.to_string()))?;
    let (blocks, checksum) = question.read()?;
    let end = blocks.last().map_or(0, |block| block.end.0);
    let identity = format!("{end} bytes, xxh3 {checksum:032x}");
    Ok(TableSource {
        partitions: [Partition {
            name: question.name,
            // What is read again is compared row by row.
            identity: (!origin.table.is_reloaded()).then_some(identity),
            length: Some(end),
        }],
        blocks,
        format,
        wanted: origin.wanted,
    })
}

/// Whether two tables are one table of one database, whoever logs in.
pub(super) fn reads(source: &Table, sink: &Table, _: &Path) -> bool {
    let target = |table: &Table| {
        let target = table.option("table").unwrap_or(&table.name);
        target.strip_prefix("public.").unwrap_or(target).to_owned()
    };
    let place = |table: &Table| {
        let address = address_of(table).ok()?.to_string();
        let (_, place) = address.split_once('@')?;
        Some((place.to_owned(), target(table)))
    };
    let place_of_source = place(source);
    place_of_source.is_some() && place_of_source == place(sink)
}

fn format(table: &Table) -> FormatOptions {
    let longest = OptionValue {
        text: ROW_BYTES.to_owned(),
        place: table.place,
    };
    let options = [("max.record.bytes".to_owned(), longest)].into();
    FormatOptions::parse("json", &options).expect("the option and its value are the format's")
}

impl Question {
    fn new(origin: &SourceOrigin<'_>) -> Result<Self, ConnectorError> {
        let table = origin.table;
        let name = table.option("table").unwrap_or(&table.name).to_owned();
        let from = name
            .splitn(2, '.')
            .map(quoted)
            .collect::<Vec<_>>()
            .join(".");
        let column = |field: &Field| quoted(field.name());
        let fields = origin.wanted.schema.fields().iter();
        let columns: Vec<String> = fields.map(|field| column(field)).collect();
        // The same rows are the same bytes, so that a table that has not changed is known.
        let key = table.primary_key.iter().map(|&at| &table.columns[at]);
        let key = key.filter(|key| key.computed.is_none());
        let key: Vec<String> = key.map(|key| column(&key.field)).collect();
        let order = match key.as_slice() {
            [] => String::new(),
            key => format!(" order by {}", key.join(", ")),
        };
        let columns = columns.join(", ");
        Ok(Self {
            address: address_of(table)?,
            limits: limits_of(table),
            rows: format!("select {columns} from {from}{order}"),
            name,
        })
    }

    fn connect(&self) -> Result<postgres::Client, ConnectorError> {
        let mut client = session::connect(&self.address, self.limits, "reads")?.client;
        let set = client.batch_execute(SETTINGS);
        set.map_err(|error| self.failed(&error))?;
        Ok(client)
    }

    /// All rows, as JSON lines, and their checksum.
    fn read(&self) -> Result<(Vec<Block>, u128), ConnectorError> {
        let mut client = self.connect()?;
        // A line feed in a row is one between the parts of a `json`: in texts they are escaped, and so
        // are the two characters that would have a meaning to COPY.
        let copy = format!(
            "copy (select translate(row_to_json(r)::text, E'\\n\\r', '  ') from ({}) r) to stdout
             with (format csv, delimiter E'\\x02', quote E'\\x01')",
            self.rows
        );
        let mut reader = client
            .copy_out(&copy)
            .map_err(|error| self.failed(&error))?;
        let (mut blocks, mut checksum) = (Vec::new(), Xxh3::new());
        let (mut start, mut line, mut ended) = (0, 1, false);
        // Whoever asks beyond the end gets an error.
        while !ended {
            let (mut bytes, mut rows) = (Vec::new(), 0);
            while bytes.len() < BLOCK_BYTES && !ended {
                let read = reader.read_until(b'\n', &mut bytes);
                match read.map_err(|error| self.broken(&error))? {
                    0 => ended = true,
                    _ => rows += 1,
                }
            }
            if bytes.is_empty() {
                break;
            }
            checksum.update(&bytes);
            let end = start + bytes.len() as u64;
            blocks.push(Block {
                columns: None,
                bytes: Arc::new(bytes),
                start: Offset(start),
                end: Offset(end),
                line,
                header: None,
                records: None,
            });
            (start, line) = (end, line + rows);
        }
        Ok((blocks, checksum.digest128()))
    }

    fn failed(&self, error: &postgres::Error) -> ConnectorError {
        error::converted(&format!("read `{}` of", self.name), &self.address, error)
    }

    /// An error in the middle of the rows.
    fn broken(&self, error: &io::Error) -> ConnectorError {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<postgres::Error>()) {
            Some(error) => self.failed(error),
            None => ConnectorError::Transient(format!(
                "could not read `{}` of `{}`: {error}",
                self.name, self.address
            )),
        }
    }
}

impl Source for TableSource {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, _: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let blocks = self.blocks.iter().filter(|block| block.start >= from);
        Ok(Box::new(Blocks(
            blocks.cloned().collect::<Vec<_>>().into_iter(),
        )))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        decoder(&self.format, &self.wanted)
            .expect("the same decoder was made when the table was read")
    }
}

/// What was read, from the beginning.
struct Blocks(std::vec::IntoIter<Block>);

impl Reader for Blocks {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        Ok(self.0.next())
    }
}
