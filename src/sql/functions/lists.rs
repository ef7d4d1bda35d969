//! Lists as PostgreSQL reads them, where DataFusion reads them otherwise.
//!
//! * `x = ANY(list)` is NULL where `x` is not found and the list holds a NULL.
//! * `array_length` of an empty list is NULL; its `cardinality` is 0.
//! * A list has no element in a place before the first: `list[-1]` is NULL, not the last one, and
//!   `list[-1:2]` is the same as `list[1:2]`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and types, those of lists are named"
)]

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, ListArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, lit,
};

use super::around::{Around, listed};

/// The name of `= ANY(list)`, whose first argument is the list.
pub const EQUALS_ANY: &str = "equals_any";

/// Changes a call of DataFusion's functions of lists, if it is one; types are coerced.
pub fn translated(call: &mut ScalarFunction) -> bool {
    match (call.func.name(), call.args.as_mut_slice()) {
        ("array_has", [_, _]) => {
            call.func = Arc::new(ScalarUDF::from(EqualsAny {
                has: Arc::clone(&call.func),
            }));
            true
        }
        ("array_element", [_, place]) => bounded(place, None),
        ("array_slice", [_, from, to, ..]) => {
            let changed = bounded(from, Some(1));
            // Up to a place before the first there is nothing, as up to the one before it.
            bounded(to, Some(0)) || changed
        }
        _ => false,
    }
}

/// Makes a place that is before the first another one, or NULL.
fn bounded(place: &mut Expr, instead: Option<i64>) -> bool {
    let least = instead.unwrap_or(1);
    let is_bounded = match place {
        Expr::Literal(ScalarValue::Int64(number), _) => number.is_none_or(|it| it >= least),
        Expr::Case(_) => true,
        _ => false,
    };
    if is_bounded {
        return false;
    }
    let given = Box::new(std::mem::take(place));
    let (when, then, otherwise) = match instead {
        None => (given.as_ref().clone().gt_eq(lit(least)), given, None),
        Some(instead) => {
            let before = given.as_ref().clone().lt(lit(least));
            (before, Box::new(lit(instead)), Some(given))
        }
    };
    *place = Expr::Case(Case::new(None, vec![(Box::new(when), then)], otherwise));
    true
}

/// `array_length`, if `function` is the one that it is made around.
pub fn length(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&[("array_length", Length)], function)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Length;

impl Around for Length {
    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let lengths = function.invoke_with_args(arguments)?;
        let zero = ScalarValue::new_zero(&lengths.data_type())?;
        Ok(match lengths {
            ColumnarValue::Scalar(length) if length == zero => {
                ColumnarValue::Scalar(ScalarValue::try_new_null(&length.data_type())?)
            }
            ColumnarValue::Scalar(length) => ColumnarValue::Scalar(length),
            ColumnarValue::Array(lengths) => {
                let is_zero = arrow::compute::kernels::cmp::eq(&lengths, &zero.to_scalar()?)?;
                ColumnarValue::Array(arrow::compute::nullif(&lengths, &is_zero)?)
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EqualsAny {
    has: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for EqualsAny {
    fn name(&self) -> &str {
        EQUALS_ANY
    }

    fn signature(&self) -> &Signature {
        self.has.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        // Of a constant list it makes `x IN (..)`, which knows of NULL.
        self.has.simplify(arguments, context)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [lists, sought] = [arguments.args[0].clone(), arguments.args[1].clone()];
        let rows = arguments.number_rows;
        let found = self.has.inner().invoke_with_args(arguments)?;
        let is_scalar = matches!(found, ColumnarValue::Scalar(_))
            && matches!(lists, ColumnarValue::Scalar(_))
            && matches!(sought, ColumnarValue::Scalar(_));
        let rows = if is_scalar { 1 } else { rows };
        let lists = lists.to_array(rows)?;
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return Ok(found);
        };
        let (found, sought) = (found.to_array(rows)?, sought.to_array(rows)?);
        let known = known(found.as_boolean(), lists, sought.as_ref());
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&known, 0)?),
            false => ColumnarValue::Array(Arc::new(known)),
        })
    }
}

/// What is known of what was found.
fn known(found: &BooleanArray, lists: &ListArray, sought: &dyn Array) -> BooleanArray {
    if lists.values().null_count() == 0 && sought.null_count() == 0 && lists.null_count() == 0 {
        return found.clone();
    }
    let rows = (0..found.len()).map(|row| {
        if lists.is_null(row) {
            None
        } else if lists.value_length(row) == 0 {
            Some(false)
        } else if sought.is_null(row) {
            None
        } else if found.is_valid(row) && found.value(row) {
            Some(true)
        } else {
            (lists.value(row).null_count() == 0).then_some(false)
        }
    });
    rows.collect()
}
