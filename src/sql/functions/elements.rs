//! Functions of lists and of what may be in them, where one is of floats and the other a NUMERIC:
//! `array_position(list, 0.5)`. DataFusion finds no type for both; here they are floats, as in PostgreSQL.
//! Of whole numbers and NUMERICs, and of several NUMERICs, they are NUMERICs with room for all digits.
//!
//! And the element of a list that an aggregate makes, `(array_agg(x ORDER BY y))[1]`, of which
//! DataFusion would make another aggregate.
#![allow(clippy::wildcard_enum_match_arm, reason = "of types, lists are named")]

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion_expr::type_coercion::functions::fields_with_udf;
use datafusion_expr::{Expr, GetFieldAccess, ScalarUDF};
use datafusion_functions_nested::expr_fn::array_element;

use super::around::{Around, wrap};
use crate::sql::coercion::united;

/// Turns the element of an aggregate's list into a call.
#[derive(Debug)]
pub struct ElementPlanner;

impl ExprPlanner for ElementPlanner {
    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        Ok(match (raw.expr, raw.field_access) {
            (list @ Expr::AggregateFunction(_), GetFieldAccess::ListIndex { key }) => {
                PlannerResult::Planned(array_element(list, *key))
            }
            (expr, field_access) => {
                PlannerResult::Original(RawFieldAccessExpr { expr, field_access })
            }
        })
    }
}

const OF_LISTS: [&str; 15] = [
    "array_append",
    "array_concat",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_remove_all",
    "array_replace",
    "array_replace_all",
    "array_union",
];

/// The function with its arguments of one type, if it is one of those.
pub fn of_one_type(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match OF_LISTS.contains(&function.name()) {
        true => wrap(&function, OfOneType),
        false => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfOneType;

impl Around for OfOneType {
    const TAKES: bool = true;
    const YIELDS: bool = false;

    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let fields = together(arguments).into_iter();
        let fields = fields.map(|of| Arc::new(Field::new("", of, true)));
        let fields = fields_with_udf(&fields.collect::<Vec<_>>(), function)?;
        Ok(fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect())
    }
}

/// The types, of which those that are of numbers are of the same ones where it matters.
fn together(arguments: &[DataType]) -> Vec<DataType> {
    let elements: Vec<DataType> = arguments.iter().map(|of| element(of).clone()).collect();
    let Some(to) = united(&elements).or_else(|| numeric(&elements)) else {
        return arguments.to_vec();
    };
    let cast = |of: &DataType| match of {
        of if !element(of).is_numeric() => of.clone(),
        DataType::List(field) => {
            let field = field.as_ref().clone().with_data_type(to.clone());
            DataType::List(Arc::new(field))
        }
        _ => to.clone(),
    };
    arguments.iter().map(cast).collect()
}

/// The NUMERIC for several kinds of numbers, of which one is a NUMERIC.
fn numeric(elements: &[DataType]) -> Option<DataType> {
    let numbers = elements.iter().filter(|of| of.is_numeric());
    let (mut before, mut after, mut is_numeric) = (0, 0, false);
    for of in numbers {
        let (digits, scale) = match of {
            DataType::Decimal128(precision, scale) => {
                is_numeric = true;
                (i16::from(*precision) - i16::from(*scale), *scale)
            }
            DataType::Int16 => (5, 0),
            DataType::Int32 => (10, 0),
            DataType::Int64 => (19, 0),
            _ => return None,
        };
        (before, after) = (before.max(digits), after.max(scale));
    }
    let precision = u8::try_from(before + i16::from(after)).ok()?;
    let fits = is_numeric && precision <= DECIMAL128_MAX_PRECISION;
    fits.then_some(DataType::Decimal128(precision, after))
}

fn element(of: &DataType) -> &DataType {
    match of {
        DataType::List(field) => field.data_type(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_in_a_list_of_floats_is_a_float() {
        let list = DataType::new_list(DataType::Float64, true);

        let types = together(&[list.clone(), DataType::Decimal128(2, 1)]);

        assert_eq!(types, [list, DataType::Float64]);
    }

    #[test]
    fn numerics_beside_whole_numbers_have_room_for_all_digits() {
        let of = |types: &[DataType]| numeric(types);

        let int = DataType::Int32;
        let half = DataType::Decimal128(1, 1);
        assert_eq!(of(&[int.clone(), half]), Some(DataType::Decimal128(11, 1)));
        assert_eq!(of(&[int.clone(), DataType::Int64]), None);
        assert_eq!(of(&[int, DataType::Decimal128(38, 38)]), None);
    }
}
