//! What names mean while a file is planned: tables, views, functions and types.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference};
use datafusion_expr::planner::{ExprPlanner, RelationPlanner, TypePlanner};
use datafusion_expr::registry::MemoryFunctionRegistry;
use datafusion_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableProviderFilterPushDown,
    TableSource, WindowUDF,
};
use datafusion_sql::planner::ContextProvider;

use crate::plan::{Table, TableId};

use super::asof::AsofPlanner;
use super::functions::{ElementPlanner, Functions, JsonPlanner, LiteralPlanner, TimePlanner};
use super::matching::MatchPlanner;
use super::problem::{Problem, did_you_mean};
use super::table::WITH_RECORD;
use super::types::Types;
use super::window::WindowPlanner;

/// A declared table as DataFusion sees it. Its PRIMARY KEY is kept from DataFusion, which would
/// trust it: a stream repeats keys.
#[derive(Debug)]
pub struct Declared {
    pub table: TableId,
    pub schema: SchemaRef,
    /// Whether it is read whole, and looked up: it has a key and no event time.
    pub is_reference: bool,
    /// The name of its WATERMARK FOR column.
    event_time: Option<String>,
    /// The columns of its PRIMARY KEY.
    primary_key: Vec<usize>,
    /// The name of the column that says whether a record has no value.
    pub tombstone: Option<String>,
}

impl TableSource for Declared {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    // A filter stays in the plan as a node of its own.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![
            TableProviderFilterPushDown::Unsupported;
            filters.len()
        ])
    }
}

/// The column of a table that is declared as METADATA FROM 'tombstone'.
fn tombstone(table: &Table) -> Option<String> {
    let mut fields = table.columns.iter().map(|column| &column.field);
    let is_it = |field: &&FieldRef| {
        let what = field.metadata().get(WITH_RECORD);
        what.is_some_and(|what| what == "tombstone")
    };
    fields.find(is_it).map(|field| field.name().clone())
}

/// A view: its plan takes its place.
#[derive(Debug)]
struct View {
    schema: SchemaRef,
    plan: LogicalPlan,
    /// The views among what it reads, by way of others too.
    views: BTreeSet<String>,
}

impl TableSource for View {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// What a name stands for.
#[derive(Debug)]
enum Named {
    Table(Arc<Declared>),
    View(Arc<View>),
    /// Its declaration has a problem of its own; what follows from that is not worth a second.
    Broken,
}

/// The message of a problem that only follows from another one.
pub const FOLLOWS: &str = "\u{0}follows from another problem";

/// The names of one file.
#[derive(Debug)]
pub struct Catalog {
    named: BTreeMap<String, Named>,
    functions: Functions,
    expression_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    types: Arc<dyn TypePlanner>,
    options: Arc<ConfigOptions>,
}

impl Catalog {
    pub fn new(timezone: &str) -> Self {
        let mut options = ConfigOptions::default();
        // Without one, TIMESTAMPTZ silently becomes a plain timestamp.
        options.execution.time_zone = Some(timezone.to_owned());
        options.sql_parser.map_string_types_to_utf8view = false;
        // 0.908 is NUMERIC, as in PostgreSQL.
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        options
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery = false;
        options.optimizer.skip_failed_rules = false;
        // It would ask a condition on a field of a STRUCT behind those that it guards.
        options.optimizer.enable_leaf_expression_pushdown = false;
        let options = Arc::new(options);
        Self {
            named: BTreeMap::new(),
            functions: Functions::default(),
            expression_planners: vec![
                Arc::new(JsonPlanner),
                Arc::new(LiteralPlanner),
                Arc::new(TimePlanner),
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(ElementPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            ],
            relation_planners: vec![
                Arc::new(WindowPlanner),
                Arc::new(AsofPlanner),
                Arc::new(MatchPlanner {
                    config: Arc::clone(&options),
                }),
            ],
            types: Arc::new(Types),
            options,
        }
    }

    pub fn config(&self) -> Arc<ConfigOptions> {
        Arc::clone(&self.options)
    }

    /// The function that numbers rows.
    pub fn row_number(&self) -> Arc<WindowUDF> {
        let known = self.functions.window.get("row_number");
        Arc::clone(known.expect("it is among DataFusion's functions"))
    }

    /// `count`.
    pub fn count(&self) -> Arc<AggregateUDF> {
        self.aggregate("count")
    }

    /// One of our aggregates.
    pub fn aggregate(&self, name: &str) -> Arc<AggregateUDF> {
        let known = self.functions.aggregate.get(name);
        Arc::clone(known.expect("it is among our aggregates"))
    }

    pub fn add_table(&mut self, id: TableId, table: &Table) {
        let event_time = table.watermark.as_ref().map(|watermark| watermark.column);
        let declared = Arc::new(Declared {
            table: id,
            schema: table.schema(),
            is_reference: event_time.is_none() && !table.primary_key.is_empty(),
            event_time: event_time.map(|at| table.columns[at].field.name().clone()),
            primary_key: table.primary_key.clone(),
            tombstone: tombstone(table),
        });
        self.named
            .insert(table.name.clone(), Named::Table(declared));
    }

    /// The event-time column of a declared table.
    pub fn event_time(&self, name: &str) -> Option<String> {
        match self.named.get(name)? {
            Named::Table(declared) => declared.event_time.clone(),
            Named::View(_) | Named::Broken => None,
        }
    }

    /// The columns of a table or view.
    pub fn columns(&self, name: &str) -> Option<Vec<String>> {
        let schema = match self.named.get(name)? {
            Named::Table(declared) => &declared.schema,
            Named::View(view) => &view.schema,
            Named::Broken => return None,
        };
        let fields = schema.fields().iter();
        Some(fields.map(|field| field.name().clone()).collect())
    }

    /// The PRIMARY KEY of a declared table, which may be empty.
    pub fn primary_key(&self, name: &str) -> Option<&[usize]> {
        match self.named.get(name)? {
            Named::Table(declared) => Some(&declared.primary_key),
            Named::View(_) | Named::Broken => None,
        }
    }

    /// `reads` are the names that its query mentions.
    pub fn add_view<'a>(
        &mut self,
        name: &str,
        plan: LogicalPlan,
        reads: impl Iterator<Item = &'a String>,
    ) {
        let schema = Arc::clone(plan.schema().inner());
        let views = self.views_of(reads);
        let view = Arc::new(View {
            schema,
            plan,
            views,
        });
        self.named.insert(name.to_owned(), Named::View(view));
    }

