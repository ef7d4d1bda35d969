//! Intervals that are made of numbers, and numbers of intervals: `make_interval`, and the parts of an
//! INTERVAL that are added up each by itself.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, PrimitiveArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::{folded, unary};
use super::intervals::INTERVAL;

/// The name of PostgreSQL's function, whose parts are years, months, weeks, days, hours, minutes and
/// seconds.
pub const MAKE_INTERVAL: &str = "make_interval";

/// The function.
pub fn make_interval() -> Arc<ScalarUDF> {
    let mut parts = vec![DataType::Int64; 6];
    parts.push(DataType::Float64);
    let signature = Signature::exact(parts, Volatility::Immutable);
    Arc::new(ScalarUDF::from(MakeInterval(signature)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MakeInterval(Signature);

impl ScalarUDFImpl for MakeInterval {
    fn name(&self) -> &str {
        MAKE_INTERVAL
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        folded(&arguments, |rows| {
            let arrays = arguments.args.iter().map(|part| part.to_array(rows));
            let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
            let (seconds, whole) = arrays.split_last().expect("the signature has seven");
            let seconds = seconds.as_primitive::<Float64Type>();
            let whole: Vec<&Int64Array> = whole.iter().map(|it| it.as_primitive()).collect();
            let of_row = |row: usize| {
                let is_null = arrays.iter().any(|it| it.is_null(row));
                let parts = || [0, 1, 2, 3, 4, 5].map(|part: usize| whole[part].value(row));
                (!is_null).then(|| made(parts(), seconds.value(row)).ok_or_else(out_of_range))
            };
            let made = (0..rows).map(|row| of_row(row).transpose());
            let made: PrimitiveArray<IntervalMonthDayNanoType> = made.collect::<Result<_>>()?;
            Ok(Arc::new(made))
        })
    }
}

fn out_of_range() -> datafusion_common::DataFusionError {
    exec_datafusion_err!("interval out of range")
}

/// The interval of whole parts and seconds, if there is one.
fn made(parts: [i64; 6], seconds: f64) -> Option<IntervalMonthDayNano> {
    let [years, months, weeks, days, hours, minutes] = parts;
    let months = years.checked_mul(12)?.checked_add(months)?;
    let days = weeks.checked_mul(7)?.checked_add(days)?;
    let micros = (seconds * 1e6).round_ties_even();
    let fits = micros.abs() < i64::MAX as f64;
    let micros = fits.then_some(micros as i64)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let micros = minutes.checked_mul(60_000_000)?.checked_add(micros)?;
    of_parts(months, days, micros)
}

fn of_parts(months: i64, days: i64, micros: i64) -> Option<IntervalMonthDayNano> {
    let [months, days] = [months, days].map(|part| i32::try_from(part).ok());
    let nanos = micros.checked_mul(1000)?;
    Some(IntervalMonthDayNano::new(months?, days?, nanos))
}

static MONTHS: LazyLock<ScalarUDF> = LazyLock::new(|| Part::Months.function());
static DAYS: LazyLock<ScalarUDF> = LazyLock::new(|| Part::Days.function());
static MICROS: LazyLock<ScalarUDF> = LazyLock::new(|| Part::Micros.function());

/// The months, days and microseconds of an INTERVAL, which are apart in it.
pub fn parts(interval: &Expr) -> [Expr; 3] {
    [&MONTHS, &DAYS, &MICROS].map(|part| part.call(vec![interval.clone()]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Months,
    Days,
    Micros,
}

impl Part {
    fn function(self) -> ScalarUDF {
        let signature = Signature::exact(vec![INTERVAL], Volatility::Immutable);
        ScalarUDF::from(PartOf(self, signature))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PartOf(Part, Signature);

impl ScalarUDFImpl for PartOf {
    fn name(&self) -> &str {
        match self.0 {
            Part::Months => "months_of",
            Part::Days => "days_of",
            Part::Micros => "microseconds_of",
        }
    }

    fn signature(&self) -> &Signature {
        &self.1
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.0 {
            Part::Months | Part::Days => DataType::Int32,
            Part::Micros => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |intervals| {
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            let parts: ArrayRef = match self.0 {
                Part::Months => {
                    Arc::new(intervals.unary::<_, arrow::datatypes::Int32Type>(|it| it.months))
                        as ArrayRef
                }
                Part::Days => {
                    let days: Int32Array = intervals.unary(|it| it.days);
                    Arc::new(days)
                }
                Part::Micros => {
                    let micros: Int64Array = intervals.unary(|it| it.nanoseconds / 1000);
                    Arc::new(micros)
                }
            };
            Ok(parts)
        })
    }
}

static OF_PARTS: LazyLock<ScalarUDF> =
    LazyLock::new(|| OfParts(Signature::any(3, Volatility::Immutable)).into());

/// The INTERVAL of so many months, days and microseconds.
pub fn interval(parts: [Expr; 3]) -> Expr {
    OF_PARTS.call(parts.into())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfParts(Signature);

impl ScalarUDFImpl for OfParts {
    fn name(&self) -> &str {
        "interval_of"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        folded(&arguments, |rows| {
            let whole = arguments.args.iter().map(|part| {
                let part = part.to_array(rows)?;
                cast_with_options(&part, &DataType::Int64, &strict).map_err(|_| out_of_range())
            });
            let whole: Vec<ArrayRef> = whole.collect::<Result<_>>()?;
            let value = |part: usize, row| whole[part].as_primitive::<Int64Type>().value(row);
            let of_row = |row: usize| {
                let is_null = whole.iter().any(|it| it.is_null(row));
                let of = || of_parts(value(0, row), value(1, row), value(2, row));
                (!is_null).then(|| of().ok_or_else(out_of_range))
            };
            let made = (0..rows).map(|row| of_row(row).transpose());
            let made: PrimitiveArray<IntervalMonthDayNanoType> = made.collect::<Result<_>>()?;
            Ok(Arc::new(made))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_months_and_weeks_are_days() {
        let interval = IntervalMonthDayNano::new;

        assert_eq!(
            made([1, 2, 3, 4, 5, 6], 7.5),
            Some(interval(
                14,
                25,
                (5 * 3600 + 6 * 60 + 7) * 1_000_000_000 + 500_000_000
            ))
        );
        assert_eq!(made([0; 6], -0.0000005), Some(interval(0, 0, 0)));
        assert_eq!(made([0; 6], f64::NAN), None);
        assert_eq!(made([0, 0, i64::MAX, 0, 0, 0], 0.0), None);
        assert_eq!(made([i64::from(i32::MAX), 0, 0, 0, 0, 0], 0.0), None);
    }
}
