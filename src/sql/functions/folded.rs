//! Functions of columns and constants: what is of constants alone is worked out once, and is a
//! constant again.

use arrow::array::ArrayRef;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};

/// What `work` makes of the arguments as arrays of so many rows.
pub fn folded(
    arguments: &ScalarFunctionArgs,
    work: impl FnOnce(usize) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let mut each = arguments.args.iter();
    let constant = each.all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    match constant {
        true => ScalarValue::try_from_array(&work(1)?, 0).map(ColumnarValue::Scalar),
        false => work(arguments.number_rows).map(ColumnarValue::Array),
    }
}

/// What `work` makes of the only argument.
pub fn unary(
    arguments: &ScalarFunctionArgs,
    work: impl FnOnce(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    folded(arguments, |rows| work(&arguments.args[0].to_array(rows)?))
}
