//! Lists as PostgreSQL reads them, where DataFusion reads them otherwise.
//!
//! * `x = ANY(list)` is NULL where `x` is not found and the list holds a NULL.
//! * `array_length` of an empty list is NULL; its `cardinality` is 0. Both are an INT.
//! * A list has no element in a place before the first: `list[-1]` is NULL, not the last one, and
//!   `list[-1:2]` is the same as `list[1:2]`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and types, those of lists are named"
)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, new_empty_array, new_null_array,
};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::around::{Around, listed};
use super::folded::unary;

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

/// The function around one of DataFusion's that counts, if `function` is one.
pub fn counted(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&COUNTED, function)
}

/// What is counted is an INT: DataFusion's have no sign, and so no difference and no half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    AsItIs,
    /// Nothing is NULL.
    OrNull,
}

const COUNTED: [(&str, Counted); 5] = [
    ("array_length", Counted::OrNull),
    ("array_ndims", Counted::AsItIs),
    ("array_position", Counted::AsItIs),
    ("array_positions", Counted::AsItIs),
    ("cardinality", Counted::AsItIs),
];

/// The INT, or list of them, for numbers without a sign.
fn signed(of: &DataType) -> DataType {
    match of {
        DataType::List(field) => {
            let field = field.as_ref().clone();
            DataType::List(Arc::new(field.with_data_type(DataType::Int32)))
        }
        _ => DataType::Int32,
    }
}

impl Around for Counted {
    fn result(&self, theirs: &DataType) -> DataType {
        signed(theirs)
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        mut arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let to = arguments.return_field.data_type().clone();
        let types = arguments.arg_fields.iter();
        let types: Vec<DataType> = types.map(|field| field.data_type().clone()).collect();
        let is_column = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Array(_));
        if arguments.number_rows == 0 && arguments.args.iter().any(is_column) {
            // Of no rows and a constant, some yield one.
            return Ok(ColumnarValue::Array(new_empty_array(&to)));
        }
        let theirs = function.return_type(&types)?;
        let field = arguments.return_field.as_ref().clone();
        arguments.return_field = Arc::new(field.with_data_type(theirs));
        let counts = function.invoke_with_args(arguments)?.cast_to(&to, None)?;
        if *self == Self::AsItIs {
            return Ok(counts);
        }
        let zero = ScalarValue::Int32(Some(0));
        Ok(match counts {
            ColumnarValue::Scalar(count) if count == zero => {
                ColumnarValue::Scalar(ScalarValue::Int32(None))
            }
            ColumnarValue::Scalar(count) => ColumnarValue::Scalar(count),
            ColumnarValue::Array(counts) => {
                let is_zero = arrow::compute::kernels::cmp::eq(&counts, &zero.to_scalar()?)?;
                ColumnarValue::Array(arrow::compute::nullif(&counts, &is_zero)?)
            }
        })
    }
}

/// `array_dims(list)`: `[1:3]`, and `[1:2][1:3]` of a list of lists. PostgreSQL's lists are all as
/// long there; here the first one stands for all.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Dimensions(Signature);

impl Default for Dimensions {
    fn default() -> Self {
        Self(Signature::arrays(1, None, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Dimensions {
    fn name(&self) -> &str {
        "array_dims"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |lists| {
            let Some(lists) = lists.as_list_opt::<i32>() else {
                return Ok(new_null_array(&DataType::Utf8, lists.len()));
            };
            let texts: StringArray = lists.iter().map(|list| dimensions(&list?)).collect();
            Ok(Arc::new(texts))
        })
    }
}

fn dimensions(list: &ArrayRef) -> Option<String> {
    let mut out = match list.len() {
        0 => return None,
        length => format!("[1:{length}]"),
    };
    if let Some(inner) = list.as_list_opt::<i32>()
        && inner.is_valid(0)
    {
        out += &dimensions(&inner.value(0)).unwrap_or_default();
    }
    Some(out)
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

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.has.inner().coerce_types(arguments)
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
