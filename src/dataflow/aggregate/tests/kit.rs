//! What tests build plans and read results with.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests name the types that they use"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::{Column, Literal};

use super::super::{Aggregates, Aggregation, Input};
use crate::plan::aggregate_types::result_type;
use crate::plan::{AggregateCall, AggregateFunction, AggregateWindow, Emit, Expression, SortKey};

/// A column of a schema as an expression.
pub fn column(schema: &Schema, name: &str) -> Expression {
    let index = schema.index_of(name).unwrap();
    Expression {
        physical: Arc::new(Column::new(name, index)),
        text: name.to_owned(),
        data_type: schema.field(index).data_type().clone(),
        nullable: schema.field(index).is_nullable(),
    }
}

/// `function(arguments)` over columns.
pub fn call(function: AggregateFunction, schema: &Schema, arguments: &[&str]) -> AggregateCall {
    let arguments: Vec<Expression> = arguments.iter().map(|name| column(schema, name)).collect();
    let types: Vec<DataType> = arguments.iter().map(|a| a.data_type.clone()).collect();
    let text = format!("{function:?}({arguments:?})").to_lowercase();
    AggregateCall {
        output: Arc::new(Field::new(
            &text,
            result_type(&function, &types).unwrap(),
            true,
        )),
        function,
        distinct: false,
        arguments,
        filter: None,
        order_by: Vec::new(),
        text,
    }
}

/// Keys, aggregates and window of a plan over records.
pub fn plan(
    schema: &Schema,
    keys: &[&str],
    calls: &[AggregateCall],
    window: Option<AggregateWindow>,
    emit: Emit,
) -> Aggregation {
    plan_over(Input::Records, schema, keys, calls, window, emit)
}

/// Keys, aggregates and window of a plan.
pub fn plan_over(
    input: Input,
    schema: &Schema,
    keys: &[&str],
    calls: &[AggregateCall],
    window: Option<AggregateWindow>,
    emit: Emit,
) -> Aggregation {
    let keys: Vec<Expression> = keys.iter().map(|name| column(schema, name)).collect();
    let mut fields: Vec<Field> = keys
        .iter()
        .map(|key| Field::new(&key.text, key.data_type.clone(), true))
        .collect();
    fields.extend(calls.iter().map(|call| call.output.as_ref().clone()));
    if window.is_some() {
        fields.push(Field::new("window_start", time(), false));
        fields.push(Field::new("window_end", time(), false));
    }
    Aggregation::new(
        input,
        &keys,
        calls,
        window,
        emit,
        Arc::new(Schema::new(fields)),
    )
    .unwrap()
}

/// The type of event times.
pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A batch of named columns, all nullable but times.
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| {
            let nullable = !matches!(column.data_type(), DataType::Timestamp(_, _));
            Field::new(*name, column.data_type().clone(), nullable)
        })
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(
        schema,
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap()
}

/// A column of event times.
pub fn times(times: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times.to_vec()))
}

/// A column of 64-bit integers.
pub fn integers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// The rows of a batch as text, in order. Times are shown as microseconds.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Timestamp(_, _) => arrow::compute::cast(column, &DataType::Int64).unwrap(),
            _ => Arc::clone(column),
        })
        .collect();
    let columns: Vec<ArrayFormatter> = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|c| c.value(row).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// A table that changes are applied to: rows with how often they are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accumulated(pub BTreeMap<String, i64>);

impl Accumulated {
    /// Applies what `changes` says.
    pub fn apply(&mut self, aggregates: &mut Aggregates) {
        for (batch, diffs) in aggregates.changes().unwrap() {
            for (row, diff) in rows(&batch).into_iter().zip(diffs.values()) {
                let count = self.0.entry(row.clone()).or_default();
                *count += diff;
                if *count == 0 {
                    self.0.remove(&row);
                }
            }
        }
    }

    /// The rows, of which each is there once.
    pub fn rows(&self) -> Vec<&str> {
        assert!(self.0.values().all(|&count| count == 1), "{self:?}");
        self.0.keys().map(String::as_str).collect()
    }
}

/// The one of what should be one.
pub fn only<T>(all: Vec<T>) -> T {
    let count = all.len();
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        _ => panic!("{count} instead of one"),
    }
}

/// `DISTINCT` inside a call.
pub fn distinct(mut call: AggregateCall) -> AggregateCall {
    call.distinct = true;
    call.text += " distinct";
    call
}

/// `ORDER BY` inside a call.
pub fn order(mut call: AggregateCall, by: Expression, descending: bool) -> AggregateCall {
    call.text += &format!(" by {} {descending}", by.text);
    call.order_by.push(SortKey {
        expression: by,
        descending,
        nulls_first: descending,
    });
    call
}

/// A literal.
pub fn constant(value: ScalarValue) -> Expression {
    Expression {
        text: value.to_string(),
        data_type: value.data_type(),
        nullable: value.is_null(),
        physical: Arc::new(Literal::new(value)),
    }
}

/// A small generator of numbers (xorshift), so that a seed says everything.
pub struct Random(u64);

impl Random {
    /// One that starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }

    /// A number whose magnitude is below `limit`, small ones as likely as large ones.
    pub fn small(&mut self, limit: i64) -> i64 {
        let bits = self.below(64);
        let value = (self.below(1 << 53) << 11 | self.below(1 << 11)) >> bits;
        let value = (value >> 1) as i64 % limit;
        if self.below(2) == 0 { value } else { -value }
    }

    /// A float between -1 and 1.
    pub fn signed(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Values of a column; every eighth or so is NULL.
    pub fn column<T>(
        &mut self,
        rows: usize,
        mut value: impl FnMut(&mut Self) -> T,
    ) -> Vec<Option<T>> {
        (0..rows)
            .map(|_| (self.below(8) > 0).then(|| value(self)))
            .collect()
    }

    /// Puts elements into a random order.
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for at in (1..elements.len()).rev() {
            elements.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
