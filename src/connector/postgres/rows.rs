//! Rows on their way to one table: looked at, put in key order, ready to be encoded.
//!
//! Whatever PostgreSQL would refuse, change, or take for the same key is found here, before a
//! transaction begins, and named by its key.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, RecordBatch,
    StringArray, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Float32Type, Float64Type, IntervalMonthDayNanoType};
use arrow::row::{RowConverter, Rows as SortKeys, SortField};

use super::column::Column;
use super::kind::Kind;
use super::plan::Plan;
use crate::connector::{ConnectorError, TableChanges};
use crate::format::value_text;

/// What one statement takes at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// The changes of one epoch to one table.
#[derive(Debug)]
pub(super) struct Ready {
    /// Position of the table.
    pub(super) table: usize,
    pub(super) upserts: Option<Rows>,
    pub(super) deletes: Option<Rows>,
}

impl Ready {
    pub(super) fn new(plan: &Plan, change: &TableChanges) -> Result<Self, ConnectorError> {
        let some = |batch: &&RecordBatch| batch.num_rows() > 0;
        let all: Vec<usize> = (0..plan.spec.kinds.len()).collect();
        let key = &plan.spec.table.key;
        let key_there: Vec<usize> = (0..key.len()).collect();
        let upserts = change.upserts.as_ref().filter(some);
        let deletes = change.deletes.as_ref().filter(some);
        Ok(Self {
            table: change.table,
            upserts: upserts
                .map(|batch| Rows::new(plan, batch, &all, key, true))
                .transpose()?,
            deletes: deletes
                .map(|batch| Rows::new(plan, batch, key, &key_there, false))
                .transpose()?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upserts.is_none() && self.deletes.is_none()
    }
}

/// Rows in key order.
#[derive(Debug)]
pub(super) struct Rows {
    batch: RecordBatch,
    /// Where the key is in `batch`.
    key: Vec<usize>,
    pub(super) kinds: Vec<Kind>,
    pub(super) columns: Vec<Column>,
}

impl Rows {
    /// `of` says which of the table's columns those of `batch` are, `key` which of them are the
    /// key.
    fn new(
        plan: &Plan,
        batch: &RecordBatch,
        of: &[usize],
        key: &[usize],
        unique: bool,
    ) -> Result<Self, ConnectorError> {
        let kinds: Vec<Kind> = of.iter().map(|&at| plan.spec.kinds[at].clone()).collect();
        let batch = if key.is_empty() {
            batch.clone()
        } else {
            in_key_order(plan, batch, &kinds, key, unique)?
        };
        let schema = batch.schema();
        let columns = kinds.iter().zip(schema.fields()).zip(batch.columns());
        let columns = columns
            .map(|((kind, field), array)| Column::new(kind, field, array))
            .collect();
        let rows = Self {
            batch,
            key: key.to_vec(),
            kinds,
            columns,
        };
        rows.look(plan, of)?;
        Ok(rows)
    }

    /// Refuses what PostgreSQL would.
    fn look(&self, plan: &Plan, of: &[usize]) -> Result<(), ConnectorError> {
        for (at, column) in self.columns.iter().enumerate() {
            let refused = |row: usize, reason: String| {
                let schema = self.batch.schema();
                let (name, column) = (&plan.spec.target, schema.field(at).name());
                let whose = self.key_of(row);
                Err(ConnectorError::hinted(
                    format!(
                        "table `{name}` cannot hold a value of column `{column}`{whose}: it is {reason}"
                    ),
                    "leave such rows out, or replace the value in the query",
                ))
            };
            if let Some((rows, reason)) = column.refused() {
                let row = rows.set_indices().next().unwrap_or_default();
                return refused(row, reason.to_owned());
            }
            if let Some(limit) = plan.characters[of[at]]
                && let Some(row) = column.too_long(limit)
            {
                return refused(row, format!("longer than the {limit} characters there"));
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// The rows of one statement each.
    pub(super) fn slices(&self, most: Most) -> Vec<Range<usize>> {
        let mut slices = Vec::new();
        let whole = 0..self.len();
        let mut open = vec![whole];
        while let Some(range) = open.pop() {
            let size: usize = self.columns.iter().map(|c| c.size(range.clone())).sum();
            if range.len() > 1 && (range.len() > most.rows || size > most.bytes) {
                let middle = range.start + range.len().div_ceil(2);
                open.push(middle..range.end);
                open.push(range.start..middle);
            } else {
                slices.push(range);
            }
        }
        slices
    }

    /// The key of a row for a message, with what goes before it; nothing where there is no key.
    pub(super) fn key_of(&self, row: usize) -> String {
        if self.key.is_empty() {
            return String::new();
        }
        format!(" in the row with {}", spelled(&self.batch, &self.key, row))
    }
}

/// `page = home, day = 2026-01-31`.
fn spelled(batch: &RecordBatch, key: &[usize], row: usize) -> String {
    let schema = batch.schema();
    let value = |&at: &usize| {
        let text = value_text(batch.column(at), row).unwrap_or_else(|| "NULL".to_owned());
        format!("{} = {text}", schema.field(at).name())
    };
    key.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// The rows sorted by key: PostgreSQL then walks its index once, and two pipelines that write the
/// same rows do not wait for each other in a circle. Two rows whose keys PostgreSQL takes for the
/// same are an error.
fn in_key_order(
    plan: &Plan,
    batch: &RecordBatch,
    kinds: &[Kind],
    key: &[usize],
    unique: bool,
) -> Result<RecordBatch, ConnectorError> {
    let keys = sort_keys(batch, kinds, key);
    let count = batch.num_rows();
    let sorted = (1..count).all(|row| keys.row(row - 1) <= keys.row(row));
    let rows = u32::try_from(count).expect("a batch has fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..rows).collect();
    let row = |at: u32| keys.row(usize::try_from(at).expect("it came from one"));
    if !sorted {
        order.sort_unstable_by(|&a, &b| row(a).cmp(&row(b)));
    }
    let twins = order.windows(2).find(|pair| row(pair[0]) == row(pair[1]));
    if let (Some(&[one, other]), true) = (twins, unique) {
        let spelled = |at: u32| spelled(batch, key, usize::try_from(at).unwrap_or_default());
        return Err(ConnectorError::hinted(
            format!(
                "table `{}` cannot hold both the row with {} and the row with {}: PostgreSQL takes their keys for the same",
                plan.spec.target,
                spelled(one),
                spelled(other)
            ),
            "cast the key in the query to what PostgreSQL makes of it",
        ));
    }
    if sorted {
        return Ok(batch.clone());
    }
    Ok(take_record_batch(batch, &UInt32Array::from(order)).expect("every row is there"))
}

/// Keys as bytes that are equal where PostgreSQL's are.
fn sort_keys(batch: &RecordBatch, kinds: &[Kind], key: &[usize]) -> SortKeys {
    let columns: Vec<ArrayRef> = key
        .iter()
        .map(|&at| comparable(&kinds[at], batch.column(at)))
        .collect();
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).expect("keys are plain values");
    converter
        .convert_columns(&columns)
        .expect("these are the columns it was made for")
}

/// A column in which values are equal if they are in PostgreSQL: -0 is 0 and every NaN is one, a
/// month is thirty days, and a UUID has one spelling.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are compared as they are"
)]
fn comparable(kind: &Kind, array: &ArrayRef) -> ArrayRef {
    match kind {
        Kind::Float4 => {
            let plain = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
            let array: Float32Array = array.as_primitive::<Float32Type>().unary(plain);
            Arc::new(array)
        }
        Kind::Float8 => {
            let plain = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
            let array: Float64Array = array.as_primitive::<Float64Type>().unary(plain);
            Arc::new(array)
        }
        Kind::Interval => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            let micros: Decimal128Array = array.unary(|interval| {
                let days = i128::from(interval.months) * 30 + i128::from(interval.days);
                days * 86_400_000_000 + i128::from(interval.nanoseconds.div_euclid(1000))
            });
            Arc::new(micros)
        }
        Kind::Uuid => {
            let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
            let texts = array.as_string::<i32>().iter();
            let texts: StringArray = texts.map(|text| text.map(plain)).collect();
            Arc::new(texts)
        }
        _ => Arc::clone(array),
    }
}
