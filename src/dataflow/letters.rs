//! Dead letters: the rows of the table that `'dead.letter'` names, for records that were
//! rejected or late. A record that is no row stands in it once; one that is late for an INSERT, or
//! that its expressions or its sink cannot use, once per INSERT that missed it.
//!
//! What a stranger sent must not end the run by way of its letter: texts are such as every table
//! holds. Only a payload of type BYTEA has the bytes as they came. How large a record of a topic
//! may be is known where it is written.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::arrival::ArrivedRows;
use super::step::Turned;
use crate::format::RejectedRecord;
use crate::types::{EventTime, Reason, Span, Watermark};

/// The columns that a dead-letter table may declare, with what each holds.
pub const LETTER_COLUMNS: &[(&str, &str)] = &[
    ("kind", "`rejected` or `late`"),
    ("reason", "a short code"),
    ("message", "what went wrong"),
    ("column_name", "the column at fault, where there is one"),
    ("source", "the source table"),
    ("partition", "the partition: a file's path"),
    ("offset", "the record's position in its partition"),
    ("line", "the record's line in its file"),
    ("insert_into", "the table that missed it"),
    (
        "payload",
        "the original bytes; the first of them if the record is too long",
    ),
];

/// A longer message is cut: some quote the whole value.
const MESSAGE_CHARS: usize = 1000;

/// One record that did not make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Late, or else rejected.
    pub late: bool,
    /// A short code.
    pub reason: &'static str,
    /// What went wrong.
    pub message: String,
    /// The column at fault.
    pub column: Option<String>,
    /// The record's position.
    pub offset: u64,
    /// The record's line, where there are lines.
    pub line: Option<u64>,
    /// The table that missed it; `None` for a record that no INSERT could use.
    pub insert_into: Option<String>,
    /// The original bytes; of a record that is too long, the first of them.
    pub payload: Vec<u8>,
}

/// The letters of a block: its bad records, and the rows that were turned away, with the INSERT that
/// missed each.
pub fn of(arrived: &ArrivedRows, turned: &[(usize, Turned)], inserts: &[String]) -> Vec<Letter> {
    let rejected = arrived
        .rejects
        .iter()
        .map(|reject| rejected_letter(arrived, reject));
    let turned = turned
        .iter()
        .map(|(insert, turned)| turned_letter(arrived, turned, &inserts[*insert]));
    rejected.chain(turned).collect()
}

fn rejected_letter(arrived: &ArrivedRows, rejected: &RejectedRecord) -> Letter {
    Letter {
        late: false,
        reason: rejected.reject.reason.code(),
        message: rejected.reject.message.clone(),
        column: rejected.reject.column.clone(),
        offset: arrived.positions.of(rejected.span.start).0,
        line: (rejected.line > 0).then_some(rejected.line),
        insert_into: None,
        payload: arrived.payload(rejected.span),
    }
}

fn turned_letter(arrived: &ArrivedRows, turned: &Turned, into: &str) -> Letter {
    let span: Span = arrived.spans[turned.row() as usize];
    let (late, reason, message) = match turned {
        Turned::Failed { message, .. } => (false, Reason::Expression.code(), message.clone()),
        Turned::Behind { watermark, .. } => {
            let watermark = Watermark::behind(EventTime(*watermark), 0);
            (
                true,
                "late",
                format!("event time was at {watermark} already"),
            )
        }
        Turned::Late { window_end, .. } => {
            let end = Watermark::behind(EventTime(*window_end), 0);
            (true, "late", format!("its last window ended {end}"))
        }
    };
    Letter {
        late,
        reason,
        message,
        column: None,
        offset: arrived.positions.of(span.start).0,
        line: arrived.line_of(span),
        insert_into: Some(into.to_owned()),
        payload: arrived.payload(span),
    }
}

