//! `TUMBLE(t, ts, size)`, `HOP`, `CUMULATE` and `SESSION` in FROM: one extension node in the
//! logical plan.
//!
//! The node's output is its input's columns, then `window_start` and `window_end`. The optimiser
//! pushes filters that do not read the two, and projections, through it; through SESSION only
//! filters on whole partitions, because any other row may hold a session together.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM, window functions are named"
)]

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, TableFactor,
};

use crate::plan::{Place, WindowKind};

use super::place_of;
use super::problem::Problem;

/// The names of the two columns that a window adds.
pub const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// What the words `PARTITION BY` in a window function are read as: the name of an argument.
pub const PARTITION_BY: &str = "partition_by";

/// Assigns windows to the rows of its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowAssign {
    pub input: LogicalPlan,
    pub time: Expr,
    pub kind: WindowKind,
    /// What SESSION is partitioned by.
    pub partition: Vec<Expr>,
    pub place: Place,
    schema: DFSchemaRef,
}

// DataFusion asks for an order and never uses it.
impl PartialOrd for WindowAssign {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.place.partial_cmp(&other.place)
    }
}

impl WindowAssign {
    fn try_new(
        input: LogicalPlan,
        time: Expr,
        kind: WindowKind,
        partition: Vec<Expr>,
        place: Place,
    ) -> Result<Self> {
        let data_type = time.get_type(input.schema())?;
        if !matches!(data_type, DataType::Timestamp(_, _)) {
            let message = format!(
                "the time of a window is a TIMESTAMP or TIMESTAMPTZ, not {}",
                super::types::name_of(&data_type)
            );
            return Err(Problem::at(place, message).into());
        }
        if let Some(name) = WINDOW_COLUMNS
            .into_iter()
            .find(|name| input.schema().has_column_with_unqualified_name(name))
        {
            let message = format!("the rows have a column `{name}` already");
            return Err(Problem::at(place, message)
                .hint(format!(
                    "rename it in the inner query: SELECT {name} AS inner_{name}, .."
                ))
                .into());
        }
        let mut fields: Vec<_> = input
            .schema()
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        for name in WINDOW_COLUMNS {
            fields.push((None, Arc::new(Field::new(name, data_type.clone(), false))));
        }
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            input,
            time,
            kind,
            partition,
            place,
            schema,
        })
    }
}

