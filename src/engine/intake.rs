//! From the bytes of a block to rows that the plan can use: decode, compute, check.
//!
//! ```text
//!   Block ──decode──▶ declared columns ──▶ computed columns ──▶ CHECK ──▶ the Source's columns
//!     │        └─ rejects ──────┬─────────────────┴────────────────────┘
//!     └── what comes with a record (key, offset ..)
//! ```
//!
//! Runs on a reading thread. What is decoded is what the queries read, and whatever a
//! constraint needs: a record that breaks the table's word is a reject whether or not the query
//! looks at the column. A column that nobody asks for is not decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion_common::Result;

use crate::connector::{Admission, max_ahead};
use crate::dataflow::arrival::{ArrivedRows, line_of};
use crate::dataflow::roles::counted;
use crate::dataflow::step::{Evaluated, evaluate_rows};
use crate::format::{Block, Decoded, Decoder, Positions, RejectedRecord, metadata_of};
use crate::plan::{Expression, Table};
use crate::types::{Reason, Reject, Span, batch};

/// Event times are kept within a quarter of the range of 64 bits of microseconds (years
/// -71000 to 75000), so that no window's end can overflow.
const TIME_LIMIT: i64 = i64::MAX / 4;

/// How the records of one table become rows.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Positions in the table of the columns to decode, ascending.
    pub decoded: Vec<usize>,
    /// Those among the decoded that come with a record and not out of it: where they stand.
    with_record: Vec<(usize, FieldRef)>,
    computed: Vec<Computation>,
    checks: Vec<Constraint>,
    /// Where the `Source` node's columns stand among the decoded and computed ones.
    output: Vec<usize>,
    schema: SchemaRef,
    time: Option<(usize, String)>,
    /// How far an event time may be past the time at which its record was written.
    max_ahead_us: i64,
}

#[derive(Clone, Debug)]
struct Computation {
    field: FieldRef,
    expression: Expression,
}

#[derive(Clone, Debug)]
struct Constraint {
    predicate: Expression,
    column: Option<String>,
}

/// What a table lets in for a pipeline that reads all that its records have.
#[must_use]
pub fn admission(table: &Table) -> Admission {
    let columns = table.columns.iter().enumerate();
    let columns = columns.filter(|(_, column)| column.computed.is_none());
    let intake = Intake::new(table, &columns.map(|(at, _)| at).collect::<Vec<_>>());
    Admission::new(move |decoder, block| {
        let arrived = intake.take(decoder, block);
        let arrived = arrived.map_err(|error| error.to_string())?;
        Ok(Decoded {
            rows: arrived.rows,
            spans: arrived.spans,
            rejects: arrived.rejects,
        })
    })
}

impl Intake {
    /// The intake of `table` for a `Source` node with these `columns`.
    #[must_use]
    pub fn new(table: &Table, columns: &[usize]) -> Self {
        let mut needed: BTreeSet<usize> = columns.iter().copied().collect();
        needed.extend(
            table
                .checks
                .iter()
                .flat_map(|check| check.predicate.columns()),
        );
        needed.extend(table.watermark.as_ref().map(|watermark| watermark.column));
        let constrained = |&column: &usize| !table.columns[column].field.is_nullable();
        needed.extend((0..table.columns.len()).filter(constrained));

        let computed_of = |&column: &usize| table.columns[column].computed.as_ref();
        let (computed, mut decoded): (BTreeSet<usize>, BTreeSet<usize>) = needed
            .iter()
            .partition(|column| computed_of(column).is_some());
        decoded.extend(
            computed
                .iter()
                .filter_map(computed_of)
                .flat_map(|computed| computed.0.columns()),
        );
        let order: Vec<usize> = decoded.iter().chain(&computed).copied().collect();
        let place = |column: usize| {
            let found = order.iter().position(|&other| other == column);
            found.expect("every column that an expression reads was gathered above")
        };
        let computation = |column: &usize| Computation {
            field: FieldRef::clone(&table.columns[*column].field),
            expression: computed_of(column).expect("it is computed").0.moved(place),
        };
        let constraint = |check: &crate::plan::Check| Constraint {
            predicate: check.predicate.moved(place),
            column: check.column.clone(),
        };
        let fields: Vec<FieldRef> = columns
            .iter()
            .map(|&column| FieldRef::clone(&table.columns[column].field))
            .collect();
        let field = |column: usize| FieldRef::clone(&table.columns[column].field);
        let decoded: Vec<usize> = decoded.into_iter().collect();
        let with_record = decoded.iter().enumerate();
        let with_record = with_record.map(|(place, &column)| (place, field(column)));
        Self {
            with_record: with_record
                .filter(|(_, field)| metadata_of(field).is_some())
                .collect(),
            computed: computed.iter().map(computation).collect(),
            checks: table.checks.iter().map(constraint).collect(),
            output: columns.iter().map(|&column| place(column)).collect(),
            schema: Arc::new(Schema::new(fields)),
            time: table.watermark.as_ref().map(|watermark| {
                let name = table.columns[watermark.column].field.name().clone();
                (place(watermark.column), name)
            }),
            max_ahead_us: i64::try_from(max_ahead(table).as_micros()).unwrap_or(TIME_LIMIT),
            decoded,
        }
    }

