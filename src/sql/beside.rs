//! What stands beside what, before DataFusion finds types: a text that is written out is what the
//! others are, and a DATE beside a TIMESTAMP is one. DataFusion counts the latter in nanoseconds, which
//! end in the year 2262.
//!
//! This is for BETWEEN, IN, CASE and IS DISTINCT FROM; for operators see `functions/literals.rs`, for
//! calls `functions/either.rs`.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those that put values side by side are named"
)]

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::{Case, InList};
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::functions::either::moment;
use super::renamed::under_their_names;

/// Gives them their types in all of a plan.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let plan = under_their_names(plan, |expr| rewrite_expression(expr, &schema))?;
        plan.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(rewritten.data)
}

/// The same in an expression over `schema`.
pub fn rewrite_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|mut expr| {
        let changed = match &mut expr {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::IsDistinctFrom | Operator::IsNotDistinctFrom,
                right,
            }) => typed(&mut [left, right], schema)?,
            Expr::Between(Between {
                expr, low, high, ..
            }) => typed(&mut [expr, low, high], schema)?,
            Expr::InList(InList { expr, list, .. }) => {
                let mut sides: Vec<&mut Expr> = vec![expr];
                sides.extend(list);
                typed(&mut sides, schema)?
            }
            Expr::Case(case) => in_case(case, schema)?,
            _ => false,
        };
        Ok(Transformed::new_transformed(expr, changed))
    })
}

fn in_case(case: &mut Case, schema: &DFSchema) -> Result<bool> {
    let (mut whens, mut results): (Vec<&mut Expr>, Vec<&mut Expr>) = (Vec::new(), Vec::new());
    for (when, then) in &mut case.when_then_expr {
        whens.push(when);
        results.push(then);
    }
    results.extend(case.else_expr.as_deref_mut());
    let changed = typed(&mut results, schema)?;
    let Some(operand) = case.expr.as_deref_mut() else {
        return Ok(changed);
    };
    whens.push(operand);
    Ok(typed(&mut whens, schema)? || changed)
}

/// Casts what is not of the type that it has beside the others; says whether there is any.
fn typed(sides: &mut [&mut Expr], schema: &DFSchema) -> Result<bool> {
    let types: Vec<DataType> = sides
        .iter()
        .map(|side| side.get_type(schema).unwrap_or(DataType::Null))
        .collect();
    let texts: Vec<bool> = sides.iter().map(|side| is_text(side)).collect();
    let Some(to) = common(&types, &texts) else {
        return Ok(false);
    };
    let mut changed = false;
    for ((side, of), is_text) in sides.iter_mut().zip(types).zip(texts) {
        let is_date = of == DataType::Date32 && to != DataType::Date32;
        if is_text || is_date {
            **side = std::mem::take(*side).cast_to(&to, schema)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), None))
}

/// The type of what is no text, if it is one type, and another than DataFusion would choose.
fn common(types: &[DataType], texts: &[bool]) -> Option<DataType> {
    let others = types.iter().zip(texts).filter(|(_, is_text)| !**is_text);
    let others = others.map(|(of, _)| of).filter(|of| !of.is_null());
    if let Some(moment) = moment(others.clone()) {
        let has_text = others.clone().any(DataType::is_string);
        return (!has_text).then_some(moment);
    }
    let mut others = others;
    let first = others.next()?;
    // The digits of a NUMERIC are those that are written, and not those of a column.
    let is_typed = first.is_temporal() || first.is_integer() || first == &DataType::Boolean;
    let alike = others.all(|of| of == first);
    (is_typed && alike && texts.contains(&true)).then(|| first.clone())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn a_text_is_what_the_others_are_and_a_date_a_timestamp() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let text = DataType::Utf8;
        let date = DataType::Date32;

        let of = |types: &[DataType]| {
            let texts: Vec<bool> = types.iter().map(|of| of == &DataType::Utf8).collect();
            common(types, &texts)
        };
        assert_eq!(of(&[date.clone(), text.clone()]), Some(date.clone()));
        assert_eq!(
            of(&[date.clone(), text.clone(), timestamp.clone()]),
            Some(timestamp.clone())
        );
        assert_eq!(of(&[date.clone(), timestamp.clone()]), Some(timestamp));
        assert_eq!(of(&[date.clone(), date]), None);
        assert_eq!(of(&[DataType::Decimal128(10, 2), text]), None);
    }
}
