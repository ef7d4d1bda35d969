//! Columns that batches carry besides those of their node: the count of each row in a changing
//! stream, each row's place in the input where something depends on order, and how far event time
//! was where something is forgotten.
//!
//! They stand behind the node's own columns and are found by their names, never by how many
//! columns there are: one edge may serve a reader that needs them and one that does not.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

const COUNT: &str = "__count";
const PARTITION: &str = "__partition";
const OFFSET: &str = "__offset";
const WATERMARK: &str = "__watermark";
const TURN: &str = "__turn";

/// A schema with the two columns that say where a row stands in the input.
#[must_use]
pub fn with_positions(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(PARTITION, DataType::UInt32, false)));
    fields.push(Arc::new(Field::new(OFFSET, DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}

/// Where rows stand in the input: partition and offset.
#[must_use]
pub fn positions(rows: &RecordBatch) -> [&ArrayRef; 2] {
    [PARTITION, OFFSET].map(|name| ours(rows, name).expect("what depends on order is given places"))
}

/// The rows with the watermark of their partition after each, in microseconds, behind everything
/// else.
#[must_use]
pub fn with_watermarks(rows: &RecordBatch, watermarks: Vec<i64>) -> RecordBatch {
    with_last(rows, WATERMARK, Arc::new(Int64Array::from(watermarks)))
}

/// The watermark of their partition after each row.
#[must_use]
pub fn watermarks(rows: &RecordBatch) -> &[i64] {
    let watermarks = ours(rows, WATERMARK);
    let watermarks = watermarks.expect("what forgets is given watermarks");
    watermarks.as_primitive::<Int64Type>().values()
}

/// The rows with the turn of each (see `turns`), behind everything else.
#[must_use]
pub fn with_turns(rows: &RecordBatch, turns: Vec<i64>) -> RecordBatch {
    with_last(rows, TURN, Arc::new(Int64Array::from(turns)))
}

/// The turn of each row.
#[must_use]
pub fn turns(rows: &RecordBatch) -> &[i64] {
    let turns = ours(rows, TURN);
    let turns = turns.expect("whoever gives groups away says their turns");
    turns.as_primitive::<Int64Type>().values()
}

/// The column of that name that stands last: one of the node's own may be called the same.
fn ours<'a>(rows: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    let fields = rows.schema_ref().fields();
    let place = fields.iter().rposition(|field| field.name() == name)?;
    Some(rows.column(place))
}

fn with_last(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    columns.push(column);
    RecordBatch::try_new(and_last(rows.schema_ref(), name), columns).expect("one number per row")
}

/// A schema with the column of counts.
#[must_use]
pub fn counted(schema: &Schema) -> SchemaRef {
    and_last(schema, COUNT)
}

fn and_last(schema: &Schema, name: &str) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// The rows with their counts.
#[must_use]
pub fn with_counts(rows: &RecordBatch, counts: &Int64Array) -> RecordBatch {
    with_last(rows, COUNT, Arc::new(counts.clone()))
}

/// The counts of rows whose node has `width` columns; `None` where every row counts once.
#[must_use]
pub fn counts(rows: &RecordBatch, width: usize) -> Option<&Int64Array> {
    let schema = rows.schema_ref();
    let place = (width..rows.num_columns()).find(|&place| schema.field(place).name() == COUNT)?;
    Some(rows.column(place).as_primitive::<Int64Type>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_by_its_role_and_not_by_its_place() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();

        let counted = with_counts(&rows, &Int64Array::from(vec![-1]));

        assert_eq!(counts(&rows, 1), None);
        assert_eq!(counts(&counted, 1), Some(&Int64Array::from(vec![-1])));
        assert_eq!(with_positions(&rows.schema()).fields().len(), 3);
    }

    #[test]
    fn a_column_of_the_user_s_may_have_the_name_of_a_role() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let rows = RecordBatch::try_from_iter([(WATERMARK, column)]).unwrap();

        assert_eq!(watermarks(&with_watermarks(&rows, vec![9])), [9]);
    }
}
