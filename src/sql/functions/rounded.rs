//! `round` and `trunc` of NUMERIC, and `round` of floats to whole numbers, as in PostgreSQL.
//!
//! The type of a NUMERIC that is rounded to a number of digits that is written out has as many
//! digits. It is decided once, when types are coerced: DataFusion decides when it plans, and once
//! more when the digits have become a constant, and the second type may be another.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and types, those that are rounded are named"
)]

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int64Type,
};
use datafusion_common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::folded::folded;

/// The most digits of a NUMERIC.
const MOST: u8 = 38;

/// Our function for a call of DataFusion's, if it is one of those.
pub fn of(call: &ScalarFunction, schema: &DFSchema) -> Option<Arc<ScalarUDF>> {
    let name = match call.func.name() {
        "round" => "round",
        "trunc" => "trunc",
        _ => return None,
    };
    if (call.func.inner().as_ref() as &dyn Any).is::<Rounded>() {
        return None;
    }
    let digits = match call.args.as_slice() {
        [_] => Some(0),
        [_, Expr::Literal(digits, _)] => whole(digits),
        [_, Expr::Negative(digits)] => match digits.as_ref() {
            Expr::Literal(digits, _) => whole(digits).map(|digits| -digits),
            _ => None,
        },
        [_, _] => None,
        _ => return None,
    };
    let is_ours = match call.args[0].get_type(schema).ok()? {
        DataType::Decimal128(_, 0..) => call.args.get(1).is_none_or(|digits| {
            let of = digits.get_type(schema);
            of.is_ok_and(|of| of.is_integer() || of.is_null())
        }),
        DataType::Float32 | DataType::Float64 => name == "round" && call.args.len() == 1,
        _ => false,
    };
    is_ours.then(|| {
        Arc::new(ScalarUDF::from(Rounded {
            name,
            digits,
            signature: Signature::any(call.args.len(), Volatility::Immutable),
        }))
    })
}

/// A number that is written out, within what can matter.
fn whole(value: &ScalarValue) -> Option<i32> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(Some(digits)) => Some(digits.clamp(-100, 100) as i32),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounded {
    name: &'static str,
    /// The digits after the point, where they are written out.
    digits: Option<i32>,
    signature: Signature,
}

impl Rounded {
    /// The type of the result.
    fn result(&self, of: &DataType) -> DataType {
        let &DataType::Decimal128(precision, scale) = of else {
            return of.clone();
        };
        let Some(digits) = self.digits else {
            return DataType::Decimal128(MOST, scale);
        };
        let (scale, digits) = (i32::from(scale), digits.max(0));
        let before = i32::from(precision) - scale;
        let room = i32::from(MOST) - before;
        let after = if digits < scale {
            digits
        } else {
            scale.max(digits.min(room))
        };
        // Rounding up may take one digit more.
        let precision = (before + 1 + after).min(i32::from(MOST));
        DataType::Decimal128(precision as u8, after as i8)
    }

    fn numeric(&self, numbers: &ArrayRef, digits: Option<&ArrayRef>) -> Result<ArrayRef> {
        let to = self.result(numbers.data_type());
        let (&DataType::Decimal128(_, scale), &DataType::Decimal128(precision, after)) =
            (numbers.data_type(), &to)
        else {
            return exec_err!("{} takes a NUMERIC", self.name);
        };
        let numbers = numbers.as_primitive::<Decimal128Type>();
        let digits = digits
            .map(|digits| cast(digits, &DataType::Int64))
            .transpose()?;
        let digits = digits
            .as_ref()
            .map(|digits| digits.as_primitive::<Int64Type>());
        let to_digits = |row: usize| match (self.digits, digits) {
            (Some(digits), _) => Some(digits),
            (None, Some(digits)) if digits.is_valid(row) => {
                Some(digits.value(row).clamp(-100, 100) as i32)
            }
            (None, _) => None,
        };
        let limit = 10i128.pow(u32::from(precision));
        let mut out = Vec::with_capacity(numbers.len());
        for (row, number) in numbers.iter().enumerate() {
            let (Some(number), Some(digits)) = (number, to_digits(row)) else {
                out.push(None);
                continue;
            };
            let rounded = self.one(number, i32::from(scale), digits, i32::from(after));
            match rounded.filter(|rounded| rounded.abs() < limit) {
                Some(rounded) => out.push(Some(rounded)),
                None => return exec_err!("{} leaves no room for all digits", self.name),
            }
        }
        let out = Decimal128Array::from(out).with_precision_and_scale(precision, after)?;
        Ok(Arc::new(out))
    }

