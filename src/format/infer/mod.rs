//! Guesses a `CREATE TABLE` from the start of a file.
//!
//! ```text
//!   sample ──▶ values by column ──▶ the narrowest type that holds them all ──▶ SQL text
//! ```
//!
//! A guess is a start for a person to edit, so it prefers types that will not reject tomorrow's
//! rows: no SMALLINT, room in front of the point, TEXT for numbers with leading zeros.

mod guess;

use std::fmt;

use self::guess::Guess;
use super::csv::{field_texts, read_preamble};
use super::framing::{RecordEnds, last_record_end};
use super::object;
use super::options::{CsvOptions, FormatError, FormatKind, FormatOptions, TimestampFormat};

/// A table as a file suggests it. Its `Display` is the `CREATE TABLE` statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredTable {
    /// The name that the file's suggests.
    pub name: String,
    /// The file.
    pub path: String,
    /// How it is written.
    pub options: FormatOptions,
    /// Whether the file's name or its first character says so; else it is taken for CSV.
    pub is_told: bool,
    /// Its columns, in the order of the file.
    pub columns: Vec<InferredColumn>,
    /// Which column seems to say when things happened.
    pub event_time: Option<usize>,
}

/// A column as a file suggests it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferredColumn {
    /// The header's name, or the JSON key.
    pub name: String,
    /// Its type in SQL.
    pub sql_type: String,
    /// Whether a record without a value was seen.
    pub nullable: bool,
    /// What else to say of it.
    pub remark: Option<Remark>,
}

/// What a person should know of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// So many of so many values that were looked at are of another type.
    Strays(usize, usize),
    /// It is this, and cannot be read: it is left out.
    Unreadable(String),
}

impl InferredColumn {
    fn is_left_out(&self) -> bool {
        matches!(self.remark, Some(Remark::Unreadable(_)))
    }
}

/// What need not be guessed, because somebody says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The format.
    pub kind: Option<FormatKind>,
    /// Whether the first line of CSV names its columns.
    pub header: Option<bool>,
}

/// Guesses the table of the file `path`, which starts with `sample`.
pub fn infer(path: &str, sample: &[u8]) -> Result<InferredTable, FormatError> {
    infer_as(path, sample, Asked::default())
}

/// As `infer`, where some of it is said.
pub fn infer_as(path: &str, sample: &[u8], asked: Asked) -> Result<InferredTable, FormatError> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, guessed, is_told) = stem_and_kind(name, sample);
    let kind = asked.kind.unwrap_or(guessed);
    let is_told = is_told || asked.kind.is_some();
    let mut options = FormatOptions {
        kind,
        record_bytes_max: 1 << 20,
        timestamps: TimestampFormat::Iso,
        csv: CsvOptions::default(),
    };
    let seen = match kind {
        FormatKind::Json => json_columns(sample),
        FormatKind::Csv => csv_columns(sample, &mut options, asked.header)?,
        FormatKind::Parquet => unreachable!("such a file says itself what its columns are"),
    };
    if kind == FormatKind::Json && starts_with(sample, b'[') {
        return Err(FormatError::new(format!(
            "`{path}` is one JSON array, and records are one object per line: \
             `jq -c '.[]' {path} > lines.json` makes it so"
        )));
    }
    if kind == FormatKind::Json && seen.records == 0 && starts_with(sample, b'{') {
        return Err(FormatError::new(format!(
            "`{path}` has no object in its first line, and records are one object per line: \
             `jq -c . {path} > lines.json` makes it so"
        )));
    }
    if seen.columns.is_empty() {
        return Err(FormatError::new(format!(
            "cannot infer columns: `{path}` has no records"
        )));
    }
    let columns: Vec<InferredColumn> = seen
        .columns
        .iter()
        .map(|c| c.inferred(seen.records))
        .collect();
    let timestamp = |wish: fn(&InferredColumn) -> bool| {
        columns
            .iter()
            .position(|column| column.sql_type.starts_with("TIMESTAMP") && wish(column))
    };
    Ok(InferredTable {
        name: table_name(stem),
        path: path.to_owned(),
        event_time: timestamp(|column| !column.nullable).or_else(|| timestamp(|_| true)),
        options,
        is_told,
        columns,
    })
}

/// Whether a file of this name, or one that starts so, says itself what its columns are.
#[must_use]
pub fn is_parquet(path: &str, sample: &[u8]) -> bool {
    path.ends_with(".parquet") || sample.starts_with(b"PAR1")
}

/// The table of a file that says itself what its columns are.
#[must_use]
pub fn told(path: &str, columns: Vec<InferredColumn>) -> InferredTable {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_time = |column: &InferredColumn| column.sql_type.starts_with("TIMESTAMP");
    InferredTable {
        name: table_name(name.split('.').next().unwrap_or(name)),
        path: path.to_owned(),
        options: FormatOptions {
            kind: FormatKind::Parquet,
            record_bytes_max: usize::MAX,
            timestamps: TimestampFormat::Iso,
            csv: CsvOptions::default(),
        },
        is_told: true,
        event_time: columns.iter().position(is_time),
        columns,
    }
}

