//! Which accumulator serves a call, what it is given, and what is read from it.

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;

use super::accumulators::{
    Accumulator, Bits, Cardinalities, Collected, Counts, Distinct, FloatSums, Keep, Moment,
    Moments, Output, Quantiles, Ranked, Read, Replayed, Side, bits, extremes, whole_sums,
};
use super::error::AggregateError;
use super::plan::{Input, position};
use crate::plan::aggregate_types::result_type;
use crate::plan::{AggregateCall, AggregateFunction, Expression};

/// How to make an accumulator and what to give it.
pub(super) struct Recipe {
    kind: Kind,
    /// Places of the arguments among the evaluated expressions.
    pub arguments: Vec<usize>,
    /// Whether partition and offset are to stand before the last argument.
    pub positions: bool,
    /// Place of the filter.
    pub filter: Option<usize>,
    /// The first call that asked for it, for errors.
    pub text: String,
}

/// What to make. The types are those of the arguments.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Count,
    FloatSum,
    WholeSum(DataType),
    Extreme(DataType, Side),
    Bits(DataType, Bits),
    Moments(Vec<DataType>),
    Cardinality(Vec<DataType>),
    /// Order keys, partition and offset if they take part, and the value.
    Ranked(Vec<DataType>, Vec<SortOptions>, Side),
    Collected(Vec<DataType>, Vec<SortOptions>, Keep),
    Quantiles,
    Distinct(Vec<DataType>, Box<Kind>),
    /// What is read of the rows kept, how many arguments must have a value, and what reads them.
    Replayed(Vec<DataType>, Vec<SortOptions>, (Read, usize), Box<Kind>),
}

impl Recipe {
    /// Whether an accumulator made by this recipe is one that `other` asks for.
    pub fn serves(&self, other: &Self) -> bool {
        (&self.kind, &self.arguments, self.filter) == (&other.kind, &other.arguments, other.filter)
    }

    /// Whether its accumulator, a sum that counts what it adds, also counts the rows that `count`
    /// counts: it adds something of each of them.
    pub fn also_counts(&self, count: &Self, expressions: &[Expression]) -> bool {
        count.kind == Kind::Count
            && count.arguments.is_empty()
            && matches!(self.kind, Kind::FloatSum | Kind::WholeSum(_))
            && self.filter == count.filter
            && self
                .arguments
                .iter()
                .all(|&argument| !expressions[argument].nullable)
    }

    /// Makes it.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>, AggregateError> {
        self.kind
            .accumulator()
            .map_err(|error| AggregateError::Unsupported {
                text: self.text.clone(),
                reason: error.to_string(),
            })
    }

    /// An error of the accumulator.
    pub fn failed(&self, cause: ArrowError) -> AggregateError {
        AggregateError::Compute {
            text: self.text.clone(),
            cause,
        }
    }
}

impl Kind {
    fn accumulator(&self) -> Result<Box<dyn Accumulator>, ArrowError> {
        let number = || ArrowError::InvalidArgumentError("the argument is not a number".to_owned());
        Ok(match self {
            Self::Count => Box::<Counts>::default(),
            Self::FloatSum => Box::<FloatSums>::default(),
            Self::WholeSum(argument) => whole_sums(argument).ok_or_else(number)?,
            Self::Extreme(argument, side) => extremes(argument, *side)?,
            Self::Bits(argument, operation) => bits(argument, *operation).ok_or_else(number)?,
            Self::Moments(arguments) => Box::new(Moments::new(arguments)),
            Self::Cardinality(arguments) => Box::new(Cardinalities::new(arguments)?),
            Self::Ranked(types, orders, side) => Box::new(Ranked::ordered(types, orders, *side)?),
            Self::Collected(types, orders, keep) => Box::new(Collected::new(types, orders, *keep)?),
            Self::Quantiles => Box::<Quantiles>::default(),
            Self::Distinct(types, of) => {
                Box::new(Distinct::new(types, of.accumulator()?, of.shows_nulls())?)
            }
            Self::Replayed(types, orders, rows, of) => {
                of.accumulator()?;
                let of = of.clone();
                let make = move || of.accumulator().expect("it was made once just now");
                Box::new(Replayed::new(types, orders, *rows, Box::new(make))?)
            }
        })
    }

