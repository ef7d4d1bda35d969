//! `INSERT INTO`: what a sink asks of the query that fills it.
//!
//! A sink with a PRIMARY KEY is kept current: its key must be a key of the query, on columns that
//! cannot be NULL. A sink without one is appended to: what goes in must be final.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_common::{Column, ScalarValue, TableReference};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion_physical_expr::expressions::Column as PhysicalColumn;
use datafusion_sql::sqlparser::ast::{self, Ident, Query, SelectItem, SetExpr, Spanned};

use crate::plan::{Emit, Expression, Narrowed, NodeId, Operator, Place, Table, TableId};

use super::assign::{assign, narrowed};
use super::catalog::Catalog;
use super::errors::{list, of_datafusion};
use super::functions::intervals::holds_interval;
use super::graph::{Facts, Graph, Key};
use super::lower::{Ask, Finality, Lowering};
use super::problem::{Problem, did_you_mean};
use super::sets::GROUPING;
use super::{asof, grouped_windows, locate, normalise, place_of, query, refusals, walk};

/// An INSERT whose query is optimised: its columns are the sink's.
#[derive(Debug)]
pub struct Prepared {
    pub table: TableId,
    pub plan: LogicalPlan,
    /// Per column: whether it is never NULL as written. The optimiser may write a `coalesce` so
    /// that this can no longer be told.
    pub not_null: Vec<bool>,
    /// Per column: where its expression stands.
    pub places: Vec<Place>,
    /// The columns that take less than what the query yields, with no node yet.
    pub narrowed: Vec<Narrowed>,
    pub emit: Option<Emit>,
    pub place: Place,
    pub mentions: BTreeMap<String, Place>,
}

/// An INSERT as written.
#[derive(Debug)]
pub struct Written {
    pub table: Ident,
    pub columns: Vec<Ident>,
    pub query: Box<Query>,
    pub emit: Option<Emit>,
    pub place: Place,
}

type Result<T> = std::result::Result<T, Vec<Problem>>;

/// Resolves the query and casts its columns to the sink's.
pub fn prepare(mut written: Written, catalog: &Catalog, tables: &[Table]) -> Result<Prepared> {
    let place = written.place;
    let at_table = place_of(written.table.span);
    let df = |error| vec![of_datafusion(&error).or_at(place)];
    let table = catalog
        .table(&normalise(&written.table))
        .map_err(|problem| vec![problem.or_at(at_table)])?;
    let items = item_places(&written.query.body);
    name_repeated_columns(&mut written.query.body);
    grouped_windows::rewrite(&mut written.query, catalog);
    let wrong = asof::joins::rewrite(&mut written.query, catalog);
    let mut found = refusals::of_query(&written.query, catalog);
    found.problems.extend(wrong);
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    let plan = resolved(catalog, *written.query, place)?;
    let targets = targets(&tables[table], &written.columns, &plan, at_table)?;
    let places: Vec<Place> = targets
        .iter()
        .map(|target| target.and_then(|at| *items.get(at)?).unwrap_or(place))
        .collect();
    let narrowed = narrowed(&plan, &tables[table], &targets, &places);
    let plan = convert(plan, &tables[table], &targets, &places, at_table)?;
    // Once more for the casts that this made.
    let plan = query::analyse(catalog, plan).map_err(df)?;
    let not_null = plan.schema().fields().iter();
    let not_null = not_null.map(|field| !field.is_nullable()).collect();
    let plan = query::optimise(catalog, plan).map_err(df)?;
    Ok(Prepared {
        table,
        plan,
        not_null,
        places,
        narrowed,
        emit: written.emit,
        place,
        mentions: found.mentions,
    })
}

/// The plan of a query with its types.
fn resolved(catalog: &Catalog, query: Query, place: Place) -> Result<LogicalPlan> {
    let plan = |query| query::plan(catalog, query).and_then(|plan| query::analyse(catalog, plan));
    let fault = |query| Some(of_datafusion(&plan(query).err()?));
    plan(query.clone()).map_err(|error| {
        let problem = locate::at_call(of_datafusion(&error), &query, fault);
        vec![problem.or_at(place)]
    })
}

