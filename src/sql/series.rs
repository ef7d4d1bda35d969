//! Functions that yield rows, in FROM and in SELECT: lists, whose elements are the rows.
//!
//! | written | planned |
//! |---|---|
//! | `FROM t, LATERAL unnest(list) AS u` | `FROM t, UNNEST(list) AS u(u)` |
//! | `unnest(list) WITH ORDINALITY AS u(x, n)` | `LATERAL (SELECT z.c0 AS x, z.c1 AS n FROM UNNEST(numbered(list)) AS z) AS u` |
//! | `unnest(a, b) AS u(x, y)` | the same of `zipped(a, b)` |
//! | `regexp_matches(t, p, 'g') AS m(found)` | `UNNEST(regexp_all_matches(t, p, 'g')) AS m(found)` |
//! | `SELECT unnest(list) FROM t` | `SELECT r.c0 AS unnest FROM t, UNNEST(list) AS r(c0)` |
//!
//! In SELECT this holds where each row of FROM is one row of the result: without GROUP BY, aggregates
//! and functions OVER partitions.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of FROM and SELECT, functions that yield rows are named"
)]

use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::parser::Parser;

use super::dialect::TidemarkDialect;
use super::functions::captures::ALL_MATCHES;
use super::functions::function_of;
use super::functions::zipped::{NUMBERED, ZIPPED, field};
use super::grouped_windows::call_of;
use super::problem::Problem;
use super::{place_of, walk};

/// PostgreSQL's functions, and what yields their rows as a list; of `unnest` its arguments are lists.
const OF_ROWS: [(&str, Option<&str>); 5] = [
    ("unnest", None),
    ("regexp_matches", Some(ALL_MATCHES)),
    ("regexp_split_to_table", Some("regexp_split_to_array")),
    ("string_to_table", Some("string_to_array")),
    // In SELECT it is the list itself.
    ("generate_series", Some("generate_series")),
];

/// What the rows of functions in SELECT are called in FROM.
const ROWS: &str = "__rows";

/// The rows of a call in FROM as those of a list, if it is one.
pub fn rows_of(factor: &TableFactor) -> Option<TableFactor> {
    let (name, arguments, numbered, alias) = match factor {
        TableFactor::Function {
            name,
            args,
            with_ordinality,
            alias,
            ..
        } => (name.to_string(), args, *with_ordinality, alias),
        TableFactor::Table {
            name,
            args: Some(args),
            with_ordinality,
            alias,
            ..
        } => (name.to_string(), &args.args, *with_ordinality, alias),
        TableFactor::UNNEST {
            array_exprs,
            with_ordinality,
            alias,
            with_offset: false,
            ..
        } => {
            let lists = array_exprs.clone();
            return elements(lists, *with_ordinality, "unnest", alias.as_ref());
        }
        _ => return None,
    };
    let (name, lists) = lists(&name, arguments)?;
    elements(lists, numbered, name, alias.as_ref())
}

/// The lists whose elements a call of `name` yields as rows, if it does.
fn lists(name: &str, arguments: &[FunctionArg]) -> Option<(&'static str, Vec<Expr>)> {
    let mut known = OF_ROWS.iter();
    let (name, list) = known.find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    let arguments = arguments.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
        _ => None,
    });
    let arguments: Vec<Expr> = arguments.collect::<Option<_>>()?;
    let lists = match list {
        None => arguments,
        Some(list) => vec![call_of(list, arguments)],
    };
    Some((name, lists))
}

/// The elements of lists beside each other as rows.
fn elements(
    lists: Vec<Expr>,
    numbered: bool,
    function: &str,
    alias: Option<&TableAlias>,
) -> Option<TableFactor> {
    let table = alias.map_or_else(|| Ident::new(function), |alias| alias.name.clone());
    let is_one = lists.len() == 1;
    let default = |column: usize| match (column == lists.len(), is_one) {
        (true, _) => Ident::new("ordinality"),
        // The only column is called as the table is.
        (false, true) => table.clone(),
        (false, false) => Ident::new(function),
    };
    let given = |column: usize| {
        let alias = alias.and_then(|alias| alias.columns.get(column));
        alias.map_or_else(|| default(column), |column| column.name.clone())
    };
    let count = lists.len() + usize::from(numbered);
    if alias.is_some_and(|alias| alias.columns.len() > count) {
        return None;
    }
    let names = (0..count).map(given).collect();
    if is_one && !numbered {
        return Some(unnested(lists, named(table, names)));
    }
    let function = if numbered { NUMBERED } else { ZIPPED };
    let columns = (0..count).map(|at| format!("get_field(z, '{}')", field(at)));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let mut query = parsed(&format!("SELECT {columns} FROM UNNEST(z) AS z(z)"))?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    let [from] = select.from.as_mut_slice() else {
        return None;
    };
    let TableFactor::UNNEST { array_exprs, .. } = &mut from.relation else {
        return None;
    };
    *array_exprs = vec![call_of(function, lists)];
    Some(TableFactor::Derived {
        lateral: true,
        subquery: Box::new(query),
        alias: Some(named(table, names)),
        sample: None,
    })
}

fn parsed(sql: &str) -> Option<Query> {
    let dialect = TidemarkDialect::default();
    let parser = Parser::new(&dialect).try_with_sql(sql);
    let query = parser.and_then(|mut parser| parser.parse_query());
    query.ok().map(|query| *query)
}

