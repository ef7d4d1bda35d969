//! The variance family, covariance and correlation, from exact sums.
//!
//! ```text
//!   n² · var_pop(x)      = n · Σx² - (Σx)²
//!   n² · covar_pop(x, y) = n · Σxy - Σx · Σy
//! ```
//!
//! The right sides cancel almost wholly where values are large and close together, so they are
//! computed exactly, and rounded only then. Integers and decimals of up to 18 digits take part
//! exactly too (a decimal as its digits; the scale is applied at the end), larger ones as floats.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use arrow::error::ArrowError;

use super::exact::{ExactSums, split};
use super::floats::{EXACT_STATE, exact_state, merge_exact};
use super::wide::Wide;
use super::{Accumulator, Output, Sign, counted, for_each};

/// What is read from moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `var_pop`.
    VariancePopulation,
    /// `var_samp`.
    VarianceSample,
    /// `stddev_pop`.
    DeviationPopulation,
    /// `stddev_samp`.
    DeviationSample,
    /// `covar_pop`.
    CovariancePopulation,
    /// `covar_samp`.
    CovarianceSample,
    /// `corr`.
    Correlation,
}

/// Sums over one column: Σx and Σx²; or over two: Σx, Σy, Σx², Σxy and Σy².
pub struct Moments {
    /// Σx, and Σy. Rows with a value that is not a number are counted in the first as NaN.
    sums: Vec<ExactSums>,
    /// Σx², then Σxy, Σy².
    products: Vec<Vec<Wide>>,
    /// By how many powers of ten the digits of each column are too large.
    scales: Vec<i8>,
}

impl Moments {
    /// Moments of one or two numeric columns.
    #[allow(clippy::wildcard_enum_match_arm, reason = "only decimals have a scale")]
    pub fn new(arguments: &[DataType]) -> Self {
        let scales = arguments.iter().map(|argument| match argument {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        });
        Self {
            sums: arguments.iter().map(|_| ExactSums::default()).collect(),
            products: vec![Vec::new(); if arguments.len() == 1 { 1 } else { 3 }],
            scales: scales.collect(),
        }
    }

    fn apply(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
        sign: Sign,
    ) -> Result<(), ArrowError> {
        let rows = counted(arguments, filter);
        let columns = arguments
            .iter()
            .map(numbers)
            .collect::<Result<Vec<_>, _>>()?;
        for_each(rows.as_ref(), groups, |row, group| {
            let values: Option<Vec<Scaled>> = columns.iter().map(|column| column[row]).collect();
            let Some(values) = values else {
                match sign {
                    Sign::Plus => self.sums[0].add(group, f64::NAN),
                    Sign::Minus => self.sums[0].subtract(group, f64::NAN),
                }
                return;
            };
            for (sums, value) in self.sums.iter_mut().zip(&values) {
                match sign {
                    Sign::Plus => sums.add_scaled(group, value.digits, value.exponent),
                    Sign::Minus => sums.subtract_scaled(group, value.digits, value.exponent),
                }
            }
            let pairs = [(0, 0), (0, 1), (1, 1)];
            for (products, (a, b)) in self.products.iter_mut().zip(pairs) {
                let product = i128::from(values[a].digits) * i128::from(values[b].digits);
                let product = if sign == Sign::Plus {
                    product
                } else {
                    -product
                };
                products[group].add(product, values[a].exponent + values[b].exponent);
            }
        });
        Ok(())
    }

    fn join(&mut self, state: &[ArrayRef], groups: &[u32], sign: Sign) -> Result<(), ArrowError> {
        let (sums, products) = state.split_at(self.sums.len() * EXACT_STATE.len());
        for (ours, theirs) in self.sums.iter_mut().zip(sums.chunks(EXACT_STATE.len())) {
            merge_exact(ours, theirs, groups, sign)?;
        }
        for (ours, theirs) in self.products.iter_mut().zip(products) {
            let theirs: &BinaryArray = theirs.as_binary();
            for (row, &group) in groups.iter().enumerate() {
                let wide = Wide::from_bytes(theirs.value(row)).ok_or_else(|| {
                    ArrowError::ParseError("a state of a product is damaged".to_owned())
                })?;
                match sign {
                    Sign::Plus => ours[group as usize].add_wide(&wide),
                    Sign::Minus => ours[group as usize].subtract_wide(&wide),
                }
            }
            assert_eq!(theirs.len(), groups.len());
        }
        Ok(())
    }

    /// n² times the population (co)variance of two of the columns, exactly, in digits.
    fn centred(&self, group: usize, a: usize, b: usize) -> Wide {
        let count = i128::from(self.sums[0].count(group));
        let mut centred = self.products[a + b][group].times(&Wide::new(count, 0));
        centred.subtract_wide(&self.sums[a].exact(group).times(&self.sums[b].exact(group)));
        centred
    }

    /// `centred / divisor` as a number of the columns' own scale.
    fn scaled(&self, centred: &Wide, divisor: f64, a: usize, b: usize) -> f64 {
        let scale = i32::from(self.scales[a]) + i32::from(self.scales[b]);
        centred.to_f64() / (divisor * 10f64.powi(scale))
    }