impl UserDefinedLogicalNodeCore for WindowAssign {
    fn name(&self) -> &str {
        "WindowAssign"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let time = [self.time.clone()].into_iter();
        time.chain(self.partition.iter().cloned()).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        if !matches!(self.kind, WindowKind::Session { .. }) {
            return WINDOW_COLUMNS.map(str::to_owned).into();
        }
        let partition: HashSet<&datafusion_common::Column> =
            self.partition.iter().filter_map(Expr::try_as_col).collect();
        let others = self
            .schema
            .columns()
            .into_iter()
            .filter(|column| !partition.contains(column));
        others.map(|column| column.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowAssign: {:?} on {}", self.kind, self.time)
    }

    fn with_exprs_and_inputs(
        &self,
        mut expressions: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let partition = expressions.split_off(1);
        let time = expressions.swap_remove(0);
        let input = inputs.swap_remove(0);
        Self::try_new(input, time, self.kind, partition, self.place)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let inputs = schema.fields().len();
        let mut needed: Vec<usize> = output.iter().copied().filter(|at| *at < inputs).collect();
        for column in self.expressions().iter().flat_map(Expr::column_refs) {
            needed.push(schema.index_of_column(column).ok()?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans the window functions in FROM.
#[derive(Debug)]
pub struct WindowPlanner;

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((name, arguments, place)) = call(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let window = window(&name, arguments, place, context)?;
        let alias = match relation {
            TableFactor::Table { alias, .. } | TableFactor::TableFunction { alias, .. } => alias,
            _ => None,
        };
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(window),
        });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}

/// The call of a window function: `FROM TUMBLE(..)` or Flink's `FROM TABLE(TUMBLE(..))`.
fn call(relation: &TableFactor) -> Option<(String, &[FunctionArg], Place)> {
    let (name, arguments) = match relation {
        TableFactor::Table {
            name,
            args: Some(arguments),
            ..
        } => (name, arguments.args.as_slice()),
        TableFactor::TableFunction {
            expr: ast::Expr::Function(function),
            ..
        } => match &function.args {
            FunctionArguments::List(list) => (&function.name, list.args.as_slice()),
            FunctionArguments::None | FunctionArguments::Subquery(_) => return None,
        },
        _ => return None,
    };
    let place = place_of(name.span());
    let name = name.to_string().to_lowercase();
    matches!(name.as_str(), "tumble" | "hop" | "cumulate" | "session")
        .then_some((name, arguments, place))
}

fn window(
    name: &str,
    arguments: &[FunctionArg],
    place: Place,
    context: &mut dyn RelationPlannerContext,
) -> Result<WindowAssign> {
    let usage = match name {
        "tumble" => "TUMBLE(table, time, INTERVAL '1' MINUTE)",
        "hop" => "HOP(table, time, INTERVAL '10' SECOND, INTERVAL '1' MINUTE): slide, then size",
        "cumulate" => "CUMULATE(table, time, INTERVAL '1' HOUR, INTERVAL '1' DAY): step, then size",
        _ => "SESSION(table PARTITION BY key, time, INTERVAL '10' MINUTE)",
    };
    let wrong = |message: String| Problem::at(place, message).hint(format!("write {usage}"));
    let (partition, arguments) = partition(name, arguments);
    let expressions: Vec<&ast::Expr> = arguments.iter().filter_map(|at| argument(at)).collect();
    let wanted = match name {
        "tumble" | "session" => 3,
        _ => 4,
    };
    refuse_offset(name, expressions.len(), place)?;
    if expressions.len() != wanted || arguments.len() != wanted {
        let message = match name {
            "session" => "SESSION takes a table, PARTITION BY, a time and a gap".to_owned(),
            _ => format!("{} takes {wanted} arguments", name.to_uppercase()),
        };
        return Err(wrong(message).into());
    }
    let input =
        context
            .plan(relation_of(expressions[0]).ok_or_else(|| {
                wrong(format!("`{}` is not a table or a query", expressions[0]))
            })?)?;
    let schema = Arc::clone(input.schema());
    let time = context.sql_to_expr(descriptor(expressions[1]).clone(), &schema)?;
    let partition = partition
        .into_iter()
        .map(|column| context.sql_to_expr(column, &schema))
        .collect::<Result<Vec<_>>>()?;
    let mut sizes = Vec::new();
    for size in &expressions[2..] {
        let at = Some(place_of(size.span()))
            .filter(|at| at.line > 0)
            .unwrap_or(place);
        sizes.push(microseconds(size, at, context)?);
    }
    let divides = |what: &str, part_us: i64, size_us: i64| -> Result<(), Problem> {
        if size_us % part_us != 0 {
            let name = name.to_uppercase();
            let message = format!("the size of a {name} must be a multiple of its {what}");
            return Err(wrong(message));
        }
        few(part_us, size_us).map_err(|problem| problem.or_at(place))
    };
    let kind = match (name, sizes.as_slice()) {
        ("tumble", &[size_us]) => WindowKind::Tumble { size_us },
        ("session", &[gap_us]) => WindowKind::Session {
            gap_us,
            partition: partition.len(),
        },
        ("hop", &[slide_us, size_us]) => {
            divides("slide", slide_us, size_us)?;
            WindowKind::Hop { slide_us, size_us }
        }
        ("cumulate", &[step_us, size_us]) => {
            divides("step", step_us, size_us)?;
            WindowKind::Cumulate { step_us, size_us }
        }
        _ => return Err(wrong(format!("{name} takes {wanted} arguments")).into()),
    };
    WindowAssign::try_new(input, time, kind, partition, place)
}

/// Flink's windows that begin elsewhere than in UTC.
fn refuse_offset(name: &str, arguments: usize, place: Place) -> Result<(), Problem> {
    if name != "tumble" || arguments != 4 {
        return Ok(());
    }
    let message = "TUMBLE takes no offset: windows are aligned in UTC";
    let hint = "of days elsewhere, GROUP BY date_trunc('day', at AT TIME ZONE 'Europe/Berlin')";
    Err(Problem::at(place, message).hint(hint))
}

/// The columns of `PARTITION BY`, which the parser reads as `partition_by => a, b`, and the other
/// arguments.
fn partition<'a>(
    name: &str,
    arguments: &'a [FunctionArg],
) -> (Vec<ast::Expr>, Vec<&'a FunctionArg>) {
    let by = arguments.iter().position(|argument| {
        let name = match argument {
            FunctionArg::Named { name, .. } => name.value.clone(),
            FunctionArg::ExprNamed { name, .. } => name.to_string(),
            FunctionArg::Unnamed(_) => return false,
        };
        name == PARTITION_BY
    });
    let Some(from) = by.filter(|_| name == "session") else {
        return (Vec::new(), arguments.iter().collect());
    };
    // The time and the gap come after the columns.
    if from + 3 > arguments.len() {
        return (Vec::new(), Vec::new());
    }
    let to = arguments.len() - 2;
    let mut columns = Vec::new();
    for column in arguments[from..to].iter().filter_map(argument) {
        match column {
            ast::Expr::Tuple(several) => columns.extend(several.iter().cloned()),
            ast::Expr::Nested(one) => columns.push(one.as_ref().clone()),
            one => columns.push(one.clone()),
        }
    }
    let others = arguments[..from].iter().chain(&arguments[to..]);
    (columns, others.collect())
}

/// More windows than this per row are a mistake in a unit, and as many rows when they close.
const WINDOWS_MAX: i64 = 10_000;

fn few(step: i64, size: i64) -> Result<(), Problem> {
    let windows = size / step;
    if windows <= WINDOWS_MAX {
        return Ok(());
    }
    let message = format!("each row would be in {windows} windows, and {WINDOWS_MAX} is the most");
    Err(Problem::of_file(message).hint("make the step longer, or the size shorter"))
}

fn argument(argument: &FunctionArg) -> Option<&ast::Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression))
        | FunctionArg::Named {
            arg: FunctionArgExpr::Expr(expression),
            ..
        }
        | FunctionArg::ExprNamed {
            arg: FunctionArgExpr::Expr(expression),
            ..
        } => Some(expression),
        FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => None,
    }
}

