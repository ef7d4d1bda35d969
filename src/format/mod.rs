//! Formats: bytes of records to and from Arrow batches, one reject per bad record.
//!
//! ```text
//!   Block (bytes of whole records) ──▶ Decoder ──▶ Decoded { rows, spans, rejects }
//!   RecordBatch ──▶ Encoder ──▶ bytes
//! ```
//!
//! What a decoder yields is a function of the block's bytes and nothing else: not of the block
//! before it, not of the thread it runs on. A bad record is one `Reject` with its place, never a
//! silent NULL and never an error of the whole block. Adding a format is one file and one line in
//! `FORMATS`.

mod column;
mod columns;
mod csv;
mod encode;
mod framing;
mod infer;
mod json;
mod metadata;
mod number;
mod object;
mod options;
mod records;
mod rows;
mod scan;
mod text;
mod time;
mod transcode;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use column::{EXTENSION, JSON, RECORD, UUID, WRITTEN, is_record};
pub use columns::{Unfitting, declared, fit, row_text};
pub use csv::{Preamble, check_header, read_preamble};
pub use encode::{Encoder, json_text};
pub use framing::{Framing, RecordEnds, count_lines, last_record_end};
pub use infer::{Asked, InferredColumn, InferredTable, Remark, infer, infer_as, is_parquet, told};
pub use metadata::{METADATA, Metadata, metadata_of};
pub use options::{
    CsvOptions, FORMATS, Format, FormatError, FormatKind, FormatOption, FormatOptions, OptionKind,
    TimestampFormat, format, parse_bytes,
};
pub use records::{Positions, Records};
pub use text::value_text;
pub use transcode::{Message, Transcoder};

use crate::types::{Offset, Reject, Span};

/// Some whole records of one partition, in order.
#[derive(Clone, Debug)]
pub struct Block {
    /// The bytes; a record's offset is `start` plus its place in here.
    pub bytes: Arc<Vec<u8>>,
    /// The position of the first record.
    pub start: Offset,
    /// The position after the last record: where the next block starts.
    pub end: Offset,
    /// The line of the file on which the block starts, from 1; 0 where there are no lines.
    pub line: u64,
    /// The names in a CSV file's header line, where there is one: columns are found by name.
    pub header: Option<Arc<Vec<String>>>,
    /// The records, where the source knows them: what a topic holds is one record per message,
    /// whatever bytes are in it. Without it, the format's framing tells them apart.
    pub records: Option<Arc<Records>>,
    /// The records, where they come as columns: then there are no bytes, and the place of a record is
    /// its number in here.
    pub columns: Option<Arc<RecordBatch>>,
}

/// What became of the records of a block.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The good rows, in order, with the projected columns.
    pub rows: RecordBatch,
    /// One per row: which bytes it was.
    pub spans: Vec<Span>,
    /// The bad records, in order.
    pub rejects: Vec<RejectedRecord>,
}

/// A bad record and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Which bytes.
    pub span: Span,
    /// The line it starts on, from 1; 0 where there are no lines.
    pub line: u64,
    /// Why.
    pub reject: Reject,
    /// When it happened, in microseconds, where its event time is known all the same.
    pub at: Option<i64>,
}

/// Turns blocks of one format into rows. One per decoding thread.
pub trait Decoder: Send {
    /// Decodes every record of `block`.
    fn decode(&mut self, block: &Block) -> Decoded;
}

/// What is decoded: all of a table's columns that the pipeline needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The columns to decode, in the order of the rows wanted. A column that is not nullable
    /// and has no value makes its record a reject (`Reason::Missing`).
    pub schema: SchemaRef,
    /// The names of all declared columns that are not computed, do not hold the whole record and
    /// do not come with it, in the declared order: a CSV file without header is read by this order.
    pub declared: Vec<String>,
    /// Whether a record without a value is a row of NULLs, and not a reject.
    pub tombstones: bool,
}

/// A decoder for one thread. Fails if a wanted column has a type that the format cannot read.
pub fn decoder(options: &FormatOptions, wanted: &Wanted) -> Result<Box<dyn Decoder>, FormatError> {
    Ok(match options.kind {
        FormatKind::Json => Box::new(json::JsonDecoder::new(options, wanted)?),
        FormatKind::Csv => Box::new(csv::CsvDecoder::new(options, wanted)?),
        FormatKind::Parquet => Box::new(columns::ColumnsDecoder::new(options, wanted)?),
    })
}

/// How many elements the next block's buffers make room for, after a block of so many: blocks are equal
/// in bytes, not in rows, and a buffer that is one element short is copied into one of twice its size.
#[must_use]
pub fn room_after(len: usize) -> usize {
    len + len / 16 + 32
}

#[cfg(test)]
mod tests;
