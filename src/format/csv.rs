//! Delimited text into rows.
//!
//! ```text
//!   block ──▶ split: where the fields of a record are ──▶ convert: the wanted ones, in place
//! ```
//!
//! Splitting follows the rules by which blocks are cut (`framing`): a quote opens at the start
//! of a field only. What those rules let pass and no CSV means (text after a closing quote) is a
//! reject here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use super::column::{self, Column, Unfit, names_of};
use super::options::{CsvOptions, FormatError, FormatOptions};
use super::records::Records;
use super::rows::{Record, Rows};
use super::scan::{CsvStops, Stops, as_text};
use super::text::write_json_string;
use super::{Block, Decoded, Decoder, RecordEnds, Wanted};
use crate::types::{Reason, Reject};

/// Decodes blocks of delimited text.
#[derive(Debug)]
pub(super) struct CsvDecoder {
    rows: Rows,
    csv: CsvOptions,
    record_bytes_max: usize,
    declared: Arc<Vec<String>>,
    /// The names that `places` were looked up in.
    names: Arc<Vec<String>>,
    /// For each wanted column, where it comes from.
    places: Vec<Place>,
    /// The fields of the record at hand; kept for its memory.
    fields: Vec<Field>,
}

/// Where a field is in the block, quotes not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    start: usize,
    end: usize,
    quotes: Quotes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Around,
    /// And doubled ones inside.
    Inside,
    /// They do not close, or something follows the closing one.
    Broken,
}

/// Where a column's value is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In this field.
    Field(usize),
    /// The column holds the whole record.
    Record,
    /// The header does not have it.
    Nowhere,
}

impl CsvDecoder {
    pub fn new(options: &FormatOptions, wanted: &Wanted) -> Result<Self, FormatError> {
        let declared = Arc::new(wanted.declared.clone());
        let mut decoder = Self {
            rows: Rows::new(wanted, options.timestamps)?,
            csv: options.csv.clone(),
            record_bytes_max: options.record_bytes_max,
            names: Arc::clone(&declared),
            places: Vec::new(),
            declared,
            fields: Vec::new(),
        };
        decoder.find_places();
        Ok(decoder)
    }

    fn find_places(&mut self) {
        let place = |(at, column): (usize, &Column)| {
            if self.rows.records.contains(&at) {
                return Place::Record;
            }
            let mut names = column.names();
            let field = names.find_map(|wanted| self.names.iter().position(|n| n == wanted));
            field.map_or(Place::Nowhere, Place::Field)
        };
        self.places = self.rows.columns.iter().enumerate().map(place).collect();
    }

    /// Reads the block by its own header, or by the declared order.
    fn look_at_header(&mut self, block: &Block) {
        let names = block.header.as_ref().unwrap_or(&self.declared);
        if !Arc::ptr_eq(names, &self.names) {
            self.names = Arc::clone(names);
            self.find_places();
        }
    }

    fn record(&mut self, bytes: &[u8], record: Record<'_>, text: Option<&str>) {
        match self.convert(bytes, record, text) {
            Ok(()) => self.rows.accept(record),
            Err(reject) => self.rows.reject(record, reject),
        }
    }

    /// Writes the wanted fields. `text` is the block where all of it is UTF-8.
    fn convert(
        &mut self,
        bytes: &[u8],
        record: Record<'_>,
        text: Option<&str>,
    ) -> Result<(), Reject> {
        if text.is_none()
            && let Err(error) = std::str::from_utf8(record.bytes)
        {
            let message = format!("byte {} is not UTF-8", error.valid_up_to() + 1);
            return Err(Reject::record(Reason::NotUtf8, message));
        }
        check_shape(&self.fields, self.names.len())?;
        let field_text = |field: Field| match text {
            Some(text) => &text[field.start..field.end],
            None => std::str::from_utf8(&bytes[field.start..field.end])
                .expect("the record is UTF-8, and fields end at ASCII bytes"),
        };
        for at in 0..self.rows.columns.len() {
            let appended = match self.places[at] {
                Place::Field(field) => self.append_field(at, self.fields[field], &field_text),
                Place::Record => self.append_record(at, record, &field_text),
                Place::Nowhere => self.rows.columns[at].append_null(),
            };
            appended.map_err(|unfit| unfit.reject(self.rows.columns[at].name()))?;
        }
        Ok(())
    }

