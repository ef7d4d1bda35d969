//! DataFusion's logical expressions to `plan::Expression`s over the columns of a node.
//!
//! On the way a column is called `name#position`. That makes every reference unambiguous, lets
//! two expressions be compared by their text, and keeps the name for people.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion_physical_expr::expressions::BinaryExpr as BinaryPhysical;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::text::text;
use crate::plan::Expression;
use crate::sql::problem::Problem;

/// The columns of a node, by position.
#[derive(Debug)]
pub struct Positional {
    schema: DFSchema,
    /// Expressions that are known not to be NULL.
    present: BTreeSet<String>,
}

impl Positional {
    /// Over columns of these fields, of which those in `not_null` are known to hold no NULL.
    pub fn new(fields: &[FieldRef], not_null: &[bool]) -> Result<Self> {
        let fields = fields
            .iter()
            .zip(not_null)
            .enumerate()
            .map(|(at, (field, not_null))| {
                let field = field.as_ref().clone().with_name(name_at(field.name(), at));
                let nullable = field.is_nullable() && !not_null;
                (None, Arc::new(field.with_nullable(nullable)))
            });
        let schema = DFSchema::new_with_metadata(fields.collect(), Default::default())?;
        Ok(Self {
            schema,
            present: BTreeSet::new(),
        })
    }

    /// The same, where the expressions of these identities are known not to be NULL.
    pub fn with_present(self, present: BTreeSet<String>) -> Self {
        Self { present, ..self }
    }

    /// The columns, each called `name#position`.
    pub fn schema(&self) -> &DFSchema {
        &self.schema
    }

    /// The column at a position.
    pub fn column(&self, position: usize) -> Expr {
        Expr::Column(Column::new_unqualified(self.schema.field(position).name()))
    }

