//! Common types of what stands side by side, as PostgreSQL chooses them.
//!
//! DataFusion makes a NUMERIC of a float beside a NUMERIC (`x > 0.5`), which changes values and
//! fails on large ones. Here it is the other way about, before DataFusion looks at a pair:
//!
//! | side by side | type |
//! |---|---|
//! | compared or calculated with: a float and a NUMERIC, REAL and anything but REAL | DOUBLE PRECISION |
//! | values of one column, list, CASE or `coalesce`: a float and a NUMERIC | the float's |
//! | keys of a join and columns of a UNION: a DATE and a TIMESTAMP | TIMESTAMP |
//!
//! `round` and `trunc` of a NUMERIC are given their digits here, which their type goes by.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and plans, those that put values side by side are named"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion_common::{DFSchema, ExprSchema, Result, ScalarValue};
use datafusion_expr::expr::{Case, InList, InSubquery, ScalarFunction};
use datafusion_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion_expr::expr_schema::cast_subquery;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Aggregate, Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Union};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::comparisons::compares;
use super::functions::either::moment;
use super::functions::{days, numerics, rounded};
use super::renamed::under_their_names;

/// The rule of the analyser: ours and then DataFusion's, node by node from the sources on.
#[derive(Debug)]
pub struct Coercion;

impl AnalyzerRule for Coercion {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }

    fn name(&self) -> &'static str {
        "coercion"
    }
}

/// An expression over `schema` with its types coerced.
pub fn coerce(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.rewrite(&mut Rewriter::over(schema))?.data)
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let source = scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(
            scan.table_name.clone(),
            &source,
        )?);
    }
    let plan = match plan {
        // `WHERE NULL` is a condition too.
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = filter.predicate.cast_to(&DataType::Boolean, &schema)?;
            LogicalPlan::Filter(filter)
        }
        other => other,
    };
    let plan = signed(plan, &schema)?;
    let mut rewriter = Rewriter::over(&schema);
    under_their_names(plan, |expr| expr.rewrite(&mut rewriter))?
        .map_data(inputs)?
        .map_data(|plan| rewriter.theirs.coerce_plan(plan))?
        .map_data(LogicalPlan::recompute_schema)
}

/// The numbers of rows as BIGINT, from where they are shown on: DataFusion's have no sign, and so
/// no difference and no half.
fn signed(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    let is_number = |field: &Field| {
        field.data_type() == &DataType::UInt64 && field.name() != Aggregate::INTERNAL_GROUPING_ID
    };
    let is_shown = matches!(plan, LogicalPlan::Projection(_));
    if !is_shown || !schema.fields().iter().any(|field| is_number(field)) {
        return Ok(plan);
    }
    let plan = under_their_names(plan, |expr| {
        let is_shown = |part: &Expr| match part {
            Expr::Column(column) => schema
                .field_from_column(column)
                .is_ok_and(|it| is_number(it)),
            _ => false,
        };
        expr.transform_down(|part| match &part {
            // It has a sign already.
            Expr::Cast(cast) if is_shown(&cast.expr) => {
                Ok(Transformed::new(part, false, TreeNodeRecursion::Jump))
            }
            shown if is_shown(shown) => {
                let cast = part.cast_to(&DataType::Int64, schema)?;
                Ok(Transformed::new(cast, true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(part)),
        })
    })?;
    Ok(plan.data)
}

/// What a join compares, and the columns of a union.
fn inputs(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Join(mut join) => {
            let (left, right) = (join.left.schema(), join.right.schema());
            for (ours, theirs) in &mut join.on {
                let types = (ours.get_type(left)?, theirs.get_type(right)?);
                if let Some(to) = beside(&[types.0, types.1]) {
                    *ours = std::mem::take(ours).cast_to(&to, left)?;
                    *theirs = std::mem::take(theirs).cast_to(&to, right)?;
                }
            }
            LogicalPlan::Join(join)
        }
        LogicalPlan::Union(union) => LogicalPlan::Union(united_columns(union)?),
        other => other,
    })
}

fn united_columns(union: Union) -> Result<Union> {
    let columns = union.schema.fields().len();
    let types = |at: usize| {
        let inputs = union.inputs.iter();
        let of_inputs = inputs.filter_map(move |input| input.schema().fields().get(at));
        let types: Vec<DataType> = of_inputs.map(|field| field.data_type().clone()).collect();
        united(&types).or_else(|| moment_of(&types))
    };
    let types: Vec<Option<DataType>> = (0..columns).map(types).collect();
    if types.iter().all(Option::is_none) {
        return Ok(union);
    }
    let with_types = |schema: &DFSchema| {
        let fields = schema.iter().zip(&types).map(|((qualifier, field), to)| {
            let field: Field = field.as_ref().clone();
            let field = match to {
                Some(to) => field.with_data_type(to.clone()),
                None => field,
            };
            (qualifier.cloned(), Arc::new(field))
        });
        DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())
    };
    let inputs = union.inputs.iter().map(|input| {
        let wanted = with_types(input.schema())?;
        let input = coerce_plan_expr_for_schema(input.as_ref().clone(), &wanted)?;
        Ok(Arc::new(input))
    });
    Ok(Union {
        inputs: inputs.collect::<Result<_>>()?,
        schema: Arc::new(with_types(&union.schema)?),
    })
}

