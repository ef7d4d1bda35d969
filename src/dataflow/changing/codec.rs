//! Rows of a batch as bytes under a key, and back.
//!
//! ```text
//!   key   one byte: whether a part is NULL; then the key columns, which compare as they do
//!   row   the order columns, which compare as asked; the row; the length of the order
//! ```
//!
//! Rows of one key stand in the order asked for, and rows that are equal there in the order of
//! their own columns: a function of the rows alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::dataflow::aggregate::without_signs;
use crate::dataflow::roles::counts;
use crate::plan::SortKey;

/// What went wrong with bytes that should be rows.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Makes bytes of rows.
pub struct Codec {
    schema: SchemaRef,
    keys: Vec<usize>,
    order: Vec<SortKey>,
    key_rows: Converter,
    order_rows: Converter,
    rows: Converter,
}

/// Arrow's row format, which cannot say how many rows of no columns there are.
struct Converter(Option<RowConverter>);

impl Converter {
    fn new(fields: Vec<SortField>) -> Result<Self, ArrowError> {
        match fields.is_empty() {
            true => Ok(Self(None)),
            false => Ok(Self(Some(RowConverter::new(fields)?))),
        }
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<Option<Rows>, ArrowError> {
        let converter = self.0.as_ref();
        converter
            .map(|converter| converter.convert_columns(columns))
            .transpose()
    }
}

/// The bytes of row `row`.
fn bytes(rows: &Option<Rows>, row: usize) -> &[u8] {
    // A row borrows its bytes from `rows`, which its `data` does too.
    rows.as_ref().map_or(&[], |rows| rows.row(row).data())
}

/// How many bytes say how long the order is.
const LENGTH: usize = size_of::<u32>();

impl Codec {
    /// For rows of `schema` under the columns `keys`, in an order.
    pub fn new(
        schema: SchemaRef,
        keys: Vec<usize>,
        order: Vec<SortKey>,
    ) -> Result<Self, CodecError> {
        let plain = |data_type: &DataType| SortField::new(data_type.clone());
        let key_fields = keys.iter().map(|&key| plain(schema.field(key).data_type()));
        let order_fields = order.iter().map(|key| {
            let options = SortOptions::new(key.descending, key.nulls_first);
            SortField::new_with_options(key.expression.data_type.clone(), options)
        });
        let fields = schema.fields().iter();
        Ok(Self {
            key_rows: Converter::new(key_fields.collect())?,
            order_rows: Converter::new(order_fields.collect())?,
            rows: Converter::new(fields.map(|field| plain(field.data_type())).collect())?,
            keys,
            order,
            schema,
        })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The key of each row of a batch.
    pub fn keys(&self, batch: &RecordBatch) -> Result<BinaryArray, CodecError> {
        let keys: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|&key| without_signs(batch.column(key)))
            .collect();
        let key_rows = self.key_rows.encode(&keys)?;
        let (mut encoded, mut buffer) = (BinaryBuilder::new(), Vec::new());
        for row in 0..batch.num_rows() {
            buffer.clear();
            buffer.push(u8::from(keys.iter().any(|key| key.is_null(row))));
            buffer.extend_from_slice(bytes(&key_rows, row));
            encoded.append_value(&buffer);
        }
        Ok(encoded.finish())
    }

    /// Key, row and count of each row of a batch.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Encoded, CodecError> {
        let width = self.schema.fields().len();
        let order = self.order.iter().map(|key| {
            let order = key.expression.evaluate(batch)?;
            Ok::<_, CodecError>(without_signs(&order))
        });
        let order = self
            .order_rows
            .encode(&order.collect::<Result<Vec<_>, _>>()?)?;
        let rows = self.rows.encode(&batch.columns()[..width])?;
        let count = batch.num_rows();
        let (mut encoded, mut buffer) = (BinaryBuilder::new(), Vec::new());
        for row in 0..count {
            buffer.clear();
            let order = bytes(&order, row);
            buffer.extend_from_slice(order);
            buffer.extend_from_slice(bytes(&rows, row));
            buffer.extend_from_slice(&u32::try_from(order.len())?.to_le_bytes());
            encoded.append_value(&buffer);
        }
        let counts = counts(batch, width).cloned();
        Ok(Encoded {
            keys: self.keys(batch)?,
            rows: encoded.finish(),
            counts: counts.unwrap_or_else(|| Int64Array::from_value(1, count)),
        })
    }

    /// The columns of rows.
    pub fn decode<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let Some(converter) = &self.rows.0 else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        let rows = rows.map(|row| {
            let (_, row) = row.split_at(order_of(row).len());
            parser.parse(&row[..row.len() - LENGTH])
        });
        Ok(converter.convert_rows(rows)?)
    }
}

/// Whether a part of the key is NULL.
pub fn has_null(key: &[u8]) -> bool {
    key[0] == 1
}

/// The part of a row that says where it stands; rows with an equal one are peers.
pub fn order_of(row: &[u8]) -> &[u8] {
    let (_, length) = row.split_last_chunk::<LENGTH>().expect("its last part");
    &row[..u32::from_le_bytes(*length) as usize]
}

/// Rows as bytes.
pub struct Encoded {
    /// By row.
    pub keys: BinaryArray,
    /// By row.
    pub rows: BinaryArray,
    /// How many more of it there are.
    pub counts: Int64Array,
}

impl Encoded {
    /// As it goes to another worker.
    pub fn into_batch(self) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("key", DataType::Binary, false),
            Field::new("row", DataType::Binary, false),
            Field::new("count", DataType::Int64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys),
            Arc::new(self.rows),
            Arc::new(self.counts),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).expect("three columns of one length")
    }
}