/// Where each column of a SELECT stands, if that can be told.
fn item_places(body: &SetExpr) -> Vec<Option<Place>> {
    let SetExpr::Select(select) = body else {
        return Vec::new();
    };
    let place = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            let place = place_of(expr.span());
            Some((place.line > 0).then_some(place))
        }
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    };
    // Behind a `*` nobody knows which column is which.
    select.projection.iter().map_while(place).collect()
}

/// Columns of an INSERT go by position, so two may have the same name or be the same; DataFusion
/// wants names of their own.
fn name_repeated_columns(body: &mut SetExpr) {
    if let SetExpr::SetOperation { left, right, .. } = body {
        name_repeated_columns(left);
        name_repeated_columns(right);
    }
    let SetExpr::Select(select) = body else {
        return;
    };
    let mut seen = BTreeSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => expr.to_string(),
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => continue,
        };
        // DataFusion calls both of them a cast to text.
        let is_marked = matches!(item, SelectItem::UnnamedExpr(ast::Expr::Cast { data_type, .. })
            if matches!(data_type, ast::DataType::Uuid | ast::DataType::JSON | ast::DataType::JSONB));
        // And a query's value as the query does, or as any other.
        let is_query = matches!(item, SelectItem::UnnamedExpr(expr) if asks(expr));
        if seen.insert(name.clone()) && !is_marked && !is_query {
            continue;
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', format!("{name} {}", at + 1)),
            };
        }
    }
}

/// Whether a query stands inside an expression.
fn asks(expr: &ast::Expr) -> bool {
    let mut found = false;
    let _ = walk::expressions(&mut expr.clone(), &mut |inner| {
        found |= matches!(
            inner,
            ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. }
        );
        ControlFlow::Continue(())
    });
    found
}

/// For each column of the sink, the column of the query that goes into it.
fn targets(
    sink: &Table,
    columns: &[Ident],
    plan: &LogicalPlan,
    place: Place,
) -> Result<Vec<Option<usize>>> {
    let given = plan.schema().fields().len();
    let names: Vec<&str> = sink
        .columns
        .iter()
        .map(|c| c.field.name().as_str())
        .collect();
    if columns.is_empty() {
        if given == names.len() {
            return Ok((0..given).map(Some).collect());
        }
        let yields: Vec<&str> = plan
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let message = format!(
            "`{}` has {} columns, but the query yields {given}",
            sink.name,
            names.len()
        );
        return Err(vec![Problem::at(place, message).hint(format!(
            "the table has {}; the query yields {}",
            list(&names),
            list(&yields)
        ))]);
    }
    let mut targets = vec![None; names.len()];
    let mut problems = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let name = normalise(column);
        let at_column = place_of(column.span);
        match names.iter().position(|known| *known == name) {
            Some(target) if targets[target].is_some() => {
                problems.push(Problem::at(at_column, format!("`{name}` stands twice")));
            }
            Some(target) => targets[target] = Some(at),
            None => {
                let hint = did_you_mean(&name, names.iter().copied())
                    .unwrap_or_else(|| format!("there are {}", list(&names)));
                let message = format!("`{}` has no column `{name}`", sink.name);
                problems.push(Problem::at(at_column, message).hint(hint));
            }
        }
    }
    if problems.is_empty() && columns.len() != given {
        let message = format!(
            "{} columns are listed, but the query yields {given}",
            columns.len()
        );
        problems.push(Problem::at(place, message));
    }
    if problems.is_empty() {
        Ok(targets)
    } else {
        Err(problems)
    }
}

