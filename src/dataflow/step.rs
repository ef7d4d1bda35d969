//! The stateless operators, on one batch: filter, project, unnest, look up, assign windows.
//!
//! Knows Arrow and nothing of timely. Each output row remembers which row of the arrived batch
//! it came from, so that whoever runs the steps can say what became of every record. An
//! expression that fails on some rows fails for those rows only: they are split off and named.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_empty_array,
};
use arrow::compute::{self, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, exec_err};

use super::assign::{Assigned, Passed, assign, late};
use super::lookup::Index;
use crate::plan::{Assign, Expression, JoinKind, WindowKind};
use crate::types::batch;

/// Rows on their way through the steps.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The rows.
    pub rows: RecordBatch,
    /// Which row of the arrived batch each is; `None` when every row stands once and in order.
    pub origin: Option<Arc<[u32]>>,
}

impl Piece {
    /// A batch as it arrived.
    #[must_use]
    pub fn whole(rows: RecordBatch) -> Self {
        Self { rows, origin: None }
    }

    /// Which row of the arrived batch row `row` is.
    #[must_use]
    pub fn origin_of(&self, row: usize) -> u32 {
        match &self.origin {
            None => number(row),
            Some(origin) => origin[row],
        }
    }

    /// The rows for which `mask` is true.
    pub(super) fn keep(&self, mask: &BooleanArray) -> Result<Self> {
        if mask.true_count() == mask.len() {
            return Ok(self.clone());
        }
        let kept = mask.values().set_indices().map(|row| self.origin_of(row));
        Ok(Self {
            rows: filter_record_batch(&self.rows, mask)?,
            origin: Some(kept.collect()),
        })
    }

    fn pick(&self, rows: &UInt32Array) -> Result<Self> {
        let origin = rows
            .values()
            .iter()
            .map(|&row| self.origin_of(row as usize))
            .collect();
        Ok(Self {
            rows: take_record_batch(&self.rows, rows)?,
            origin: Some(origin),
        })
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("a batch has fewer than 4 billion rows")
}

/// A row that an expression failed on, or that came too late. `row` is its place in the arrived
/// batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    /// An expression failed.
    Failed {
        /// Which row.
        row: u32,
        /// What went wrong.
        message: String,
    },
    /// Late for every window it belongs to.
    Late {
        /// Which row.
        row: u32,
        /// The end of the last of those windows.
        window_end: i64,
    },
    /// Late by itself, where no window decides.
    Behind {
        /// Which row.
        row: u32,
        /// The watermark of its partition before it.
        watermark: i64,
    },
}

impl Turned {
    /// Its place in the arrived batch.
    #[must_use]
    pub fn row(&self) -> u32 {
        match self {
            Self::Failed { row, .. } | Self::Late { row, .. } | Self::Behind { row, .. } => *row,
        }
    }
}

/// A stateless operator, ready to run.
#[derive(Clone, Debug)]
pub enum Action {
    /// Keeps columns of the source's rows.
    Pass,
    /// Keeps rows.
    Filter(Expression),
    /// Computes columns.
    Project(Vec<Expression>),
    /// One row per element of a list.
    Unnest(usize),
    /// Looks up a reference table.
    Lookup {
        /// The table.
        index: Arc<Index>,
        /// Key of the stream.
        keys: Vec<Expression>,
        /// What becomes of rows without a match.
        kind: JoinKind,
        /// A further condition, and the schema it reads: input columns, then reference columns.
        residual: Option<Expression>,
    },
    /// Assigns windows.
    Window {
        /// The event time.
        time: Expression,
        /// The shape.
        kind: WindowKind,
        /// Windows or panes.
        assign: Assign,
        /// How long a window stays open after its end.
        lateness_us: i64,
    },
    /// Turns away what is late by itself.
    OnTime {
        /// The column of the event time.
        time: usize,
        /// How long after the watermark has passed it a row is taken still.
        lateness_us: i64,
    },
}