    /// Whether a row with a NULL value counts.
    fn shows_nulls(&self) -> bool {
        matches!(
            self,
            Self::Ranked(_, _, _) | Self::Collected(_, _, Keep::All)
        )
    }

    /// Whether its accumulator subtracts what is taken back.
    fn takes_back(&self) -> bool {
        match self {
            Self::Count
            | Self::FloatSum
            | Self::WholeSum(_)
            | Self::Moments(_)
            | Self::Quantiles
            | Self::Replayed(..) => true,
            Self::Extreme(..)
            | Self::Bits(..)
            | Self::Cardinality(_)
            | Self::Ranked(..)
            | Self::Collected(..)
            | Self::Distinct(..) => false,
        }
    }

    /// The same over rows of these types that may be taken back.
    fn retractable(self, types: Vec<DataType>) -> Result<Self, String> {
        let end = |side: &Side| match side {
            Side::Least => Read::First,
            Side::Greatest => Read::Last,
        };
        let ascending = vec![SortOptions::default(); types.len()];
        let shown = usize::from(!self.shows_nulls());
        let (orders, rows, of) = match self {
            Self::Count
            | Self::FloatSum
            | Self::WholeSum(_)
            | Self::Moments(_)
            | Self::Quantiles
            | Self::Replayed(..) => return Ok(self),
            Self::Cardinality(_) => {
                return Err("an estimate cannot take rows back: write count(DISTINCT ..)".into());
            }
            Self::Distinct(_, of) => {
                let needed = if of.shows_nulls() { 0 } else { types.len() };
                let read = if of.takes_back() {
                    Read::OnceAtATime
                } else {
                    Read::Once
                };
                (ascending, (read, needed), *of)
            }
            Self::Bits(..) => (ascending, (Read::All, shown), self),
            Self::Extreme(_, ref side) => (ascending, (end(side), shown), self),
            Self::Ranked(_, ref orders, ref side) => (orders.clone(), (end(side), shown), self),
            Self::Collected(_, ref orders, _) => (orders.clone(), (Read::All, shown), self),
        };
        Ok(Self::Replayed(types, orders, rows, Box::new(of)))
    }
}

/// The recipe for a call and the reading of it. Arguments are added to the evaluated expressions.
pub(super) fn resolve(
    call: &AggregateCall,
    input: Input,
    expressions: &mut Vec<Expression>,
) -> Result<(Recipe, Output), AggregateError> {
    let unsupported = |reason: String| AggregateError::Unsupported {
        text: call.text.clone(),
        reason,
    };
    let types: Vec<DataType> = call.arguments.iter().map(|a| a.data_type.clone()).collect();
    let result = result_type(&call.function, &types).map_err(unsupported)?;
    let mut serving = serving(call, input, &types, result).map_err(unsupported)?;
    let given = serving.arguments.iter();
    let given: Vec<DataType> = given.map(|argument| argument.data_type.clone()).collect();
    if call.distinct && serving.distinct_matters {
        serving.kind = Kind::Distinct(given.clone(), Box::new(serving.kind));
    }
    if let Input::Changing { .. } = input {
        serving.kind = serving.kind.retractable(given).map_err(unsupported)?;
    }
    let arguments = serving
        .arguments
        .iter()
        .map(|argument| position(expressions, argument));
    let recipe = Recipe {
        kind: serving.kind,
        arguments: arguments.collect(),
        positions: serving.positions,
        filter: call
            .filter
            .as_ref()
            .map(|filter| position(expressions, filter)),
        text: call.text.clone(),
    };
    recipe.accumulator()?;
    Ok((recipe, serving.output))
}

