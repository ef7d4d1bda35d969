//! What sessions need to know beyond an aggregate's plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::Row;
use crate::dataflow::aggregate::error::AggregateError;
use crate::dataflow::aggregate::keys::{KeyCodec, hashes};
use crate::dataflow::aggregate::plan::{END, HASH, KEY, Plan, START};
use crate::plan::{AggregateWindow, WindowKind};

/// An aggregate over sessions.
pub struct SessionPlan {
    pub aggregate: Arc<Plan>,
    pub window: AggregateWindow,
    /// How many keys are the partition.
    partition: usize,
    partition_codec: KeyCodec,
    member_codec: KeyCodec,
    /// Whether a session has one group.
    pub single: bool,
    pub saved: SchemaRef,
}

/// The keys of a batch of rows.
pub struct Keys {
    /// Of the partition.
    pub keys: BinaryArray,
    /// Their hashes.
    pub hashes: Vec<u64>,
    /// The other keys.
    pub members: BinaryArray,
}

impl SessionPlan {
    /// What the plan of an aggregate says of sessions, if its windows are sessions.
    pub fn new(aggregate: &Arc<Plan>) -> Option<Self> {
        let window = aggregate.window?;
        let WindowKind::Session { partition, .. } = window.kind else {
            return None;
        };
        let types: Vec<DataType> = aggregate.key_types();
        let codec = |types: &[DataType]| {
            KeyCodec::new(types).expect("the codec of all keys was made of these types")
        };
        let mut fields: Vec<_> = aggregate.partial.fields().iter().cloned().collect();
        let key = fields
            .iter()
            .position(|field| field.name() == KEY)
            .expect("a partial state has a key");
        assert_eq!(
            [fields[0].name(), fields[1].name(), fields[2].name()],
            [HASH, START, END],
            "a windowed partial state begins with these"
        );
        fields.insert(
            key + 1,
            Arc::new(Field::new("member", DataType::Binary, false)),
        );
        Some(Self {
            window,
            partition,
            partition_codec: codec(&types[..partition]),
            member_codec: codec(&types[partition..]),
            single: partition == types.len(),
            saved: Arc::new(Schema::new(fields)),
            aggregate: Arc::clone(aggregate),
        })
    }

    /// The keys of rows, of whose evaluated columns `columns` are.
    pub fn keys(&self, columns: &[ArrayRef], rows: usize) -> Result<Keys, AggregateError> {
        let columns = self.aggregate.key_columns(columns);
        let (partition, member) = columns.split_at(self.partition);
        let keys = self.partition_codec.encode(partition, rows)?;
        Ok(Keys {
            hashes: hashes(&keys),
            keys,
            members: self.member_codec.encode(member, rows)?,
        })
    }

    /// Rows of the output: keys, results, and the window's two columns.
    pub fn output(
        &self,
        rows: &[Row],
        results: &[ArrayRef],
    ) -> Result<RecordBatch, AggregateError> {
        let mut columns = self.key_columns(rows)?;
        columns.extend(results.iter().map(Arc::clone));
        let starts = rows.iter().map(|row| row.start);
        let ends = rows.iter().map(|row| row.end);
        columns.push(Arc::new(TimestampMicrosecondArray::from_iter_values(
            starts,
        )));
        columns.push(Arc::new(TimestampMicrosecondArray::from_iter_values(ends)));
        let schema = &self.aggregate.output;
        let columns = schema.fields().iter().zip(&columns).map(|(field, column)| {
            match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The key columns of groups.
    pub fn key_columns(&self, rows: &[Row]) -> Result<Vec<ArrayRef>, AggregateError> {
        let keys = rows.iter().map(|row| &*row.key);
        let members = rows.iter().map(|row| &*row.member);
        let mut columns = self.partition_codec.decode(keys)?;
        columns.extend(self.member_codec.decode(members)?);
        Ok(columns)
    }
}