fn starts_with(sample: &[u8], wanted: u8) -> bool {
    sample.trim_ascii_start().first() == Some(&wanted)
}

/// The file's name without its endings, the format that they or the bytes suggest, and whether they
/// do.
fn stem_and_kind<'a>(name: &'a str, sample: &[u8]) -> (&'a str, FormatKind, bool) {
    let packed = [".gz", ".zst"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending));
    let name = packed.unwrap_or(name);
    for (ending, kind) in [
        (".json", FormatKind::Json),
        (".jsonl", FormatKind::Json),
        (".ndjson", FormatKind::Json),
        (".csv", FormatKind::Csv),
        (".tsv", FormatKind::Csv),
    ] {
        if let Some(stem) = name.strip_suffix(ending) {
            return (stem, kind, true);
        }
    }
    let is_json = starts_with(sample, b'{');
    let kind = if is_json {
        FormatKind::Json
    } else {
        FormatKind::Csv
    };
    (name.split('.').next().unwrap_or(name), kind, is_json)
}

/// What was seen of the sample.
#[derive(Default)]
struct Seen {
    columns: Vec<Column>,
    records: usize,
}

struct Column {
    name: String,
    guess: Option<Guess>,
    /// In how many records it has a value.
    values: usize,
    /// The same of the values that are neither text nor an object.
    typed: Option<Guess>,
    /// How many others there are,
    strays: usize,
    /// and whether some of them are text on purpose: `007` is.
    is_text: bool,
    /// Whether another column has its name.
    is_twin: bool,
}

/// Of so many values one may be a stray: nearly all are of the column's type, and rejecting what is
/// not is what a pipeline is for.
const STRAYS: usize = 100;

impl Column {
    fn new(name: String) -> Self {
        Self {
            name,
            guess: None,
            values: 0,
            typed: None,
            strays: 0,
            is_text: false,
            is_twin: false,
        }
    }

    /// A value that looks like this; `named` if it looks like a number and is none.
    fn see(&mut self, guess: Guess, named: bool) {
        let and = |seen: Option<Guess>| Some(seen.map_or(guess, |before| before.with(guess)));
        self.values += 1;
        self.guess = and(self.guess);
        self.is_text |= named;
        match guess {
            Guess::Text | Guess::Json | Guess::JsonText => self.strays += 1,
            Guess::Boolean
            | Guess::Integer
            | Guess::Decimal { .. }
            | Guess::Float
            | Guess::Date
            | Guess::Timestamp
            | Guess::Zoned
            | Guess::Uuid => self.typed = and(self.typed),
        }
    }

    fn inferred(&self, records: usize) -> InferredColumn {
        let typed = self.typed.filter(|typed| {
            let are_few = (1..=self.values / STRAYS).contains(&self.strays);
            are_few && !self.is_text && *typed != Guess::Text
        });
        InferredColumn {
            name: self.name.clone(),
            sql_type: typed
                .or(self.guess)
                .map_or_else(|| "TEXT".to_owned(), Guess::sql_type),
            nullable: self.values < records || records == 0,
            remark: match self.is_twin {
                true => Some(Remark::Unreadable("in the header line twice".to_owned())),
                false => typed.map(|_| Remark::Strays(self.strays, self.values)),
            },
        }
    }
}

/// The whole records of a sample: the last may have been cut off.
fn records<'a>(sample: &'a [u8], options: &FormatOptions) -> impl Iterator<Item = &'a [u8]> {
    let (framing, kind) = (options.framing(), options.kind);
    let whole = match last_record_end(sample, framing) {
        0 => sample,
        end => &sample[..end],
    };
    let mut rest = whole;
    std::iter::from_fn(move || {
        let end = RecordEnds::new(framing)
            .scan_one(rest)
            .unwrap_or(rest.len());
        let (record, after) = rest.split_at(end);
        rest = after;
        (!record.is_empty()).then_some(record)
    })
    .filter(move |record| match kind {
        FormatKind::Json | FormatKind::Parquet => !record.trim_ascii().is_empty(),
        FormatKind::Csv => !matches!(*record, b"\n" | b"\r\n" | b"\r"),
    })
}

fn json_columns(sample: &[u8]) -> Seen {
    let options = FormatOptions {
        kind: FormatKind::Json,
        record_bytes_max: 1 << 20,
        timestamps: TimestampFormat::Iso,
        csv: CsvOptions::default(),
    };
    let mut seen = Seen::default();
    for record in records(sample, &options) {
        let Some(members) = std::str::from_utf8(record).ok().and_then(object::members) else {
            continue;
        };
        seen.records += 1;
        for (name, raw) in members {
            let at = seen.columns.iter().position(|column| column.name == name);
            let at = at.unwrap_or_else(|| {
                seen.columns.push(Column::new(name));
                seen.columns.len() - 1
            });
            if let Some(guess) = Guess::of_json(raw) {
                seen.columns[at].see(guess, guess == Guess::Text && is_number_like(raw));
            }
        }
    }
    seen
}

