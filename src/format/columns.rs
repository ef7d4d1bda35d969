//! Records that come as columns (Parquet): arrays as a file has them into the declared columns.
//!
//! ```text
//!   array ──▶ the declared type, all values at once        numbers, text, bytes, times
//!         └─▶ its values as JSON or text, one by one       what the other formats know how to read
//! ```
//!
//! A value means what it means in JSON and CSV: what is converted at once comes to what its text
//! would. One that does not convert rejects its row, in the words of the other formats. Whether the types
//! convert at all is said before a row is read (`fit`). A record's place in its block is its number there.

mod fit;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, new_null_array,
};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, filter};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, SchemaRef,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;

use self::fit::{How, declared_type, place_of, plain};
use super::column::{Column, UUID, has_extension, is_record};
use super::encode::{json_text, write_object};
use super::options::{FormatError, FormatOptions};
use super::{Block, Decoded, Decoder, RejectedRecord, Wanted};
use crate::types::{Reason, Reject, Span, batch};

pub use fit::{Unfitting, declared, fit};

/// A record as a JSON object, for people: there are no bytes that it was.
#[must_use]
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    let one = rows.slice(row, 1);
    let columns = one.columns().iter();
    let columns = columns.map(|column| as_plain(column).unwrap_or_else(|_| Arc::clone(column)));
    let mut out = String::new();
    write_object(
        &mut out,
        one.schema_ref().fields(),
        &columns.collect::<Vec<_>>(),
        0,
    );
    out
}

/// The same values in a type of ours.
fn as_plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    // A value that does not fit would be NULL without a word.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, &plain(array.data_type()), &options)
}

/// Decodes blocks of columns.
pub(super) struct ColumnsDecoder {
    options: FormatOptions,
    wanted: Wanted,
    columns: Vec<Column>,
    /// For the columns of a file: those of the block before.
    ways: Option<(SchemaRef, Vec<Way>)>,
}

/// Where the values of a wanted column come from.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// From this column.
    Of(usize, How),
    /// From the whole record.
    Record,
}

impl ColumnsDecoder {
    pub fn new(options: &FormatOptions, wanted: &Wanted) -> Result<Self, FormatError> {
        let fields = wanted.schema.fields().iter();
        let columns = fields.map(|field| Column::new(field, options.timestamps));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            options: options.clone(),
            wanted: wanted.clone(),
            ways: None,
        })
    }

    fn ways(&mut self, schema: &SchemaRef) -> Vec<Way> {
        if let Some((known, ways)) = &self.ways
            && known == schema
        {
            return ways.clone();
        }
        let way = |field: &FieldRef| {
            if is_record(field) {
                return Way::Record;
            }
            let (place, how) = place_of(schema, field, &self.options)
                .expect("the source has looked whether the columns fit");
            Way::Of(place, how)
        };
        let ways: Vec<Way> = self.wanted.schema.fields().iter().map(way).collect();
        self.ways = Some((Arc::clone(schema), ways.clone()));
        ways
    }
}

impl Decoder for ColumnsDecoder {
    fn decode(&mut self, block: &Block) -> Decoded {
        let rows = block.columns.as_ref();
        let rows = rows.expect("who says that a format is of columns reads columns");
        let ways = self.ways(rows.schema_ref());
        let mut failed = Failed::default();
        let mut arrays = Vec::with_capacity(ways.len());
        for (column, way) in self.columns.iter_mut().zip(ways) {
            let array = match way {
                Way::Record => whole(column, rows, &mut failed),
                Way::Of(place, How::AtOnce) => at_once(column, rows.column(place), &mut failed),
                Way::Of(place, How::ByText) => by_text(column, rows.column(place), &mut failed),
            };
            failed.nulls(&column.field, &array);
            arrays.push(array);
        }
        failed.decoded(&self.wanted.schema, arrays, rows.num_rows())
    }
}

/// The rows that are rejected, and why.
#[derive(Default)]
struct Failed(BTreeMap<usize, Reject>);

