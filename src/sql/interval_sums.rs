//! `sum` and `avg` of INTERVAL, as sums of what an INTERVAL is made of.
//!
//! ```text
//!   sum(x)  ──▶  interval_of(sum(months_of(x)), sum(days_of(x)), sum(microseconds_of(x)))
//!   avg(x)  ──▶  the same / count(x)
//! ```
//!
//! As in PostgreSQL, months, days and time are added up each by itself, and what is left of a month or
//! a day in an average becomes days or time. These are whole numbers: a sum is exact, and what was added
//! can be taken back.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and plans, those that add up are named"
)]

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DFSchema, Result};
use datafusion_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionDefinition};
use datafusion_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Window,
};

use super::catalog::Catalog;
use super::functions::aggregates::is_length;
use super::functions::intervals::INTERVAL;
use super::functions::{made, scaled};

/// Rewrites them in a plan that nothing has analysed yet.
pub fn rewrite(plan: LogicalPlan, catalog: &Catalog) -> Result<LogicalPlan> {
    let adding = Adding {
        sum: catalog.aggregate("sum"),
        count: catalog.aggregate("count"),
    };
    let rewritten = plan.transform_up_with_subqueries(|plan| match &plan {
        LogicalPlan::Aggregate(aggregate) => {
            let calls = aggregate.aggr_expr.as_slice();
            let Some(apart) = adding.all(calls, aggregate.input.schema())? else {
                return Ok(Transformed::no(plan));
            };
            let group = aggregate.group_expr.clone();
            let input = Arc::clone(&aggregate.input);
            let below = Aggregate::try_new(input, group, apart.calls.clone())?;
            apart.shown(LogicalPlan::Aggregate(below), &aggregate.schema)
        }
        LogicalPlan::Window(window) => {
            let calls = window.window_expr.as_slice();
            let Some(apart) = adding.all(calls, window.input.schema())? else {
                return Ok(Transformed::no(plan));
            };
            let below = Window::try_new(apart.calls.clone(), Arc::clone(&window.input))?;
            apart.shown(LogicalPlan::Window(below), &window.schema)
        }
        _ => Ok(Transformed::no(plan)),
    })?;
    Ok(rewritten.data)
}

/// The calls that are made instead.
struct Adding {
    sum: Arc<AggregateUDF>,
    count: Arc<AggregateUDF>,
}

/// Calls without those of intervals, and what is made of them.
struct Apart {
    calls: Vec<Expr>,
    results: Vec<Made>,
}

/// The result of a call, by the places of others.
enum Made {
    AsItIs(usize),
    Sum([usize; 3]),
    Average([usize; 3], usize),
}

impl Adding {
    /// `None` if no call adds up intervals.
    fn all(&self, calls: &[Expr], schema: &DFSchema) -> Result<Option<Apart>> {
        let mut apart = Apart {
            calls: Vec::new(),
            results: Vec::new(),
        };
        let mut found = false;
        for call in calls {
            let Some(added) = added(call, schema) else {
                let at = apart.place_of(call.clone());
                apart.results.push(Made::AsItIs(at));
                continue;
            };
            found = true;
            let parts = made::parts(&added.clone().cast_to(&INTERVAL, schema)?);
            let places = parts.map(|part| apart.place_of(with(call, &self.sum, part)));
            let made = match name_of(call) {
                Some("avg") => {
                    let count = apart.place_of(with(call, &self.count, added));
                    Made::Average(places, count)
                }
                _ => Made::Sum(places),
            };
            apart.results.push(made);
        }
        Ok(found.then_some(apart))
    }
}

impl Apart {
    /// The place of a call, which is made once.
    fn place_of(&mut self, call: Expr) -> usize {
        let known = self.calls.iter().position(|known| *known == call);
        known.unwrap_or_else(|| {
            self.calls.push(call);
            self.calls.len() - 1
        })
    }

    /// The columns of `schema`, over a plan that ends with the calls.
    fn shown(&self, below: LogicalPlan, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
        let columns = below.schema().columns();
        let (before, calls) = columns.split_at(columns.len() - self.calls.len());
        let column = |column: &Column| Expr::Column(column.clone());
        let parts = |places: &[usize; 3]| made::interval(places.map(|at| column(&calls[at])));
        let mut shown: Vec<Expr> = before.iter().map(column).collect();
        let names = schema.iter().skip(before.len());
        for (result, (qualifier, field)) in self.results.iter().zip(names) {
            let value = match result {
                Made::AsItIs(at) => {
                    shown.push(column(&calls[*at]));
                    continue;
                }
                Made::Sum(places) => parts(places),
                Made::Average(places, count) => {
                    scaled::divided(parts(places), column(&calls[*count]))
                }
            };
            shown.push(value.alias_qualified(qualifier.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(below).project(shown)?.build()?;
        Ok(Transformed::yes(plan))
    }
}

fn name_of(call: &Expr) -> Option<&str> {
    match call {
        Expr::Alias(alias) => name_of(&alias.expr),
        Expr::AggregateFunction(call) => Some(call.func.name()),
        Expr::WindowFunction(call) => Some(call.fun.name()),
        _ => None,
    }
}

/// What a call adds up, if that is intervals.
fn added(call: &Expr, schema: &DFSchema) -> Option<Expr> {
    let (distinct, arguments) = match call {
        Expr::Alias(alias) => return added(&alias.expr, schema),
        Expr::AggregateFunction(call) => (call.params.distinct, &call.params.args),
        Expr::WindowFunction(call) => (call.params.distinct, &call.params.args),
        _ => return None,
    };
    let adds = matches!(name_of(call), Some("sum" | "avg"));
    let [value] = arguments.as_slice() else {
        return None;
    };
    let of = value.get_type(schema).ok()?;
    (adds && !distinct && is_length(&of)).then(|| value.clone())
}

/// The same call of another function, of another value.
fn with(call: &Expr, function: &Arc<AggregateUDF>, value: Expr) -> Expr {
    match call {
        Expr::Alias(alias) => with(&alias.expr, function, value),
        Expr::AggregateFunction(call) => {
            let mut params = call.params.clone();
            params.args = vec![value];
            Expr::AggregateFunction(AggregateFunction {
                func: Arc::clone(function),
                params,
            })
        }
        Expr::WindowFunction(call) => {
            let mut params = call.params.clone();
            params.args = vec![value];
            let fun = WindowFunctionDefinition::AggregateUDF(Arc::clone(function));
            Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
        }
        other => other.clone(),
    }
}
