//! What an `Operator::Aggregate` computes, resolved: which expressions, which accumulators, and
//! which result is read from which.
//!
//! Every expression is evaluated once per batch, and calls that can share an accumulator do:
//! `sum(x)`, `avg(x)` and `count(x)` read one.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::accumulators::{Accumulator, Output};
use super::aggregates::Aggregates;
use super::changing::Step;
use super::error::AggregateError;
use super::keys::{KeyCodec, hashes, routes};
use super::partials::Partials;
use super::recipe::{Recipe, resolve};
use super::sessions::{SessionPartials, Sessions};
use super::slots::Slots;
use crate::dataflow::roles;
use crate::dataflow::turns::Turns;
use crate::plan::{AggregateCall, AggregateFunction, AggregateWindow, Emit, Expression};

/// What an aggregate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Rows of sources, which have a place in the input.
    Records,
    /// Rows behind state that come and stay: those of closed windows, or the pairs of records.
    /// They have no place in the input, so where an order says nothing, the value decides.
    Final {
        /// The node's columns. A count may stand behind them.
        width: usize,
    },
    /// Rows that may be taken back: of a node with so many columns, with a count behind them.
    Changing {
        /// The node's columns.
        width: usize,
    },
}

impl Input {
    /// How many columns the rows have before a count, if one may be there.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Records => None,
            Self::Final { width } | Self::Changing { width } => Some(width),
        }
    }
}

/// How an aggregate computes. Cheap to clone; `partials` and `aggregates` make what holds rows.
#[derive(Clone)]
pub struct Aggregation(Arc<Plan>);

/// The resolved plan.
pub(super) struct Plan {
    /// Evaluated once per batch; everything below names them by position.
    expressions: Vec<Expression>,
    /// Whether partition and offset follow the input's columns, and then the expressions.
    positions: bool,
    keys: Vec<usize>,
    pub(super) codec: KeyCodec,
    pub(super) recipes: Vec<Recipe>,
    pub(super) readings: Vec<Reading>,
    pub(super) input: Input,
    /// Where rows may be taken back: how many rows a group has.
    pub(super) living: Option<Reading>,
    pub(super) window: Option<AggregateWindow>,
    /// By what groups are forgotten, if they are; never with a window.
    pub(super) turns: Option<Turns>,
    pub(super) emit: Emit,
    pub(super) output: SchemaRef,
    pub(super) partial: SchemaRef,
}

/// What an aggregate yields: a reading of an accumulator.
pub(super) struct Reading {
    pub(super) accumulator: usize,
    pub(super) output: Output,
    pub(super) text: String,
}

/// The evaluated columns of a batch.
pub(super) struct Evaluated {
    /// By the positions in `Plan::expressions`; then partition and offset, if they are needed.
    pub(super) columns: Vec<ArrayRef>,
    /// One key per row.
    pub(super) keys: arrow::array::BinaryArray,
    /// One hash per row.
    pub(super) hashes: Vec<u64>,
}

impl Aggregation {
    /// Resolves an `Operator::Aggregate`. `output` is the node's schema: keys, aggregates, and
    /// the window's two columns if there is a window.
    pub fn new(
        input: Input,
        keys: &[Expression],
        aggregates: &[AggregateCall],
        window: Option<AggregateWindow>,
        emit: Emit,
        output: SchemaRef,
    ) -> Result<Self, AggregateError> {
        let mut expressions = Vec::new();
        let keys: Vec<usize> = keys
            .iter()
            .map(|key| position(&mut expressions, key))
            .collect();
        let mut recipes: Vec<Recipe> = Vec::new();
        let mut readings = Vec::new();
        let rows = matches!(input, Input::Changing { .. }).then(count_of_rows);
        for call in aggregates.iter().chain(&rows) {
            let (recipe, output) = resolve(call, input, &mut expressions)?;
            let same = recipes.iter().position(|other| other.serves(&recipe));
            let accumulator = same.unwrap_or_else(|| {
                recipes.push(recipe);
                recipes.len() - 1
            });
            readings.push(Reading {
                accumulator,
                output,
                text: call.text.clone(),
            });
        }
        share_counts(&mut recipes, &mut readings, &expressions);
        let living = rows.and_then(|_| readings.pop());
        // Rows or none, there is a row over all of them.
        let living = living.filter(|_| !keys.is_empty());
        let positions = recipes.iter().any(|recipe| recipe.positions);
        for recipe in recipes.iter_mut().filter(|recipe| recipe.positions) {
            // The value stays last: what comes before it is the order.
            let value = recipe.arguments.len() - 1;
            let (partition, offset) = (expressions.len(), expressions.len() + 1);
            recipe.arguments.splice(value..value, [partition, offset]);
        }
        let key_types = keys.iter().map(|&key| expressions[key].data_type.clone());
        let codec = KeyCodec::new(&key_types.collect::<Vec<_>>())?;
        let partial = partial_schema(window.is_some(), &recipes)?;
        Ok(Self(Arc::new(Plan {
            expressions,
            positions,
            keys,
            codec,
            recipes,
            readings,
            input,
            living,
            window,
            turns: None,
            emit,
            output,
            partial,
        })))
    }