/// Casts the columns of the query to the sink's; a column that is not given is NULL.
fn convert(
    plan: LogicalPlan,
    sink: &Table,
    targets: &[Option<usize>],
    places: &[Place],
    place: Place,
) -> Result<LogicalPlan> {
    let (mut exprs, mut problems) = (Vec::new(), Vec::new());
    for ((column, target), at_item) in sink.columns.iter().zip(targets).zip(places) {
        let field = &column.field;
        let converted = match target {
            Some(at) => {
                let (qualifier, from) = plan.schema().qualified_field(*at);
                let expr = Expr::Column(Column::from((qualifier, from)));
                assign(expr, from, field, is_text_literal(&plan, *at), *at_item)
            }
            None if !field.is_nullable() => {
                let message = format!(
                    "`{}` is NOT NULL in `{}`, and the INSERT leaves it out",
                    field.name(),
                    sink.name
                );
                Err(Problem::at(place, message).hint("list the column, or declare it nullable"))
            }
            None => ScalarValue::try_from(field.data_type())
                .map(|null| Expr::Literal(null, None))
                .map_err(|error| of_datafusion(&error).or_at(place)),
        };
        match converted {
            // The sink's own names, so that they cannot clash with the query's.
            Ok(expr) => exprs.push(
                expr.alias_qualified(Some(TableReference::bare(sink.name.as_str())), field.name()),
            ),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| vec![of_datafusion(&error).or_at(place)])
}

/// Whether a column of the query is a text literal as written.
fn is_text_literal(plan: &LogicalPlan, at: usize) -> bool {
    fn is_literal(expr: &Expr) -> bool {
        if let Expr::Alias(alias) = expr {
            return is_literal(&alias.expr);
        }
        matches!(expr, Expr::Literal(ScalarValue::Utf8(_), _))
    }
    matches!(plan, LogicalPlan::Projection(projection) if is_literal(&projection.expr[at]))
}

/// The sink's option that keeps the last row per key of a stream.
const UPSERT_BY: &str = "upsert.by";

/// Lowers one INSERT and proves what its sink asks.
pub fn lower(
    prepared: &Prepared,
    graph: &mut Graph,
    tables: &[Table],
    sources: &BTreeMap<TableId, BTreeSet<usize>>,
    lateness_us: i64,
    mentions: &BTreeMap<String, Place>,
) -> std::result::Result<NodeId, Problem> {
    let sink = &tables[prepared.table];
    let upsert_by = upsert_by(sink)?;
    let is_keyed = !sink.primary_key.is_empty();
    let finality = match (prepared.emit, is_keyed) {
        (Some(Emit::Changes), false) => {
            return Err(Problem::at(
                prepared.place,
                format!(
                    "EMIT CHANGES replaces rows, and `{}` has no PRIMARY KEY",
                    sink.name
                ),
            )
            .hint(format!(
                "declare a PRIMARY KEY on `{}`, or leave EMIT CHANGES out",
                sink.name
            )));
        }
        (Some(Emit::OnClose), _) => Some(Finality::Asked),
        (Some(Emit::Changes) | None, true) if upsert_by.is_some() => Some(Finality::Latest),
        (Some(Emit::Changes) | None, true) => None,
        (None, false) => Some(Finality::AppendOnly),
    };
    let mut lowering = Lowering {
        graph,
        tables,
        sources,
        lateness_us,
        place: prepared.place,
        mentions,
        sink: &sink.name,
    };
    let ask = Ask {
        windows_close: false,
        ..Ask::of_rows(finality)
    };
    let rows = lowering.rows(&prepared.plan, ask)?;
    let key_text = lowering.graph.facts(rows.node).key_text.clone();
    let node = lowering.visible(rows, prepared.plan.schema())?;
    check_nulls(sink, graph, node, prepared)?;
    if !is_keyed {
        return Ok(node);
    }
    match upsert_by {
        Some(by) => Ok(latest(sink, by, graph, node, prepared.place)),
        None => check_key(sink, graph, node, key_text, prepared).map(|()| node),
    }
}

/// The position of the column that `'upsert.by'` names.
fn upsert_by(sink: &Table) -> std::result::Result<Option<usize>, Problem> {
    let Some(option) = sink.options.get(UPSERT_BY) else {
        return Ok(None);
    };
    if sink.primary_key.is_empty() {
        return Err(Problem::at(
            option.place,
            format!(
                "'upsert.by' keeps the last row per key, and `{}` has no PRIMARY KEY",
                sink.name
            ),
        )
        .hint(format!("declare a PRIMARY KEY on `{}`", sink.name)));
    }
    let name = option.text.to_lowercase();
    let mut names = sink
        .columns
        .iter()
        .map(|column| column.field.name().as_str());
    match names.clone().position(|known| known == name) {
        Some(at) if holds_interval(sink.columns[at].field.data_type()) => {
            let message = format!("`{name}` is INTERVAL, which rows are not ordered by");
            Err(Problem::at(option.place, message)
                .hint("name a column that says when, or insert extract(epoch FROM ..)"))
        }
        Some(at) => Ok(Some(at)),
        None => {
            let hint = did_you_mean(&name, &mut names).unwrap_or_else(|| {
                "name the column of the table that says which row is later".to_owned()
            });
            let message = format!("`{}` has no column `{name}` to order rows by", sink.name);
            Err(Problem::at(option.place, message).hint(hint))
        }
    }
}

/// A node that keeps the last row per key.
fn latest(sink: &Table, by: usize, graph: &mut Graph, input: NodeId, place: Place) -> NodeId {
    let fields = graph.fields(input);
    let field = &fields[by];
    let text = format!("latest {input} {:?} by {by}", sink.primary_key);
    let by = Expression {
        physical: Arc::new(PhysicalColumn::new(field.name(), by)),
        text: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: field.is_nullable(),
    };
    let key: Key = sink.primary_key.iter().map(|at| vec![*at]).collect();
    let facts = Facts {
        keys: vec![key],
        ..graph.facts(input).clone()
    };
    let operator = Operator::Latest {
        input,
        keys: sink.primary_key.clone(),
        by,
    };
    graph.add(text, operator, fields, facts, place)
}

/// A column that is NOT NULL, or part of the key, gets no NULL.
fn check_nulls(
    sink: &Table,
    graph: &Graph,
    node: NodeId,
    prepared: &Prepared,
) -> std::result::Result<(), Problem> {
    let facts = graph.facts(node);
    for (at, column) in sink.columns.iter().enumerate() {
        let is_key = sink.primary_key.contains(&at);
        let not_null = facts.not_null[at] || prepared.not_null[at];
        if column.field.is_nullable() && !is_key || not_null {
            continue;
        }
        let name = column.field.name();
        let message = if is_key {
            format!(
                "`{name}` is in the PRIMARY KEY of `{}` and may be NULL here",
                sink.name
            )
        } else {
            format!(
                "`{name}` is NOT NULL in `{}` and may be NULL here",
                sink.name
            )
        };
        let hint = match default_of(column.field.data_type()) {
            _ if is_key && joined_in_full(graph, node) => {
                "of the columns that a FULL JOIN compares write coalesce(a.k, b.k), of two tables at a \
                 time: FROM (SELECT coalesce(a.k, b.k) AS k, .. FROM a FULL JOIN b ..) AS ab FULL \
                 JOIN c .."
                    .to_owned()
            }
            Some(default) => format!(
                "write coalesce(.., {default}) for it, in the SELECT and in the GROUP BY, or leave \
                 NULLs out with WHERE .. IS NOT NULL, or declare the column that it comes from NOT \
                 NULL"
            ),
            None => {
                "leave NULLs out with WHERE .. IS NOT NULL, or declare the column that it comes \
                     from NOT NULL"
                    .to_owned()
            }
        };
        return Err(Problem::at(prepared.places[at], message).hint(hint));
    }
    Ok(())
}

/// Whether a column may be NULL because two sides that have it are put side by side.
fn joined_in_full(graph: &Graph, node: NodeId) -> bool {
    let operator = &graph.nodes[node].operator;
    let passes = matches!(operator, Operator::Project { .. } | Operator::Filter { .. });
    !graph.facts(node).merged.is_empty() || passes && joined_in_full(graph, operator.inputs()[0])
}

/// Whether rows are those of sources, so that 'upsert.by' can put them in order.
fn is_of_records(graph: &Graph, node: NodeId) -> bool {
    let operator = &graph.nodes[node].operator;
    let mut inputs = operator.inputs().into_iter();
    !operator.is_stateful() && inputs.all(|input| is_of_records(graph, input))
}

/// A value that people take for "none" of a type.
fn default_of(data_type: &arrow::datatypes::DataType) -> Option<&'static str> {
    if data_type.is_numeric() {
        return Some("0");
    }
    (data_type == &arrow::datatypes::DataType::Utf8).then_some("'unknown'")
}

