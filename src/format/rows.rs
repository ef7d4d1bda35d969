//! The rows of a block being decoded: all columns, where each row came from, and what was
//! turned away. A record is one row or one reject, never both and never neither.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::column::{self, Column};
use super::options::{FormatError, TimestampFormat};
use super::{Decoded, RejectedRecord, Wanted, room_after};
use crate::types::{Reason, Reject, Span, batch};

/// What a block has given so far.
#[derive(Debug)]
pub(super) struct Rows {
    pub columns: Vec<Column>,
    /// Positions of the columns that hold the whole record.
    pub records: Vec<usize>,
    schema: SchemaRef,
    spans: Vec<Span>,
    rejects: Vec<RejectedRecord>,
    /// Whether a record without a value is a row.
    tombstones: bool,
}

/// One record and its place in the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub bytes: &'a [u8],
    /// Distance from the start of the block.
    pub start: usize,
    /// From 1; 0 where there are no lines.
    pub line: u64,
}

impl Rows {
    pub fn new(wanted: &Wanted, timestamps: TimestampFormat) -> Result<Self, FormatError> {
        let fields = wanted.schema.fields();
        let columns = fields.iter().map(|field| Column::new(field, timestamps));
        let records = fields
            .iter()
            .enumerate()
            .filter(|(_, field)| column::is_record(field));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            records: records.map(|(at, _)| at).collect(),
            schema: Arc::clone(&wanted.schema),
            spans: Vec::new(),
            rejects: Vec::new(),
            tombstones: wanted.tombstones,
        })
    }

    /// How many rows there are: the position of the one being written.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// All columns have one more value: the record is a row.
    #[inline]
    pub fn accept(&mut self, record: Record<'_>) {
        self.spans.push(span(record.start, record.bytes.len()));
    }

    /// Takes back what the record has written so far.
    pub fn take_back(&mut self) {
        let len = self.len();
        self.columns
            .iter_mut()
            .for_each(|column| column.truncate(len));
    }

    /// The record is a reject, and nothing of it stays in the columns.
    pub fn reject(&mut self, record: Record<'_>, reject: Reject) {
        self.take_back();
        self.rejects.push(RejectedRecord {
            span: span(record.start, record.bytes.len()),
            line: record.line,
            reject,
            at: None,
        });
    }

    /// Rejects a record above the limit. Its span ends at the limit: a reader may have kept no
    /// more of it, and what is reported must not depend on that.
    pub fn reject_too_long(&mut self, record: Record<'_>, limit: usize) {
        let bytes = &record.bytes[..limit];
        let message = format!("the record is longer than {limit} bytes (`max.record.bytes`)");
        self.reject(
            Record { bytes, ..record },
            Reject::record(Reason::TooLong, message),
        );
    }

    /// A record of a source that tells records apart, with nothing in it: a row without values if
    /// the table asks for tombstones and it is one, and else a reject.
    pub fn blank(&mut self, record: Record<'_>, is_tombstone: bool) {
        if is_tombstone && self.tombstones {
            let null = |column: &mut Column| {
                let appended = column.append_null();
                appended.map_err(|unfit| unfit.reject(column.name()))
            };
            return match self.columns.iter_mut().try_for_each(null) {
                Ok(()) => self.accept(record),
                Err(reject) => self.reject(record, reject),
            };
        }
        let reject = if is_tombstone {
            Reject::record(Reason::Missing, "the record has no value")
        } else {
            Reject::record(Reason::Malformed, "the record is empty")
        };
        self.reject(record, reject);
    }

    /// Everything so far; starts anew.
    pub fn finish(&mut self) -> Decoded {
        let spans = std::mem::take(&mut self.spans);
        self.spans.reserve(room_after(spans.len()));
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let rows = batch(Arc::clone(&self.schema), arrays, spans.len())
            .expect("columns were made from the schema and have a value per row");
        Decoded {
            rows,
            spans,
            rejects: std::mem::take(&mut self.rejects),
        }
    }
}

fn span(start: usize, len: usize) -> Span {
    let narrow = |place| u32::try_from(place).expect("a block is far smaller than 4 GiB");
    Span {
        start: narrow(start),
        len: narrow(len),
    }
}