/// The letters as rows of a dead-letter table with `schema`.
pub fn rows(
    letters: &[Letter],
    source: &str,
    partition: &str,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        let values: ArrayRef = match field.name().as_str() {
            "kind" => text(letters, |letter| {
                Some(if letter.late { "late" } else { "rejected" })
            }),
            "reason" => text(letters, |letter| Some(letter.reason)),
            "message" => text(letters, |letter| Some(first_of(&letter.message))),
            "column_name" => text(letters, |letter| letter.column.as_deref()),
            "source" => text(letters, |_| Some(source)),
            "partition" => text(letters, |_| Some(partition)),
            "insert_into" => text(letters, |letter| letter.insert_into.as_deref()),
            "offset" => Arc::new(UInt64Array::from_iter_values(
                letters.iter().map(|l| l.offset),
            )),
            "line" => Arc::new(letters.iter().map(|l| l.line).collect::<UInt64Array>()),
            "payload" if *field.data_type() == DataType::Binary => {
                let bytes = letters.iter().map(|letter| &letter.payload);
                Arc::new(BinaryArray::from_iter_values(bytes))
            }
            "payload" => {
                let texts = letters.iter().map(|l| String::from_utf8_lossy(&l.payload));
                Arc::new(StringArray::from_iter_values(texts.map(plain)))
            }
            other => panic!("`{other}` is no column of a dead letter: checked before the run"),
        };
        cast(&values, field.data_type())
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

fn text<'a>(letters: &'a [Letter], of: impl Fn(&'a Letter) -> Option<&'a str>) -> ArrayRef {
    let texts = letters.iter().map(of);
    Arc::new(
        texts
            .map(|text| text.map(|text| plain(text.into())))
            .collect::<StringArray>(),
    )
}

/// PostgreSQL holds no NUL in a text. As what is no text at all, it becomes a replacement character.
fn plain(text: Cow<'_, str>) -> Cow<'_, str> {
    const REPLACED: &str = "\u{fffd}";
    match text.contains('\0') {
        true => text.replace('\0', REPLACED).into(),
        false => text,
    }
}

fn first_of(message: &str) -> &str {
    let end = message.char_indices().nth(MESSAGE_CHARS);
    end.map_or(message, |(end, _)| &message[..end])
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;

    fn letter(message: &str, payload: &[u8]) -> Letter {
        Letter {
            late: true,
            reason: "late",
            message: message.to_owned(),
            column: None,
            offset: 70,
            line: None,
            insert_into: Some("counts".to_owned()),
            payload: payload.to_vec(),
        }
    }

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        let field = |(name, of): &(&str, DataType)| Field::new(*name, of.clone(), true);
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }

    #[test]
    fn texts_are_such_as_every_table_holds_and_bytes_are_as_they_came() {
        let letter = letter("`a\0b` is not a number", b"a\0b\xff");
        let (text, bytes) = (DataType::Utf8, DataType::Binary);

        let letters = [letter];
        let texts = schema(&[("message", text.clone()), ("payload", text.clone())]);
        let texts = rows(&letters, "t", "a\0.json", &texts).unwrap();
        let whole = schema(&[("partition", text), ("payload", bytes)]);
        let whole = rows(&letters, "t", "a\0.json", &whole).unwrap();

        let value = |at: usize| texts.column(at).as_string::<i32>().value(0);
        assert_eq!(value(0), "`a\u{fffd}b` is not a number");
        assert_eq!(value(1), "a\u{fffd}b\u{fffd}");
        assert_eq!(
            whole.column(0).as_string::<i32>().value(0),
            "a\u{fffd}.json"
        );
        assert_eq!(whole.column(1).as_binary::<i32>().value(0), b"a\0b\xff");
    }

    #[test]
    fn a_message_that_quotes_a_whole_record_is_cut() {
        let letter = letter(&"é".repeat(5000), b"");

        let rows = rows(&[letter], "t", "0", &schema(&[("message", DataType::Utf8)])).unwrap();

        let message = rows.column(0).as_string::<i32>().value(0);
        assert_eq!(message.chars().count(), MESSAGE_CHARS);
    }

    #[test]
    fn a_letter_fills_the_columns_that_its_table_declares() {
        let letter = letter("window ended", b"a,b");
        let schema = schema(&[
            ("payload", DataType::Utf8),
            ("offset", DataType::Int64),
            ("kind", DataType::Utf8),
        ]);

        let rows = rows(&[letter], "clicks", "a.csv", &schema).unwrap();

        assert_eq!(rows.column(0).as_string::<i32>().value(0), "a,b");
        assert_eq!(rows.column(1).as_primitive::<Int64Type>().value(0), 70);
        assert_eq!(rows.column(2).as_string::<i32>().value(0), "late");
    }
}