    #[inline]
    fn append_field<'t>(
        &mut self,
        at: usize,
        field: Field,
        field_text: &impl Fn(Field) -> &'t str,
    ) -> Result<(), Unfit> {
        let column = &mut self.rows.columns[at];
        let text = field_text(field);
        // Quotes make text of what would be NULL; for a number they mean nothing.
        if text == self.csv.null && (field.quotes == Quotes::None || !column.is_text()) {
            return column.append_null();
        }
        if field.quotes == Quotes::Inside {
            return column.append_text(&unquoted(text, field.quotes, self.csv.quote));
        }
        column.append_text(text)
    }

    /// The whole record: as it stands, or as an object of texts where the column is JSON.
    fn append_record<'t>(
        &mut self,
        at: usize,
        record: Record<'_>,
        field_text: &impl Fn(Field) -> &'t str,
    ) -> Result<(), Unfit> {
        if !self.rows.columns[at].is_json() {
            return self.rows.columns[at].append_whole(&String::from_utf8_lossy(record.bytes));
        }
        let mut object = String::from("{");
        for (name, &field) in self.names.iter().zip(&self.fields) {
            if object.len() > 1 {
                object.push(',');
            }
            write_json_string(&mut object, name);
            object.push(':');
            let text = field_text(field);
            if field.quotes == Quotes::None && text == self.csv.null {
                object.push_str("null");
            } else {
                write_json_string(&mut object, &unquoted(text, field.quotes, self.csv.quote));
            }
        }
        object.push('}');
        self.rows.columns[at].append_whole(&object)
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, block: &Block) -> Decoded {
        self.look_at_header(block);
        let bytes = block.bytes.as_slice();
        let text = as_text(bytes);
        let delimiter = self.csv.delimiter;
        let mut stops = Stops::new(bytes, CsvStops { delimiter });
        match &block.records {
            None => self.lines(block, text, &mut stops),
            Some(records) => self.messages(bytes, records, text, &mut stops),
        }
        self.rows.finish()
    }
}

impl CsvDecoder {
    /// Records end with a line, unless the line end is in quotes. Blank lines are none.
    fn lines(&mut self, block: &Block, text: Option<&str>, stops: &mut Stops<'_, CsvStops>) {
        let bytes = block.bytes.as_slice();
        let (mut start, mut line) = (0, block.line);
        while start < bytes.len() {
            let end = split(bytes, start, self.csv.quote, stops, &mut self.fields);
            let content = bytes[start..end]
                .strip_suffix(b"\r")
                .unwrap_or(&bytes[start..end]);
            let record = Record {
                bytes: content,
                start,
                line,
            };
            if content.len() > self.record_bytes_max {
                self.rows.reject_too_long(record, self.record_bytes_max);
            } else if !content.is_empty() {
                self.record(bytes, record, text);
            }
            if line > 0 {
                let quoted = self.fields.iter().any(|field| field.quotes != Quotes::None);
                line += if quoted {
                    memchr_iter(b'\n', content).count() as u64 + 1
                } else {
                    1
                };
            }
            start = end + 1;
        }
    }

    /// Each message is a record of its own; a line end that closes it is no part of it.
    fn messages(
        &mut self,
        bytes: &[u8],
        records: &Records,
        text: Option<&str>,
        stops: &mut Stops<'_, CsvStops>,
    ) {
        for index in 0..records.len() {
            let range = records.bytes(index);
            let start = range.start;
            let whole = &bytes[range];
            let content = whole.strip_suffix(b"\n").unwrap_or(whole);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            let record = Record {
                bytes: content,
                start,
                line: 0,
            };
            if content.len() > self.record_bytes_max {
                self.rows.reject_too_long(record, self.record_bytes_max);
                continue;
            }
            // White space in one line may be values, and delimiters between them.
            let is_blank =
                content.is_empty() || (content.contains(&b'\n') && content.trim_ascii().is_empty());
            if is_blank {
                self.rows.blank(record, records.is_tombstone(index));
                continue;
            }
            // Up to the line end, so that a quote that does not close stays in its message.
            let until = &bytes[..start + whole.len() + 1];
            let end = split(until, start, self.csv.quote, stops, &mut self.fields);
            let broken = self.fields.iter().any(|f| f.quotes == Quotes::Broken);
            if !broken && end < start + content.len() {
                let message = "the record has more than one line";
                self.rows
                    .reject(record, Reject::record(Reason::Malformed, message));
            } else {
                self.record(bytes, record, text);
            }
        }
    }
}

