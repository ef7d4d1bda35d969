//! What is sent: files or the rows of a table, as parts that are each read in order.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use super::{Admission, ProduceInput, ProduceJob, ProduceProgress};
use crate::connector::file::FileSource;
use crate::connector::{ConnectorError, Source, open_source};
use crate::format::{
    Asked, Block, Decoded, Decoder, Encoder, FormatKind, FormatOptions, InferredTable, Message,
    Transcoder, Wanted, infer_as, is_parquet, value_text,
};
use crate::plan::{OptionValue, Place, Table};
use crate::types::{Clock, Offset, nearest};

/// How much of a file its columns are guessed from.
const SAMPLE_BYTES: u64 = 1 << 20;

/// A file, or a partition of a table.
pub(super) struct Part {
    /// The same in every run: where the file is.
    pub name: String,
    pub identity: Option<String>,
    pub length: Option<u64>,
    pub source: Arc<dyn Source>,
    pub index: usize,
    /// Which of the inputs it belongs to.
    input: usize,
}

/// The input, opened.
pub(super) struct Opened {
    pub parts: Vec<Part>,
    inputs: Vec<Maker>,
}

/// How records of one input become messages.
enum Maker {
    Files {
        options: FormatOptions,
        objects: bool,
        key: Option<String>,
        literal: Vec<String>,
        /// The names of CSV's columns where no line of the file has them.
        names: Vec<String>,
    },
    Table {
        admission: Admission,
        encoder: Encoder,
        key: Option<usize>,
    },
}

/// Makes messages of the blocks of one part.
pub(super) enum Messages {
    Files(Box<Transcoder>),
    Table(Box<TableRows>),
}

/// Makes messages of the rows of a table, one by one.
pub(super) struct TableRows {
    decoder: Box<dyn Decoder>,
    admission: Admission,
    encoder: Encoder,
    key: Option<usize>,
    /// The rows of the last block, where it begins and which is the next.
    decoded: Decoded,
    start: Offset,
    at: usize,
    text: String,
    key_text: Option<String>,
}

