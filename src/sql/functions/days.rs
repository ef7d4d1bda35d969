//! `date + 3`: a date and a number of days. Arrow counts the days in nanoseconds, and yields NULL
//! where these end, three centuries on; here a date that cannot be is an error.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of pairs of types, those of a date and a number are named"
)]

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Date32Array};
use arrow::compute::{cast, try_binary};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion_common::{Result, exec_err};
use datafusion_expr::expr::Cast;
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::folded::folded;

/// The names of the functions, which nobody types.
pub const LATER: &str = "days_later";
pub const EARLIER: &str = "days_earlier";

static FUNCTIONS: LazyLock<[ScalarUDF; 2]> = LazyLock::new(|| {
    [false, true].map(|back| {
        let signature = Signature::any(2, Volatility::Immutable);
        ScalarUDF::from(Shift { back, signature })
    })
});

/// Whether an operator takes days off a date (or else adds them), of sides of these types.
pub fn sign(op: Operator, left: &DataType, right: &DataType) -> Option<bool> {
    match (left, op, right) {
        (DataType::Date32, Operator::Plus, days) if days.is_integer() => Some(false),
        (days, Operator::Plus, DataType::Date32) if days.is_integer() => Some(false),
        (DataType::Date32, Operator::Minus, days) if days.is_integer() => Some(true),
        _ => None,
    }
}

/// The date that is as many days later, or earlier.
pub fn shifted(left: Expr, right: Expr, back: bool, of_left: &DataType) -> Expr {
    let (date, days) = match of_left {
        DataType::Date32 => (left, right),
        _ => (right, left),
    };
    let days = Expr::Cast(Cast::new(Box::new(days), DataType::Int64));
    FUNCTIONS[usize::from(back)].call(vec![date, days])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    back: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Shift {
    fn name(&self) -> &str {
        if self.back { EARLIER } else { LATER }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [dates, days] = arguments.args.as_slice() else {
            return exec_err!("{} takes a date and a number of days", self.name());
        };
        folded(&arguments, |rows| {
            let dates = cast(&dates.to_array(rows)?, &DataType::Date32)?;
            Ok(Arc::new(self.of(&dates, &days.to_array(rows)?)?))
        })
    }
}

impl Shift {
    fn of(&self, dates: &ArrayRef, days: &ArrayRef) -> Result<Date32Array, ArrowError> {
        let (dates, days) = (
            dates.as_primitive::<Date32Type>(),
            days.as_primitive::<Int64Type>(),
        );
        if dates.len() != days.len() {
            return Err(ArrowError::ComputeError("as many days as dates".to_owned()));
        }
        try_binary(dates, days, |date, days| {
            let days = if self.back {
                days.checked_neg()
            } else {
                Some(days)
            };
            let shifted = days.and_then(|days| i64::from(date).checked_add(days));
            shifted.and_then(dated).ok_or_else(|| {
                ArrowError::ArithmeticOverflow(
                    "a date so many days away is out of range".to_owned(),
                )
            })
        })
    }
}

/// The days since 1970 of a date that can be written.
fn dated(days: i64) -> Option<i32> {
    let second = days.checked_mul(86_400)?;
    chrono::DateTime::from_timestamp(second, 0)?;
    i32::try_from(days).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_as_far_away_as_it_can_be_written() {
        assert_eq!(dated(200_000), Some(200_000));
        assert_eq!(dated(-200_000), Some(-200_000));
        assert_eq!(dated(i64::from(i32::MAX)), None);
        assert_eq!(dated(i64::MAX), None);
    }
}
