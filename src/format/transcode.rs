//! Records of a file, each as a message of a topic: JSON lines as they are, CSV as JSON objects or
//! as it is.
//!
//! A record that does not convert goes as it stands, and is counted: whoever reads the topic turns
//! it away with its bytes at hand, and nothing is lost on the way.

use std::sync::Arc;

use memchr::memchr;

use super::csv::{Csv, as_object};
use super::framing::RecordEnds;
use super::object::{self, Names};
use super::options::{FormatKind, FormatOptions};
use super::text::write_json_string;
use super::{Block, Framing};

/// Makes messages of the records of blocks.
#[derive(Debug)]
pub struct Transcoder {
    framing: Framing,
    csv: Csv,
    form: Form,
    /// The field that is the message's key.
    key: Option<String>,
    names: Names,
    /// Columns whose values stand in JSON as they are, where they can.
    literal: Vec<String>,
    /// The names of CSV's columns where a block has none.
    unnamed: Arc<Vec<String>>,
    message: String,
    key_text: String,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line of JSON stays one.
    Json,
    /// A CSV record becomes a JSON object.
    Object,
    /// A CSV record stays one.
    Csv,
}

/// One record as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The key, where one is wanted and there.
    pub key: Option<&'a str>,
    /// The bytes.
    pub value: &'a [u8],
    /// Whether it converted; otherwise it is the record as it stands.
    pub fits: bool,
}

impl Transcoder {
    /// Messages of records in this format. `objects`: CSV becomes JSON; columns in `literal` have
    /// numbers or booleans. CSV without a header line has the columns `unnamed`.
    #[must_use]
    pub fn new(
        options: &FormatOptions,
        objects: bool,
        key: Option<&str>,
        (literal, unnamed): (Vec<String>, Vec<String>),
    ) -> Self {
        let form = match (options.kind, objects) {
            (FormatKind::Json, _) => Form::Json,
            (FormatKind::Csv, true) => Form::Object,
            (FormatKind::Csv, false) => Form::Csv,
            (FormatKind::Parquet, _) => unreachable!("columns have no bytes to send"),
        };
        Self {
            framing: options.framing(),
            csv: Csv::new(&options.csv),
            form,
            key: key.map(str::to_owned),
            names: Names::new(key.into_iter()),
            literal,
            unnamed: Arc::new(unnamed),
            message: String::new(),
            key_text: String::new(),
        }
    }

    /// Hands every record of a block to `each`, in order, with the place in the block behind it;
    /// blank lines are none.
    pub fn messages<E>(
        &mut self,
        block: &Block,
        mut each: impl FnMut(Message<'_>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let header = Arc::clone(block.header.as_ref().unwrap_or(&self.unnamed));
        let header = header.as_slice();
        let key = self.key.as_ref();
        let key = key.and_then(|key| header.iter().position(|name| name == key));
        let literal: Vec<bool> = header
            .iter()
            .map(|name| self.literal.contains(name))
            .collect();
        let mut rest = block.bytes.as_slice();
        while !rest.is_empty() {
            let len = match self.framing {
                Framing::Lines => memchr(b'\n', rest).map(|at| at + 1),
                Framing::QuotedLines { .. } => RecordEnds::new(self.framing).scan_one(rest),
            };
            let (record, after) = rest.split_at(len.unwrap_or(rest.len()));
            rest = after;
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            // A record of nothing but delimiters may be white space.
            let is_blank = match self.form {
                Form::Json => record.trim_ascii().is_empty(),
                Form::Object | Form::Csv => record.is_empty(),
            };
            if is_blank {
                continue;
            }
            let end = block.bytes.len() - rest.len();
            let message = match self.form {
                Form::Json => self.json(record),
                Form::Object | Form::Csv => self.delimited(record, header, &literal, key),
            };
            each(message, end)?;
        }
        Ok(())
    }

    fn json<'a>(&'a mut self, record: &'a [u8]) -> Message<'a> {
        let as_it_is = |key| Message {
            key,
            value: record,
            fits: true,
        };
        if self.key.is_none() {
            return as_it_is(None);
        }
        let values = std::str::from_utf8(record).ok();
        let values = values.and_then(|text| object::read(text, &self.names).ok());
        let Some(values) = values else {
            return Message {
                fits: false,
                ..as_it_is(None)
            };
        };
        self.key_text.clear();
        match values.first().copied().flatten() {
            None | Some("null") => return as_it_is(None),
            Some(raw) if raw.starts_with('"') => {
                self.key_text
                    .push_str(&object::unescape(raw).unwrap_or_default());
            }
            Some(raw) => self.key_text.push_str(raw),
        }
        as_it_is(Some(self.key_text.as_str()))
    }

    fn delimited<'a>(
        &'a mut self,
        record: &'a [u8],
        header: &[String],
        literal: &[bool],
        key: Option<usize>,
    ) -> Message<'a> {
        self.message.clear();
        self.key_text.clear();
        let mut has_key = false;
        let (message, key_text) = (&mut self.message, &mut self.key_text);
        let fits = self.csv.fields(record, header.len(), |at, text, is_null| {
            if key == Some(at) && !is_null {
                key_text.push_str(text);
                has_key = true;
            }
            if self.form == Form::Object {
                as_object(message, &header[at], |out| {
                    if is_null {
                        out.push_str("null");
                    } else if literal[at] && is_literal(text) {
                        out.push_str(text);
                    } else {
                        write_json_string(out, text);
                    }
                });
            }
        });
        let value = if fits && self.form == Form::Object {
            self.message.push('}');
            self.message.as_bytes()
        } else {
            record
        };
        let key = (fits && has_key).then_some(self.key_text.as_str());
        Message { key, value, fits }
    }
}

