//! Windows that are written in GROUP BY, as other engines have them, moved to FROM.
//!
//! ```text
//!   SELECT window(ts, '1 minute') AS w, count(*) FROM t GROUP BY w              Spark
//!   SELECT tumble(interval '1 minute') AS w, count(*) FROM t GROUP BY w         Arroyo
//!   SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE), count(*) FROM t
//!   GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)                                    Flink, long ago
//!   SELECT k, count(*) FROM t GROUP BY session_window(ts, '1 minute'), k        Spark
//!
//!   SELECT .., count(*) FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
//! ```
//!
//! A session is partitioned by the other columns of GROUP BY.
//! The call itself becomes a STRUCT of `start` and `end`, `w.start` becomes `window_start`. What
//! does not have one of these shapes is left as it is, and refused later with a hint.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of SQL, the shapes above are named"
)]

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments,
    GroupByExpr, Ident, Query, Select, SelectItem, TableFactor, TableFunctionArgs, Value,
    VisitorMut,
};

use super::catalog::Catalog;
use super::normalise;
use super::walk;
use super::window::{PARTITION_BY, WINDOW_COLUMNS};

/// Moves the windows of every SELECT of the query.
pub fn rewrite(query: &mut Query, catalog: &Catalog) {
    let _ = walk::rewrite(query, &mut Selects { catalog });
}

struct Selects<'a> {
    catalog: &'a Catalog,
}

impl VisitorMut for Selects<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut spec = None;
        if matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if !groups.is_empty()) {
            let _ = walk::expressions(&mut select.projection, &mut |expr| find(expr, &mut spec));
            let _ = walk::expressions(&mut select.group_by, &mut |expr| find(expr, &mut spec));
        }
        if let Some(spec) = spec {
            self.rewrite(select, &spec);
        }
        ControlFlow::Continue(())
    }
}

/// A window as a call of a scalar function says it.
struct Spec {
    /// Of the function in FROM.
    function: &'static str,
    /// Arroyo leaves it to the table.
    time: Option<Expr>,
    intervals: Vec<Expr>,
}

fn find(expr: &Expr, spec: &mut Option<Spec>) -> ControlFlow<()> {
    match call(expr) {
        Some((found, _)) => {
            *spec = Some(found);
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    }
}

/// What a call stands for.
#[derive(Clone, Copy)]
enum Part {
    Window,
    Start,
    End,
}

fn call(expr: &Expr) -> Option<(Spec, Part)> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let arguments: Option<Vec<Expr>> = list.args.iter().map(plain).collect();
    let mut arguments = arguments?;
    let name = function.name.to_string().to_lowercase();
    let (name, part) = match name.strip_suffix("_start") {
        Some(name) => (name.to_owned(), Part::Start),
        None => match name.strip_suffix("_end") {
            Some(name) => (name.to_owned(), Part::End),
            None => (name, Part::Window),
        },
    };
    let (function, wanted) = match (name.as_str(), arguments.len()) {
        ("tumble", 1 | 2) => ("TUMBLE", 1),
        ("hop", 2 | 3) => ("HOP", 2),
        ("window", 2) => ("TUMBLE", 1),
        ("session", 1 | 2) | ("session_window", 2) => ("SESSION", 1),
        ("window", 3) => {
            // Spark gives the size first.
            arguments.swap(1, 2);
            ("HOP", 2)
        }
        _ => return None,
    };
    let intervals = arguments.split_off(arguments.len() - wanted);
    let spec = Spec {
        function,
        time: arguments.pop(),
        intervals: intervals.into_iter().map(interval).collect(),
    };
    Some((spec, part))
}

fn plain(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// Spark's `'1 minute'` is `INTERVAL '1 minute'`.
fn interval(expr: Expr) -> Expr {
    match &expr {
        Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
            Expr::Interval(ast::Interval {
                value: Box::new(expr),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            })
        }
        _ => expr,
    }
}