/// What serves a call.
struct Serving<'a> {
    kind: Kind,
    output: Output,
    /// What the accumulator is given, without partition and offset.
    arguments: Vec<&'a Expression>,
    positions: bool,
    /// Whether the result over distinct values is another than over all.
    distinct_matters: bool,
}

fn serving<'a>(
    call: &'a AggregateCall,
    input: Input,
    types: &[DataType],
    result: DataType,
) -> Result<Serving<'a>, String> {
    use AggregateFunction as F;
    // Only `count` is without arguments, as `result_type` has seen.
    let first = types.first().cloned().unwrap_or(DataType::Null);
    let sum = || match first.is_floating() {
        true => Kind::FloatSum,
        false => Kind::WholeSum(first.clone()),
    };
    let extreme = |side| Serving::idempotent(call, Kind::Extreme(first.clone(), side));
    let bits = |operation| Serving::new(call, Kind::Bits(first.clone(), operation), Output::Value);
    let moment = |moment| Serving::new(call, Kind::Moments(types.to_vec()), Output::Moment(moment));
    Ok(match &call.function {
        F::Count => Serving::count(call),
        F::Sum => Serving::new(call, sum(), Output::Sum(result)),
        F::Average => Serving::new(call, sum(), Output::Average(result)),
        F::Min | F::BoolAnd => extreme(Side::Least),
        F::Max | F::BoolOr => extreme(Side::Greatest),
        F::BitAnd => bits(Bits::And),
        F::BitOr => bits(Bits::Or),
        F::BitXor => bits(Bits::Xor),
        F::VariancePopulation => moment(Moment::VariancePopulation),
        F::VarianceSample => moment(Moment::VarianceSample),
        F::DeviationPopulation => moment(Moment::DeviationPopulation),
        F::DeviationSample => moment(Moment::DeviationSample),
        F::CovariancePopulation => moment(Moment::CovariancePopulation),
        F::CovarianceSample => moment(Moment::CovarianceSample),
        F::Correlation => moment(Moment::Correlation),
        F::ApproxDistinct => Serving::idempotent(call, Kind::Cardinality(types.to_vec())),
        F::First => Serving::ordered(call, input, |types, orders| {
            (Kind::Ranked(types, orders, Side::Least), Output::Value)
        })?,
        F::Last => Serving::ordered(call, input, |types, orders| {
            (Kind::Ranked(types, orders, Side::Greatest), Output::Value)
        })?,
        F::ArrayAgg => Serving::ordered(call, input, |types, orders| {
            (Kind::Collected(types, orders, Keep::All), Output::Value)
        })?,
        F::StringAgg => {
            let separator = Output::Joined(separator(call)?);
            Serving::ordered(call, input, |types, orders| {
                (Kind::Collected(types, orders, Keep::Values), separator)
            })?
        }
        F::PercentileCont => Serving::percentile(call, |fraction, order| {
            let kind = Kind::Collected(vec![DataType::Float64], vec![order], Keep::Values);
            (kind, Output::Continuous(fraction))
        })?,
        F::PercentileDisc => Serving::percentile(call, |fraction, order| {
            let kind = Kind::Collected(vec![first], vec![order], Keep::Values);
            (kind, Output::Discrete(fraction))
        })?,
        F::ApproxPercentile => Serving::percentile(call, |fraction, order| {
            let fraction = if order.descending {
                1.0 - fraction
            } else {
                fraction
            };
            (Kind::Quantiles, Output::Discrete(fraction))
        })?,
        F::Library(library) => {
            return Err(format!("there is no exact `{}` yet", library.name()));
        }
    })
}

impl<'a> Serving<'a> {
    fn new(call: &'a AggregateCall, kind: Kind, output: Output) -> Self {
        let arguments = call.arguments.iter().collect();
        Self {
            kind,
            output,
            arguments,
            positions: false,
            distinct_matters: true,
        }
    }

