//! The aggregates of a plan: which, over what, by which window, and when they say something.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_expr::AggregateUDF;

use super::Expression;
use super::operator::{Assign, SortKey, WindowKind};

/// The window of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggregateWindow {
    /// The shape.
    pub kind: WindowKind,
    /// What the input's two columns hold.
    pub assign: Assign,
    /// Position of `window_start` in the input.
    pub start: usize,
    /// Position of `window_end` in the input.
    pub end: usize,
    /// How long after its end a window stays open, in microseconds.
    pub lateness_us: i64,
}

/// When an aggregate says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emit {
    /// In every epoch in which a group changed: the old row retracted, the new one asserted.
    Changes,
    /// Once, when the window closes: an append stream.
    OnClose,
}

/// One aggregate of a group.
#[derive(Clone)]
pub struct AggregateCall {
    /// Which.
    pub function: AggregateFunction,
    /// `DISTINCT` inside the call.
    pub distinct: bool,
    /// Over the input. `count(*)` has none. A percentile has the value and then the fraction, a
    /// constant; `median(x)` has the value alone. The separator of `string_agg` is a constant.
    pub arguments: Vec<Expression>,
    /// `FILTER (WHERE ..)`.
    pub filter: Option<Expression>,
    /// `ORDER BY` inside the call, or `WITHIN GROUP`, of which a percentile takes the direction.
    pub order_by: Vec<SortKey>,
    /// Name and type of the result.
    pub output: FieldRef,
    /// How it reads.
    pub text: String,
}

/// What is computed, the same in every process; the name of the result is not part of it.
impl std::fmt::Debug for AggregateCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(&self.text)
            .field("of", &self.arguments)
            .field("where", &self.filter)
            .field("in", &self.order_by)
            .finish()
    }
}

/// The aggregates. Those that depend on an order take it from the data: `order_by`, then the
/// source position.
#[derive(Clone, Debug)]
pub enum AggregateFunction {
    /// `count(*)` and `count(x)`.
    Count,
    /// `sum`: integers widen (i64, then DECIMAL(38,0)), floats are exact and rounded once.
    Sum,
    /// `avg`: DECIMAL(38,16) of integers, as exact as `sum` otherwise.
    Average,
    /// `min`.
    Min,
    /// `max`.
    Max,
    /// `bool_and`, `every`.
    BoolAnd,
    /// `bool_or`.
    BoolOr,
    /// `bit_and`.
    BitAnd,
    /// `bit_or`.
    BitOr,
    /// `bit_xor`.
    BitXor,
    /// `var_pop`.
    VariancePopulation,
    /// `var_samp`, `variance`.
    VarianceSample,
    /// `stddev_pop`.
    DeviationPopulation,
    /// `stddev_samp`, `stddev`.
    DeviationSample,
    /// `covar_pop`.
    CovariancePopulation,
    /// `covar_samp`.
    CovarianceSample,
    /// `corr`.
    Correlation,
    /// `approx_distinct`: HyperLogLog, within 2 %.
    ApproxDistinct,
    /// `first_value(x ORDER BY ..)`.
    First,
    /// `last_value(x ORDER BY ..)`.
    Last,
    /// `array_agg(x ORDER BY ..)`.
    ArrayAgg,
    /// `string_agg(x, separator ORDER BY ..)`.
    StringAgg,
    /// `percentile_cont(f) WITHIN GROUP (ORDER BY x)`; `median(x)` is 0.5 of it.
    PercentileCont,
    /// `percentile_disc(f) WITHIN GROUP (ORDER BY x)`.
    PercentileDisc,
    /// `approx_percentile_cont`: logarithmic buckets, within 1 % of the value.
    ApproxPercentile,
    /// One of DataFusion's that passes the round-trip test.
    Library(Arc<AggregateUDF>),
}

impl AggregateFunction {
    /// Whether its state is all of its values.
    #[must_use]
    pub fn keeps_values(&self) -> bool {
        match self {
            Self::ArrayAgg | Self::StringAgg | Self::PercentileCont | Self::PercentileDisc => true,
            Self::Count
            | Self::Sum
            | Self::Average
            | Self::Min
            | Self::Max
            | Self::BoolAnd
            | Self::BoolOr
            | Self::BitAnd
            | Self::BitOr
            | Self::BitXor
            | Self::VariancePopulation
            | Self::VarianceSample
            | Self::DeviationPopulation
            | Self::DeviationSample
            | Self::CovariancePopulation
            | Self::CovarianceSample
            | Self::Correlation
            | Self::ApproxDistinct
            | Self::First
            | Self::Last
            | Self::ApproxPercentile
            | Self::Library(_) => false,
        }
    }

    /// Whether it yields a number for any rows, none included.
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self, Self::Count | Self::ApproxDistinct)
    }

    /// Whether a result may be NULL; `takes_each`: there is a row, and each gives it a value.
    #[must_use]
    pub fn may_be_null(&self, takes_each: bool) -> bool {
        !(self.counts() || takes_each && self.has_value())
    }

    /// Whether it yields a value for one row without NULL already.
    fn has_value(&self) -> bool {
        match self {
            Self::Count
            | Self::ApproxDistinct
            | Self::Sum
            | Self::Average
            | Self::Min
            | Self::Max
            | Self::BoolAnd
            | Self::BoolOr
            | Self::BitAnd
            | Self::BitOr
            | Self::BitXor
            | Self::First
            | Self::Last
            | Self::ArrayAgg
            | Self::StringAgg
            | Self::PercentileCont
            | Self::PercentileDisc
            | Self::ApproxPercentile => true,
            Self::VariancePopulation
            | Self::VarianceSample
            | Self::DeviationPopulation
            | Self::DeviationSample
            | Self::CovariancePopulation
            | Self::CovarianceSample
            | Self::Correlation
            | Self::Library(_) => false,
        }
    }
}