impl Opened {
    pub fn new(job: &ProduceJob, base: &Path, clock: &Clock) -> Result<Self, ConnectorError> {
        let mut opened = Self {
            parts: Vec::new(),
            inputs: Vec::new(),
        };
        match &job.input {
            ProduceInput::Files {
                patterns,
                format,
                header,
            } => {
                for pattern in patterns {
                    opened.add_files(job, pattern, (format.as_deref(), *header), base)?;
                }
            }
            ProduceInput::Table(table, admission) => {
                opened.add_table(job, (table, admission), base, clock)?;
            }
        }
        let mut names: Vec<&str> = opened.parts.iter().map(|part| part.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConnectorError::hinted(
                format!("`{}` is named twice", twice[0]),
                "each file is sent once",
            ));
        }
        Ok(opened)
    }

    fn add_files(
        &mut self,
        job: &ProduceJob,
        pattern: &str,
        (format, header): (Option<&str>, Option<bool>),
        base: &Path,
    ) -> Result<(), ConnectorError> {
        let (first, sample) = FileSource::sample(pattern, base, SAMPLE_BYTES)?;
        let said = |error: &dyn std::fmt::Display| {
            ConnectorError::permanent(format!("cannot read `{first}`: {error}"))
        };
        if is_parquet(&first, &sample) || format == Some("parquet") {
            let message = format!("`{first}` is a Parquet file, whose records are no messages");
            let hint = "write it as JSON lines first: duckdb -c \"COPY 'a.parquet' TO 'a.json'\"";
            return Err(ConnectorError::hinted(message, hint));
        }
        let asked = Asked {
            kind: format.map(kind_of),
            header,
        };
        let guessed = infer_as(&first, &sample, asked);
        let options = match (format, &guessed) {
            (_, Ok(table)) if table.is_told => table.options.clone(),
            (Some(format), Ok(_) | Err(_)) => {
                let header = header.map(|header| given("csv.header", &header.to_string()));
                let header: BTreeMap<String, OptionValue> = header.into_iter().collect();
                FormatOptions::parse(format, &header).map_err(|error| said(&error))?
            }
            (None, Ok(_)) => {
                return Err(ConnectorError::hinted(
                    format!("the name of `{first}` does not tell its format"),
                    "say it: --format csv, or --format json for one object per line",
                ));
            }
            (None, Err(error)) => return Err(said(error)),
        };
        let has_names = options.kind != FormatKind::Csv || options.csv.header;
        if header.is_none() && !has_names {
            return Err(ConnectorError::hinted(
                format!("the first line of `{first}` does not look like names of columns"),
                "--header false if it is a record: the columns are then c1, c2 ..; --header true \
                 if it has the names",
            ));
        }
        if let (Some(key), Ok(table)) = (&job.key, &guessed) {
            find_key(key, &first, table)?;
        }
        let columns = || guessed.iter().flat_map(|table| &table.columns);
        let literal = columns().filter(|column| is_literal(&column.sql_type));
        let literal = literal.map(|column| column.name.clone()).collect();
        let names = columns().filter(|_| !has_names);
        let names = names.map(|column| column.name.clone()).collect();
        // A key has to be in the header line, which is found out before anything is sent.
        let key = job
            .key
            .iter()
            .map(|key| Field::new(key, DataType::Utf8, true));
        let wanted = Wanted {
            schema: Arc::new(Schema::new(key.collect::<Vec<_>>())),
            declared: Vec::new(),
            tombstones: false,
        };
        let source = FileSource::open(pattern, base, options.clone(), wanted)?;
        find_names_twice(job, &source)?;
        let source: Arc<dyn Source> = Arc::new(source);
        self.add_parts(&source, |partition| {
            let path = base.join(partition);
            let whole = path.canonicalize().unwrap_or(path);
            whole.display().to_string()
        });
        self.inputs.push(Maker::Files {
            options,
            objects: job.objects,
            key: job.key.clone(),
            literal,
            names,
        });
        Ok(())
    }

    fn add_table(
        &mut self,
        job: &ProduceJob,
        (table, admission): (&Table, &Admission),
        base: &Path,
        clock: &Clock,
    ) -> Result<(), ConnectorError> {
        let columns = table.columns.iter().enumerate();
        let columns = columns.filter(|(_, column)| column.computed.is_none());
        let (columns, names): (Vec<usize>, Vec<&str>) = columns
            .map(|(at, column)| (at, column.field.name().as_str()))
            .unzip();
        let key = match &job.key {
            None => None,
            Some(key) => Some(names.iter().position(|name| name == key).ok_or_else(|| {
                ConnectorError::hinted(
                    format!(
                        "table `{}` has no column `{key}` to make keys of",
                        table.name
                    ),
                    format!("it has {}", names.join(", ")),
                )
            })?),
        };
        let source = open_source(table, &columns, base, clock)?;
        if source.live().is_some() {
            return Err(ConnectorError::hinted(
                format!("table `{}` goes on without end", table.name),
                "name a table of connector `generator` or `file`, one that does not `watch`",
            ));
        }
        self.add_parts(&source, |partition| format!("{}/{partition}", table.name));
        let (format, options) = if job.objects {
            ("json", BTreeMap::new())
        } else {
            ("csv", BTreeMap::from([given("csv.header", "false")]))
        };
        let options = FormatOptions::parse(format, &options)
            .map_err(|error| ConnectorError::permanent(error.to_string()))?;
        self.inputs.push(Maker::Table {
            admission: admission.clone(),
            encoder: Encoder::new(&options),
            key,
        });
        Ok(())
    }

    fn add_parts(&mut self, source: &Arc<dyn Source>, name: impl Fn(&str) -> String) {
        for (index, partition) in source.partitions().iter().enumerate() {
            self.parts.push(Part {
                name: name(&partition.name),
                identity: partition.identity.clone(),
                length: partition.length,
                source: Arc::clone(source),
                index,
                input: self.inputs.len(),
            });
        }
    }

    pub fn messages(&self, part: &Part) -> Result<Messages, ConnectorError> {
        Ok(match &self.inputs[part.input] {
            Maker::Files {
                options,
                objects,
                key,
                literal,
                names,
            } => Messages::Files(Box::new(Transcoder::new(
                options,
                *objects,
                key.as_deref(),
                (literal.clone(), names.clone()),
            ))),
            Maker::Table { .. } => {
                Messages::Table(Box::new(self.rows(part).expect("it is of a table")))
            }
        })
    }

    /// The rows of a part, where it is of a table.
    pub fn rows(&self, part: &Part) -> Option<TableRows> {
        let Maker::Table {
            admission,
            encoder,
            key,
        } = &self.inputs[part.input]
        else {
            return None;
        };
        Some(TableRows {
            decoder: part.source.decoder(),
            admission: admission.clone(),
            encoder: encoder.clone(),
            key: *key,
            decoded: Decoded {
                rows: RecordBatch::new_empty(Arc::new(Schema::empty())),
                spans: Vec::new(),
                rejects: Vec::new(),
            },
            start: Offset(0),
            at: 0,
            text: String::new(),
            key_text: None,
        })
    }
}

