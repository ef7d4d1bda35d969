//! A query to an optimised logical plan, on DataFusion's planner, analyser and optimiser.

use std::sync::Arc;

use datafusion_common::alias::AliasGenerator;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::registry::{FunctionRegistry, MemoryFunctionRegistry};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion_optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_optimizer::{
    Analyzer, AnalyzerRule, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule,
};
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;

use super::catalog::Catalog;
use super::coercion::{self, Coercion};
use super::functions::{casts, precision};
use super::problem::Problem;
use super::types::{cut_off, large_as_double};
use super::{
    accents, beside, by_interval, comparisons, first_rows, guards, interval_sums, lateral,
    multisets, named_windows, normalise, series, subqueries, using,
};

type Result<T> = std::result::Result<T, DataFusionError>;

/// The plan of a query as written: names resolved, nothing coerced yet.
///
/// `SqlToRel` is generic over the catalog and dear to compile: this file is where it is used.
pub fn plan(catalog: &Catalog, mut query: ast::Query) -> Result<LogicalPlan> {
    accents::rewrite(&mut query);
    series::refuse_left(&mut query)?;
    using::rewrite(&mut query, catalog)?;
    cut_off(&mut query);
    large_as_double(&mut query);
    precision::rewrite(&mut query);
    named_windows::write_out(&mut query)?;
    first_rows::rewrite_fetch(&mut query)?;
    let statement = ast::Statement::Query(Box::new(query));
    let plan = SqlToRel::new(catalog).sql_statement_to_plan(statement)?;
    let plan = first_rows::number_distinct_on(plan, &catalog.row_number())?;
    let plan = multisets::count_copies(plan, &catalog.row_number())?;
    let plan = lateral::unnest_joins(plan)?;
    let plan = interval_sums::rewrite(plan, catalog)?;
    subqueries::rewrite(plan, catalog)
}

/// The plan of a view, whose columns may have been given names.
pub fn view(catalog: &Catalog, query: ast::Query, columns: &[ast::Ident]) -> Result<LogicalPlan> {
    let plan = plan(catalog, query)?;
    if columns.is_empty() {
        return Ok(plan);
    }
    let given = plan.schema().columns();
    if given.len() != columns.len() {
        let message = format!(
            "the view names {} columns, but its query yields {}",
            columns.len(),
            given.len()
        );
        return Err(Problem::of_file(message).into());
    }
    let named = given.into_iter().zip(columns);
    let named = named.map(|(column, name)| Expr::Column(column).alias(normalise(name)));
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// An expression over the columns of `schema`, types coerced and constants folded.
pub fn expression(catalog: &Catalog, mut sql: ast::Expr, schema: &DFSchema) -> Result<Expr> {
    accents::rewrite(&mut sql);
    series::refuse_left(&mut sql)?;
    cut_off(&mut sql);
    large_as_double(&mut sql);
    precision::rewrite(&mut sql);
    let expression = SqlToRel::new(catalog).sql_to_expr(sql, schema, &mut PlannerContext::new())?;
    coerced(&catalog.config(), expression, schema)
}

/// A planned expression, types coerced and constants folded.
pub fn coerced(config: &Arc<ConfigOptions>, expression: Expr, schema: &DFSchema) -> Result<Expr> {
    comparisons::check_expression(&expression, schema)?;
    by_interval::check_expression(&expression, schema)?;
    let expression = beside::rewrite_expression(expression, schema)?.data;
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(config))
        .with_schema(Arc::new(schema.clone()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expression = coercion::coerce(expression, schema)?;
    let expression = casts::rewrite_expression(expression, schema)?.data;
    simplifier.simplify(expression)
}

/// Coerces the types of a plan, and gives its casts PostgreSQL's meaning.
pub fn analyse(catalog: &Catalog, plan: LogicalPlan) -> Result<LogicalPlan> {
    comparisons::check(&plan)?;
    by_interval::check(&plan)?;
    let plan = beside::rewrite(plan)?;
    let rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> =
        vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(Coercion)];
    let analyzer = Analyzer::with_rules(rules);
    let plan = analyzer.execute_and_check(plan, &catalog.config(), |_, _| {})?;
    casts::rewrite(plan)
}

/// Pushes filters and projections down, folds constants, removes what is not needed.
pub fn optimise(catalog: &Catalog, plan: LogicalPlan) -> Result<LogicalPlan> {
    let config = Config {
        context: OptimizerContext::new_with_config_options(catalog.config())
            // `now()` must not be folded to the moment of planning.
            .without_query_execution_start_time(),
        registry: catalog.registry(),
    };
    let plan = Optimizer::with_rules(rules()).optimize(plan, &config, |_, _| {})?;
    subqueries::refuse_left(&plan)?;
    Ok(plan)
}

/// The rules of DataFusion's that are left out.
const LEFT_OUT: [&str; 5] = [
    // Our count(DISTINCT x) keeps its own sets.
    "single_distinct_aggregation_to_group_by",
    // Of no rows at all, GROUP BY 'x' makes no group, and leaving it out makes one.
    "eliminate_group_by_constant",
    // It may keep the rows of a reference table that match a stream; a stream looks them up.
    "eliminate_join",
    // What never passes a filter is still read and counted.
    "eliminate_filter",
    "propagate_empty_relation",
];

/// DataFusion's rules but those that rewrite what the dataflow does better itself, and conditions in
/// the order in which they are written.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| !LEFT_OUT.contains(&rule.name()));
    let in_order = guards::InOrder::default();
    for rule in &mut rules {
        if rule.name() == in_order.name() {
            *rule = Arc::new(guards::InOrder::default());
        }
    }
    rules
}

/// The optimiser's context, with a registry: DISTINCT ON panics without one.
struct Config {
    context: OptimizerContext,
    registry: MemoryFunctionRegistry,
}

impl OptimizerConfig for Config {
    fn query_execution_start_time(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        self.context.query_execution_start_time()
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        self.context.alias_generator()
    }

    fn options(&self) -> Arc<ConfigOptions> {
        self.context.options()
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(&self.registry)
    }
}