    /// The intake of differences of `table`, for a `Source` node with these `columns`: what they
    /// are of was held to the table's word when it was read, and each row has its count.
    #[must_use]
    pub fn of_differences(table: &Table, columns: &[usize]) -> Self {
        let fields = columns.iter().map(|&at| &table.columns[at].field);
        let schema = Schema::new(fields.cloned().collect::<Vec<_>>());
        Self {
            decoded: columns.to_vec(),
            with_record: Vec::new(),
            computed: Vec::new(),
            checks: Vec::new(),
            output: (0..=columns.len()).collect(),
            schema: counted(&schema),
            time: None,
            max_ahead_us: TIME_LIMIT,
        }
    }

    /// Decodes a block and holds its rows to the table's word.
    pub fn take(&self, decoder: &mut dyn Decoder, block: &Block) -> Result<ArrivedRows> {
        let Decoded {
            rows,
            spans,
            rejects,
        } = decoder.decode(block);
        let mut draft = Draft {
            rows,
            spans,
            rejects,
            block,
            time: self.time.as_ref().map(|(column, _)| *column),
        };
        draft.join(&self.with_record)?;
        for Computation { field, expression } in &self.computed {
            draft.compute(field, expression)?;
        }
        for Constraint { predicate, column } in &self.checks {
            draft.check(predicate, column.as_deref())?;
        }
        let times = match &self.time {
            None => ScalarBuffer::default(),
            Some((column, name)) => {
                draft.believe(*column, name, self.max_ahead_us)?;
                draft.times(*column, name)?
            }
        };
        let columns = self
            .output
            .iter()
            .map(|&column| ArrayRef::clone(draft.rows.column(column)));
        let columns = columns.collect();
        let count = draft.rows.num_rows();
        let schema = Arc::clone(&self.schema);
        draft.rejects.sort_by_key(|reject| reject.span.start);
        Ok(ArrivedRows {
            rows: batch(schema, columns, count)?,
            times,
            spans: draft.spans,
            rejects: draft.rejects,
            bytes: Arc::clone(&block.bytes),
            line: block.line,
            positions: match (&block.records, &block.columns) {
                (Some(records), _) => Positions::Records(Arc::clone(records)),
                (None, Some(rows)) => Positions::Rows {
                    start: block.start,
                    rows: Arc::clone(rows),
                },
                (None, None) => Positions::Bytes { start: block.start },
            },
            from: block.start,
            end: block.end,
        })
    }
}

/// Bytes as the text that the column is declared as; what is no text fails.
fn with_type(field: &FieldRef, column: ArrayRef, failed: &mut BTreeMap<usize, Reject>) -> ArrayRef {
    let (DataType::Utf8, Some(bytes)) = (field.data_type(), column.as_binary_opt::<i32>()) else {
        return column;
    };
    let text = |(row, value): (usize, Option<&[u8]>)| {
        let text = std::str::from_utf8(value?);
        if let Err(error) = &text {
            let message = format!("byte {} is not UTF-8", error.valid_up_to() + 1);
            let reject = Reject::column(Reason::NotUtf8, field.name(), message);
            failed.entry(row).or_insert(reject);
        }
        text.ok().map(str::to_owned)
    };
    let texts: StringArray = bytes.iter().enumerate().map(text).collect();
    Arc::new(texts)
}