/// What makes the sink's key of the columns that the rows are grouped by, with the first column of
/// the key that is computed.
fn computed_of_keys(sink: &Table, graph: &Graph, node: NodeId) -> Option<(usize, String)> {
    let Operator::Project { input, columns } = &graph.nodes[node].operator else {
        return None;
    };
    let parts = graph.facts(*input).keys.iter().flatten();
    let grouped: BTreeSet<usize> = parts.flatten().copied().collect();
    let mut key = sink.primary_key.iter();
    let first = key.find(|at| columns[**at].as_column().is_none())?;
    let texts = sink.primary_key.iter().map(|at| {
        let reads = columns[*at].columns();
        let of_keys = reads.iter().all(|at| grouped.contains(at));
        (of_keys && !reads.is_empty()).then(|| columns[*at].text.clone())
    });
    let texts: Vec<String> = texts.collect::<Option<_>>()?;
    Some((*first, texts.join(", ")))
}

/// What is a key of the rows of GROUPING SETS.
const OF_SETS: &str = "make a PRIMARY KEY of grouping(..) of all of them and of each as \
                       coalesce(x, ..), where x is NOT NULL in what is grouped";

/// The sink's key is a key of the query.
fn check_key(
    sink: &Table,
    graph: &Graph,
    node: NodeId,
    key_text: Option<String>,
    prepared: &Prepared,
) -> std::result::Result<(), Problem> {
    let proven = graph.facts(node).keys.iter().any(|key| {
        key.iter()
            .all(|part| part.iter().any(|at| sink.primary_key.contains(at)))
    });
    if proven {
        return Ok(());
    }
    let names: Vec<&str> = sink
        .primary_key
        .iter()
        .map(|at| sink.columns[*at].field.name().as_str())
        .collect();
    let key = names.join(", ");
    // The query's key in the sink's names, if all of it is inserted.
    let wanted = graph.facts(node).keys.first().map(|parts| {
        let names = parts
            .iter()
            .map(|part| sink.columns[part[0]].field.name().as_str());
        names.collect::<Vec<&str>>().join(", ")
    });
    let computed = computed_of_keys(sink, graph, node).filter(|_| wanted.is_none());
    let place = match &computed {
        Some((at, _)) => prepared.places[*at],
        None => prepared.place,
    };
    let sink = &sink.name;
    Err(match key_text {
        Some(of_query) => Problem::at(
            place,
            format!(
                "the PRIMARY KEY ({key}) of `{sink}` is not a key of this query, whose rows are \
                 one per ({of_query})"
            ),
        )
        .hint(match (wanted, computed) {
            _ if of_query.starts_with(GROUPING) => OF_SETS.to_owned(),
            (Some(wanted), _) => format!("declare PRIMARY KEY ({wanted}) on `{sink}`"),
            (None, Some((_, texts))) => {
                format!("write the same in the SELECT and in the GROUP BY: GROUP BY {texts}")
            }
            (None, None) => {
                format!("insert all of these columns and make them the PRIMARY KEY of `{sink}`")
            }
        }),
        None => Problem::at(
            place,
            format!(
                "`{sink}` has a PRIMARY KEY ({key}), but several rows of this query may share it"
            ),
        )
        .hint(match is_of_records(graph, node) {
            true => format!(
                "GROUP BY {key}; or keep the last row per key with 'upsert.by' = 'a_time_column' \
                 on `{sink}`; or drop the PRIMARY KEY to append"
            ),
            false => format!(
                "take one row of each: SELECT * FROM (SELECT .. AS {of_each}, ..) AS t QUALIFY \
                 row_number() OVER (PARTITION BY {key} ORDER BY ..) = 1",
                of_each = names[0]
            ),
        }),
    })
}
