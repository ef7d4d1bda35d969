//! Products and quotients of NUMERICs, rounded once.
//!
//! * A quotient has sixteen digits after the point, or three more than the dividend. Arrow gives
//!   four more, cuts off, and fails where the dividend with all its zeros leaves 128 bits.
//! * A product has all digits where there is room for any two numbers. Where there is none, sixteen
//!   after the point stay: NUMERIC(38, 10) times itself would leave eighteen before it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of pairs of types, those of NUMERICs and integers are named"
)]

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Decimal128Type, i256};
use arrow::error::ArrowError;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::arithmetic::DIVIDE;
use super::folded::folded;

/// The name of the product.
pub const MULTIPLY: &str = "multiply";

/// The most digits of a NUMERIC.
const MOST: u8 = 38;

/// The digits after the point that a result has room for.
const AFTER: i8 = 16;

static FUNCTIONS: LazyLock<[ScalarUDF; 2]> = LazyLock::new(|| {
    [Of::Product, Of::Quotient].map(|of| {
        let signature = Signature::any(2, Volatility::Immutable);
        ScalarUDF::from(Numerics { of, signature })
    })
});

/// The types in which two numbers are multiplied or divided here, if they are.
pub fn sides(op: Operator, left: &DataType, right: &DataType) -> Option<[DataType; 2]> {
    let is_numeric = |of: &DataType| matches!(of, DataType::Decimal128(..));
    if !is_numeric(left) && !is_numeric(right) {
        return None;
    }
    let (left, right) = (numeric(left)?, numeric(right)?);
    match op {
        Operator::Divide => {}
        Operator::Multiply if !has_room(left, right) => {}
        _ => return None,
    }
    Some([left, right].map(|(precision, scale)| DataType::Decimal128(precision, scale)))
}

/// The product or the quotient of two NUMERICs.
pub fn of(op: Operator, left: Expr, right: Expr) -> Expr {
    let at = usize::from(op == Operator::Divide);
    FUNCTIONS[at].call(vec![left, right])
}

