//! What is refused over rows that keep changing, because it would fail on some of them.
//!
//! A row of a running aggregate that an expression fails on is left out of the table for as long
//! as it is there, so that the result is a function of the input. That is right for what should
//! never happen, such as a total that does not fit its column; for what happens to many rows on
//! their way, people are better served with a value that they choose. So a division by what may
//! be zero and a cast of text are refused, and the message says what to write.
//!
//! What stands behind a condition (CASE, AND, OR, coalesce) is taken to be guarded by it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those that may fail are named"
)]

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::position;
use super::text::text;
use crate::sql::functions::arithmetic::DIVIDE;
use crate::sql::functions::converted::widened;
use crate::sql::functions::numerics::MULTIPLY;
use crate::sql::graph::{Facts, Sign};
use crate::sql::problem::Problem;
use crate::sql::types::name_of;

/// What is known of the rows that expressions are over.
pub struct Changing<'a> {
    pub schema: &'a DFSchema,
    pub facts: &'a Facts,
}

impl Changing<'_> {
    /// Why `expr` is refused, if it is.
    pub fn refusal(&self, expr: &Expr) -> Option<Problem> {
        let inside = |parts: &[&Expr]| parts.iter().find_map(|part| self.refusal(part));
        match expr {
            Expr::Case(case) => {
                let first = case.when_then_expr.first().map(|(when, _)| when.as_ref());
                let always = case.expr.as_deref().into_iter().chain(first);
                inside(&always.collect::<Vec<_>>())
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And | Operator::Or,
                ..
            }) => inside(&[left]),
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Divide | Operator::Modulo,
                right,
            }) => inside(&[left, right]).or_else(|| self.division(right)),
            Expr::ScalarFunction(call) => match (call.func.name(), call.args.as_slice()) {
                ("coalesce" | "nvl" | "ifnull", [first, ..]) => inside(&[first]),
                ("mod" | DIVIDE, [dividend, divisor]) => {
                    inside(&[dividend, divisor]).or_else(|| self.division(divisor))
                }
                (_, arguments) => inside(&arguments.iter().collect::<Vec<_>>()),
            },
            Expr::Cast(cast) => {
                inside(&[&cast.expr]).or_else(|| self.cast(&cast.expr, cast.field.data_type()))
            }
            other => {
                let mut found = None;
                other
                    .apply_children(|part| {
                        found = self.refusal(part);
                        Ok(match found {
                            Some(_) => TreeNodeRecursion::Stop,
                            None => TreeNodeRecursion::Continue,
                        })
                    })
                    .expect("looking does not fail");
                found
            }
        }
    }

    fn division(&self, divisor: &Expr) -> Option<Problem> {
        if !self.may_be_zero(divisor) {
            return None;
        }
        // DataFusion's name for the column of a call.
        let divisor = text(uncast(divisor)).replace("count(Int64(1))", "count(*)");
        let message =
            format!("`{divisor}` is divided by, and may be 0 in a row that keeps changing");
        Some(Problem::of_file(message).hint(format!("divide by NULLIF({divisor}, 0)")))
    }

    fn cast(&self, expr: &Expr, to: &DataType) -> Option<Problem> {
        let from = expr.get_type(self.schema).ok()?;
        if !from.is_string() || to.is_string() || matches!(expr, Expr::Literal(..)) {
            return None;
        }
        let (expr, to) = (text(expr), name_of(to));
        let message = format!("`{expr}` may not be {to} in a row that keeps changing");
        Some(Problem::of_file(message).hint(format!(
            "write TRY_CAST({expr} AS {to}), which is NULL then; a cast inside an aggregate or in \
             GROUP BY rejects the record instead"
        )))
    }

    fn may_be_zero(&self, expr: &Expr) -> bool {
        if self.sign(expr) == Some(Sign::Positive) {
            return false;
        }
        if let Some(number) = widened(expr) {
            return self.may_be_zero(number);
        }
        match expr {
            Expr::Literal(value, _) => is_zero(value),
            Expr::Alias(alias) => self.may_be_zero(&alias.expr),
            Expr::Negative(inner) => self.may_be_zero(inner),
            Expr::Cast(cast) => {
                self.may_be_zero(&cast.expr) || self.may_round(&cast.expr, cast.field.data_type())
            }
            Expr::TryCast(cast) => {
                self.may_be_zero(&cast.expr) || self.may_round(&cast.expr, cast.field.data_type())
            }
            Expr::ScalarFunction(call) => match (call.func.name(), call.args.as_slice()) {
                ("nullif", [_, Expr::Literal(value, _)]) => !is_zero(value),
                ("coalesce", arguments) => arguments.iter().any(|part| self.may_be_zero(part)),
                ("abs", [only]) => self.may_be_zero(only),
                _ => true,
            },
            // NULLIF and coalesce may have become one.
            Expr::Case(case) => {
                let guards_zero = case
                    .when_then_expr
                    .iter()
                    .any(|(when, then)| is_null(then) && is_comparison_with_zero(when));
                let rest = case.else_expr.as_deref();
                let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                !guards_zero && branches.chain(rest).any(|part| self.may_be_zero(part))
            }
            _ => true,
        }
    }

    /// Whether a cast may make zero of something else.
    fn may_round(&self, expr: &Expr, to: &DataType) -> bool {
        match (expr.get_type(self.schema), to) {
            (Ok(from), to) if from.is_integer() => !to.is_numeric(),
            (Ok(DataType::Decimal128(_, from)), DataType::Decimal128(_, to)) => *to < from,
            (Ok(DataType::Decimal128(..)), DataType::Float64) => false,
            (Ok(DataType::Float32 | DataType::Float64), DataType::Float64) => false,
            _ => true,
        }
    }

    fn sign(&self, expr: &Expr) -> Option<Sign> {
        if let Some(number) = widened(expr) {
            return self.sign(number);
        }
        match expr {
            Expr::Column(column) => self.facts.signs.get(&position(&column.name)?).copied(),
            Expr::Alias(alias) => self.sign(&alias.expr),
            Expr::Literal(value, _) => {
                if is_zero(value) {
                    return Some(Sign::NotNegative);
                }
                let negative = value.to_string().starts_with('-');
                (!negative && value.data_type().is_numeric()).then_some(Sign::Positive)
            }
            Expr::Cast(cast) if !self.may_round(&cast.expr, cast.field.data_type()) => {
                self.sign(&cast.expr)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let signs = (self.sign(left)?, self.sign(right)?);
                match (op, signs) {
                    (Operator::Plus, (Sign::Positive, _) | (_, Sign::Positive)) => {
                        Some(Sign::Positive)
                    }
                    (Operator::Multiply, (Sign::Positive, Sign::Positive)) => Some(Sign::Positive),
                    (Operator::Plus | Operator::Multiply, _) => Some(Sign::NotNegative),
                    _ => None,
                }
            }
            Expr::ScalarFunction(call) => {
                let signs = call.args.iter().map(|part| self.sign(part));
                match call.func.name() {
                    "greatest" => signs.flatten().max(),
                    "abs" => Some(Sign::NotNegative),
                    // What is small may be rounded to zero.
                    MULTIPLY => {
                        let signs: Option<Vec<Sign>> = signs.collect();
                        signs.map(|_| Sign::NotNegative)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        other => widened(other).map_or(other, uncast),
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
        || matches!(value, ScalarValue::Float64(Some(f)) if *f == 0.0)
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

fn is_comparison_with_zero(expr: &Expr) -> bool {
    let is_zero = |side: &Expr| matches!(side, Expr::Literal(value, _) if is_zero(value));
    matches!(expr, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
        if is_zero(left) || is_zero(right))
}
