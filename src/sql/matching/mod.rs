//! `t MATCH_RECOGNIZE (..)` in FROM: one extension node in the logical plan, which DataFusion
//! plans nothing of. Its output is the partition's columns, then the measures.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM, one form is of interest"
)]

mod navigate;
mod pattern;
pub mod tokens;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{
    AfterMatchSkip, Ident, Measure, RowsPerMatch, Spanned, SymbolDefinition, TableFactor,
};

use crate::plan::{AfterMatch, Pattern, Place};

use super::problem::Problem;
use super::window::microseconds;
use super::{normalise, place_of};
use navigate::Reads;
pub use navigate::{NAVIGATIONS, Read, What};
use pattern::Variables;

/// Finds patterns in the rows of its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MatchRecognize {
    pub input: LogicalPlan,
    pub partition: Vec<Expr>,
    pub time: Expr,
    /// What is read of rows.
    pub arguments: Vec<Expr>,
    pub sought: Sought,
    pub place: Place,
    schema: DFSchemaRef,
}

/// What is looked for, and what is said of it; expressions are over what `reads` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sought {
    pub reads: Vec<Read>,
    /// The types of what is read.
    pub schema: DFSchemaRef,
    pub variables: Vec<(String, Option<Expr>)>,
    pub measures: Vec<(String, Expr)>,
    pub pattern: Pattern,
    pub after: AfterMatch,
    pub within_us: Option<i64>,
}

// DataFusion asks for an order and never uses it.
impl PartialOrd for MatchRecognize {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.place.partial_cmp(&other.place)
    }
}

impl MatchRecognize {
    fn try_new(
        input: LogicalPlan,
        time: Expr,
        partition: Vec<Expr>,
        arguments: Vec<Expr>,
        sought: Sought,
        place: Place,
    ) -> Result<Self> {
        let mut fields = Vec::new();
        for expr in &partition {
            let (qualifier, field) = match expr.try_as_col() {
                Some(column) => input.schema().qualified_field_from_column(column)?,
                None => return Err(not_a_column(expr, place).into()),
            };
            fields.push((qualifier.cloned(), Arc::clone(field)));
        }
        for (name, expr) in &sought.measures {
            let data_type = expr.get_type(&sought.schema)?;
            fields.push((None, Arc::new(Field::new(name, data_type, true))));
        }
        let schema = DFSchema::new_with_metadata(fields, Default::default())?;
        Ok(Self {
            schema: Arc::new(schema),
            input,
            partition,
            time,
            arguments,
            sought,
            place,
        })
    }
}

fn not_a_column(expr: &Expr, place: Place) -> Problem {
    Problem::at(place, format!("`{expr}` is not a column"))
        .hint("compute it in an inner query, and write its name after PARTITION BY")
}

impl UserDefinedLogicalNodeCore for MatchRecognize {
    fn name(&self) -> &str {
        "MatchRecognize"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let time = [self.time.clone()].into_iter();
        let rest = self.partition.iter().chain(&self.arguments);
        time.chain(rest.cloned()).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let columns = self.schema.columns().into_iter();
        columns.map(|column: Column| column.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "MatchRecognize by {}", self.time)
    }

