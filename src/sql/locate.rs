//! Which call of a query an error is about, where whoever found it knows the function's name only.
//!
//! DataFusion resolves functions without their places. `sum takes numbers` is about one of the
//! calls of `sum`: where there are several, it is the one without which the query has another
//! fault, or none.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Query, Spanned, Value};

use crate::plan::Place;

use super::problem::Problem;
use super::{place_of, walk};

/// The problem of `query` with the place of the call that it is about. `fault` says what is wrong
/// with a query.
pub fn at_call(
    problem: Problem,
    query: &Query,
    fault: impl Fn(Query) -> Option<Problem>,
) -> Problem {
    let Some((name, _)) = problem.message.split_once(" takes ") else {
        return problem;
    };
    if problem.place.is_some() {
        return problem;
    }
    let calls = calls(query, name);
    let is_it = |at: &usize| {
        let rest = fault(without(query, name, *at));
        rest.is_none_or(|rest| rest.message != problem.message)
    };
    let at = match calls.len() {
        0 => return problem,
        1 => 0,
        count => (0..count).find(is_it).unwrap_or(0),
    };
    problem.or_at(calls[at])
}

/// The places of the calls of a function, inner ones first.
fn calls(query: &Query, name: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let _ = walk::expressions(&mut query.clone(), &mut |expr| {
        if is_call(expr, name) {
            places.push(place_of(expr.span()));
        }
        ControlFlow::Continue(())
    });
    places
}

/// The query with NULL in the place of a call.
fn without(query: &Query, name: &str, at: usize) -> Query {
    let (mut query, mut seen) = (query.clone(), 0);
    let _ = walk::expressions(&mut query, &mut |expr| {
        if is_call(expr, name) {
            if seen == at {
                *expr = Expr::Value(Value::Null.into());
            }
            seen += 1;
        }
        ControlFlow::Continue(())
    });
    query
}

fn is_call(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case(name))
}
