//! `ceil` and `floor` of NUMERIC, which are whole numbers, as in PostgreSQL.
//!
//! DataFusion keeps the digits after the point, and has no room for one more before it: it panics
//! at `floor(-0.5)`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use super::around::{Around, listed};
use super::folded::unary;

/// The function around DataFusion's, if it is one of the two.
pub fn whole(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&[("ceil", Whole::Above), ("floor", Whole::Below)], function)
}

/// Which of the whole numbers beside a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whole {
    Above,
    Below,
}

impl Whole {
    /// The type of the result, of a NUMERIC with digits after the point.
    fn result(of: &DataType) -> Option<DataType> {
        let &DataType::Decimal128(precision, scale @ 1..) = of else {
            return None;
        };
        let before = precision.saturating_sub(scale.unsigned_abs()) + 1;
        Some(DataType::Decimal128(before, 0))
    }

    fn of(self, numbers: &ArrayRef, scale: i8, to: &DataType) -> Result<ArrayRef> {
        let unit = 10i128.pow(u32::from(scale.unsigned_abs()));
        let numbers = numbers.as_primitive::<Decimal128Type>();
        let whole: Decimal128Array = numbers.unary(|number| match self {
            Self::Above => -(-number).div_euclid(unit),
            Self::Below => number.div_euclid(unit),
        });
        Ok(Arc::new(whole.with_data_type(to.clone())))
    }
}

impl Around for Whole {
    fn return_type(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: &[DataType],
    ) -> Result<DataType> {
        match arguments.first().and_then(Self::result) {
            Some(result) => Ok(result),
            None => function.return_type(arguments),
        }
    }

    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        let [of] = arguments.arg_fields else {
            return function.return_field_from_args(arguments);
        };
        let result = self.return_type(function, &[of.data_type().clone()])?;
        let field = Field::new(function.name(), result, of.is_nullable());
        Ok(Arc::new(field))
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let Some(of) = arguments.args.first().map(ColumnarValue::data_type) else {
            return exec_err!("{} takes a number", function.name());
        };
        match (Self::result(&of), &of) {
            (Some(to), DataType::Decimal128(_, scale)) => {
                unary(&arguments, |numbers| self.of(numbers, *scale, &to))
            }
            _ => function.invoke_with_args(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_has_room_for_one_digit_more() {
        let result = Whole::result(&DataType::Decimal128(2, 2));

        assert_eq!(result, Some(DataType::Decimal128(1, 0)));
        assert_eq!(Whole::result(&DataType::Decimal128(5, 0)), None);
        assert_eq!(
            Whole::result(&DataType::Decimal128(38, 2)),
            Some(DataType::Decimal128(37, 0))
        );
    }
}