impl Failed {
    /// The first thing that is wrong with a row is what is said.
    fn add(&mut self, row: usize, reject: Reject) {
        self.0.entry(row).or_insert(reject);
    }

    fn bad(&mut self, row: usize, column: &Column, message: String) {
        let reject = Reject::column(Reason::BadValue, column.name(), message);
        self.add(row, reject);
    }

    /// NULLs where none may be.
    fn nulls(&mut self, field: &Field, array: &ArrayRef) {
        if field.is_nullable() || array.null_count() == 0 {
            return;
        }
        for row in (0..array.len()).filter(|&row| array.is_null(row)) {
            self.add(row, Reject::missing(field.name()));
        }
    }

    /// The rows that are left.
    fn decoded(self, schema: &SchemaRef, mut arrays: Vec<ArrayRef>, count: usize) -> Decoded {
        let span = |row: usize| Span {
            start: u32::try_from(row).expect("a block is a few thousand rows"),
            len: 0,
        };
        let spans = (0..count).filter(|row| !self.0.contains_key(row)).map(span);
        let spans: Vec<Span> = spans.collect();
        if !self.0.is_empty() {
            let kept = (0..count).map(|row| Some(!self.0.contains_key(&row)));
            let kept: BooleanArray = kept.collect();
            let filtered = arrays.iter().map(|array| filter(array, &kept));
            arrays = filtered
                .collect::<Result<_, _>>()
                .expect("every column has a value per row");
        }
        let rejects = self.0.into_iter().map(|(row, reject)| RejectedRecord {
            span: span(row),
            line: 0,
            reject,
            at: None,
        });
        Decoded {
            rows: batch(Arc::clone(schema), arrays, spans.len())
                .expect("columns have the declared types, and NULL only where it may be"),
            spans,
            rejects: rejects.collect(),
        }
    }
}

/// All values of an array in the type of a declared column.
fn at_once(column: &mut Column, array: &ArrayRef, failed: &mut Failed) -> ArrayRef {
    let wanted = column.field.data_type().clone();
    if *array.data_type() == wanted {
        return Arc::clone(array);
    }
    let converted = converted(array, &wanted);
    if converted.null_count() == array.null_count() && !wanted.is_floating() {
        return converted;
    }
    let is_lost = |row: &usize| {
        array.is_valid(*row) && (converted.is_null(*row) || is_beyond(array, &converted, *row))
    };
    let lost: Vec<usize> = (0..array.len()).filter(is_lost).collect();
    let plain = as_plain(array).unwrap_or_else(|_| Arc::clone(array));
    for row in lost {
        // In the words of the other formats.
        let field = Field::new(column.name(), plain.data_type().clone(), true);
        let text = json_text(&field, &plain, row).unwrap_or_default();
        let said = column.append_json(&text);
        let _ = column.finish();
        match said {
            Err(unfit) => failed.add(row, unfit.reject(column.name())),
            Ok(()) => {
                let wanted = declared_type(&column.field);
                failed.bad(row, column, format!("`{text}` is not {wanted}"));
            }
        }
    }
    converted
}

/// NULL where a value does not convert.
fn converted(array: &ArrayRef, wanted: &DataType) -> ArrayRef {
    match (array.data_type(), wanted) {
        (DataType::Timestamp(unit, _), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let micros: PrimitiveArray<TimestampMicrosecondType> = match unit {
                TimeUnit::Second => by(array.as_primitive::<TimestampSecondType>(), |v| {
                    v.checked_mul(1_000_000)
                }),
                TimeUnit::Millisecond => {
                    by(array.as_primitive::<TimestampMillisecondType>(), |v| {
                        v.checked_mul(1000)
                    })
                }
                TimeUnit::Microsecond => by(array.as_primitive::<TimestampMicrosecondType>(), Some),
                TimeUnit::Nanosecond => by(array.as_primitive::<TimestampNanosecondType>(), |v| {
                    Some(rounded(v))
                }),
            };
            // What has no zone is in UTC, as in text.
            Arc::new(micros.with_timezone_opt(zone.clone()))
        }
        (DataType::Time64(TimeUnit::Nanosecond), DataType::Time64(TimeUnit::Microsecond)) => {
            let times: PrimitiveArray<Time64MicrosecondType> =
                by(array.as_primitive::<Time64NanosecondType>(), |v| {
                    Some(rounded(v))
                });
            Arc::new(times)
        }
        (there, _) => {
            let safe = CastOptions::default();
            let through = plain(there);
            let nothing = |_| new_null_array(wanted, array.len());
            if can_cast_types(there, wanted) {
                return cast_with_options(array, wanted, &safe).unwrap_or_else(nothing);
            }
            let array = cast_with_options(array, &through, &safe);
            let array = array.and_then(|array| cast_with_options(&array, wanted, &safe));
            array.unwrap_or_else(nothing)
        }
    }
}

