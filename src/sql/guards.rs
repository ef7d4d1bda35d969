//! In which order conditions joined by AND are asked: first those that have an answer for every row.
//!
//! ```text
//!   WHERE t ~ '^[0-9]+$' AND t::int > 5        the first guards the second
//! ```
//!
//! PostgreSQL asks conditions of equal cost as they are written, and those of a view before those
//! of who reads it. The optimiser asks what is cheap first, whoever wrote it, so that a cast comes
//! before the match that was to guard it, and fails for rows that were not meant. What cannot
//! fail goes first here; whoever comes behind it sees the rows that are left.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those that cannot fail are named"
)]

use arrow::datatypes::DataType;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

/// Functions that have an answer for whatever they are given.
const ANSWERING: [&str; 28] = [
    "array_length",
    "btrim",
    "cardinality",
    "character_length",
    "coalesce",
    "concat",
    "contains",
    "date_part",
    "ends_with",
    "json_get",
    "json_get_text",
    "json_path",
    "json_path_text",
    "json_typeof",
    "jsonb_typeof",
    "left",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "upper",
];

/// Puts the conditions of every filter and join of a plan in order.
pub fn order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.transform_up_with_subqueries(|mut plan| {
        let changed = match &mut plan {
            LogicalPlan::Filter(filter) => {
                let schema = filter.input.schema();
                reorder(&mut filter.predicate, schema)
            }
            LogicalPlan::Join(join) => match &mut join.filter {
                Some(condition) => {
                    let schema = join.left.schema().join(join.right.schema())?;
                    reorder(condition, &schema)
                }
                None => false,
            },
            _ => false,
        };
        Ok(match changed {
            true => Transformed::yes(plan),
            false => Transformed::no(plan),
        })
    })?;
    Ok(ordered.data)
}

/// Whether anything has moved.
fn reorder(condition: &mut Expr, schema: &DFSchema) -> bool {
    let parts = split_conjunction_owned(condition.clone());
    let answers: Vec<bool> = parts.iter().map(|part| cannot_fail(part, schema)).collect();
    if answers.is_sorted_by(|before, after| before >= after) {
        return false;
    }
    let with_answers = parts.into_iter().zip(answers);
    let (first, then): (Vec<_>, Vec<_>) = with_answers.partition(|(_, answers)| *answers);
    let parts = first.into_iter().chain(then).map(|(part, _)| part);
    if let Some(ordered) = conjunction(parts) {
        *condition = ordered;
    }
    true
}

/// Whether it has an answer for every row, as far as is known.
fn cannot_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let fine = |expr: &Expr| cannot_fail(expr, schema);
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => fine(&alias.expr),
        Expr::BinaryExpr(binary) => {
            let (left, right) = (fine(&binary.left), fine(&binary.right));
            left && right
                && match binary.op {
                    Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
                    | Operator::And
                    | Operator::Or
                    | Operator::IsDistinctFrom
                    | Operator::IsNotDistinctFrom
                    | Operator::StringConcat => true,
                    // What is no regular expression fails.
                    Operator::RegexMatch
                    | Operator::RegexIMatch
                    | Operator::RegexNotMatch
                    | Operator::RegexNotIMatch => binary.right.as_literal().is_some(),
                    _ => false,
                }
        }
        Expr::Not(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsNotUnknown(inner) => fine(inner),
        Expr::Like(like) => fine(&like.expr) && like.pattern.as_literal().is_some(),
        Expr::Between(between) => fine(&between.expr) && fine(&between.low) && fine(&between.high),
        Expr::InList(list) => fine(&list.expr) && list.list.iter().all(fine),
        Expr::Cast(cast) => fine(&cast.expr) && widens(&cast.expr, cast.field.data_type(), schema),
        Expr::ScalarFunction(call) => match call.name() {
            "regexp_like" => call
                .args
                .iter()
                .skip(1)
                .all(|arg| arg.as_literal().is_some()),
            name => ANSWERING.contains(&name) && call.args.iter().all(fine),
        },
        _ => false,
    }
}

/// Whether every value of the expression is one of the type as well.
fn widens(expr: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, Utf8};
    let Ok(from) = expr.get_type(schema) else {
        return false;
    };
    matches!(
        (&from, to),
        (_, Utf8)
            | (Int8, Int16 | Int32 | Int64 | Float32 | Float64)
            | (Int16, Int32 | Int64 | Float32 | Float64)
            | (Int32, Int64 | Float64)
            | (Int64 | Float32, Float64)
    ) || &from == to
}