    fn with_exprs_and_inputs(
        &self,
        mut expressions: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let arguments = expressions.split_off(1 + self.partition.len());
        let partition = expressions.split_off(1);
        let time = expressions.swap_remove(0);
        let input = inputs.swap_remove(0);
        let sought = self.sought.clone();
        Self::try_new(input, time, partition, arguments, sought, self.place)
    }

    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed = Vec::new();
        for column in self.expressions().iter().flat_map(Expr::column_refs) {
            needed.push(schema.index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans MATCH_RECOGNIZE in FROM.
#[derive(Debug)]
pub struct MatchPlanner {
    pub config: Arc<ConfigOptions>,
}

impl RelationPlanner for MatchPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::MatchRecognize { alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let alias = alias.clone();
        let node = self.node(relation, context)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}

impl MatchPlanner {
    fn node(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<MatchRecognize> {
        let TableFactor::MatchRecognize {
            table,
            partition_by,
            order_by,
            measures,
            rows_per_match,
            after_match_skip,
            pattern,
            symbols,
            ..
        } = relation
        else {
            panic!("only asked of MATCH_RECOGNIZE")
        };
        let place = place_of(table.span());
        if let Some(RowsPerMatch::AllRows(_)) = rows_per_match {
            return Err(
                Problem::at(place, "a pipeline cannot show ALL ROWS PER MATCH yet")
                    .hint("write ONE ROW PER MATCH; MEASURES may hold FIRST, LAST and aggregates")
                    .into(),
            );
        }
        let input = context.plan(*table)?;
        let schema = Arc::clone(input.schema());
        let [by] = order_by.as_slice() else {
            return Err(no_order(place).into());
        };
        if by.options.asc == Some(false) {
            return Err(no_order(place_of(by.span())).into());
        }
        let time = context.sql_to_expr(by.expr.clone(), &schema)?;
        let partition = partition_by
            .into_iter()
            .map(|expr| context.sql_to_expr(expr, &schema))
            .collect::<Result<Vec<_>>>()?;
        let mut variables = Variables::default();
        let pattern = variables.pattern(&pattern, place)?;
        let after = after(after_match_skip, &pattern, &variables, place)?;
        let (within, symbols): (Vec<_>, Vec<_>) = symbols
            .into_iter()
            .partition(|symbol| symbol.symbol.value == tokens::WITHIN);
        let within_us = within
            .first()
            .map(|within| microseconds(&within.definition, place, context))
            .transpose()?;
        let config = Arc::clone(&self.config);
        let mut reads = Reads::new(context, config, schema, variables, place);
        let variables = conditions(&mut reads, symbols)?;
        let measures = said(&mut reads, measures)?;
        let sought = Sought {
            schema: Arc::new(reads.schema()?),
            reads: reads.reads,
            variables,
            measures,
            pattern,
            after,
            within_us,
        };
        MatchRecognize::try_new(input, time, partition, reads.arguments, sought, place)
    }
}

fn no_order(place: Place) -> Problem {
    Problem::at(place, "the rows of MATCH_RECOGNIZE go by event time alone")
        .hint("write ORDER BY ts, where ts is the WATERMARK FOR column")
}

/// The condition of each variable of the pattern.
fn conditions(
    reads: &mut Reads<'_>,
    symbols: Vec<SymbolDefinition>,
) -> Result<Vec<(String, Option<Expr>)>> {
    let names = reads.variables.names.clone();
    let mut variables: Vec<(String, Option<Expr>)> =
        names.iter().map(|name| (name.clone(), None)).collect();
    for SymbolDefinition { symbol, definition } in symbols {
        let place = place_of(symbol.span);
        let name = normalise(&symbol);
        let Some(variable) = reads.variables.find(&name) else {
            return Err(
                Problem::at(place, format!("`{name}` does not occur in the pattern"))
                    .hint(format!("its variables are {}", names.join(", ")))
                    .into(),
            );
        };
        if variables[variable].1.is_some() {
            return Err(Problem::at(place, format!("`{name}` is defined twice"))
                .hint("join the conditions by AND")
                .into());
        }
        let condition = reads.expression(definition)?;
        if condition.get_type(&reads.schema()?)? != arrow::datatypes::DataType::Boolean {
            return Err(
                Problem::at(place, format!("the definition of `{name}` is no condition"))
                    .hint(format!("write {name} AS {name}.column > 1"))
                    .into(),
            );
        }
        variables[variable].1 = Some(condition);
    }
    Ok(variables)
}

fn said(reads: &mut Reads<'_>, measures: Vec<Measure>) -> Result<Vec<(String, Expr)>> {
    measures
        .into_iter()
        .map(|Measure { expr, alias }| Ok((normalise(&alias), reads.expression(expr)?)))
        .collect()
}

fn after(
    given: Option<AfterMatchSkip>,
    pattern: &Pattern,
    variables: &Variables,
    place: Place,
) -> Result<AfterMatch, Problem> {
    let find = |name: &Ident| {
        let of = normalise(name);
        let Some(variable) = variables.find(&of) else {
            return Err(Problem::at(
                place_of(name.span),
                format!("`{of}` does not occur in the pattern"),
            )
            .hint(format!("its variables are {}", variables.names.join(", "))));
        };
        if !pattern.always_has(variable) {
            let message = format!("a match may have no row `{of}` to go on at");
            return Err(Problem::at(place_of(name.span), message)
                .hint("go on at a variable that every match has, or PAST LAST ROW"));
        }
        Ok(variable)
    };
    Ok(match &given {
        None | Some(AfterMatchSkip::PastLastRow) => AfterMatch::PastLastRow,
        Some(AfterMatchSkip::ToNextRow) => AfterMatch::ToNextRow,
        Some(AfterMatchSkip::ToFirst(name)) => {
            let variable = find(name)?;
            if pattern.before(variable) == Some(0) {
                let message = format!(
                    "going on at the first `{}` would find the same match again",
                    variables.names[variable]
                );
                return Err(Problem::at(place, message).hint("write AFTER MATCH SKIP TO NEXT ROW"));
            }
            AfterMatch::ToFirst(variable)
        }
        Some(AfterMatchSkip::ToLast(name)) => AfterMatch::ToLast(find(name)?),
    })
}