    /// The expression and the field that it yields; `expr` is over `name#position` columns.
    pub fn compile(&self, expr: &Expr) -> Result<(Expression, Field)> {
        let expr = expr.clone().unalias_nested().data;
        refuse_operators(&expr)?;
        let physical = create_physical_expr(
            &expr,
            &self.schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        let physical = checked(physical)?;
        let (_, field) = expr.to_field(&self.schema)?;
        let expression = Expression {
            physical,
            text: text(&expr),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable()
                && !self.present.contains(&identity(&expr))
                && self.may_be_null(&expr),
        };
        Ok((expression, field.as_ref().clone()))
    }
}

impl Positional {
    /// Whether `expr` may be NULL. DataFusion says so of every function, and many yield NULL of
    /// NULL only.
    fn may_be_null(&self, expr: &Expr) -> bool {
        let nullable = || expr.nullable(&self.schema).unwrap_or(true);
        match expr {
            Expr::ScalarFunction(call) if STRICT.contains(&call.func.name()) => {
                call.args.iter().any(|argument| self.may_be_null(argument))
            }
            Expr::Cast(cast) => self.may_be_null(&cast.expr),
            Expr::Alias(alias) => self.may_be_null(&alias.expr),
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if op.is_numerical_operators() || *op == Operator::StringConcat =>
            {
                self.may_be_null(left) || self.may_be_null(right)
            }
            // The optimiser writes coalesce(b, false) like this.
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if *op == Operator::And
                    && matches!(left.as_ref(), Expr::IsNotNull(tested) if tested == right) =>
            {
                false
            }
            _ => nullable(),
        }
    }
}

/// Functions that yield NULL only of NULL.
const STRICT: &[&str] = &[
    "abs",
    "as_json",
    "as_uuid",
    "btrim",
    "ceil",
    "character_length",
    "date_part",
    "date_trunc",
    "divide",
    "floor",
    "initcap",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "round_to_integer",
    "rpad",
    "rtrim",
    "starts_with",
    "substr",
    "text",
    "translate",
    "upper",
];

/// Operators that are parsed, that nobody evaluates, and that DataFusion has no sign for.
const OPERATORS: &[(Operator, &str)] = &[
    (Operator::AtArrow, "@>"),
    (Operator::ArrowAt, "<@"),
    (Operator::AtAt, "@@"),
    (Operator::AtQuestion, "@?"),
    (Operator::HashMinus, "#-"),
    (Operator::Question, "?"),
    (Operator::QuestionAnd, "?&"),
    (Operator::QuestionPipe, "?|"),
];

fn refuse_operators(expr: &Expr) -> Result<()> {
    let mut refused = None;
    expr.apply(|part| {
        if let Expr::WindowFunction(_) = part {
            let message =
                "WHERE, GROUP BY and ON are asked before functions OVER (..) are computed";
            return Err(Problem::of_file(message)
                .hint("write QUALIFY row_number() OVER (..) = 1 instead of WHERE")
                .into());
        }
        if let Expr::BinaryExpr(BinaryExpr { op, .. }) = part {
            refused = OPERATORS.iter().find(|(known, _)| known == op);
        }
        Ok(match refused {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    let Some((_, sign)) = refused else {
        return Ok(());
    };
    let message = format!("a pipeline cannot compute the operator `{sign}`");
    Err(Problem::of_file(message)
        .hint("of JSON, compare what ->> and #>> take out; of lists, write array_has_all(a, b)")
        .into())
}

/// The same with arithmetic that fails where it would wrap around.
fn checked(physical: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let checked =
        physical.transform_up(|physical| match physical.downcast_ref::<BinaryPhysical>() {
            Some(binary) => {
                let checked = binary.clone().with_fail_on_overflow(true);
                Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>))
            }
            None => Ok(Transformed::no(physical)),
        })?;
    Ok(checked.data)
}

fn name_at(name: &str, position: usize) -> String {
    format!("{name}#{position}")
}

/// Replaces the columns of `schema` in `expr` by the expressions at their positions.
pub fn substitute(expr: Expr, schema: &DFSchema, by: &[Expr]) -> Result<Expr> {
    // Upwards: a replacement, being over other columns, is not looked into.
    let replaced = expr.transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let position = schema.index_of_column(column)?;
            Ok(Transformed::yes(by[position].clone()))
        }
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(replaced.data)
}

/// Whether `expr` reads a column of `schema` for whose position `wanted` holds.
pub fn reads(expr: &Expr, schema: &DFSchema, wanted: impl Fn(usize) -> bool) -> bool {
    expr.column_refs()
        .into_iter()
        .any(|column| schema.index_of_column(column).is_ok_and(&wanted))
}

/// An expression without the names that it is given.
pub fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// Whether it is the same for all rows: the fraction of a percentile, the separator of `string_agg`.
pub fn is_constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty()
}

/// The position in `schema` of the column that `expr` is nothing but.
pub fn plain_column(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => plain_column(&alias.expr, schema),
        _ => None,
    }
}

/// The text that makes two expressions over the same columns the same.
pub fn identity(expr: &Expr) -> String {
    expr.clone().unalias_nested().data.to_string()
}

/// Whether a condition is so as it stands.
pub fn is_always_true(condition: &Expr) -> bool {
    matches!(
        condition,
        Expr::Literal(ScalarValue::Boolean(Some(true)), _)
    )
}

/// Whether a condition is false or NULL as it stands.
pub fn is_never_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(value, _)
        if value.is_null() || *value == ScalarValue::Boolean(Some(false)))
}

/// The AND-ed parts of a condition.
pub fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => conjuncts(left)
            .into_iter()
            .chain(conjuncts(right))
            .collect(),
        other => vec![other],
    }
}

/// The columns that hold no NULL in the rows for which `condition` is true.
pub fn columns_not_null(condition: &Expr) -> Vec<&Column> {
    conjuncts(condition)
        .into_iter()
        .flat_map(|part| match part {
            Expr::IsNotNull(inner) => inner.try_as_col().into_iter().collect(),
            // A comparison with NULL is not true.
            Expr::BinaryExpr(BinaryExpr {
                left,
                op:
                    Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq,
                right,
            }) => [left.try_as_col(), right.try_as_col()]
                .into_iter()
                .flatten()
                .collect(),
            _ => Vec::new(),
        })
        .collect()
}