    /// A number of `scale` digits after the point to `digits` of them, written with `after`.
    fn one(&self, number: i128, scale: i32, digits: i32, after: i32) -> Option<i128> {
        if digits >= scale {
            return number.checked_mul(10i128.checked_pow((after - scale).try_into().ok()?)?);
        }
        let dropped = u32::try_from(scale - digits).ok()?;
        // Half of a larger unit is more than any number.
        let Some(unit) = 10i128.checked_pow(dropped) else {
            return Some(0);
        };
        let (kept, rest) = (number / unit, (number % unit).abs());
        let kept = match self.name == "round" && rest >= unit - rest {
            true => kept + number.signum(),
            false => kept,
        };
        kept.checked_mul(10i128.checked_pow((after - digits).try_into().ok()?)?)
    }

    fn apply(&self, values: &ArrayRef, digits: Option<&ArrayRef>) -> Result<ArrayRef> {
        Ok(match values.data_type() {
            DataType::Float32 => {
                let whole = values.as_primitive::<Float32Type>();
                Arc::new(whole.unary::<_, Float32Type>(f32::round_ties_even))
            }
            DataType::Float64 => {
                let whole = values.as_primitive::<Float64Type>();
                Arc::new(whole.unary::<_, Float64Type>(f64::round_ties_even))
            }
            _ => self.numeric(values, digits)?,
        })
    }
}

impl ScalarUDFImpl for Rounded {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(of) => Ok(self.result(of)),
            None => plan_err!("{} takes a number", self.name),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(of) = arguments.arg_fields.first() else {
            return plan_err!("{} takes a number", self.name);
        };
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        let result = self.result(of.data_type());
        Ok(Arc::new(Field::new(self.name, result, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        folded(&arguments, |rows| {
            let arrays = arguments.args.iter();
            let arrays: Vec<ArrayRef> = arrays
                .map(|argument| argument.to_array(rows))
                .collect::<Result<_>>()?;
            let Some(values) = arrays.first() else {
                return exec_err!("{} takes a number", self.name);
            };
            self.apply(values, arrays.get(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &'static str, digits: Option<i32>) -> Rounded {
        Rounded {
            name,
            digits,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }

    #[test]
    fn the_type_has_the_digits_that_are_written_out() {
        let result = |digits, precision, scale| {
            function("round", digits).result(&DataType::Decimal128(precision, scale))
        };

        assert_eq!(result(Some(2), 38, 10), DataType::Decimal128(31, 2));
        assert_eq!(result(Some(2), 5, 2), DataType::Decimal128(6, 2));
        assert_eq!(result(Some(4), 5, 2), DataType::Decimal128(8, 4));
        assert_eq!(result(Some(4), 38, 2), DataType::Decimal128(38, 2));
        assert_eq!(result(Some(-2), 10, 2), DataType::Decimal128(9, 0));
        assert_eq!(result(None, 10, 2), DataType::Decimal128(38, 2));
    }

    #[test]
    fn halves_go_away_from_zero() {
        let round = function("round", None);

        assert_eq!(round.one(2345, 3, 2, 2), Some(235));
        assert_eq!(round.one(-2345, 3, 2, 2), Some(-235));
        assert_eq!(round.one(2344, 3, 2, 3), Some(2340));
        assert_eq!(round.one(15_000, 2, -2, 0), Some(200));
        assert_eq!(round.one(99, 2, -80, 0), Some(0));
        assert_eq!(round.one(12, 1, 3, 3), Some(1200));
    }

    #[test]
    fn digits_are_cut_off() {
        let cut = function("trunc", None);

        assert_eq!(cut.one(2349, 3, 2, 2), Some(234));
        assert_eq!(cut.one(-2349, 3, 0, 0), Some(-2));
    }
}