/// Takes single records apart, without columns to put their fields in.
#[derive(Debug)]
pub(super) struct Csv {
    options: CsvOptions,
    fields: Vec<Field>,
}

impl Csv {
    pub fn new(options: &CsvOptions) -> Self {
        Self {
            options: options.clone(),
            fields: Vec::new(),
        }
    }

    /// Hands the fields of a record to `each`: its place, its text, and whether that means NULL.
    /// Returns whether the record is whole and has `expected` of them; if not, there were none.
    pub fn fields(
        &mut self,
        record: &[u8],
        expected: usize,
        mut each: impl FnMut(usize, &str, bool),
    ) -> bool {
        let Ok(text) = std::str::from_utf8(record) else {
            return false;
        };
        let CsvOptions {
            delimiter, quote, ..
        } = self.options;
        let mut stops = Stops::new(record, CsvStops { delimiter });
        split(record, 0, quote, &mut stops, &mut self.fields);
        if check_shape(&self.fields, expected).is_err() {
            return false;
        }
        for (at, field) in self.fields.iter().enumerate() {
            let text = &text[field.start..field.end];
            let is_null = field.quotes == Quotes::None && text == self.options.null;
            each(at, &unquoted(text, field.quotes, quote), is_null);
        }
        true
    }
}

/// Adds a member to an object being written; the closing brace comes last.
pub(super) fn as_object(out: &mut String, name: &str, value: impl FnOnce(&mut String)) {
    out.push(if out.is_empty() { '{' } else { ',' });
    write_json_string(out, name);
    out.push(':');
    value(out);
}

/// Whether the fields are whole and as many as there are names.
#[inline]
fn check_shape(fields: &[Field], expected: usize) -> Result<(), Reject> {
    if let Some(broken) = fields
        .iter()
        .position(|field| field.quotes == Quotes::Broken)
    {
        let message = format!("field {} has a quote that does not close it", broken + 1);
        return Err(Reject::record(Reason::Malformed, message));
    }
    if fields.len() != expected {
        let message = format!("{} fields where {expected} are expected", fields.len());
        return Err(Reject::record(Reason::Malformed, message));
    }
    Ok(())
}

/// Finds the fields of the record that starts at `start`; returns where its line end is.
#[inline]
fn split(
    bytes: &[u8],
    start: usize,
    quote: u8,
    stops: &mut Stops<'_, CsvStops>,
    fields: &mut Vec<Field>,
) -> usize {
    fields.clear();
    let mut at = start;
    loop {
        let (field, end) = if bytes.get(at) == Some(&quote) {
            quoted_field(bytes, at, quote, stops)
        } else {
            let end = stops.next_from(at);
            let field = Field {
                start: at,
                end,
                quotes: Quotes::None,
            };
            (field, end)
        };
        fields.push(field);
        if bytes.get(end).is_some_and(|&byte| byte != b'\n') {
            at = end + 1;
            continue;
        }
        // A line may end in CRLF.
        let last = fields.last_mut().expect("a field was just pushed");
        if last.quotes == Quotes::None && bytes[last.start..last.end].ends_with(b"\r") {
            last.end -= 1;
        }
        return end;
    }
}

fn quoted_field(
    bytes: &[u8],
    opening: usize,
    quote: u8,
    stops: &mut Stops<'_, CsvStops>,
) -> (Field, usize) {
    let start = opening + 1;
    let (mut at, mut quotes) = (start, Quotes::Around);
    loop {
        let Some(found) = memchr(quote, &bytes[at..]) else {
            let end = bytes.len();
            let quotes = Quotes::Broken;
            return (Field { start, end, quotes }, end);
        };
        let closing = at + found;
        if bytes.get(closing + 1) == Some(&quote) {
            quotes = Quotes::Inside;
            at = closing + 2;
            continue;
        }
        let end = stops.next_from(closing + 1);
        let after = &bytes[closing + 1..end];
        let ends_line = bytes.get(end).is_none_or(|&byte| byte == b'\n');
        if !(after.is_empty() || (ends_line && after == b"\r")) {
            quotes = Quotes::Broken;
        }
        let field = Field {
            start,
            end: closing,
            quotes,
        };
        return (field, end);
    }
}