    /// The same, where groups are forgotten that have had no record for so long; `None` keeps
    /// them. Rows then say their turn (see `turns`).
    pub fn forgetting_after(self, ttl_us: Option<i64>) -> Result<Self, AggregateError> {
        let Some(ttl_us) = ttl_us else {
            return Ok(self);
        };
        let plan = Arc::into_inner(self.0).expect("it was made just now, for nobody else");
        assert!(plan.window.is_none(), "windows are freed when they close");
        let partial = partial_schema(true, &plan.recipes)?;
        Ok(Self(Arc::new(Plan {
            turns: Some(Turns::of_ttl(ttl_us)),
            partial,
            ..plan
        })))
    }

    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.0
    }

    /// Something that aggregates before the exchange.
    #[must_use]
    pub fn partials(&self) -> Partials {
        Partials::new(Arc::clone(&self.0))
    }

    /// Something that holds the state of a worker's keys.
    #[must_use]
    pub fn aggregates(&self) -> Aggregates {
        Aggregates::new(Arc::clone(&self.0))
    }

    /// Something that holds the sessions of a worker's keys, if the windows are sessions.
    #[must_use]
    pub fn sessions(&self) -> Option<Sessions> {
        Sessions::new(&self.0)
    }

    /// Something that aggregates sessions before the exchange, if the windows are sessions.
    #[must_use]
    pub fn session_partials(&self) -> Option<SessionPartials> {
        SessionPartials::new(&self.0)
    }

    /// The first aggregate over groups of rows that are all there: row `i` is of `groups[i]`, of so
    /// many. A group without rows has the result of no rows.
    pub fn totals(
        &self,
        rows: &RecordBatch,
        groups: &[u32],
        count: usize,
    ) -> Result<ArrayRef, AggregateError> {
        let columns = self.0.columns(rows)?;
        let columns = self.0.aggregated(&columns, None)?;
        let mut slots = Slots::new(&self.0);
        slots.resize(count);
        slots.update(&self.0, Step::Give, &columns, groups)?;
        let all: Vec<u32> = (0..).take(count).collect();
        slots.read(&self.0.readings[0], &all)
    }

    /// Whether some aggregate depends on order, so that two columns must stand at the end of
    /// every batch of rows: partition (UInt32) and offset (UInt64).
    #[must_use]
    pub fn positions_needed(&self) -> bool {
        self.0.positions
    }

    /// What `Partials::drain` yields and `Aggregates::merge` takes. The first column is the hash
    /// to exchange by, equal for equal keys on every worker and in every run.
    #[must_use]
    pub fn partial_schema(&self) -> SchemaRef {
        Arc::clone(&self.0.partial)
    }

    /// The hash to exchange rows by, where they are sent as they are.
    pub fn hashes(&self, input: &RecordBatch) -> Result<UInt64Array, AggregateError> {
        let keys = self
            .0
            .keys
            .iter()
            .map(|&key| evaluate(&self.0.expressions[key], input));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let keys = self.0.codec.encode(&keys, input.num_rows())?;
        Ok(routes(&keys))
    }
}

/// `count(*)`: a group that has no rows any more is none.
fn count_of_rows() -> AggregateCall {
    AggregateCall {
        function: AggregateFunction::Count,
        distinct: false,
        arguments: Vec::new(),
        filter: None,
        order_by: Vec::new(),
        output: Arc::new(Field::new("count(*)", DataType::Int64, false)),
        text: "count(*)".to_owned(),
    }
}