/// Whether a text is a number or a boolean as JSON writes them: `007` and `+1` are not.
fn is_literal(text: &str) -> bool {
    if matches!(text, "true" | "false") {
        return true;
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let places = digits(fraction);
        if places == 0 {
            return false;
        }
        rest = &fraction[places..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let places = digits(exponent);
        if places == 0 {
            return false;
        }
        rest = &exponent[places..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{CsvOptions, TimestampFormat};
    use crate::types::Offset;

    fn transcode(kind: FormatKind, objects: bool, text: &str, header: &[&str]) -> Vec<String> {
        delimited_by(b',', kind, objects, text, header)
    }

    fn delimited_by(
        delimiter: u8,
        kind: FormatKind,
        objects: bool,
        text: &str,
        header: &[&str],
    ) -> Vec<String> {
        let options = FormatOptions {
            kind,
            record_bytes_max: 1 << 20,
            timestamps: TimestampFormat::Iso,
            csv: CsvOptions {
                delimiter,
                ..CsvOptions::default()
            },
        };
        let literal = vec!["n".to_owned(), "ok".to_owned()];
        let unnamed = vec!["k".to_owned(), "n".to_owned()];
        let mut transcoder = Transcoder::new(&options, objects, Some("k"), (literal, unnamed));
        let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
        let block = Block {
            bytes: Arc::new(text.as_bytes().to_vec()),
            start: Offset(0),
            end: Offset(text.len() as u64),
            line: 1,
            header: (!header.is_empty()).then(|| Arc::new(header)),
            columns: None,
            records: None,
        };
        let mut out = Vec::new();
        let all = transcoder.messages(&block, |message, _| {
            let value = String::from_utf8(message.value.to_vec()).unwrap();
            let key = message.key.unwrap_or("-");
            let fits = if message.fits { "" } else { " as it is" };
            out.push(format!("{key}: {value}{fits}"));
            Ok::<(), ()>(())
        });
        all.unwrap();
        out
    }

    #[test]
    fn csv_becomes_objects_with_numbers_where_they_are_some() {
        let text = "a,1,\"x \"\"y\"\"\"\nb,007,\n\r\n,1.5e3,\"\"\r\nc,true,\"two\nlines\"\nshort,1\nd,2,\"open";

        let messages = transcode(FormatKind::Csv, true, text, &["k", "n", "t"]);

        assert_eq!(
            messages,
            [
                r#"a: {"k":"a","n":1,"t":"x \"y\""}"#,
                r#"b: {"k":"b","n":"007","t":null}"#,
                r#"-: {"k":null,"n":1.5e3,"t":""}"#,
                r#"c: {"k":"c","n":true,"t":"two\nlines"}"#,
                "-: short,1 as it is",
                "-: d,2,\"open as it is",
            ]
        );
    }

    #[test]
    fn a_record_of_white_space_between_delimiters_is_one() {
        let text = "a\t1\n\t\n\n \r\nb\t2\n";

        let messages = |objects| delimited_by(b'\t', FormatKind::Csv, objects, text, &["k", "n"]);

        assert_eq!(
            messages(false),
            ["a: a\t1", "-: \t", "-:   as it is", "b: b\t2"]
        );
        assert_eq!(messages(true)[1], "-: {\"k\":null,\"n\":null}");
    }

    #[test]
    fn columns_that_no_line_names_have_the_names_that_are_given() {
        let messages = |objects| transcode(FormatKind::Csv, objects, "a,1\nb,2\n", &[]);

        assert_eq!(messages(true)[0], "a: {\"k\":\"a\",\"n\":1}");
        assert_eq!(messages(false), ["a: a,1", "b: b,2"]);
    }

    #[test]
    fn csv_that_stays_csv_and_json_keep_their_bytes() {
        let text = "a,\"1\"\nb,2\n";
        assert_eq!(
            transcode(FormatKind::Csv, false, text, &["k", "n"]),
            ["a: a,\"1\"", "b: b,2"]
        );
        let text = "{\"k\": \"a\\\"\"}\n\n{\"k\":7 }\n{\"x\":1}\nnonsense\n{\"k\":null}";
        assert_eq!(
            transcode(FormatKind::Json, true, text, &[]),
            [
                "a\": {\"k\": \"a\\\"\"}",
                "7: {\"k\":7 }",
                "-: {\"x\":1}",
                "-: nonsense as it is",
                "-: {\"k\":null}",
            ]
        );
    }

    #[test]
    fn only_what_json_takes_is_a_literal() {
        for text in ["0", "-1", "10", "1.5", "1e9", "-0.1E-3", "true"] {
            assert!(is_literal(text), "{text}");
        }
        for text in [
            "", "-", "01", "+1", "1.", ".5", "1e", "1 ", "NaN", "0x1", "True",
        ] {
            assert!(!is_literal(text), "{text}");
        }
    }
}