impl Selects<'_> {
    fn rewrite(&self, select: &mut Select, spec: &Spec) {
        let [from] = select.from.as_mut_slice() else {
            return;
        };
        let names = names(&select.projection);
        let partition = match spec.function {
            "SESSION" => partition(&select.group_by, &names),
            _ => Some(Vec::new()),
        };
        let Some(windowed) =
            partition.and_then(|partition| self.windowed(&from.relation, spec, partition))
        else {
            return;
        };
        from.relation = windowed;
        group(select, &names);
        let mut columns = |expr: &mut Expr| -> ControlFlow<()> {
            replace(expr, &names);
            ControlFlow::Continue(())
        };
        for item in &mut select.projection {
            // A call that is not named is called as in Spark.
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some((_, Part::Window)) = call(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::new("window"),
                };
            }
        }
        let _ = walk::expressions(&mut select.projection, &mut columns);
        let _ = walk::expressions(&mut select.having, &mut columns);
    }

    /// `TUMBLE(relation, time, ..)` in place of a relation.
    fn windowed(
        &self,
        relation: &TableFactor,
        spec: &Spec,
        partition: Vec<Expr>,
    ) -> Option<TableFactor> {
        let (first, alias, event_time) = match relation {
            TableFactor::Table {
                name,
                args: None,
                alias,
                ..
            } => {
                let [part] = name.0.as_slice() else {
                    return None;
                };
                let name = part.as_ident()?;
                let event_time = self.catalog.event_time(&normalise(name));
                (Expr::Identifier(name.clone()), alias, event_time)
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => (Expr::Subquery(subquery.clone()), alias, None),
            _ => return None,
        };
        let time = match (&spec.time, event_time) {
            (Some(time), _) => time.clone(),
            (None, Some(time)) => Expr::Identifier(Ident::with_quote('"', time)),
            (None, None) => return None,
        };
        let unnamed = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
        let by = partition.into_iter().map(|column| FunctionArg::Named {
            name: Ident::new(PARTITION_BY),
            arg: FunctionArgExpr::Expr(column),
            operator: FunctionArgOperator::RightArrow,
        });
        let rest = [time].into_iter().chain(spec.intervals.iter().cloned());
        let arguments = [unnamed(first)].into_iter().chain(by);
        Some(TableFactor::Table {
            name: ast::ObjectName::from(vec![Ident::new(spec.function)]),
            alias: alias.clone(),
            args: Some(TableFunctionArgs {
                args: arguments.chain(rest.map(unnamed)).collect(),
                settings: None,
            }),
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        })
    }
}

/// The names that the window has in this SELECT, and at which positions it stands.
struct Names {
    names: Vec<String>,
    positions: Vec<usize>,
}

fn names(items: &[SelectItem]) -> Names {
    let mut out = Names {
        names: vec!["window".to_owned()],
        positions: Vec::new(),
    };
    for (at, item) in items.iter().enumerate() {
        match item {
            SelectItem::ExprWithAlias { expr, alias } if is_window(expr) => {
                out.names.push(normalise(alias));
                out.positions.push(at + 1);
            }
            SelectItem::UnnamedExpr(expr) if is_window(expr) => out.positions.push(at + 1),
            _ => {}
        }
    }
    out
}

fn is_window(expr: &Expr) -> bool {
    call(expr).is_some()
}

impl Names {
    /// Whether an expression of GROUP BY is the window, by call, name or position.
    fn are_of(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Identifier(name) => self.names.contains(&normalise(name)),
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => number
                    .parse()
                    .is_ok_and(|at: usize| self.positions.contains(&at)),
                _ => false,
            },
            other => is_window(other),
        }
    }
}

/// The other columns of GROUP BY, unless some are no columns.
fn partition(group_by: &GroupByExpr, names: &Names) -> Option<Vec<Expr>> {
    let GroupByExpr::Expressions(groups, _) = group_by else {
        return None;
    };
    let others = groups.iter().filter(|expr| !names.are_of(expr));
    let columns = others.map(|expr| match expr {
        Expr::Identifier(_) => Some(expr.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().cloned().map(Expr::Identifier),
        _ => None,
    });
    columns.collect()
}

/// The window among the GROUP BY expressions becomes its columns.
fn group(select: &mut Select, names: &Names) {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else {
        return;
    };
    let before = groups.len();
    groups.retain(|expr| !names.are_of(expr));
    if groups.len() < before {
        groups.extend(WINDOW_COLUMNS.map(|name| Expr::Identifier(Ident::new(name))));
    }
}

fn replace(expr: &mut Expr, names: &Names) {
    let column = |at: usize| Expr::Identifier(Ident::new(WINDOW_COLUMNS[at]));
    if let Some((_, part)) = call(expr) {
        *expr = match part {
            Part::Start => column(0),
            Part::End => column(1),
            Part::Window => structure(column(0), column(1)),
        };
        return;
    }
    if let Expr::CompoundIdentifier(parts) = expr
        && let [name, field] = parts.as_slice()
        && names.names.contains(&normalise(name))
    {
        match normalise(field).as_str() {
            "start" => *expr = column(0),
            "end" => *expr = column(1),
            _ => {}
        }
    }
}

/// `named_struct('start', .., 'end', ..)`.
fn structure(start: Expr, end: Expr) -> Expr {
    let name = |name: &str| Expr::value(Value::SingleQuotedString(name.to_owned()));
    call_of("named_struct", [name("start"), start, name("end"), end])
}

/// A call of a function.
pub fn call_of(name: &str, arguments: impl IntoIterator<Item = Expr>) -> Expr {
    let arguments = arguments.into_iter();
    Expr::Function(Function {
        name: ast::ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments
                .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
                .collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