    fn idempotent(call: &'a AggregateCall, kind: Kind) -> Self {
        Self {
            distinct_matters: false,
            ..Self::new(call, kind, Output::Value)
        }
    }

    fn count(call: &'a AggregateCall) -> Self {
        let mut serving = Self::new(call, Kind::Count, Output::Count);
        // A column that is never NULL has as many values as there are rows.
        if !call.distinct && call.arguments.iter().all(|argument| !argument.nullable) {
            serving.arguments.clear();
        }
        serving
    }

    /// What depends on an order takes it from the call, then from the source if the rows are its
    /// records, then from the value.
    fn ordered(
        call: &'a AggregateCall,
        input: Input,
        make: impl FnOnce(Vec<DataType>, Vec<SortOptions>) -> (Kind, Output),
    ) -> Result<Self, String> {
        let value = call.arguments.first().expect("`result_type` has seen it");
        if call.order_by.is_empty() {
            return Err(
                "its result depends on an order: write ORDER BY inside the call".to_owned(),
            );
        }
        let by_value = call.order_by.iter().all(|key| key.expression.is(value));
        if call.distinct && !by_value {
            return Err("with DISTINCT, only the argument itself can be its ORDER BY".to_owned());
        }
        // Distinct values have no ties, and no position of their own.
        let positions = !call.distinct && input == Input::Records;
        let keys = call.order_by.iter();
        let mut types: Vec<DataType> = keys
            .clone()
            .map(|key| key.expression.data_type.clone())
            .collect();
        let mut orders: Vec<SortOptions> = keys
            .clone()
            .map(|key| SortOptions::new(key.descending, key.nulls_first))
            .collect();
        if positions {
            types.extend([DataType::UInt32, DataType::UInt64]);
        }
        types.push(value.data_type.clone());
        orders.resize(types.len(), SortOptions::default());
        let (kind, output) = make(types, orders);
        let arguments = keys.map(|key| &key.expression).chain([value]).collect();
        Ok(Self {
            kind,
            output,
            arguments,
            positions,
            distinct_matters: true,
        })
    }

    /// Percentiles: the value, then the fraction; `median` has no fraction.
    fn percentile(
        call: &'a AggregateCall,
        make: impl FnOnce(f64, SortOptions) -> (Kind, Output),
    ) -> Result<Self, String> {
        let value = call.arguments.first().expect("`result_type` has seen it");
        let fraction = match call.arguments.get(1) {
            None => 0.5,
            Some(fraction) => match constant(fraction)?.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(Some(fraction))) if (0.0..=1.0).contains(&fraction) => {
                    fraction
                }
                _ => return Err("its fraction is a number between 0 and 1".to_owned()),
            },
        };
        let descending = call.order_by.first().is_some_and(|key| key.descending);
        let (kind, output) = make(fraction, SortOptions::new(descending, false));
        Ok(Self {
            arguments: vec![value],
            ..Self::new(call, kind, output)
        })
    }
}

/// The separator of `string_agg`; NULL is none.
fn separator(call: &AggregateCall) -> Result<String, String> {
    let separator = call.arguments.get(1).ok_or("it takes a separator")?;
    let separator = constant(separator)?;
    match separator.try_as_str() {
        Some(text) => Ok(text.unwrap_or_default().to_owned()),
        None if separator.is_null() => Ok(String::new()),
        None => Err(format!("its separator is a text, not {separator}")),
    }
}

/// The value of an expression that is the same for all rows.
fn constant(expression: &Expression) -> Result<ScalarValue, String> {
    let nothing = RecordBatch::new_empty(std::sync::Arc::new(Schema::empty()));
    match expression.physical.evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(value)) => Ok(value),
        Ok(ColumnarValue::Array(_)) | Err(_) => {
            Err(format!("`{}` must be a constant", expression.text))
        }
    }
}