/// Functions whose arguments are one value or another.
const EITHER: [&str; 6] = [
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "make_array",
    "nvl",
];

/// Functions whose arguments are compared or calculated with.
const CALCULATES: [&str; 5] = ["atan2", "log", "mod", "nanvl", "power"];

struct Rewriter<'a> {
    schema: &'a DFSchema,
    theirs: TypeCoercionRewriter<'a>,
}

impl TreeNodeRewriter for Rewriter<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let expr = self.ours(expr)?;
        self.theirs.f_up(expr)
    }
}

impl<'a> Rewriter<'a> {
    fn over(schema: &'a DFSchema) -> Self {
        Self {
            schema,
            theirs: TypeCoercionRewriter::new(schema),
        }
    }

    fn ours(&self, expr: Expr) -> Result<Expr> {
        Ok(match expr {
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Between(Between {
                expr,
                negated,
                low,
                high,
            }) => {
                let [expr, low, high] = self.all([*expr, *low, *high], together)?;
                let [expr, low, high] = [expr, low, high].map(Box::new);
                Expr::Between(Between::new(expr, negated, low, high))
            }
            Expr::InList(InList {
                expr,
                list,
                negated,
            }) => {
                // PostgreSQL compares with one value, and with a list of several.
                let choose = if list.len() == 1 { together } else { united };
                let mut sides = vec![*expr];
                sides.extend(list);
                let mut sides = self.each(sides, choose)?.into_iter();
                let expr = sides.next().expect("it is the first of the sides");
                Expr::InList(InList::new(Box::new(expr), sides.collect(), negated))
            }
            Expr::InSubquery(InSubquery {
                mut expr,
                mut subquery,
                negated,
            }) => {
                let of_subquery = subquery.subquery.schema().field(0).data_type().clone();
                if let Some(to) = beside(&[expr.get_type(self.schema)?, of_subquery]) {
                    *expr = expr.cast_to(&to, self.schema)?;
                    subquery = cast_subquery(subquery, &to)?;
                }
                Expr::InSubquery(InSubquery::new(expr, subquery, negated))
            }
            Expr::Case(case) => Expr::Case(self.case(case)?),
            Expr::ScalarFunction(call) => self.call(call)?,
            other => other,
        })
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Expr> {
        let BinaryExpr { left, op, right } = binary;
        let types = [left.get_type(self.schema), right.get_type(self.schema)];
        let [Ok(of_left), Ok(of_right)] = types else {
            return Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }));
        };
        let is_constant = matches!(right.as_ref(), Expr::Literal(..));
        if let Some(minus) = days::sign(op, &of_left, &of_right).filter(|_| !is_constant) {
            return Ok(days::shifted(*left, *right, minus, &of_left));
        }
        if let Some([of_left, of_right]) = numerics::sides(op, &of_left, &of_right) {
            let left = left.cast_to(&of_left, self.schema)?;
            let right = right.cast_to(&of_right, self.schema)?;
            return Ok(numerics::of(op, left, right));
        }
        let calculates = op.is_numerical_operators();
        let to = match compares(op) || calculates {
            true => together(&[of_left, of_right]),
            false => None,
        };
        let (left, right) = match to {
            Some(to) => (
                Box::new(left.cast_to(&to, self.schema)?),
                Box::new(right.cast_to(&to, self.schema)?),
            ),
            None => (left, right),
        };
        Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
    }

    fn case(&self, case: Case) -> Result<Case> {
        let (whens, thens): (Vec<_>, Vec<_>) = case
            .when_then_expr
            .into_iter()
            .map(|(when, then)| (*when, *then))
            .unzip();
        let (operand, whens) = match case.expr {
            Some(operand) => {
                let sides = std::iter::once(*operand).chain(whens).collect();
                let mut sides = self.each(sides, together)?.into_iter();
                (sides.next().map(Box::new), sides.collect())
            }
            None => (None, whens),
        };
        let has_else = case.else_expr.is_some();
        let results = thens.into_iter().chain(case.else_expr.map(|last| *last));
        let mut results = self.each(results.collect(), united)?;
        let last = if has_else { results.pop() } else { None };
        let pairs = whens.into_iter().zip(results);
        let pairs = pairs.map(|(when, then)| (Box::new(when), Box::new(then)));
        Ok(Case::new(operand, pairs.collect(), last.map(Box::new)))
    }

    fn call(&self, mut call: ScalarFunction) -> Result<Expr> {
        let name = call.func.name();
        if EITHER.contains(&name) {
            call.args = self.each(call.args, united)?;
        } else if name == "nullif" {
            return self.null_if(call);
        } else if CALCULATES.contains(&name) {
            call.args = self.each(call.args, together)?;
        } else if let Some(rounding) = rounded::of(&call, self.schema) {
            call.func = rounding;
        }
        Ok(Expr::ScalarFunction(call))
    }

    /// `nullif` of floats as the comparison that it is: the function takes a negative zero for
    /// another one. A REAL stays one, as in PostgreSQL.
    fn null_if(&self, call: ScalarFunction) -> Result<Expr> {
        let types = self.types(&call.args)?;
        let ([value, _], true) = (
            call.args.as_slice(),
            types.iter().any(DataType::is_floating),
        ) else {
            return Ok(Expr::ScalarFunction(call));
        };
        let kept = (types[0] == DataType::Float32).then(|| value.clone());
        let [value, other] = self.all([value.clone(), call.args[1].clone()], together)?;
        let kept = kept.unwrap_or_else(|| value.clone());
        let null = Expr::Literal(ScalarValue::Null, None);
        let when = vec![(Box::new(value.eq(other)), Box::new(null))];
        let case = Case::new(None, when, Some(Box::new(kept)));
        // Its parts are new here, and coerced like any other's.
        coerce(Expr::Case(case), self.schema)
    }

    fn types(&self, sides: &[Expr]) -> Result<Vec<DataType>> {
        sides
            .iter()
            .map(|side| side.get_type(self.schema))
            .collect()
    }

    /// The sides with the type that `choose` finds for them, if it finds one.
    fn each(
        &self,
        sides: Vec<Expr>,
        choose: impl Fn(&[DataType]) -> Option<DataType>,
    ) -> Result<Vec<Expr>> {
        let types = self.types(&sides)?;
        let Some(to) = choose(&types) else {
            return Ok(sides);
        };
        let cast = |(side, of): (Expr, &DataType)| match of.is_numeric() {
            true => side.cast_to(&to, self.schema),
            false => Ok(side),
        };
        sides.into_iter().zip(&types).map(cast).collect()
    }

    fn all<const N: usize>(
        &self,
        sides: [Expr; N],
        choose: impl Fn(&[DataType]) -> Option<DataType>,
    ) -> Result<[Expr; N]> {
        let sides = self.each(sides.into(), choose)?;
        Ok(sides.try_into().expect("each side stays"))
    }
}

