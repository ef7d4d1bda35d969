//! JSON lines into rows.
//!
//! ```text
//!   line ──▶ flat (guesses the keys) ──▶ row
//!              └── refuses ──▶ object (any JSON) ──▶ row, or the reject
//! ```
//!
//! The fast path may refuse any line, and must where it is not certain; only the general path
//! says what is wrong. So a line means the same on both, which a test holds.

mod flat;

use memchr::memchr;

use super::column::names_of;
use super::object::{self, Names};
use super::options::{FormatError, FormatOptions};
use super::records::Records;
use super::rows::{Record, Rows};
use super::scan::as_text;
use super::{Block, Decoded, Decoder, Wanted};
use crate::types::{Reason, Reject};

/// Decodes blocks of JSON lines.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    rows: Rows,
    keys: Keys,
    template: flat::Template,
    record_bytes_max: usize,
    /// Off in the test that compares both paths.
    fast: bool,
}

/// The wanted keys, by the position of their column.
#[derive(Debug)]
struct Keys(Names);

impl JsonDecoder {
    pub fn new(options: &FormatOptions, wanted: &Wanted) -> Result<Self, FormatError> {
        let rows = Rows::new(wanted, options.timestamps)?;
        let fields = wanted.schema.fields().iter().enumerate();
        let keys = fields
            .filter(|(at, _)| !rows.records.contains(at))
            .flat_map(|(at, field)| names_of(field).map(move |name| (Box::from(name), at)));
        Ok(Self {
            keys: Keys(Names::at(keys)),
            rows,
            template: flat::Template::default(),
            record_bytes_max: options.record_bytes_max,
            fast: true,
        })
    }

    /// The same decoder without its fast path.
    #[cfg(test)]
    pub fn without_fast_path(mut self) -> Self {
        self.fast = false;
        self
    }

    /// A record that the fast path left, already known to be short enough. `text` is the record
    /// where the whole block was found to be UTF-8.
    fn record(&mut self, record: Record<'_>, text: Option<&str>) {
        let guessed = text.is_some();
        let text = match text.map_or_else(|| std::str::from_utf8(record.bytes), Ok) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("byte {} is not UTF-8", error.valid_up_to() + 1);
                return self
                    .rows
                    .reject(record, Reject::record(Reason::NotUtf8, message));
            }
        };
        // One record that is not UTF-8 must not make all others of its block slow.
        if !guessed {
            let text = text.trim_ascii_end();
            if self.guess(text, 0, Some(text.len())) == Some(text.len()) {
                return self.rows.accept(record);
            }
            self.rows.take_back();
        }
        match self.general(text) {
            Ok(()) => self.rows.accept(record),
            Err(reject) => self.rows.reject(record, reject),
        }
    }

    /// Reads the object at `start` of `text` the fast way and says where it ends. The record ends
    /// at `end`, or else with its line; if the object does not end there, what the columns got has
    /// to be taken back.
    #[inline]
    fn guess(&mut self, text: &str, start: usize, end: Option<usize>) -> Option<usize> {
        let source = flat::Source { text, end };
        if !self.fast {
            return None;
        }
        flat::read(
            source,
            start,
            &mut self.rows,
            &self.keys.0,
            &mut self.template,
        )
    }

    fn general(&mut self, text: &str) -> Result<(), Reject> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
        let values = object::read(text, &self.keys.0).map_err(|error| {
            Reject::record(Reason::Malformed, format!("not a JSON object: {error}"))
        })?;
        for (at, column) in self.rows.columns.iter_mut().enumerate() {
            let appended = if self.rows.records.contains(&at) {
                column.append_whole(text)
            } else {
                match values.get(at).copied().flatten() {
                    Some(raw) => column.append_json(raw),
                    None => column.append_null(),
                }
            };
            appended.map_err(|unfit| unfit.reject(column.name()))?;
        }
        Ok(())
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, block: &Block) -> Decoded {
        let bytes = block.bytes.as_slice();
        // One pass over the block costs less than one call per line.
        let text = as_text(bytes);
        match &block.records {
            None => self.lines(block, text),
            Some(records) => self.messages(bytes, records, text),
        }
        self.rows.finish()
    }
}

impl JsonDecoder {
    /// Each line is a record, unless it is blank.
    fn lines(&mut self, block: &Block, text: Option<&str>) {
        let bytes = block.bytes.as_slice();
        let (mut start, mut line) = (0, block.line);
        while start < bytes.len() {
            let end = text.and_then(|text| self.usual_line(text, start, line));
            let end = end.unwrap_or_else(|| self.any_line(bytes, text, start, line));
            start = end + 1;
            line += u64::from(line > 0);
        }
    }

    /// A line that is an object of the usual kind: read without looking for the line's end first.
    /// Returns where the line ends.
    #[inline]
    fn usual_line(&mut self, text: &str, start: usize, line: u64) -> Option<usize> {
        let bytes = text.as_bytes();
        let Some(mut end) = self.guess(text, start, None) else {
            self.rows.take_back();
            return None;
        };
        while matches!(bytes.get(end), Some(b' ' | b'\t' | b'\r' | b'\x0c')) {
            end += 1;
        }
        let record = record_at(bytes, start, end, line);
        let ended = matches!(bytes.get(end), None | Some(b'\n'));
        if !ended || record.bytes.len() > self.record_bytes_max {
            self.rows.take_back();
            return None;
        }
        self.rows.accept(record);
        Some(end)
    }

    /// Any line; returns where it ends.
    #[inline(never)]
    fn any_line(&mut self, bytes: &[u8], text: Option<&str>, start: usize, line: u64) -> usize {
        let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
        let record = record_at(bytes, start, end, line);
        if record.bytes.len() > self.record_bytes_max {
            self.rows.reject_too_long(record, self.record_bytes_max);
        } else if !is_blank(record.bytes) {
            self.record(
                record,
                text.map(|text| &text[start..start + record.bytes.len()]),
            );
        }
        end
    }

    /// Each message is a record, whatever line ends are in it, and also if there is nothing in it.
    fn messages(&mut self, bytes: &[u8], records: &Records, text: Option<&str>) {
        for index in 0..records.len() {
            let range = records.bytes(index);
            let record = Record {
                bytes: &bytes[range.clone()],
                start: range.start,
                line: 0,
            };
            if record.bytes.len() > self.record_bytes_max {
                self.rows.reject_too_long(record, self.record_bytes_max);
            } else if is_blank(record.bytes) {
                self.rows.blank(record, records.is_tombstone(index));
            } else if !text.is_some_and(|text| self.usual_message(text, record)) {
                self.record(record, text.map(|text| &text[range]));
            }
        }
    }

    /// A message that is an object of the usual kind; says whether it was.
    #[inline]
    fn usual_message(&mut self, text: &str, record: Record<'_>) -> bool {
        // Spaces and line ends behind the object are no part of it.
        let end = record.start + record.bytes.trim_ascii_end().len();
        if self.guess(text, record.start, Some(end)) == Some(end) {
            self.rows.accept(record);
            return true;
        }
        self.rows.take_back();
        false
    }
}

/// The line from `start` to `end`, where its line feed is.
#[inline]
fn record_at(bytes: &[u8], start: usize, end: usize, line: u64) -> Record<'_> {
    let bytes = &bytes[start..end];
    Record {
        bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes),
        start,
        line,
    }
}

/// A line of nothing but spaces is no record.
#[inline]
fn is_blank(line: &[u8]) -> bool {
    line.first() != Some(&b'{') && line.trim_ascii().is_empty()
}