    /// The views among `names`, and those that these read.
    pub fn views_of<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        let mut views = BTreeSet::new();
        for name in names {
            if let Some(Named::View(view)) = self.named.get(name) {
                views.insert(name.clone());
                views.extend(view.views.iter().cloned());
            }
        }
        views
    }

    pub fn add_broken(&mut self, name: &str) {
        self.named.insert(name.to_owned(), Named::Broken);
    }

    pub fn contains(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// The table of this name, for INSERT INTO.
    pub fn table(&self, name: &str) -> Result<TableId, Problem> {
        match self.named.get(name) {
            Some(Named::Table(declared)) => Ok(declared.table),
            Some(Named::View(_)) => Err(Problem::of_file(format!(
                "`{name}` is a view: rows cannot be inserted into it"
            ))
            .hint("insert into a table, or CREATE TABLE it with a connector")),
            Some(Named::Broken) => Err(Problem::of_file(FOLLOWS)),
            None => Err(self.unknown(name)),
        }
    }

    /// That no table or view has this name.
    pub fn unknown(&self, name: &str) -> Problem {
        let hint = did_you_mean(name, self.named.keys().map(String::as_str)).unwrap_or_else(|| {
            let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
            if names.is_empty() {
                format!("declare it first: CREATE TABLE {name} (..) WITH (connector = ..)")
            } else {
                format!("there are {}", super::errors::list(&names))
            }
        });
        Problem::of_file(format!("table `{name}` not found")).hint(hint)
    }

    /// For the optimiser, which looks some functions up by name.
    pub fn registry(&self) -> MemoryFunctionRegistry {
        use datafusion_expr::registry::FunctionRegistry as _;
        let mut registry = MemoryFunctionRegistry::new();
        for function in self.functions.scalar.values() {
            // It fails only for a registry that cannot be written to.
            let _ = registry.register_udf(Arc::clone(function));
        }
        for function in self.functions.aggregate.values() {
            let _ = registry.register_udaf(Arc::clone(function));
        }
        registry
    }

    /// The scalar functions, each once, by their names.
    #[cfg(test)]
    pub fn scalar_functions(&self) -> Vec<Arc<ScalarUDF>> {
        let named: BTreeMap<_, _> = self.functions.scalar.iter().collect();
        let own = named.into_iter().filter(|(name, it)| *name == it.name());
        own.map(|(_, function)| Arc::clone(function)).collect()
    }

    /// Whether some function has this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.scalar.contains_key(name)
            || self.functions.higher_order.contains_key(name)
            || self.functions.aggregate.contains_key(name)
            || self.functions.window.contains_key(name)
    }

    /// Whether an aggregate has this name.
    pub fn is_aggregate(&self, name: &str) -> bool {
        name != "grouping" && self.functions.aggregate.contains_key(name)
    }

    /// The name of a function that was likely meant.
    pub fn nearest_function(&self, name: &str) -> Option<String> {
        let functions = &self.functions;
        let names = functions
            .scalar
            .keys()
            .chain(functions.aggregate.keys())
            .map(String::as_str);
        did_you_mean(name, names)
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.named.get(name.table()) {
            Some(Named::Table(declared)) => Ok(Arc::<Declared>::clone(declared)),
            Some(Named::View(view)) => Ok(Arc::<View>::clone(view)),
            Some(Named::Broken) => Err(Problem::of_file(FOLLOWS).into()),
            None => Err(self.unknown(name.table()).into()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expression_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window.keys().cloned().collect()
    }
}