/// The type in which numbers of these types are compared and calculated with, where DataFusion
/// would choose another.
fn together(types: &[DataType]) -> Option<DataType> {
    let mut numbers = types.iter().filter(|it| it.is_numeric());
    let is_mixed = |types: &mut dyn Iterator<Item = &DataType>| {
        let (mut small, mut large, mut other, mut decimal) = (false, false, false, false);
        for of in types {
            match of {
                DataType::Float32 => small = true,
                DataType::Float64 => large = true,
                DataType::Decimal128(..) | DataType::Decimal256(..) => decimal = true,
                _ => other = true,
            }
        }
        (small && (large || other || decimal)) || (large && decimal)
    };
    is_mixed(&mut numbers).then_some(DataType::Float64)
}

/// The same of whatever is compared.
fn beside(types: &[DataType]) -> Option<DataType> {
    together(types).or_else(|| moment_of(types))
}

/// The type of dates beside timestamps: DataFusion counts those in nanoseconds, which end in the year
/// 2262.
fn moment_of(types: &[DataType]) -> Option<DataType> {
    moment(types).filter(|_| !types.iter().any(DataType::is_string))
}

/// The type of values of which one is chosen, where DataFusion would choose another.
pub fn united(types: &[DataType]) -> Option<DataType> {
    let has = |of: fn(&DataType) -> bool| types.iter().any(of);
    let has_decimal = has(|it| matches!(it, DataType::Decimal128(..) | DataType::Decimal256(..)));
    if !has_decimal {
        return None;
    }
    if has(|it| it == &DataType::Float64) {
        return Some(DataType::Float64);
    }
    has(|it| it == &DataType::Float32).then_some(DataType::Float32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMERIC: DataType = DataType::Decimal128(10, 2);

    #[test]
    fn a_float_beside_a_numeric_is_compared_as_double() {
        let both = |left, right| together(&[left, right]);

        assert_eq!(both(DataType::Float64, NUMERIC), Some(DataType::Float64));
        assert_eq!(both(NUMERIC, DataType::Float32), Some(DataType::Float64));
        assert_eq!(
            both(DataType::Float32, DataType::Int32),
            Some(DataType::Float64)
        );
        assert_eq!(both(DataType::Float32, DataType::Float32), None);
        assert_eq!(both(NUMERIC, DataType::Int32), None);
        assert_eq!(both(DataType::Float64, DataType::Utf8), None);
    }

    #[test]
    fn a_float_or_a_numeric_is_a_float() {
        assert_eq!(
            united(&[DataType::Int32, NUMERIC, DataType::Float32]),
            Some(DataType::Float32)
        );
        assert_eq!(
            united(&[DataType::Float32, NUMERIC, DataType::Float64]),
            Some(DataType::Float64)
        );
        assert_eq!(united(&[DataType::Int32, NUMERIC]), None);
    }
}
