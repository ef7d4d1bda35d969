//! `mod(a, b)`: `a % b`, which the optimiser makes of it.

use arrow::datatypes::DataType;
use datafusion_common::{Result, internal_err, plan_datafusion_err};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
    binary_expr,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Modulo(Signature);

impl Default for Modulo {
    fn default() -> Self {
        Self(Signature::numeric(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Modulo {
    fn name(&self) -> &str {
        "mod"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let first = arguments.first();
        first
            .cloned()
            .ok_or_else(|| plan_datafusion_err!("mod takes two numbers"))
    }

    fn simplify(&self, arguments: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let two: Result<[Expr; 2], _> = arguments.try_into();
        Ok(match two {
            Ok([left, right]) => {
                ExprSimplifyResult::Simplified(binary_expr(left, Operator::Modulo, right))
            }
            Err(arguments) => ExprSimplifyResult::Original(arguments),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("mod is rewritten to % before it runs")
    }
}
