//! Functions of floats that fail where PostgreSQL's do: `ln(0)`, `sqrt(-1)`, `exp(1000)`.
//!
//! DataFusion yields NaN, infinity or zero there. Here a record that asks for what is out of range
//! is rejected like any other that an expression fails on. What is infinite or NaN already may stay
//! so.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::around::{Around, listed};

/// What is out of range besides NaN of what is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Beyond {
    Nothing,
    Infinity,
    /// Infinity, and zero: a number that is too small.
    Both,
}

const RANGED: [(&str, Beyond); 15] = [
    ("acos", Beyond::Infinity),
    ("acosh", Beyond::Infinity),
    ("asin", Beyond::Infinity),
    ("atanh", Beyond::Nothing),
    ("cos", Beyond::Infinity),
    ("cot", Beyond::Nothing),
    ("exp", Beyond::Both),
    ("ln", Beyond::Infinity),
    ("log", Beyond::Infinity),
    ("log10", Beyond::Infinity),
    ("log2", Beyond::Infinity),
    ("power", Beyond::Both),
    ("sin", Beyond::Infinity),
    ("sqrt", Beyond::Infinity),
    ("tan", Beyond::Infinity),
];

/// The function with its range, if it is one that has one.
pub fn ranged(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&RANGED, function)
}

impl Beyond {
    /// Whether a result needs a look at what it is of.
    fn is_suspect(self, result: f64) -> bool {
        !result.is_finite() || (self == Self::Both && result == 0.0)
    }

    /// Whether a result is not what PostgreSQL would let pass.
    fn is_beyond(self, result: f64, of: &[f64]) -> bool {
        let finite = of.iter().all(|value| value.is_finite());
        if result.is_nan() {
            return !of.iter().any(|value| value.is_nan());
        }
        let is_power_of_zero = of.len() > 1 && of[0] == 0.0;
        match self {
            Self::Nothing => false,
            Self::Infinity => finite && result.is_infinite(),
            Self::Both => {
                let vanished = result == 0.0 && !is_power_of_zero;
                finite && (result.is_infinite() || vanished)
            }
        }
    }

    fn check(
        self,
        name: &str,
        results: &ArrayRef,
        (arguments, rows): (&[ColumnarValue], usize),
    ) -> Result<()> {
        let results = cast(results, &DataType::Float64)?;
        let results = results.as_primitive::<Float64Type>();
        if !results.values().iter().any(|value| self.is_suspect(*value)) {
            return Ok(());
        }
        let arguments = arguments.iter();
        let arguments: Vec<ArrayRef> = arguments
            .map(|argument| Ok(cast(&argument.to_array(rows)?, &DataType::Float64)?))
            .collect::<Result<_>>()?;
        for (row, result) in results.iter().enumerate() {
            let Some(result) = result.filter(|result| self.is_suspect(*result)) else {
                continue;
            };
            let of = arguments.iter();
            let of = of.map(|argument| argument.as_primitive::<Float64Type>().value(row));
            let of: Vec<f64> = of.collect();
            if self.is_beyond(result, &of) {
                let shown: Vec<String> = of.iter().map(f64::to_string).collect();
                return exec_err!("{name}({}) is out of range", shown.join(", "));
            }
        }
        Ok(())
    }
}

impl Around for Beyond {
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let (given, rows) = (arguments.args.clone(), arguments.number_rows);
        let result = function.invoke_with_args(arguments)?;
        if let DataType::Float32 | DataType::Float64 = result.data_type() {
            let rows = match result {
                ColumnarValue::Array(_) => rows,
                ColumnarValue::Scalar(_) => 1,
            };
            self.check(function.name(), &result.to_array(rows)?, (&given, rows))?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Beyond {
        let known = RANGED.iter().find(|(known, _)| *known == name);
        known.unwrap().1
    }

    #[test]
    fn what_is_not_finite_stays_so_and_nothing_becomes_so() {
        assert!(of("ln").is_beyond(f64::NEG_INFINITY, &[0.0]));
        assert!(!of("ln").is_beyond(f64::INFINITY, &[f64::INFINITY]));
        assert!(of("sqrt").is_beyond(f64::NAN, &[-1.0]));
        assert!(!of("sqrt").is_beyond(f64::NAN, &[f64::NAN]));
    }

    #[test]
    fn a_number_that_is_too_small_is_out_of_range() {
        assert!(of("exp").is_beyond(0.0, &[-1000.0]));
        assert!(!of("exp").is_beyond(0.0, &[f64::NEG_INFINITY]));
        assert!(of("power").is_beyond(0.0, &[10.0, -400.0]));
        assert!(!of("power").is_beyond(0.0, &[0.0, 2.0]));
        assert!(!of("sin").is_beyond(0.0, &[0.0]));
    }
}
