//! A value of a row that may not be there: `(SELECT x FROM t ORDER BY y LIMIT 1)` is NULL where `t`
//! has no row, also where `x` is NOT NULL. DataFusion takes the column's word for it, and would
//! leave out what is asked of a NULL; so the column says here that it may be one.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The name of the function, which nobody types.
pub const OR_NULL: &str = "or_null";

static FUNCTION: LazyLock<ScalarUDF> =
    LazyLock::new(|| OrNull(Signature::any(1, Volatility::Immutable)).into());

/// The same value, of which nobody says that it is never NULL.
pub fn or_null(value: Expr) -> Expr {
    FUNCTION.call(vec![value])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrNull(Signature);

impl ScalarUDFImpl for OrNull {
    fn name(&self) -> &str {
        OR_NULL
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        // A mark of UUID or JSON stays.
        let field = arguments.arg_fields[0].as_ref().clone();
        Ok(Arc::new(field.with_nullable(true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(value) => Ok(value),
            None => exec_err!("or_null takes a value"),
        }
    }
}