/// Has `count(*)` read from a sum that counts the same rows, where there is one: a group then has
/// one state to fetch instead of two.
fn share_counts(recipes: &mut Vec<Recipe>, readings: &mut [Reading], expressions: &[Expression]) {
    let shared = recipes.iter().enumerate().find_map(|(count, of)| {
        let also = recipes
            .iter()
            .position(|sum| sum.also_counts(of, expressions))?;
        Some((count, also))
    });
    let Some((count, sum)) = shared else { return };
    recipes.remove(count);
    for reading in readings {
        if reading.accumulator == count {
            reading.accumulator = sum;
        }
        reading.accumulator -= usize::from(reading.accumulator > count);
    }
}

impl Plan {
    /// Whether one row is over all of the input: it is there before any of it.
    pub(super) fn is_whole(&self) -> bool {
        self.keys.is_empty() && self.window.is_none()
    }

    /// Whether rows are kept by bucket.
    pub(super) fn has_buckets(&self) -> bool {
        self.window.is_some() || self.turns.is_some()
    }

    pub(super) fn evaluate(&self, input: &RecordBatch) -> Result<Evaluated, AggregateError> {
        let columns = self.columns(input)?;
        let keys = self
            .codec
            .encode(&self.key_columns(&columns), input.num_rows())?;
        let hashes = hashes(&keys);
        Ok(Evaluated {
            columns,
            keys,
            hashes,
        })
    }

    /// All expressions over a batch; then partition and offset, if they are needed.
    pub(super) fn columns(&self, input: &RecordBatch) -> Result<Vec<ArrayRef>, AggregateError> {
        let columns = self
            .expressions
            .iter()
            .map(|expression| evaluate(expression, input));
        let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
        if self.positions {
            columns.extend(roles::positions(input).map(Arc::clone));
        }
        Ok(columns)
    }

    /// The keys among evaluated columns.
    pub(super) fn key_columns(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        let keys = self.keys.iter();
        keys.map(|&key| Arc::clone(&columns[key])).collect()
    }

    /// The types of the keys.
    pub(super) fn key_types(&self) -> Vec<DataType> {
        let keys = self.keys.iter();
        keys.map(|&key| self.expressions[key].data_type.clone())
            .collect()
    }

    /// Those of the evaluated columns that accumulators take, of some rows or all. The others,
    /// mere keys, are `None`.
    pub(super) fn aggregated(
        &self,
        columns: &[ArrayRef],
        rows: Option<&[u32]>,
    ) -> Result<Vec<Option<ArrayRef>>, AggregateError> {
        let rows = rows.map(|rows| UInt32Array::from(rows.to_vec()));
        let mut aggregated = vec![None; columns.len()];
        for &at in self
            .recipes
            .iter()
            .flat_map(|r| r.arguments.iter().chain(&r.filter))
        {
            if aggregated[at].is_none() {
                aggregated[at] = Some(match &rows {
                    None => Arc::clone(&columns[at]),
                    Some(rows) => take(&columns[at], rows, None)?,
                });
            }
        }
        Ok(aggregated)
    }

    pub(super) fn accumulators(&self) -> Vec<Box<dyn Accumulator>> {
        let made = self.recipes.iter().map(|recipe| {
            recipe
                .accumulator()
                .expect("`Aggregation::new` has made each of them once")
        });
        made.collect()
    }
}

fn evaluate(expression: &Expression, input: &RecordBatch) -> Result<ArrayRef, AggregateError> {
    expression
        .evaluate(input)
        .map_err(|cause| AggregateError::Expression {
            text: expression.text.clone(),
            cause,
        })
}

/// The place of an expression among those that are evaluated.
pub(super) fn position(expressions: &mut Vec<Expression>, expression: &Expression) -> usize {
    let known = expressions.iter().position(|other| other.is(expression));
    known.unwrap_or_else(|| {
        expressions.push(expression.clone());
        expressions.len() - 1
    })
}

/// Names of the columns of a partial state.
pub(super) const HASH: &str = "hash";
pub(super) const START: &str = "start";
pub(super) const END: &str = "end";
pub(super) const KEY: &str = "key";

fn partial_schema(by_bucket: bool, recipes: &[Recipe]) -> Result<SchemaRef, AggregateError> {
    let mut fields = vec![Field::new(HASH, DataType::UInt64, false)];
    if by_bucket {
        fields.push(Field::new(START, DataType::Int64, false));
        fields.push(Field::new(END, DataType::Int64, false));
    }
    fields.push(Field::new(KEY, DataType::Binary, false));
    for (number, recipe) in recipes.iter().enumerate() {
        for (part, data_type) in recipe.accumulator()?.state_types().into_iter().enumerate() {
            fields.push(Field::new(
                format!("state_{number}_{part}"),
                data_type,
                true,
            ));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}