    #[allow(clippy::cast_precision_loss, reason = "no group has 2^53 rows")]
    fn result(&self, moment: Moment, group: usize) -> Option<f64> {
        use Moment as M;
        let count = self.sums[0].count(group);
        let sample = matches!(
            moment,
            M::VarianceSample | M::DeviationSample | M::CovarianceSample
        );
        if count < if sample { 2 } else { 1 } {
            return None;
        }
        if self.sums[0].specials(group).value().is_some() {
            return Some(f64::NAN);
        }
        let divisor = count as f64
            * if sample {
                (count - 1) as f64
            } else {
                count as f64
            };
        match moment {
            M::VariancePopulation | M::VarianceSample => {
                Some(self.scaled(&self.centred(group, 0, 0), divisor, 0, 0))
            }
            M::DeviationPopulation | M::DeviationSample => Some(
                self.scaled(&self.centred(group, 0, 0), divisor, 0, 0)
                    .sqrt(),
            ),
            M::CovariancePopulation | M::CovarianceSample => {
                Some(self.scaled(&self.centred(group, 0, 1), divisor, 0, 1))
            }
            M::Correlation => {
                let (x, y) = (self.centred(group, 0, 0), self.centred(group, 1, 1));
                if x.is_zero() || y.is_zero() {
                    return None;
                }
                let spread = x.to_f64().sqrt() * y.to_f64().sqrt();
                Some((self.centred(group, 0, 1).to_f64() / spread).clamp(-1.0, 1.0))
            }
        }
    }
}

/// `digits * 2^exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    digits: i64,
    exponent: i32,
}

/// The numbers of a column; `None` for a NaN or an infinity.
#[allow(
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    reason = "other types are floats or integers; digits beyond 18 are rounded, as documented"
)]
fn numbers(column: &ArrayRef) -> Result<Vec<Option<Scaled>>, ArrowError> {
    let float = |value: f64| {
        let (digits, exponent) = split(value);
        value.is_finite().then_some(Scaled { digits, exponent })
    };
    let whole = |value: i128| match i64::try_from(value) {
        Ok(digits) => Some(Scaled {
            digits,
            exponent: 0,
        }),
        Err(_) => float(value as f64),
    };
    Ok(match column.data_type() {
        DataType::Decimal128(_, _) => column
            .as_primitive::<Decimal128Type>()
            .values()
            .iter()
            .map(|&v| whole(v))
            .collect(),
        integer if integer.is_integer() => {
            let decimals = cast(column, &DataType::Decimal128(38, 0))?;
            decimals
                .as_primitive::<Decimal128Type>()
                .values()
                .iter()
                .map(|&v| whole(v))
                .collect()
        }
        _ => {
            let floats = cast(column, &DataType::Float64)?;
            floats
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .map(|&v| float(v))
                .collect()
        }
    })
}

impl Accumulator for Moments {
    fn resize(&mut self, groups: usize) {
        self.sums.iter_mut().for_each(|sums| sums.resize(groups));
        self.products
            .iter_mut()
            .for_each(|products| products.resize(groups, Wide::default()));
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.apply(arguments, groups, filter, Sign::Plus)
    }

    fn retract(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        self.apply(arguments, groups, filter, Sign::Minus)
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.join(state, groups, Sign::Plus)
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        self.join(state, groups, Sign::Minus)
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let Output::Moment(moment) = output else {
            panic!("moments are read as moments, not {output:?}");
        };
        let results = groups
            .iter()
            .map(|&group| match self.result(*moment, group as usize) {
                Some(result) if result.is_infinite() => Err(ArrowError::ArithmeticOverflow(
                    "the result is beyond the range of DOUBLE PRECISION".to_owned(),
                )),
                result => Ok(result),
            });
        Ok(Arc::new(results.collect::<Result<Float64Array, _>>()?))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let sums = self
            .sums
            .iter()
            .flat_map(|sums| exact_state(sums, groups.clone()));
        let products = self.products.iter().map(|products| {
            let mut state = BinaryBuilder::new();
            products[groups.clone()]
                .iter()
                .for_each(|wide| state.append_value(wide.to_bytes()));
            Arc::new(state.finish()) as ArrayRef
        });
        Ok(sums.chain(products).collect())
    }

    fn state_types(&self) -> Vec<DataType> {
        let sums = self.sums.iter().flat_map(|_| EXACT_STATE);
        sums.chain(self.products.iter().map(|_| DataType::Binary))
            .collect()
    }

    fn clear(&mut self) {
        self.sums.iter_mut().for_each(ExactSums::clear);
        self.products.iter_mut().for_each(Vec::clear);
    }

    fn bytes(&self) -> usize {
        let sums = self.sums.iter().map(ExactSums::bytes).sum::<usize>();
        let products = self.products.iter().map(|products| {
            products.capacity() * size_of::<Wide>()
                + products.iter().map(Wide::bytes).sum::<usize>()
        });
        sums + products.sum::<usize>()
    }
}