impl Action {
    /// Runs the step; rows that are turned away go to `turned`. The result has `schema`.
    pub fn run(
        &self,
        piece: &Piece,
        schema: &SchemaRef,
        passed: &Passed<'_>,
        turned: &mut Vec<Turned>,
    ) -> Result<Piece> {
        match self {
            Self::Pass => with_columns(piece, schema, piece.rows.columns().to_vec()),
            Self::Filter(predicate) => {
                let asked = std::slice::from_ref(predicate);
                let (piece, values) = evaluate(piece, asked, None, turned)?;
                let kept = piece.keep(&truth(&values[0])?)?;
                let columns = kept.rows.columns().to_vec();
                with_columns(&kept, schema, columns)
            }
            Self::Project(columns) => {
                let (piece, values) = evaluate(piece, columns, Some(schema), turned)?;
                with_columns(&piece, schema, values)
            }
            Self::Unnest(column) => unnest(piece, *column, schema),
            Self::Lookup {
                index,
                keys,
                kind,
                residual,
            } => {
                let (piece, keys) = evaluate(piece, keys, None, turned)?;
                let found = index.find(&keys)?;
                let Some(residual) = residual else {
                    return look_up(&piece, index, &found, *kind, schema);
                };
                let (piece, found) = fulfilled(&piece, index, &found, residual, schema, turned)?;
                look_up(&piece, index, &found, *kind, schema)
            }
            Self::Window {
                time,
                kind,
                assign: how,
                lateness_us,
            } => {
                let asked = std::slice::from_ref(time);
                let (piece, time) = evaluate(piece, asked, None, turned)?;
                let (piece, time) = without_null_times(&piece, &time[0], turned)?;
                let times = time.as_primitive::<TimestampMicrosecondType>().values();
                let origin = piece.origin.as_deref();
                let assigned = assign(*kind, *how, *lateness_us, times, origin, passed);
                for &(row, window_end) in &assigned.late {
                    turned.push(Turned::Late {
                        row: piece.origin_of(row as usize),
                        window_end,
                    });
                }
                windowed(&piece, assigned, schema)
            }
            Self::OnTime { time, lateness_us } => {
                on_time(piece, *time, *lateness_us, schema, passed, turned)
            }
        }
    }
}

fn with_columns(piece: &Piece, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<Piece> {
    let rows = batch(Arc::clone(schema), columns, piece.rows.num_rows())?;
    Ok(Piece {
        rows,
        origin: piece.origin.clone(),
    })
}

/// TRUE stays, FALSE and NULL do not.
pub fn truth(values: &ArrayRef) -> Result<BooleanArray> {
    let Some(values) = values.as_boolean_opt() else {
        return exec_err!(
            "a condition yields {} instead of a boolean",
            values.data_type()
        );
    };
    Ok(match values.nulls() {
        None => values.clone(),
        Some(nulls) => BooleanArray::new(values.values() & nulls.inner(), None),
    })
}

/// Evaluates over all rows; the rows it fails on are turned away. `output` says what the results
/// are called.
fn evaluate<'a>(
    piece: &'a Piece,
    expressions: &[Expression],
    output: Option<&SchemaRef>,
    turned: &mut Vec<Turned>,
) -> Result<(Cow<'a, Piece>, Vec<ArrayRef>)> {
    let reads = |at: usize| match output.map(|output| output.field(at).name()) {
        Some(name) => named(&expressions[at].text, name),
        None => cut(&expressions[at].text),
    };
    let Evaluated { values, failed } = evaluate_named(&piece.rows, expressions, &reads)?;
    if failed.is_empty() {
        return Ok((Cow::Borrowed(piece), values));
    }
    let mut good = vec![true; piece.rows.num_rows()];
    for (row, message) in failed {
        good[row] = false;
        turned.push(Turned::Failed {
            row: piece.origin_of(row),
            message,
        });
    }
    let rest = piece.keep(&BooleanArray::from(good))?;
    Ok((Cow::Owned(rest), values))
}

/// What expressions came to.
#[derive(Debug)]
pub struct Evaluated {
    /// One array per expression, over the rows that none of them failed on.
    pub values: Vec<ArrayRef>,
    /// The rows that one of them failed on, and which, and why.
    pub failed: Vec<(usize, String)>,
}

/// What an expression failed with.
#[must_use]
pub fn failing(text: &str, error: &DataFusionError) -> String {
    format!("`{}`: {}", cut(text), plain(error))
}

/// How a column reads as it is computed.
fn named(text: &str, name: &str) -> String {
    let is_said = text == name || name.starts_with("__");
    match is_said {
        true => cut(text),
        false => format!("{} AS {name}", cut(text)),
    }
}

/// Not more of an expression than is read at a glance.
fn cut(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ..", &text[..at]),
        None => text.to_owned(),
    }
}

/// Evaluates expressions over rows. Where that fails the rows are halved until those that fail
/// stand alone, and what the parts came to is put together. A condition such as
/// `n <> 0 AND 1 / n > 0` may fail over many rows and over none of them alone: what counts is
/// each row alone, so that the outcome does not depend on how rows were put into batches.
pub fn evaluate_rows(rows: &RecordBatch, expressions: &[Expression]) -> Result<Evaluated> {
    evaluate_named(rows, expressions, &|at| cut(&expressions[at].text))
}