/// The table or query that is windowed.
fn relation_of(expression: &ast::Expr) -> Option<TableFactor> {
    let named = |parts: Vec<ast::Ident>| TableFactor::Table {
        name: ast::ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    match expression {
        ast::Expr::Identifier(name) => Some(named(vec![name.clone()])),
        ast::Expr::CompoundIdentifier(parts) => Some(named(parts.clone())),
        ast::Expr::Subquery(query) => Some(TableFactor::Derived {
            lateral: false,
            subquery: query.clone(),
            alias: None,
            sample: None,
        }),
        _ => None,
    }
}

/// Flink's `DESCRIPTOR(ts)` is `ts`.
fn descriptor(expression: &ast::Expr) -> &ast::Expr {
    if let ast::Expr::Function(function) = expression
        && function.name.to_string().eq_ignore_ascii_case("descriptor")
        && let FunctionArguments::List(list) = &function.args
        && let [only] = list.args.as_slice()
        && let Some(inner) = argument(only)
    {
        return inner;
    }
    expression
}

/// A constant interval in microseconds.
pub fn microseconds(
    expression: &ast::Expr,
    place: Place,
    context: &mut dyn RelationPlannerContext,
) -> Result<i64> {
    let wrong = |message: &str| {
        Problem::at(place, message).hint("write INTERVAL '1' MINUTE or INTERVAL '90 seconds'")
    };
    let literal = context.sql_to_expr(expression.clone(), &DFSchema::empty())?;
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) = literal else {
        return Err(wrong("the size of a window is a constant INTERVAL").into());
    };
    match interval_microseconds(interval.months, interval.days, interval.nanoseconds) {
        Some(size) if size > 0 => Ok(size),
        Some(_) => Err(wrong("the size of a window is more than a microsecond").into()),
        None if interval.months != 0 => Err(wrong("a month has no fixed length").into()),
        None => Err(wrong("the size of a window is beyond what times can be apart").into()),
    }
}

/// Microseconds of an interval without months, unless there are too many.
pub fn interval_microseconds(months: i32, days: i32, nanoseconds: i64) -> Option<i64> {
    if months != 0 {
        return None;
    }
    const DAY: i64 = 86_400_000_000;
    i64::from(days)
        .checked_mul(DAY)?
        .checked_add(nanoseconds / 1000)
}