fn numeric(of: &DataType) -> Option<(u8, i8)> {
    match of {
        DataType::Decimal128(precision, scale @ 0..) => Some((*precision, *scale)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((20, 0)),
        _ => None,
    }
}

/// Whether any product has room for its digits, or there are no digits to leave out.
fn has_room(left: (u8, i8), right: (u8, i8)) -> bool {
    let digits = left.0 + right.0 < MOST;
    digits || left.1 + right.1 <= product_scale(left.1, right.1)
}

fn product_scale(left: i8, right: i8) -> i8 {
    (left + right).min(AFTER.max(left).max(right))
}

fn quotient_scale(dividend: i8) -> i8 {
    (dividend + 3).clamp(AFTER, MOST as i8)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Product,
    Quotient,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Numerics {
    of: Of,
    signature: Signature,
}

impl Numerics {
    fn scales(&self, arguments: &[DataType]) -> Result<[i8; 3]> {
        let [
            DataType::Decimal128(_, left),
            DataType::Decimal128(_, right),
        ] = arguments
        else {
            return plan_err!("{} takes two NUMERICs", self.name());
        };
        let result = match self.of {
            Of::Product => product_scale(*left, *right),
            Of::Quotient => quotient_scale(*left),
        };
        Ok([*left, *right, result])
    }

    fn all(&self, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
        let [of_left, of_right, scale] =
            self.scales(&[left.data_type().clone(), right.data_type().clone()])?;
        let (left, right) = (
            left.as_primitive::<Decimal128Type>(),
            right.as_primitive::<Decimal128Type>(),
        );
        if left.len() != right.len() {
            return exec_err!("{} takes as many numbers on both sides", self.name());
        }
        let [of_left, of_right, after] = [of_left, of_right, scale].map(i32::from);
        let beyond =
            || ArrowError::ArithmeticOverflow("a NUMERIC has 38 digits at most".to_owned());
        let result: Decimal128Array = match self.of {
            Of::Product => try_binary(left, right, |left, right| {
                product(left, right, of_left + of_right - after).ok_or_else(beyond)
            }),
            Of::Quotient => try_binary(left, right, |left, right| match right {
                0 => Err(ArrowError::DivideByZero),
                _ => quotient(left, right, after + of_right - of_left).ok_or_else(beyond),
            }),
        }?;
        Ok(Arc::new(result.with_precision_and_scale(MOST, scale)?))
    }
}

/// The product without so many of its last digits.
fn product(left: i128, right: i128, without: i32) -> Option<i128> {
    let unit = u32::try_from(without).ok()?;
    if let (Some(whole), Some(unit)) = (left.checked_mul(right), 10i128.checked_pow(unit)) {
        let (kept, rest) = (whole / unit, (whole % unit).abs());
        let up = unit > 1 && rest >= unit - rest;
        return within(if up { kept + whole.signum() } else { kept });
    }
    let whole = i256::from_i128(left).checked_mul(i256::from_i128(right))?;
    within(divided(whole, power(unit)?)?.to_i128()?)
}

/// The quotient, with so many zeros written after the dividend.
fn quotient(left: i128, right: i128, zeros: i32) -> Option<i128> {
    let zeros = u32::try_from(zeros).ok()?;
    let small = 10i128
        .checked_pow(zeros)
        .and_then(|unit| left.checked_mul(unit));
    if let Some(dividend) = small {
        let (kept, rest) = (dividend / right, (dividend % right).unsigned_abs());
        let up = rest >= right.unsigned_abs() - rest;
        let sign = dividend.signum() * right.signum();
        return within(if up { kept + sign } else { kept });
    }
    let dividend = i256::from_i128(left).checked_mul(power(zeros)?)?;
    within(divided(dividend, i256::from_i128(right))?.to_i128()?)
}

fn power(digits: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(digits)
}

/// Halves away from zero.
fn divided(number: i256, by: i256) -> Option<i256> {
    let kept = number.checked_div(by)?;
    let rest = number.checked_rem(by)?.checked_abs()?;
    if rest < by.checked_abs()?.checked_sub(rest)? {
        return Some(kept);
    }
    let is_negative = number.is_negative() != by.is_negative();
    let one = if is_negative {
        i256::MINUS_ONE
    } else {
        i256::ONE
    };
    kept.checked_add(one)
}

/// A number of 38 digits.
fn within(number: i128) -> Option<i128> {
    (number.unsigned_abs() < 10u128.pow(u32::from(MOST))).then_some(number)
}

impl ScalarUDFImpl for Numerics {
    fn name(&self) -> &str {
        match self.of {
            Of::Product => MULTIPLY,
            Of::Quotient => DIVIDE,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [_, _, scale] = self.scales(arguments)?;
        Ok(DataType::Decimal128(MOST, scale))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return exec_err!("{} has two sides", self.name());
        };
        folded(&arguments, |rows| {
            self.all(&left.to_array(rows)?, &right.to_array(rows)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_rounded_where_it_leaves_out_digits() {
        assert_eq!(product(15, 15, 1), Some(23));
        assert_eq!(product(-15, 15, 1), Some(-23));
        assert_eq!(product(12, 12, 1), Some(14));
        assert_eq!(product(12, 12, 0), Some(144));
        assert_eq!(
            product(10i128.pow(30), 10i128.pow(28), 30),
            Some(10i128.pow(28))
        );
        assert_eq!(product(10i128.pow(30), 10i128.pow(28), 10), None);
    }

    #[test]
    fn a_quotient_is_rounded_once() {
        assert_eq!(quotient(2, 3, 4), Some(6667));
        assert_eq!(quotient(-2, 3, 4), Some(-6667));
        assert_eq!(quotient(1, 3, 4), Some(3333));
        assert_eq!(quotient(1, -2, 0), Some(-1));
        assert_eq!(quotient(10i128.pow(30), 4, 10), None);
        assert_eq!(
            quotient(10i128.pow(30), 4 * 10i128.pow(10), 16),
            Some(25 * 10i128.pow(34))
        );
    }

    #[test]
    fn products_of_what_has_room_are_left_alone() {
        let of = DataType::Decimal128;
        let sides = |left, right| sides(Operator::Multiply, &left, &right).is_some();

        assert!(!sides(of(12, 2), of(12, 2)));
        assert!(!sides(of(12, 2), of(38, 10)));
        assert!(!sides(DataType::Int64, of(38, 10)));
        assert!(sides(of(38, 10), of(38, 10)));
        assert!(sides(of(38, 16), of(38, 10)));
    }
}
