//! Arithmetic as PostgreSQL does it, where Arrow and DataFusion do it otherwise.
//!
//! * A float divided by zero is an error, not infinity.
//! * Constants that leave their integer type are an error, where folding them would wrap around.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of constant integers are named"
)]

use std::sync::LazyLock;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Datum, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use datafusion_common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::folded::folded;
use crate::sql::problem::Problem;
use crate::sql::types::name_of;

/// The name of the division of floats.
pub const DIVIDE: &str = "divide";

static DIVISION: LazyLock<ScalarUDF> =
    LazyLock::new(|| Division(Signature::any(2, Volatility::Immutable)).into());

/// The division of two floats of one type.
pub fn divide(left: Expr, right: Expr) -> Expr {
    DIVISION.call(vec![left, right])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Division(Signature);

impl ScalarUDFImpl for Division {
    fn name(&self) -> &str {
        DIVIDE
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [ColumnarValue::Array(left), ColumnarValue::Scalar(right)] if !may_be_zero(right) => {
                let right = Scalar::new(right.to_array()?);
                Ok(ColumnarValue::Array(numeric::div(
                    left,
                    &right as &dyn Datum,
                )?))
            }
            [left, right] => folded(&arguments, |rows| {
                quotient(&left.to_array(rows)?, &right.to_array(rows)?)
            }),
            _ => exec_err!("a division has two sides"),
        }
    }
}

fn may_be_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => *value == 0.0,
        ScalarValue::Float32(Some(value)) => *value == 0.0,
        _ => true,
    }
}

fn quotient(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let fails = match left.data_type() {
        DataType::Float32 => fails::<Float32Type>(left, right, |value| value == 0.0, f32::is_nan),
        _ => fails::<Float64Type>(left, right, |value| value == 0.0, f64::is_nan),
    };
    match fails {
        true => Err(ArrowError::DivideByZero.into()),
        false => Ok(numeric::div(left, right)?),
    }
}

/// Whether something is divided by zero. PostgreSQL lets NaN be.
fn fails<T: ArrowPrimitiveType>(
    left: &ArrayRef,
    right: &ArrayRef,
    is_zero: impl Fn(T::Native) -> bool,
    is_nan: impl Fn(T::Native) -> bool,
) -> bool {
    let (dividends, divisors) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let mut pairs = dividends.iter().zip(divisors);
    pairs.any(|pair| matches!(pair, (Some(a), Some(b)) if is_zero(b) && !is_nan(a)))
}

/// Refuses a calculation with constant integers that leaves its type.
pub fn check_constant(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let Some(value) = constant(expr) else {
        return Ok(());
    };
    let data_type = expr.get_type(schema)?;
    let (least, most) = match data_type {
        DataType::Int16 => (i128::from(i16::MIN), i128::from(i16::MAX)),
        DataType::Int32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        DataType::Int64 => (i128::from(i64::MIN), i128::from(i64::MAX)),
        _ => return Ok(()),
    };
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let message = format!(
        "`{}` is beyond {}",
        crate::sql::lower::text(expr),
        name_of(&data_type)
    );
    Err(Problem::of_file(message)
        .hint("write one of the numbers as CAST(.. AS DECIMAL(38, 0))")
        .into())
}

/// What an expression of integer constants comes to.
fn constant(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(i128::from(*value)),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some(i128::from(*value)),
        Expr::Literal(ScalarValue::Int16(Some(value)), _) => Some(i128::from(*value)),
        Expr::Negative(inner) => constant(inner)?.checked_neg(),
        Expr::Cast(cast) if cast.field.data_type().is_integer() => constant(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = (constant(left)?, constant(right)?);
            match op {
                Operator::Plus => left.checked_add(right),
                Operator::Minus => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                _ => None,
            }
        }
        _ => None,
    }
}