/// Nanoseconds as microseconds, rounded as the digits of a text are.
fn rounded(nanos: i64) -> i64 {
    nanos.div_euclid(1000) + i64::from(nanos.rem_euclid(1000) >= 500)
}

fn by<From, To>(
    array: &PrimitiveArray<From>,
    convert: impl Fn(i64) -> Option<i64>,
) -> PrimitiveArray<To>
where
    From: ArrowPrimitiveType<Native = i64>,
    To: ArrowPrimitiveType<Native = i64>,
{
    array.unary_opt(convert)
}

/// Whether a number became infinite that was not.
fn is_beyond(before: &ArrayRef, after: &ArrayRef, row: usize) -> bool {
    let (before, after) = (
        before.as_primitive_opt::<Float64Type>(),
        after.as_primitive_opt::<Float32Type>(),
    );
    before.is_some_and(|before| before.value(row).is_finite())
        && after.is_some_and(|after| after.value(row).is_infinite())
}

/// The values of an array, each read as the other formats read it.
fn by_text(column: &mut Column, array: &ArrayRef, failed: &mut Failed) -> ArrayRef {
    let plain = match as_plain(array) {
        Ok(plain) => plain,
        Err(error) => {
            for row in (0..array.len()).filter(|&row| array.is_valid(row)) {
                failed.bad(row, column, format!("cannot be converted: {error}"));
            }
            return new_null_array(column.field.data_type(), array.len());
        }
    };
    let field = Field::new(column.name(), plain.data_type().clone(), true);
    let texts = plain.as_string_opt::<i32>();
    let uuids = plain.as_binary_opt::<i32>();
    let uuids = uuids.filter(|_| has_extension(&column.field, UUID));
    for row in 0..plain.len() {
        if plain.is_null(row) {
            // Whether it may be is looked at for all columns alike.
            column.append_placeholder();
            continue;
        }
        let appended = match (texts, uuids) {
            (Some(texts), _) => column.append_text(texts.value(row)),
            (None, Some(uuids)) => column.append_text(&hex(uuids.value(row))),
            (None, None) => {
                let text = json_text(&field, &plain, row).unwrap_or_default();
                column.append_json(&text)
            }
        };
        if let Err(unfit) = appended {
            column.truncate(row);
            column.append_placeholder();
            failed.add(row, unfit.reject(column.name()));
        }
    }
    column.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whole records, as JSON.
fn whole(column: &mut Column, rows: &RecordBatch, failed: &mut Failed) -> ArrayRef {
    let mut plain = Vec::with_capacity(rows.num_columns());
    for array in rows.columns() {
        match as_plain(array) {
            Ok(array) => plain.push(array),
            Err(error) => {
                for row in 0..rows.num_rows() {
                    failed.bad(row, column, format!("cannot be written: {error}"));
                }
                return new_null_array(column.field.data_type(), rows.num_rows());
            }
        }
    }
    let mut text = String::new();
    for row in 0..rows.num_rows() {
        text.clear();
        write_object(&mut text, rows.schema_ref().fields(), &plain, row);
        if let Err(unfit) = column.append_whole(&text) {
            column.append_placeholder();
            failed.add(row, unfit.reject(column.name()));
        }
    }
    column.finish()
}

#[cfg(test)]
mod tests;