/// A field's text, its doubled quotes made single.
fn unquoted(text: &str, quotes: Quotes, quote: u8) -> Cow<'_, str> {
    match quotes {
        Quotes::Inside => {
            let quote = char::from(quote).to_string();
            Cow::Owned(text.replace(&quote.repeat(2), &quote))
        }
        Quotes::None | Quotes::Around | Quotes::Broken => Cow::Borrowed(text),
    }
}

/// What stands at the start of a file before its first record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preamble {
    /// The names of a header line.
    pub header: Option<Vec<String>>,
    /// How many bytes it takes, a byte order mark included: the first record starts there.
    pub bytes: usize,
    /// How many lines it takes.
    pub lines: u64,
}

/// Reads what stands before the first record. `start` is the start of the file, at least as
/// long as its header line.
pub fn read_preamble(start: &[u8], options: &FormatOptions) -> Result<Preamble, FormatError> {
    let mark = if start.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let mut preamble = Preamble {
        bytes: mark,
        ..Preamble::default()
    };
    if !options.has_header() {
        return Ok(preamble);
    }
    while preamble.header.is_none() && preamble.bytes < start.len() {
        let rest = &start[preamble.bytes..];
        let len = RecordEnds::new(options.framing())
            .scan_one(rest)
            .unwrap_or(rest.len());
        let line = &rest[..len];
        if !line.trim_ascii().is_empty() {
            preamble.header = Some(header_names(line, &options.csv)?);
        }
        preamble.bytes += len;
        preamble.lines += memchr_iter(b'\n', line).count() as u64;
    }
    Ok(preamble)
}

fn header_names(line: &[u8], csv: &CsvOptions) -> Result<Vec<String>, FormatError> {
    field_texts(line, csv).ok_or_else(|| FormatError::new("the header line is not CSV in UTF-8"))
}

/// The texts of the fields of one record, quoted or not, if it is whole and UTF-8.
pub(super) fn field_texts(record: &[u8], csv: &CsvOptions) -> Option<Vec<String>> {
    let delimiter = csv.delimiter;
    let mut stops = Stops::new(record, CsvStops { delimiter });
    let mut fields = Vec::new();
    split(record, 0, csv.quote, &mut stops, &mut fields);
    let texts = fields.iter().map(|field| {
        let text = std::str::from_utf8(&record[field.start..field.end]).ok()?;
        let whole = field.quotes != Quotes::Broken;
        whole.then(|| unquoted(text, field.quotes, csv.quote).into_owned())
    });
    texts.collect()
}

/// Whether every wanted column is in a file's header line, once.
pub fn check_header(header: &[String], wanted: &Wanted) -> Result<(), String> {
    let mut seen = HashSet::new();
    let wanted = wanted
        .schema
        .fields()
        .iter()
        .filter(|field| !column::is_record(field));
    let wanted: Vec<Vec<&str>> = wanted.map(|field| names_of(field).collect()).collect();
    for name in header {
        let is_wanted = || wanted.iter().flatten().any(|wanted| wanted == name);
        if !seen.insert(name.as_str()) && is_wanted() {
            return Err(format!("column `{name}` is in the header line twice"));
        }
    }
    let is_missing = |names: &&Vec<&str>| !names.iter().any(|name| seen.contains(name));
    let Some(missing) = wanted.iter().find(is_missing).map(|names| names[0]) else {
        return Ok(());
    };
    let mut message = format!("column `{missing}` is not in the header line");
    let similar = header
        .iter()
        .find(|name| name.trim().eq_ignore_ascii_case(missing));
    match similar {
        Some(name) => write!(message, ", which has `{name}`"),
        None => write!(message, " ({})", header.join(", ")),
    }
    .expect("a String takes all text");
    Err(message)
}