fn unnested(lists: Vec<Expr>, alias: TableAlias) -> TableFactor {
    TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: lists,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

fn named(name: Ident, columns: Vec<Ident>) -> TableAlias {
    let columns = columns.into_iter().map(|name| TableAliasColumnDef {
        name,
        data_type: None,
    });
    TableAlias {
        explicit: true,
        name,
        columns: columns.collect(),
        at: None,
    }
}

/// Whether a function yields rows in FROM.
pub fn stands_in_from(name: &str) -> bool {
    OF_ROWS.iter().any(|(known, _)| name == *known)
}

/// Whether a function yields rows in SELECT; `generate_series` is a list there.
pub fn yields_rows(name: &str) -> bool {
    name != "generate_series" && stands_in_from(name)
}

/// Refuses the functions that yield rows where they are, but for `unnest`: DataFusion knows that in
/// some more places.
pub fn refuse_left(sql: &mut impl VisitMut) -> Result<(), DataFusionError> {
    let mut found = None;
    let _ = walk::expressions(sql, &mut |expr| {
        if let Expr::Function(call) = expr
            && let name = call.name.to_string().to_lowercase()
            && name != "unnest"
            && yields_rows(&name)
        {
            let message = format!("{name} yields rows, and cannot stand here");
            let hint = format!(
                "write FROM t CROSS JOIN LATERAL {name}(..) AS x(item), and go on with x.item"
            );
            let problem = Problem::at(place_of(call.name.span()), message).hint(hint);
            found.get_or_insert(problem);
        }
        ControlFlow::Continue(())
    });
    found.map_or(Ok(()), |problem| Err(problem.into()))
}

/// What a column of the rows is called that stand beside the columns of a stream.
fn own_field(at: usize) -> String {
    format!("__{}", field(at))
}

/// Moves the functions that yield rows from what is selected into FROM.
pub fn into_from(select: &mut Select) {
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
    };
    let is_on = matches!(select.distinct, Some(Distinct::On(_)));
    let is_chosen = select.having.is_some() || select.qualify.is_some();
    if is_grouped || is_on || is_chosen || select.from.is_empty() {
        return;
    }
    let mut moving = Moving {
        lists: Vec::new(),
        depth: 0,
        is_other: false,
    };
    let mut projection = select.projection.clone();
    for item in &mut projection {
        name_as_written(item);
        let _ = walk::rewrite(item, &mut moving);
    }
    if moving.is_other || moving.lists.is_empty() {
        return;
    }
    let names = |count: usize| (0..count).map(|at| Ident::new(own_field(at))).collect();
    let alias = named(Ident::new(ROWS), names(moving.lists.len()));
    let rows = elements(moving.lists, false, "unnest", Some(&alias));
    let (Some(relation), Some(projection)) = (rows, without_star(projection, &select.from)) else {
        return;
    };
    select.projection = projection;
    select.from.push(TableWithJoins {
        relation,
        joins: Vec::new(),
    });
}

/// A column is called as the function is.
fn name_as_written(item: &mut SelectItem) {
    if let SelectItem::UnnamedExpr(Expr::Function(call)) = item
        && let Some((name, _)) = of_rows(call)
    {
        let expr = Expr::Function(call.clone());
        let alias = Ident::new(name);
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
}

/// The lists of a call in SELECT, if it yields rows there.
fn of_rows(call: &Function) -> Option<(&'static str, Vec<Expr>)> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let found = lists(&call.name.to_string(), &list.args);
    found.filter(|(name, lists)| yields_rows(name) && lists.len() == 1)
}

/// `*` names the tables that were there before.
fn without_star(projection: Vec<SelectItem>, from: &[TableWithJoins]) -> Option<Vec<SelectItem>> {
    let mut items = Vec::new();
    for item in projection {
        let SelectItem::Wildcard(options) = &item else {
            items.push(item);
            continue;
        };
        for tables in from {
            let merges = tables.joins.iter().any(|join| merges(&join.join_operator));
            let joined = tables.joins.iter().map(|join| &join.relation);
            for table in std::iter::once(&tables.relation).chain(joined) {
                let name = ObjectName::from(vec![name_of(table).filter(|_| !merges)?]);
                let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                items.push(SelectItem::QualifiedWildcard(kind, options.clone()));
            }
        }
    }
    Some(items)
}

fn name_of(table: &TableFactor) -> Option<Ident> {
    let (own, alias) = match table {
        // A window without a name has none that could be written.
        TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } => (name.0.last(), alias),
        TableFactor::Table { alias, .. } => (None, alias),
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => (None, alias),
        _ => return None,
    };
    let alias = alias.as_ref().map(|alias| alias.name.clone());
    alias.or_else(|| own?.as_ident().cloned())
}

fn merges(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => matches!(
            constraint,
            JoinConstraint::Using(_) | JoinConstraint::Natural
        ),
        _ => false,
    }
}

/// Takes the lists out of what is selected.
struct Moving {
    lists: Vec<Expr>,
    /// In how many queries inside expressions the walk is.
    depth: usize,
    /// There is something whose rows are others than those of FROM.
    is_other: bool,
}

impl VisitorMut for Moving {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let name = call.name.to_string().to_lowercase();
        self.is_other |= call.over.is_some() || function_of(&name).is_some();
        if let Some((_, lists)) = of_rows(call) {
            let column = own_field(self.lists.len());
            for mut list in lists {
                // Rows of rows are not those of one list.
                self.is_other |= has_rows(&mut list);
                self.lists.push(list);
            }
            *expr = Expr::CompoundIdentifier(vec![Ident::new(ROWS), Ident::new(column)]);
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression holds a call that yields rows.
fn has_rows(sql: &mut impl VisitMut) -> bool {
    let mut found = false;
    let _ = walk::expressions(sql, &mut |expr| {
        found |= matches!(expr, Expr::Function(call) if of_rows(call).is_some());
        ControlFlow::Continue(())
    });
    found
}
