//! What an `Operator::Aggregate` computes, resolved: which expressions, which accumulators, and
//! which result is read from which.
//!
//! Every expression is evaluated once per batch, and calls that can share an accumulator do:
//! `sum(x)`, `avg(x)` and `count(x)` read one.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::accumulators::{Accumulator, Counts, FloatSums, Output, Side, extremes, whole_sums};
use super::aggregates::Aggregates;
use super::error::AggregateError;
use super::keys::{KeyCodec, hashes, route};
use super::partials::Partials;
use crate::plan::aggregate_types::result_type;
use crate::plan::{AggregateCall, AggregateFunction, AggregateWindow, Emit, Expression};

/// How an aggregate computes. Cheap to clone; `partials` and `aggregates` make what holds rows.
#[derive(Clone)]
pub struct Aggregation(Arc<Plan>);

/// The resolved plan.
pub(super) struct Plan {
    /// Evaluated once per batch; everything below names them by position.
    expressions: Vec<Expression>,
    keys: Vec<usize>,
    pub(super) codec: KeyCodec,
    pub(super) recipes: Vec<Recipe>,
    pub(super) readings: Vec<Reading>,
    pub(super) window: Option<AggregateWindow>,
    pub(super) emit: Emit,
    pub(super) output: SchemaRef,
    pub(super) partial: SchemaRef,
}

/// How to make an accumulator and what to give it.
#[derive(Clone, PartialEq)]
pub(super) struct Recipe {
    kind: Kind,
    pub(super) arguments: Vec<usize>,
    pub(super) filter: Option<usize>,
    /// The first call that asked for it, for errors.
    pub(super) text: String,
}

/// What an aggregate yields: a reading of an accumulator.
pub(super) struct Reading {
    pub(super) accumulator: usize,
    pub(super) output: Output,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Count,
    FloatSum,
    WholeSum(DataType),
    Extreme(DataType, Side),
}

/// The evaluated columns of a batch.
pub(super) struct Evaluated {
    /// By the positions in `Plan::expressions`.
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
        for call in aggregates {
            let (recipe, output) = resolve(call, &mut expressions)?;
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
        let key_types = keys.iter().map(|&key| expressions[key].data_type.clone());
        let codec = KeyCodec::new(&key_types.collect::<Vec<_>>())?;
        let partial = partial_schema(window, &recipes)?;
        Ok(Self(Arc::new(Plan {
            expressions,
            keys,
            codec,
            recipes,
            readings,
            window,
            emit,
            output,
            partial,
        })))
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

    /// Whether some aggregate depends on order, so that two columns must stand at the end of
    /// every batch of rows: partition (UInt32) and offset (UInt64).
    #[must_use]
    pub fn positions_needed(&self) -> bool {
        false
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
        Ok(hashes(&keys).into_iter().map(route).collect())
    }
}

impl Plan {
    pub(super) fn evaluate(&self, input: &RecordBatch) -> Result<Evaluated, AggregateError> {
        let columns = self
            .expressions
            .iter()
            .map(|expression| evaluate(expression, input));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|&key| Arc::clone(&columns[key]))
            .collect();
        let keys = self.codec.encode(&keys, input.num_rows())?;
        let hashes = hashes(&keys);
        Ok(Evaluated {
            columns,
            keys,
            hashes,
        })
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

impl Recipe {
    /// An error of the accumulator.
    pub(super) fn failed(&self, cause: ArrowError) -> AggregateError {
        AggregateError::Compute {
            text: self.text.clone(),
            cause,
        }
    }

    /// Whether an accumulator made by this recipe is one that `other` asks for.
    fn serves(&self, other: &Self) -> bool {
        (&self.kind, &self.arguments, self.filter) == (&other.kind, &other.arguments, other.filter)
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>, AggregateError> {
        let unsupported = |reason: String| AggregateError::Unsupported {
            text: self.text.clone(),
            reason,
        };
        match &self.kind {
            Kind::Count => Ok(Box::<Counts>::default()),
            Kind::FloatSum => Ok(Box::<FloatSums>::default()),
            Kind::WholeSum(argument) => whole_sums(argument)
                .ok_or_else(|| unsupported(format!("{argument} is not a number"))),
            Kind::Extreme(argument, side) => {
                extremes(argument, *side).map_err(|error| unsupported(error.to_string()))
            }
        }
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

fn position(expressions: &mut Vec<Expression>, expression: &Expression) -> usize {
    let known = expressions
        .iter()
        .position(|other| other.text == expression.text);
    known.unwrap_or_else(|| {
        expressions.push(expression.clone());
        expressions.len() - 1
    })
}

fn resolve(
    call: &AggregateCall,
    expressions: &mut Vec<Expression>,
) -> Result<(Recipe, Output), AggregateError> {
    let unsupported = |reason: String| AggregateError::Unsupported {
        text: call.text.clone(),
        reason,
    };
    let types: Vec<DataType> = call.arguments.iter().map(|a| a.data_type.clone()).collect();
    let result = result_type(&call.function, &types).map_err(unsupported)?;
    let (kind, output) = kind_of(call, &types, &result).map_err(unsupported)?;
    // A column that is never NULL has as many values as there are rows.
    let counts_rows = matches!(call.function, AggregateFunction::Count)
        && call.arguments.iter().all(|argument| !argument.nullable);
    let arguments = match counts_rows {
        true => Vec::new(),
        false => call
            .arguments
            .iter()
            .map(|a| position(expressions, a))
            .collect(),
    };
    let recipe = Recipe {
        kind,
        arguments,
        filter: call
            .filter
            .as_ref()
            .map(|filter| position(expressions, filter)),
        text: call.text.clone(),
    };
    recipe.accumulator()?;
    Ok((recipe, output))
}

fn kind_of(
    call: &AggregateCall,
    types: &[DataType],
    result: &DataType,
) -> Result<(Kind, Output), String> {
    use AggregateFunction as F;
    let argument = types.first();
    let sum = |argument: &DataType| match argument.is_floating() {
        true => Kind::FloatSum,
        false => Kind::WholeSum(argument.clone()),
    };
    if call.distinct {
        return Err("DISTINCT is not supported yet".to_owned());
    }
    match (&call.function, argument) {
        (F::Count, _) => Ok((Kind::Count, Output::Count)),
        (F::Sum, Some(argument)) => Ok((sum(argument), Output::Sum(result.clone()))),
        (F::Average, Some(argument)) => Ok((sum(argument), Output::Average(result.clone()))),
        (F::Min, Some(argument)) => {
            Ok((Kind::Extreme(argument.clone(), Side::Least), Output::Value))
        }
        (F::Max, Some(argument)) => Ok((
            Kind::Extreme(argument.clone(), Side::Greatest),
            Output::Value,
        )),
        _ => Err("not supported yet".to_owned()),
    }
}

/// Names of the columns of a partial state.
pub(super) const HASH: &str = "hash";
pub(super) const START: &str = "start";
pub(super) const END: &str = "end";
pub(super) const KEY: &str = "key";

fn partial_schema(
    window: Option<AggregateWindow>,
    recipes: &[Recipe],
) -> Result<SchemaRef, AggregateError> {
    let mut fields = vec![Field::new(HASH, DataType::UInt64, false)];
    if window.is_some() {
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
