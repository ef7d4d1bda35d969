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

use arrow::array::Array as _;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator};
use datafusion_physical_expr::expressions::{
    BinaryExpr as BinaryPhysical, CaseExpr, InListExpr, Literal, NegativeExpr, in_list,
};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::text::text;
use crate::plan::Expression;
use crate::sql::functions::converted::AS;
use crate::sql::functions::texts;
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
        let physical = checked(physical, self.schema.as_arrow())?;
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
            Expr::ScalarFunction(call) if is_strict(call.func.name()) => {
                call.args.iter().any(|argument| self.may_be_null(argument))
            }
            Expr::ScalarFunction(call) => {
                let mut arguments = call.args.iter();
                let never = match call.func.name() {
                    // Both leave NULLs out.
                    "concat" => matches!(expr.get_type(&self.schema), Ok(DataType::Utf8)),
                    "concat_ws" => arguments.next().is_some_and(|by| !self.may_be_null(by)),
                    "coalesce" | "greatest" | "least" => {
                        arguments.any(|argument| !self.may_be_null(argument))
                    }
                    _ => false,
                };
                !never && nullable()
            }
            Expr::Case(case) if case.expr.is_none() => self.case_may_be_null(case) && nullable(),
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

    /// Whether a CASE may be NULL whose branches may not be where they are taken: what is tested by
    /// IS NULL has a value in those behind.
    fn case_may_be_null(&self, case: &Case) -> bool {
        let Some(otherwise) = &case.else_expr else {
            return true;
        };
        let mut present: Vec<&Expr> = Vec::new();
        for (when, then) in &case.when_then_expr {
            let tested = match when.as_ref() {
                Expr::IsNotNull(tested) => Some(tested.as_ref()),
                _ => None,
            };
            let has_value = tested == Some(then.as_ref()) || present.contains(&then.as_ref());
            if !has_value && self.may_be_null(then) {
                return true;
            }
            if let Expr::IsNull(tested) = when.as_ref() {
                present.push(tested);
            }
        }
        !present.contains(&otherwise.as_ref()) && self.may_be_null(otherwise)
    }
}

/// Whether a function yields NULL only of NULL.
fn is_strict(name: &str) -> bool {
    STRICT.contains(&name) || name.starts_with(AS) || texts::fails(name)
}

/// Functions that yield NULL only of NULL.
const STRICT: &[&str] = &[
    "abs",
    "age",
    "as_json",
    "as_uuid",
    "btrim",
    "ceil",
    "character_length",
    "date_bin",
    "date_part",
    "date_trunc",
    "days_earlier",
    "days_later",
    "divide",
    "encode",
    "extract",
    "floor",
    "initcap",
    "interval_divided",
    "interval_times",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "md5",
    "multiply",
    "octet_length",
    "regexp_replace",
    "regexp_split_to_array",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "round_to_digits",
    "round_to_integer",
    "rpad",
    "rtrim",
    "sha256",
    "split_part",
    "starts_with",
    "substr",
    "text",
    "to_date",
    "to_hex",
    "to_timestamp",
    "translate",
    "trunc",
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
fn checked(physical: Arc<dyn PhysicalExpr>, over: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let checked = physical.transform_up(|physical| {
        if let Some(binary) = physical.downcast_ref::<BinaryPhysical>() {
            let checked = binary.clone().with_fail_on_overflow(true);
            return Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>));
        }
        if let Some(found) = with_one_zero(&physical, over)? {
            return Ok(Transformed::yes(found));
        }
        let Some(negative) = physical.downcast_ref::<NegativeExpr>() else {
            return Ok(Transformed::no(physical));
        };
        let of = negative.arg().data_type(over)?;
        if !of.is_integer() {
            return Ok(Transformed::no(physical));
        }
        // Arrow knows no negation of integers that fails; a difference does.
        let zero = Arc::new(Literal::new(ScalarValue::new_zero(&of)?));
        let difference = BinaryPhysical::new(zero, Operator::Minus, Arc::clone(negative.arg()));
        let difference = difference.with_fail_on_overflow(true);
        Ok(Transformed::yes(
            Arc::new(difference) as Arc<dyn PhysicalExpr>
        ))
    })?;
    Ok(checked.data)
}

/// A float that is looked up among constants, with its zero: those look at bits, in which the
/// negative zero is another one.
fn with_one_zero(
    physical: &Arc<dyn PhysicalExpr>,
    over: &Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let positive = |sought: &Arc<dyn PhysicalExpr>| -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let of = sought.data_type(over)?;
        let is_done = sought.downcast_ref::<BinaryPhysical>().is_some_and(|sum| {
            let zero = sum.right().downcast_ref::<Literal>();
            let is_sum = *sum.op() == Operator::Plus;
            zero.filter(|_| is_sum)
                .is_some_and(|zero| ScalarValue::new_zero(&of).is_ok_and(|it| it == *zero.value()))
        });
        if !of.is_floating() || is_done {
            return Ok(None);
        }
        let zero = Arc::new(Literal::new(ScalarValue::new_zero(&of)?));
        let sum = BinaryPhysical::new(Arc::clone(sought), Operator::Plus, zero);
        Ok(Some(Arc::new(sum)))
    };
    if let Some(list) = physical.downcast_ref::<InListExpr>() {
        let Some(sought) = positive(list.expr())? else {
            return Ok(None);
        };
        return in_list(sought, list.list().to_vec(), &list.negated(), over).map(Some);
    }
    if let Some(case) = physical.downcast_ref::<CaseExpr>()
        && let Some(operand) = case.expr()
        && let Some(sought) = positive(operand)?
    {
        let pairs = case.when_then_expr().to_vec();
        let case = CaseExpr::try_new(Some(sought), pairs, case.else_expr().cloned())?;
        return Ok(Some(Arc::new(case)));
    }
    Ok(None)
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
    let expr = expr.clone().unalias_nested().data;
    let mut identity = expr.to_string();
    let added = expr.apply(|part| {
        // DataFusion writes the elements of a list without quotes.
        if let Expr::Literal(ScalarValue::List(list), _) = part {
            identity += &format!(" {} {}", text(part), list.data_type());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    added.expect("writing does not fail");
    identity
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
