//! What a pipeline cannot do, found in the syntax tree, where everything still has its place.
//!
//! DataFusion would drop some of it silently (`FOR SYSTEM_TIME AS OF`), and name most of it in
//! words that nobody typed.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of every SQL engine, what is not refused here is DataFusion's to judge"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, LimitClause,
    Query, SetExpr, Spanned, TableFactor, Value, Visit, Visitor,
};

use crate::plan::Place;

use super::catalog::Catalog;
use super::functions::{INSTEAD, NUMBERS_OVER, VALUES_OVER, VOLATILE};
use super::matching::NAVIGATIONS;
use super::problem::Problem;
use super::{normalise, place_of, series};

/// What was found in a query.
#[derive(Debug)]
pub struct Found<'a> {
    catalog: &'a Catalog,
    pub problems: Vec<Problem>,
    /// Where each table is named first.
    pub mentions: BTreeMap<String, Place>,
    /// The names in WITH.
    named: BTreeSet<String>,
    /// The window functions in FROM that are still to come by as expressions.
    windows: usize,
    /// The same of the queries that they are over.
    queries: usize,
    /// How many MATCH_RECOGNIZE are around.
    matches: usize,
    /// Whether this is a table's declaration.
    declares: bool,
}

/// Looks through a query.
pub fn of_query<'a>(query: &Query, catalog: &'a Catalog) -> Found<'a> {
    let mut found = Found::new(catalog);
    let _ = query.visit(&mut found);
    for (name, place) in &found.mentions {
        if !found.named.contains(name) && !catalog.contains(name) {
            found.problems.push(catalog.unknown(name).or_at(*place));
        }
    }
    found
}

/// Whether the order of a query says which row DISTINCT ON takes.
fn is_distinct_on(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Select(select)
        if matches!(select.distinct, Some(ast::Distinct::On(_))))
}

/// Looks through an expression of a table's declaration.
pub fn of_expression(expr: &Expr, catalog: &Catalog) -> Vec<Problem> {
    let mut found = Found {
        declares: true,
        ..Found::new(catalog)
    };
    let _ = expr.visit(&mut found);
    found.problems
}

/// Names that are called like functions and planned in another way.
const SYNTAX: &[&str] = &[
    "all",
    "unnest_outer",
    "map",
    "make_map",
    "date",
    "descriptor",
    "grouping",
];

impl<'a> Found<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            problems: Vec::new(),
            mentions: BTreeMap::new(),
            named: BTreeSet::new(),
            windows: 0,
            queries: 0,
            matches: 0,
            declares: false,
        }
    }

    fn refuse(&mut self, place: Place, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::at(place, message).hint(hint));
    }

    fn mention(&mut self, name: &Ident) {
        let place = place_of(name.span);
        self.mentions.entry(normalise(name)).or_insert(place);
    }

    /// The table that a window function in FROM is over.
    fn windowed(&mut self, arguments: &[FunctionArg]) {
        match arguments.first() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))) => {
                self.mention(name);
            }
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(_)))) => {
                self.queries += 1;
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &ast::Select) {
        let place = place_of(select.select_token.0.span);
        if select.top.is_some() {
            let message = "a pipeline cannot limit rows that never end";
            self.refuse(place, message, "leave TOP out");
        }
        if select.into.is_some() {
            let hint = "write INSERT INTO t SELECT ..";
            self.refuse(place, "SELECT INTO has no meaning here", hint);
        }
        if let GroupByExpr::All(_) = &select.group_by {
            let message = "a pipeline cannot compute GROUP BY ALL yet";
            self.refuse(place, message, "name the columns: GROUP BY a, b");
        }
    }

    fn function(&mut self, function: &ast::Function) {
        let place = place_of(function.name.span());
        let name = match function.name.0.as_slice() {
            [part] => part.as_ident().map(normalise).unwrap_or_default(),
            _ => function.name.to_string(),
        };
        if self.matches > 0 && NAVIGATIONS.contains(&name.as_str()) {
            return;
        }
        self.whole_rows(function, &name);
        let volatile = VOLATILE
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()));
        if let Some((_, hint)) = volatile {
            let message = format!(
                "{name} is not a function of the input: computed again, it gives another result"
            );
            self.refuse(place, message, hint);
        } else if function.over.is_some() {
            let known = [&NUMBERS_OVER[..], &VALUES_OVER].concat();
            if !known.contains(&name.as_str()) && !self.catalog.is_aggregate(&name) {
                let hint = format!("there are the aggregates, and {}", known.join(", "));
                let message = format!("a pipeline cannot compute {name} OVER (..) yet");
                self.refuse(place, message, &hint);
            }
        } else if matches!(name.as_str(), "tumble" | "hop" | "cumulate" | "session") {
            if self.windows > 0 {
                self.windows -= 1;
                return;
            }
            let usage = format!(
                "write FROM {}(table, time, INTERVAL ..)",
                name.to_uppercase()
            );
            self.refuse(place, format!("{name} stands in FROM"), &usage);
        } else if !self.catalog.has_function(&name)
            && !SYNTAX.contains(&name.as_str())
            && !series::yields_rows(&name)
        {
            let instead = INSTEAD
                .iter()
                .find(|(names, _)| names.contains(&name.as_str()));
            let hint = match instead {
                Some((_, hint)) => Some((*hint).to_owned()),
                None => self.catalog.nearest_function(&name),
            };
            let problem = Problem::at(place, format!("function `{name}` not found"));
            self.problems.push(problem.maybe_hint(hint));
        }
    }

    /// `count(t.*)`, which does not count the rows that an outer join makes up.
    fn whole_rows(&mut self, function: &ast::Function, name: &str) {
        let FunctionArguments::List(list) = &function.args else {
            return;
        };
        for argument in &list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(table)) = argument {
                let place = place_of(table.span());
                let message = format!("a pipeline cannot compute {name} of whole rows");
                let hint = "count a column that is NOT NULL, such as a key: count(t.id); \
                            or every row: count(*)";
                self.refuse(place, message, hint);
            }
        }
    }

    fn table_factor(&mut self, factor: &TableFactor) {
        let place = place_of(factor.span());
        match factor {
            TableFactor::Table {
                version: Some(_), ..
            } => self.refuse(
                place,
                "FOR SYSTEM_TIME AS OF stands behind a table that is joined",
                "write FROM a JOIN t FOR SYSTEM_TIME AS OF a.ts ON a.key = t.key",
            ),
            TableFactor::Table {
                sample: Some(_), ..
            } => self.refuse(
                place,
                "a sample is not a function of the input",
                "write a condition on a column, such as mod(id, 100) = 0",
            ),
            TableFactor::Table {
                name,
                args: Some(arguments),
                ..
            } => {
                let name = name.to_string().to_lowercase();
                let instead = INSTEAD
                    .iter()
                    .find(|(names, _)| names.contains(&name.as_str()));
                if let (Some((_, hint)), false) = (instead, self.catalog.has_function(&name)) {
                    self.refuse(place, format!("function `{name}` not found"), hint);
                }
                if !series::stands_in_from(&name) {
                    self.windowed(&arguments.args);
                }
            }
            TableFactor::Table { name, .. } => {
                if let [part] = name.0.as_slice()
                    && let Some(name) = part.as_ident()
                {
                    self.mention(name);
                }
            }
            TableFactor::TableFunction {
                expr: Expr::Function(function),
                ..
            } => {
                self.windows += 1;
                if let FunctionArguments::List(list) = &function.args {
                    self.windowed(&list.args);
                }
            }
            TableFactor::MatchRecognize { .. } => self.matches += 1,
            TableFactor::Pivot { table, .. } | TableFactor::Unpivot { table, .. } => self.refuse(
                place_of(table.span()),
                "a pipeline cannot compute PIVOT",
                "write one aggregate per column: count(*) FILTER (WHERE kind = 'a')",
            ),
            _ => {}
        }
    }

    fn body(&mut self, body: &SetExpr, place: Place) {
        if let SetExpr::Values(_) = body {
            self.refuse(
                place,
                "a pipeline cannot insert constant rows",
                "read FROM a table; rows of a file come with connector = 'file'",
            );
        }
    }
}

