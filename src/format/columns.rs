//! Records that come as columns (Parquet): arrays as a file has them into the declared columns.
//!
//! ```text
//!   array ──▶ the declared type, all values at once        numbers, text, bytes, times
//!         └─▶ its values as JSON or text, one by one       what the other formats know how to read
//! ```
//!
//! A value means what it means in JSON and CSV: what is converted at once comes to what its text
//! would. One that does not convert rejects its row, in the words of the other formats. Whether the types
//! convert at all is said before a row is read. A record's place in its block is its number there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, new_null_array,
};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, filter};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type, Schema, SchemaRef,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;

use super::column::{Column, JSON, UUID, has_extension, is_record, names_of};
use super::encode::{json_text, write_object};
use super::infer::{InferredColumn, Remark};
use super::options::{FormatError, FormatOptions, TimestampFormat};
use super::{Block, Decoded, Decoder, RejectedRecord, Wanted};
use crate::types::{Reason, Reject, Span, batch};

/// The columns of a file are not what is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfitting {
    /// What differs.
    pub difference: String,
    /// What to type.
    pub hint: String,
}

/// Which of a file's columns are read, ascending; or what does not fit. Columns that nobody wants may
/// be of any type.
pub fn fit(
    file: &Schema,
    options: &FormatOptions,
    wanted: &Wanted,
) -> Result<Vec<usize>, Unfitting> {
    let fields = wanted.schema.fields().iter();
    if wanted.schema.fields().iter().any(|field| is_record(field)) {
        for field in fields.filter(|field| !is_record(field)) {
            place_of(file, field, options)?;
        }
        return Ok((0..file.fields().len()).collect());
    }
    let places = fields.map(|field| place_of(file, field, options).map(|(place, _)| place));
    let mut places = places.collect::<Result<Vec<usize>, _>>()?;
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// Where a wanted column is in the file, and how it is read.
fn place_of(
    file: &Schema,
    field: &Field,
    options: &FormatOptions,
) -> Result<(usize, How), Unfitting> {
    let name = field.name();
    let Some(place) = names_of(field).find_map(|name| file.index_of(name).ok()) else {
        let names = file.fields().iter().map(|field| field.name().as_str());
        return Err(Unfitting {
            difference: format!("there is no column `{name}`"),
            hint: format!("it has {}", names.collect::<Vec<_>>().join(", ")),
        });
    };
    let there = file.field(place).data_type();
    if let Some(what) = unreadable(there) {
        return Err(Unfitting {
            difference: format!("`{name}` is {what} there, which cannot be read"),
            hint: "leave the column out, or have it written as text of JSON".to_owned(),
        });
    }
    let how = how(there, field, options.timestamps).ok_or_else(|| {
        let (there, declared) = (sql_type(there), declared_type(field));
        Unfitting {
            difference: format!("`{name}` is {there} there, which does not become {declared}"),
            hint: format!("declare it as {there}, and CAST it in the query"),
        }
    })?;
    Ok((place, how))
}

/// How the values of a column become those of a declared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The array becomes another one.
    AtOnce,
    /// Value by value, from its text.
    ByText,
}

/// What kind of value a type holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Whole,
    Decimal,
    Float,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    List,
    Struct,
    Other,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not listed becomes nothing but itself"
)]
fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Boolean,
        other if other.is_integer() => Kind::Whole,
        other if other.is_decimal() => Kind::Decimal,
        other if other.is_floating() => Kind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Kind::Bytes,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Dictionary(_, values) => kind_of(values),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Kind::List,
        DataType::Struct(_) => Kind::Struct,
        _ => Kind::Other,
    }
}

/// How values of a type become those of a declared column, if they do: without loss, or one bad
/// value among good ones.
fn how(there: &DataType, field: &Field, timestamps: TimestampFormat) -> Option<How> {
    let (from, to) = (kind_of(there), kind_of(field.data_type()));
    if has_extension(field, JSON) {
        return (from != Kind::Other).then_some(How::ByText);
    }
    if has_extension(field, UUID) {
        let is_uuid = from == Kind::Text || *there == DataType::FixedSizeBinary(16);
        return is_uuid.then_some(How::ByText);
    }
    match (from, to) {
        (Kind::Decimal, Kind::Decimal) => {
            let fits = scale_of(there) <= scale_of(field.data_type());
            // A longer fraction is rounded, or not, as the others do.
            Some(if fits { How::AtOnce } else { How::ByText })
        }
        (Kind::Decimal, Kind::Float) => Some(How::ByText),
        // Programs write amounts as floats, and whole numbers too where some are missing.
        (Kind::Float, Kind::Decimal) | (Kind::Float | Kind::Decimal, Kind::Whole) => {
            Some(How::ByText)
        }
        (Kind::List, Kind::List) | (Kind::Struct, Kind::Struct) => Some(How::ByText),
        (Kind::Text, Kind::Text) | (Kind::Bytes, Kind::Text | Kind::Bytes) => Some(How::AtOnce),
        (Kind::Text, Kind::List | Kind::Struct) => None,
        (Kind::Text, _) => Some(How::ByText),
        (Kind::Other, _) | (_, Kind::Other) => (there == field.data_type()).then_some(How::AtOnce),
        (Kind::Whole, Kind::Decimal | Kind::Float) | (Kind::Date, Kind::Timestamp) => {
            Some(How::AtOnce)
        }
        (Kind::Whole, Kind::Timestamp) => {
            (timestamps != TimestampFormat::Iso).then_some(How::ByText)
        }
        (from, to) => (from == to).then_some(How::AtOnce),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only decimals have a scale")]
fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

/// The type among ours that holds the values, where there is one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types are ours, or are not read"
)]
fn plain(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let plain = plain(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(inner(item))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// What a type is called that becomes nothing that a column can be declared as.
fn unreadable(data_type: &DataType) -> Option<String> {
    matches!(data_type, DataType::Map(..)).then(|| "a map".to_owned())
}

/// The type as `CREATE TABLE` has it; what has no type of its own there is JSON.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is shown as JSON")]
fn sql_type(data_type: &DataType) -> String {
    match plain(data_type) {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "SMALLINT".to_owned(),
        DataType::Int32 | DataType::UInt16 => "INT".to_owned(),
        DataType::Int64 | DataType::UInt32 => "BIGINT".to_owned(),
        DataType::UInt64 => "DECIMAL(20, 0)".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) if !item.data_type().is_nested() => {
            format!("{}[]", sql_type(item.data_type()))
        }
        _ => "JSON".to_owned(),
    }
}

fn declared_type(field: &Field) -> String {
    if has_extension(field, UUID) {
        return "UUID".to_owned();
    }
    if matches!(field.data_type(), DataType::Struct(_)) {
        return "STRUCT".to_owned();
    }
    sql_type(field.data_type())
}

/// The columns of a file as `tidemark infer` prints them.
#[must_use]
pub fn declared(file: &Schema) -> Vec<InferredColumn> {
    let column = |field: &FieldRef| InferredColumn {
        name: field.name().clone(),
        sql_type: sql_type(field.data_type()),
        nullable: field.is_nullable(),
        remark: unreadable(field.data_type()).map(Remark::Unreadable),
    };
    file.fields().iter().map(column).collect()
}

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
            let message = "NOT NULL column has no value";
            self.add(row, Reject::column(Reason::Missing, field.name(), message));
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