fn evaluate_named(
    rows: &RecordBatch,
    expressions: &[Expression],
    reads: &dyn Fn(usize) -> String,
) -> Result<Evaluated> {
    let (mut parts, mut failed) = (Vec::new(), Vec::new());
    evaluate_parts(rows, expressions, 0, &mut parts, &mut failed);
    let told = |(row, at, why): (usize, usize, String)| (row, format!("`{}`: {why}", reads(at)));
    let failed: Vec<(usize, String)> = failed.into_iter().map(told).collect();
    if let [_] = parts[..] {
        // Mostly: nothing failed, and nothing is to be put together.
        let values = parts.pop().expect("there is one");
        return Ok(Evaluated { values, failed });
    }
    let columns = (0..expressions.len()).map(|column| {
        let of_column: Vec<&dyn Array> = parts.iter().map(|part| &*part[column]).collect();
        match &of_column[..] {
            [] => Ok(new_empty_array(&expressions[column].data_type)),
            of_column => Ok(compute::concat(of_column)?),
        }
    });
    let values = columns.collect::<Result<_>>()?;
    Ok(Evaluated { values, failed })
}

/// All of them, or which failed first.
fn evaluate_all(
    rows: &RecordBatch,
    expressions: &[Expression],
) -> std::result::Result<Vec<ArrayRef>, (usize, DataFusionError)> {
    let values = expressions.iter().enumerate();
    let values = values.map(|(at, it)| it.evaluate(rows).map_err(|error| (at, error)));
    values.collect()
}

fn evaluate_parts(
    rows: &RecordBatch,
    expressions: &[Expression],
    first: usize,
    parts: &mut Vec<Vec<ArrayRef>>,
    failed: &mut Vec<(usize, usize, String)>,
) {
    match (evaluate_all(rows, expressions), rows.num_rows()) {
        (Ok(values), _) => parts.push(values),
        (Err(_), 0) => {}
        (Err((at, error)), 1) => failed.push((first, at, plain(&error))),
        (Err(_), count) => {
            let half = count / 2;
            evaluate_parts(&rows.slice(0, half), expressions, first, parts, failed);
            let rest = rows.slice(half, count - half);
            evaluate_parts(&rest, expressions, first + half, parts, failed);
        }
    }
}

/// An evaluation error in a person's words, without the names of the libraries it came through.
#[must_use]
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the library's errors grow with it; whatever else it says is said as it says it"
)]
pub fn plain(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => arrow.to_string(),
        DataFusionError::Execution(message) | DataFusionError::Plan(message) => message.clone(),
        other => other.strip_backtrace(),
    };
    if let Some((_, why)) = text.split_once("regex parse error:") {
        let why = why.rsplit("error: ").next().unwrap_or(why).trim();
        return format!("this is no regular expression: {why}");
    }
    let text = text.lines().next().unwrap_or_default();
    let text = [
        "Cast error: ",
        "Compute error: ",
        "Invalid argument error: ",
        "Parser error: ",
    ]
    .iter()
    .find_map(|prefix| text.strip_prefix(prefix))
    .unwrap_or(text);
    if text.starts_with("Divide by zero") {
        return "division by zero".to_owned();
    }
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|c| c.to_lowercase().to_string())
        .unwrap_or_default();
    let text = format!("{first}{}", letters.as_str().trim_end_matches('.'));
    in_sql(&text)
}

/// The names of types at the end of the library's messages as they are written in SQL. A value
/// that stands before them stays as it is.
fn in_sql(text: &str) -> String {
    const NAMES: [(&str, &str); 7] = [
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Float64", "DOUBLE PRECISION"),
        ("Float32", "REAL"),
        ("Date32", "DATE"),
        ("Boolean", "BOOLEAN"),
    ];
    for (theirs, ours) in NAMES {
        for ending in [format!("{theirs} type"), format!("type {theirs}")] {
            if let Some(before) = text.strip_suffix(&ending) {
                return format!("{before}type {ours}");
            }
        }
        if let Some(before) = text.strip_suffix(&format!("out of range {theirs}")) {
            return format!("{before}out of range for {ours}");
        }
    }
    text.to_owned()
}

fn unnest(piece: &Piece, column: usize, schema: &SchemaRef) -> Result<Piece> {
    let Some(lists) = piece.rows.column(column).as_list_opt::<i32>() else {
        return exec_err!("column {column} is not a list");
    };
    let mut rows = Vec::new();
    let mut elements = Vec::new();
    for row in (0..lists.len()).filter(|&row| lists.is_valid(row)) {
        let offsets = lists.value_offsets();
        for element in offsets[row]..offsets[row + 1] {
            rows.push(number(row));
            elements.push(element as u32);
        }
    }
    let picked = piece.pick(&UInt32Array::from(rows))?;
    let mut columns = picked.rows.columns().to_vec();
    columns[column] = take(lists.values(), &UInt32Array::from(elements), None)?;
    with_columns(&picked, schema, columns)
}