impl Visitor for Found<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let place = place_of(query.span());
        let known = |at: Place| if at.line > 0 { at } else { place };
        if let Some(with) = &query.with {
            for table in &with.cte_tables {
                self.named.insert(normalise(&table.alias.name));
            }
            if with.recursive {
                let message = "a pipeline cannot compute a recursive query yet";
                self.refuse(place_of(with.span()), message, "leave RECURSIVE out");
            }
        }
        let limit = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                let offset = offset.as_ref().map(|offset| &offset.value);
                limit.as_ref().or(offset).map(Spanned::span)
            }
            Some(LimitClause::OffsetCommaLimit { limit, .. }) => Some(limit.span()),
            None => query.fetch.as_ref().map(|_| query.span()),
        };
        if let (Some(order), None, false) = (&query.order_by, limit, is_distinct_on(&query.body)) {
            self.refuse(
                known(place_of(order.span())),
                "a pipeline cannot sort rows that never end",
                "leave ORDER BY out: a table has no order; the first rows are ORDER BY .. LIMIT 10",
            );
        }
        if let (None, Some(span)) = (&query.order_by, limit) {
            let message = "a pipeline cannot limit rows that never end";
            let hint = "leave LIMIT out, or say which rows: ORDER BY .. LIMIT";
            self.refuse(known(place_of(span)), message, hint);
        }
        self.body(&query.body, place);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.table_factor(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::MatchRecognize { .. } = factor {
            self.matches -= 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => self.refuse(
                place_of(value.span),
                "nobody fills in a placeholder here",
                "for a variable of the environment write '${NAME}', in quotes",
            ),
            Expr::Subquery(_) if self.queries > 0 => self.queries -= 1,
            Expr::Subquery(query) if self.declares || self.matches > 0 => self.refuse(
                place_of(query.span()),
                "a pipeline cannot compute a query inside this expression",
                "leave it out here, and ask in WHERE of an INSERT",
            ),
            Expr::InSubquery { .. } | Expr::Exists { .. } if self.declares || self.matches > 0 => {
                self.refuse(
                    place_of(expr.span()),
                    "a pipeline cannot compute a query inside this expression",
                    "leave it out here, and ask in WHERE of an INSERT",
                );
            }
            Expr::Collate { .. } => self.refuse(
                place_of(expr.span()),
                "a pipeline cannot compute COLLATE",
                "leave it out: text is compared by its bytes, as COLLATE \"C\" does",
            ),
            Expr::BinaryOp {
                op: ast::BinaryOperator::PGOverlap,
                ..
            } => self.refuse(
                place_of(expr.span()),
                "a pipeline cannot compute the operator `&&`",
                "of lists, write array_has_any(a, b)",
            ),
            // DataFusion takes the pattern for a regular expression, which gives another answer.
            Expr::SimilarTo { .. } => self.refuse(
                place_of(expr.span()),
                "a pipeline cannot compute SIMILAR TO",
                "write LIKE, or `~` with a regular expression",
            ),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }
                if matches!(right.as_ref(), Expr::Subquery(_)) =>
            {
                let message = "a pipeline cannot compare with a query yet";
                let hint = "join the table, or use IN (SELECT ..)";
                self.refuse(place_of(expr.span()), message, hint);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