/// Rows on their way in.
struct Draft<'a> {
    rows: RecordBatch,
    spans: Vec<Span>,
    rejects: Vec<RejectedRecord>,
    block: &'a Block,
    /// Where event time stands, once it is there.
    time: Option<usize>,
}

impl Draft<'_> {
    /// Puts what comes with the records among what was decoded out of them.
    fn join(&mut self, with_record: &[(usize, FieldRef)]) -> Result<()> {
        let Some(records) = self
            .block
            .records
            .as_ref()
            .filter(|_| !with_record.is_empty())
        else {
            assert!(
                with_record.is_empty(),
                "only a topic's records come with something"
            );
            return Ok(());
        };
        let mut columns = self.rows.columns().to_vec();
        let mut fields = self.rows.schema().fields().to_vec();
        // Every record became a row, or some did not.
        let rows = (self.spans.len() < records.len()).then(|| {
            let row =
                |span: &Span| u32::try_from(records.at(span.start)).expect("a block is small");
            UInt32Array::from_iter_values(self.spans.iter().map(row))
        });
        let mut failed: BTreeMap<usize, Reject> = BTreeMap::new();
        for ((place, field), column) in with_record.iter().zip(records.metadata.columns()) {
            let column = match &rows {
                None => ArrayRef::clone(column),
                Some(rows) => arrow::compute::take(column, rows, None)?,
            };
            let column = with_type(field, column, &mut failed);
            if !field.is_nullable() {
                for row in (0..column.len()).filter(|&row| column.is_null(row)) {
                    let missing = || Reject::missing(field.name());
                    failed.entry(row).or_insert_with(missing);
                }
            }
            // NULL for now also where that may not be: such rows are taken out below.
            fields.insert(*place, Arc::new(field.as_ref().clone().with_nullable(true)));
            columns.insert(*place, column);
        }
        let schema = Arc::new(Schema::new(fields));
        self.rows = batch(schema, columns, self.spans.len())?;
        let keep = (0..self.spans.len()).map(|row| Some(!failed.contains_key(&row)));
        let keep: BooleanArray = keep.collect();
        if failed.is_empty() {
            return Ok(());
        }
        for (row, reject) in failed {
            self.reject(row, reject);
        }
        self.keep(&keep)
    }

    fn compute(&mut self, field: &FieldRef, expression: &Expression) -> Result<()> {
        let values = self.evaluate(expression, Some(field.name()))?;
        if !field.is_nullable() && values.null_count() > 0 {
            let name = field.name();
            let reject = Reject::column(Reason::Missing, name, format!("`{name}` is null"));
            let keep = arrow::compute::is_not_null(&values)?;
            self.turn_away(&keep, &reject)?;
            return self.compute(field, expression);
        }
        let mut fields = self.rows.schema().fields().to_vec();
        fields.push(FieldRef::clone(field));
        let mut columns = self.rows.columns().to_vec();
        columns.push(values);
        self.rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok(())
    }

    fn check(&mut self, predicate: &Expression, column: Option<&str>) -> Result<()> {
        let holds = self.evaluate(predicate, column)?;
        let holds = holds.as_boolean();
        // NULL passes, as in SQL.
        let keep: BooleanArray = holds
            .iter()
            .map(|value| Some(value != Some(false)))
            .collect();
        if keep.true_count() == keep.len() {
            return Ok(());
        }
        let message = format!("CHECK ({}) is false", predicate.text);
        let reject = match column {
            Some(column) => Reject::column(Reason::CheckFailed, column, message),
            None => Reject::record(Reason::CheckFailed, message),
        };
        self.turn_away(&keep, &reject)
    }

    /// Turns away rows whose event time is far past the time their record was written.
    fn believe(&mut self, column: usize, name: &str, max_ahead_us: i64) -> Result<()> {
        let Some(records) = &self.block.records else {
            return Ok(());
        };
        let times = self
            .rows
            .column(column)
            .as_primitive::<TimestampMicrosecondType>();
        // Nearly always all are, and which record a row comes from takes a search.
        let latest = times.values().iter().max();
        // A record that does not say when it was written has nothing to be compared with.
        let earliest = records.timestamps.iter().filter(|at| **at >= 0).min();
        let (Some(&latest), Some(earliest)) = (latest, earliest) else {
            return Ok(());
        };
        if latest <= earliest.saturating_add(max_ahead_us) {
            return Ok(());
        }
        let believable = |(time, span): (Option<i64>, &Span)| {
            let written = records.timestamps[records.at(span.start)];
            let limit = written.saturating_add(max_ahead_us);
            written < 0 || time.is_none_or(|time| time <= limit)
        };
        let keep: BooleanArray = times
            .iter()
            .zip(&self.spans)
            .map(|row| Some(believable(row)))
            .collect();
        if keep.true_count() == keep.len() {
            return Ok(());
        }
        let message = format!("the event time `{name}` is far past the time it was written");
        self.turn_away(&keep, &Reject::column(Reason::TooFarAhead, name, message))
    }

    fn times(&mut self, column: usize, name: &str) -> Result<ScalarBuffer<i64>> {
        let times = self
            .rows
            .column(column)
            .as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            let keep = arrow::compute::is_not_null(times)?;
            let message = format!("the event time `{name}` is null");
            self.turn_away(&keep, &Reject::column(Reason::Missing, name, message))?;
        }
        let times = self
            .rows
            .column(column)
            .as_primitive::<TimestampMicrosecondType>();
        let believable = |time: &i64| (-TIME_LIMIT..=TIME_LIMIT).contains(time);
        if !times.values().iter().all(believable) {
            let keep = times
                .values()
                .iter()
                .map(|time| Some(believable(time)))
                .collect();
            let message = format!("the event time `{name}` is out of range");
            self.turn_away(&keep, &Reject::column(Reason::BadValue, name, message))?;
        }
        let times = self
            .rows
            .column(column)
            .as_primitive::<TimestampMicrosecondType>();
        Ok(times.values().clone())
    }

    /// The values of an expression over the rows that it does not fail on; the others become
    /// rejects.
    fn evaluate(&mut self, expression: &Expression, column: Option<&str>) -> Result<ArrayRef> {
        let expressions = std::slice::from_ref(expression);
        let Evaluated { mut values, failed } = evaluate_rows(&self.rows, expressions)?;
        let values = values.pop().expect("one expression has one array");
        if failed.is_empty() {
            return Ok(values);
        }
        let mut good = vec![true; self.rows.num_rows()];
        for (row, message) in failed {
            good[row] = false;
            let reject = match column {
                Some(column) => Reject::column(Reason::Expression, column, message),
                None => Reject::record(Reason::Expression, message),
            };
            self.reject(row, reject);
        }
        self.keep(&BooleanArray::from(good))?;
        Ok(values)
    }

    fn turn_away(&mut self, keep: &BooleanArray, reject: &Reject) -> Result<()> {
        for row in (0..keep.len()).filter(|&row| !keep.value(row)) {
            self.reject(row, reject.clone());
        }
        self.keep(keep)
    }

    fn reject(&mut self, row: usize, reject: Reject) {
        let span = self.spans[row];
        let line = line_of(&self.block.bytes, self.block.line, span).unwrap_or_default();
        let at = self.time_of(row);
        self.rejects.push(RejectedRecord {
            span,
            line,
            reject,
            at,
        });
    }

    /// When a row happened, as far as that is known yet and can be.
    fn time_of(&self, row: usize) -> Option<i64> {
        let times = self.rows.columns().get(self.time?)?;
        let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
        let time = times.is_valid(row).then(|| times.value(row));
        time.filter(|time| (-TIME_LIMIT..=TIME_LIMIT).contains(time))
    }

    fn keep(&mut self, keep: &BooleanArray) -> Result<()> {
        self.rows = filter_record_batch(&self.rows, keep)?;
        let mut kept = keep.iter().map(|kept| kept == Some(true));
        self.spans.retain(|_| kept.next() == Some(true));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
