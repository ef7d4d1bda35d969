//! Batches that may have rows and no columns: `count(*)` reads none.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// A batch of so many rows. Arrow would take the number from the first column; here it is said,
/// because there may be none.
///
/// # Errors
/// Where columns differ from the schema, in type, length or NULLs.
pub fn batch(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}
