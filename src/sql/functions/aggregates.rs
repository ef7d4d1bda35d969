//! Our aggregates as DataFusion sees them: shells that type-check.
//!
//! The planner needs a name, argument types and a result type; the computing is ours, so a shell
//! has no accumulator. Which function a shell stands for is found again by its name when the
//! plan is lowered.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, not_impl_err, plan_datafusion_err};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::intervals::INTERVAL;
use crate::plan::AggregateFunction as F;
use crate::plan::aggregate_types::result_type;

/// Name, aliases, meaning.
const AGGREGATES: &[(&str, &[&str], F)] = &[
    ("count", &[], F::Count),
    ("sum", &[], F::Sum),
    ("avg", &["mean"], F::Average),
    ("min", &[], F::Min),
    ("max", &[], F::Max),
    ("bool_and", &["every"], F::BoolAnd),
    ("bool_or", &[], F::BoolOr),
    ("bit_and", &[], F::BitAnd),
    ("bit_or", &[], F::BitOr),
    ("bit_xor", &[], F::BitXor),
    ("var_pop", &["var_population"], F::VariancePopulation),
    (
        "var_samp",
        &["variance", "var", "var_sample"],
        F::VarianceSample,
    ),
    ("stddev_pop", &[], F::DeviationPopulation),
    ("stddev_samp", &["stddev"], F::DeviationSample),
    ("covar_pop", &[], F::CovariancePopulation),
    ("covar_samp", &["covar"], F::CovarianceSample),
    ("corr", &[], F::Correlation),
    (
        "approx_distinct",
        &["approx_count_distinct"],
        F::ApproxDistinct,
    ),
    ("first_value", &["first"], F::First),
    ("last_value", &["last"], F::Last),
    ("array_agg", &["collect_list"], F::ArrayAgg),
    ("string_agg", &["listagg"], F::StringAgg),
    ("median", &[], F::PercentileCont),
    ("percentile_cont", &["quantile_cont"], F::PercentileCont),
    ("percentile_disc", &[], F::PercentileDisc),
    ("approx_percentile_cont", &[], F::ApproxPercentile),
    ("approx_median", &[], F::ApproxPercentile),
];

/// Those whose result depends on the order of their input.
pub const ORDER_DEPENDENT: &[&str] = &["first_value", "last_value", "array_agg", "string_agg"];

/// The aggregate that a shell of this name stands for.
pub fn function_of(name: &str) -> Option<F> {
    AGGREGATES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(.., function)| function.clone())
}

/// Whether a type is of intervals, or of differences of timestamps, which are some.
pub fn is_length(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

/// The names of all aggregates.
#[cfg(test)]
pub fn aggregate_names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.iter().map(|(name, ..)| *name)
}

pub fn all() -> Vec<Arc<AggregateUDF>> {
    AGGREGATES
        .iter()
        .map(|(name, aliases, function)| {
            Arc::new(AggregateUDF::from(Shell {
                name,
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
                function: function.clone(),
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug)]
struct Shell {
    name: &'static str,
    aliases: Vec<String>,
    function: F,
    signature: Signature,
}

// One shell per name.
impl PartialEq for Shell {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Shell {}

impl std::hash::Hash for Shell {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Shell {
    fn is_percentile(&self) -> bool {
        matches!(
            self.function,
            F::PercentileCont | F::PercentileDisc | F::ApproxPercentile
        )
    }

    /// How many arguments it takes.
    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        match self.function {
            F::CovariancePopulation | F::CovarianceSample | F::Correlation | F::StringAgg => 2..=2,
            F::PercentileCont | F::PercentileDisc | F::ApproxPercentile => {
                if self.name.ends_with("median") {
                    1..=1
                } else {
                    2..=2
                }
            }
            F::Count
            | F::Sum
            | F::Average
            | F::Min
            | F::Max
            | F::BoolAnd
            | F::BoolOr
            | F::BitAnd
            | F::BitOr
            | F::BitXor
            | F::VariancePopulation
            | F::VarianceSample
            | F::DeviationPopulation
            | F::DeviationSample
            | F::ApproxDistinct
            | F::First
            | F::Last
            | F::ArrayAgg
            | F::Library(_) => 1..=1,
        }
    }
}

impl AggregateUDFImpl for Shell {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        // These are sums of numbers in the end: see `sql/interval_sums`.
        if matches!(self.function, F::Sum | F::Average) && arguments.iter().all(is_length) {
            return Ok(INTERVAL);
        }
        result_type(&self.function, arguments).map_err(|message| plan_datafusion_err!("{message}"))
    }

    fn is_nullable(&self) -> bool {
        !self.function.counts()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        if self.is_nullable() {
            ScalarValue::try_from(data_type)
        } else {
            Ok(ScalarValue::Int64(Some(0)))
        }
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let arity = self.arity();
        if !arity.contains(&arguments.len()) {
            return Err(plan_datafusion_err!(
                "{} takes {} argument{}, not {}",
                self.name,
                arity.start(),
                if *arity.start() == 1 { "" } else { "s" },
                arguments.len()
            ));
        }
        let mut types = arguments.to_vec();
        if self.is_percentile() && types.len() == 2 {
            types[1] = DataType::Float64;
        }
        self.return_type(&types)?;
        Ok(types)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.is_percentile() && !self.name.ends_with("median")
    }

    fn supports_null_handling_clause(&self) -> bool {
        false
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::HardRequirement
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is computed by the dataflow", self.name)
    }
}