/// What was found and fulfils a further condition. A row for which that fails is turned away; it
/// is tested only where something was found.
fn fulfilled(
    piece: &Piece,
    index: &Index,
    found: &UInt32Array,
    condition: &Expression,
    schema: &SchemaRef,
    turned: &mut Vec<Turned>,
) -> Result<(Piece, UInt32Array)> {
    let matched: Vec<usize> = (0..found.len())
        .filter(|&row| found.is_valid(row))
        .collect();
    let rows = matched.iter().map(|&row| number(row)).collect::<Vec<_>>();
    let candidates = piece.pick(&UInt32Array::from(rows))?;
    let theirs: UInt32Array = found.iter().flatten().map(Some).collect();
    let joined = joined(&candidates, index, &theirs, schema)?;
    let Evaluated { values, failed } =
        evaluate_rows(&joined.rows, std::slice::from_ref(condition))?;

    let mut good = vec![true; found.len()];
    for (row, message) in &failed {
        good[matched[*row]] = false;
        turned.push(Turned::Failed {
            row: joined.origin_of(*row),
            message: message.clone(),
        });
    }
    let holds = truth(&values[0])?;
    let tested = matched.iter().filter(|row| good[**row]);
    let mut kept = vec![None; found.len()];
    for (&row, holds) in tested.zip(holds.values()) {
        kept[row] = holds.then(|| found.value(row));
    }
    let good = BooleanArray::from(good);
    let kept = compute::filter(&UInt32Array::from(kept), &good)?;
    Ok((piece.keep(&good)?, kept.as_primitive().clone()))
}

fn look_up(
    piece: &Piece,
    index: &Index,
    found: &UInt32Array,
    kind: JoinKind,
    schema: &SchemaRef,
) -> Result<Piece> {
    match kind {
        JoinKind::Left => joined(piece, index, found, schema),
        JoinKind::Inner => {
            let matched = compute::is_not_null(found)?;
            let kept = piece.keep(&matched)?;
            let found = compute::filter(found, &matched)?;
            joined(&kept, index, found.as_primitive(), schema)
        }
    }
}

fn joined(piece: &Piece, index: &Index, found: &UInt32Array, schema: &SchemaRef) -> Result<Piece> {
    let mut columns = piece.rows.columns().to_vec();
    for column in index.rows().columns() {
        columns.push(take(column, found, None)?);
    }
    with_columns(piece, schema, columns)
}

fn without_null_times(
    piece: &Piece,
    times: &ArrayRef,
    turned: &mut Vec<Turned>,
) -> Result<(Piece, ArrayRef)> {
    if times.null_count() == 0 {
        return Ok((piece.clone(), ArrayRef::clone(times)));
    }
    let valid = compute::is_not_null(times)?;
    for row in (0..times.len()).filter(|&row| times.is_null(row)) {
        let message = "the event time is null".to_owned();
        turned.push(Turned::Failed {
            row: piece.origin_of(row),
            message,
        });
    }
    Ok((piece.keep(&valid)?, compute::filter(times, &valid)?))
}

/// The rows that are not late by themselves.
fn on_time(
    piece: &Piece,
    time: usize,
    lateness_us: i64,
    schema: &SchemaRef,
    passed: &Passed<'_>,
    turned: &mut Vec<Turned>,
) -> Result<Piece> {
    let (piece, times) = without_null_times(piece, piece.rows.column(time), turned)?;
    let times = times.as_primitive::<TimestampMicrosecondType>().values();
    let late = late(times, piece.origin.as_deref(), lateness_us, passed);
    let on_time = (0..times.len()).map(|row| Some(!late.contains_key(&row)));
    let kept = piece.keep(&on_time.collect())?;
    for (row, watermark) in late {
        let row = piece.origin_of(row);
        turned.push(Turned::Behind { row, watermark });
    }
    with_columns(&kept, schema, kept.rows.columns().to_vec())
}

fn windowed(piece: &Piece, assigned: Assigned, schema: &SchemaRef) -> Result<Piece> {
    let picked = match assigned.rows {
        None => piece.clone(),
        Some(rows) => piece.pick(&UInt32Array::from(rows))?,
    };
    let mut columns = picked.rows.columns().to_vec();
    for values in [assigned.starts, assigned.ends] {
        let wanted = schema.field(columns.len()).data_type();
        let times = arrow::array::PrimitiveArray::<TimestampMicrosecondType>::from(values);
        columns.push(Arc::new(times.with_data_type(wanted.clone())));
    }
    with_columns(&picked, schema, columns)
}

#[cfg(test)]
mod tests;