fn csv_columns(
    sample: &[u8],
    options: &mut FormatOptions,
    header: Option<bool>,
) -> Result<Seen, FormatError> {
    options.csv.delimiter = delimiter(sample);
    let with_header = read_preamble(sample, options)?;
    let names = with_header.header.unwrap_or_default();
    // A line of names has no numbers and no dates in it.
    let is_header = |name: &String| matches!(Guess::of_text(name), None | Some(Guess::Text));
    options.csv.header = header.unwrap_or_else(|| names.iter().all(is_header));
    let start = read_preamble(sample, options)?.bytes;
    let mut seen = Seen::default();
    for (at, name) in names.into_iter().enumerate() {
        let name = if options.csv.header {
            name
        } else {
            format!("c{}", at + 1)
        };
        let twin = seen.columns.iter().position(|other| other.name == name);
        let mut column = Column::new(name);
        if let Some(twin) = twin {
            seen.columns[twin].is_twin = true;
            column.is_twin = true;
        }
        seen.columns.push(column);
    }
    for record in records(&sample[start..], options) {
        let Some(texts) = field_texts(record, &options.csv) else {
            continue;
        };
        if texts.len() == seen.columns.len() {
            seen.records += 1;
            for (column, text) in seen.columns.iter_mut().zip(&texts) {
                if let Some(guess) = Guess::of_text(text) {
                    column.see(guess, guess == Guess::Text && is_number_like(text));
                }
            }
        }
    }
    Ok(seen)
}

/// Whether a value is written in digits, in quotes or not.
fn is_number_like(text: &str) -> bool {
    let mut bytes = text.bytes().filter(|byte| *byte != b'"');
    bytes.all(|byte| byte.is_ascii_digit() || b"+-. ".contains(&byte))
}

/// Which of the usual characters occurs most often in the first line.
fn delimiter(sample: &[u8]) -> u8 {
    let line = sample
        .split(|&byte| byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty());
    let line = line.unwrap_or_default();
    let count = |wanted: u8| line.iter().filter(|&&byte| byte == wanted).count();
    // Of equals the last wins, and a comma is the usual one.
    *b"|;\t,"
        .iter()
        .max_by_key(|&&byte| count(byte))
        .expect("there are four")
}

/// A table's name: what of the file's is a word in SQL.
fn table_name(stem: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = stem.chars().map(word).collect();
    let name = name.trim_matches('_');
    match name.chars().next() {
        None => "input".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("t_{name}"),
        Some(_) => name.to_owned(),
    }
}

/// Names that SQL takes for something else, among those that columns really have.
const RESERVED: &[&str] = &[
    "all",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "cross",
    "current_date",
    "default",
    "delete",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "in",
    "index",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "key",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "partition",
    "primary",
    "references",
    "right",
    "select",
    "session_user",
    "set",
    "table",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "values",
    "watermark",
    "when",
    "where",
    "window",
    "with",
];

/// A name as it is written in SQL.
fn identifier(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if starts && name.chars().all(word) && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl fmt::Display for InferredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CREATE TABLE {} (", identifier(&self.name))?;
        let names: Vec<String> = self.columns.iter().map(|c| identifier(&c.name)).collect();
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        let last = self.columns.iter().rposition(|it| !it.is_left_out());
        for (at, (name, column)) in names.iter().zip(&self.columns).enumerate() {
            let not_null = if column.nullable { "" } else { " NOT NULL" };
            let comma = if Some(at) == last { "" } else { "," };
            let sql_type = &column.sql_type;
            match &column.remark {
                None => writeln!(f, "  {name:width$} {sql_type}{not_null}{comma}")?,
                Some(Remark::Strays(strays, values)) => writeln!(
                    f,
                    "  {name:width$} {sql_type}{not_null}{comma} -- {strays} of {values} values are \
                     none: such records are rejected"
                )?,
                Some(Remark::Unreadable(what)) => {
                    writeln!(f, "  -- {name:width$} is {what}, which cannot be read")?
                }
            }
        }
        if let Some(name) = self.event_time.map(|at| &names[at]) {
            writeln!(
                f,
                "  -- how late rows may come, for windows over this table:"
            )?;
            writeln!(
                f,
                "  -- , WATERMARK FOR {name} AS {name} - INTERVAL '10' SECOND"
            )?;
        }
        let format = match self.options.kind {
            FormatKind::Json => "json",
            FormatKind::Csv => "csv",
            FormatKind::Parquet => "parquet",
        };
        let path = literal(&self.path);
        write!(
            f,
            ") WITH (connector = 'file', path = {path}, format = '{format}'"
        )?;
        if !self.options.csv.header {
            write!(f, ", 'csv.header' = 'false'")?;
        }
        match self.options.csv.delimiter {
            b',' => {}
            b'\t' => write!(f, r", 'csv.delimiter' = '\t'")?,
            other => write!(f, ", 'csv.delimiter' = '{}'", char::from(other))?,
        }
        f.write_str(");")
    }
}

#[cfg(test)]
mod tests;