impl TableRows {
    /// Goes on with the rows of a block of `part`. Those that the table does not let in are counted.
    pub fn take(
        &mut self,
        (part, block): (&Part, &Block),
        progress: &ProduceProgress,
    ) -> Result<(), ConnectorError> {
        let admitted = self.admission.admit(&mut *self.decoder, block);
        let decoded = admitted.map_err(|error| {
            ConnectorError::permanent(format!("cannot take the rows of `{}`: {error}", part.name))
        })?;
        (self.decoded, self.start, self.at) = (decoded, block.start, 0);
        if let Some(first) = self.decoded.rejects.first() {
            let rejected = self.decoded.rejects.len() as u64;
            progress.rejected.fetch_add(rejected, Ordering::Relaxed);
            progress.first_rejected.get_or_init(|| {
                let (at, reject) = (self.start.plus(first.span.start), &first.reject);
                let column = reject.column.iter().map(|column| format!(" `{column}`:"));
                let column: String = column.collect();
                format!("at {at} of {}:{column} {}", part.name, reject.message)
            });
        }
        Ok(())
    }

    /// Where the next row is, if there is one.
    pub fn place(&self) -> Option<Offset> {
        let span = self.decoded.spans.get(self.at)?;
        Some(self.start.plus(span.start))
    }

    /// What the next row becomes, and the position behind it.
    pub fn make(&mut self) -> Option<(Message<'_>, Offset)> {
        let (place, row) = (self.place()?, self.at);
        let next = place.plus(self.decoded.spans[row].len.max(1));
        self.at += 1;
        let rows = &self.decoded.rows;
        self.text.clear();
        self.encoder.encode_row(rows, row, &mut self.text);
        self.key_text = self.key.and_then(|key| value_text(rows.column(key), row));
        let message = Message {
            key: self.key_text.as_deref(),
            value: self.text.as_bytes(),
            fits: true,
        };
        Some((message, next))
    }
}

impl Messages {
    /// Hands each record of a block to `each`, with the position behind it.
    pub fn each(
        &mut self,
        (part, block): (&Part, &Block),
        progress: &ProduceProgress,
        mut each: impl FnMut(Message<'_>, Offset) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        match self {
            Self::Files(transcoder) => transcoder.messages(block, |message, end| {
                each(message, Offset(block.start.0 + end as u64))
            }),
            Self::Table(rows) => {
                rows.take((part, block), progress)?;
                while let Some((message, next)) = rows.make() {
                    each(message, next)?;
                }
                Ok(())
            }
        }
    }
}

/// An object with a name twice is another one to everybody who reads it.
fn find_names_twice(job: &ProduceJob, files: &FileSource) -> Result<(), ConnectorError> {
    for (file, header) in files.headers().filter(|_| job.objects) {
        let mut seen = HashSet::new();
        if let Some(name) = header.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(ConnectorError::hinted(
                format!("column `{name}` is in the header line of `{file}` twice"),
                "name each once; --as csv sends the records as they are",
            ));
        }
    }
    Ok(())
}

/// Without this a key that is misspelt would be no key, record by record.
fn find_key(key: &str, file: &str, table: &InferredTable) -> Result<(), ConnectorError> {
    let names = table.columns.iter().map(|column| column.name.as_str());
    if names.clone().any(|name| name == key) {
        return Ok(());
    }
    let message = format!("no record at the beginning of `{file}` has a field `{key}`");
    let hint = match nearest(key, names.clone()) {
        Some(near) => format!("--key {near}?"),
        None => format!("there is {}", names.collect::<Vec<_>>().join(", ")),
    };
    Err(ConnectorError::hinted(message, hint))
}

fn kind_of(format: &str) -> FormatKind {
    match format {
        "csv" => FormatKind::Csv,
        _ => FormatKind::Json,
    }
}

/// An option of a format that no file has given.
fn given(name: &str, text: &str) -> (String, OptionValue) {
    let value = OptionValue {
        text: text.to_owned(),
        place: Place::default(),
    };
    (name.to_owned(), value)
}

/// Whether values of a type stand in JSON without quotes.
fn is_literal(sql_type: &str) -> bool {
    [
        "BIGINT", "INT", "DECIMAL", "DOUBLE", "FLOAT", "REAL", "NUMERIC", "BOOLEAN",
    ]
    .iter()
    .any(|kind| sql_type.starts_with(kind))
}
