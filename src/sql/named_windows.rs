//! `OVER w` and `OVER (w ROWS ..)`, where `WINDOW w AS (..)` says what `w` is.
//!
//! DataFusion knows the first, in a SELECT list; of the second it would forget the `w`. So no name
//! is left behind here, wherever it stands: ORDER BY reads the windows of the SELECT before it.

use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, SetExpr, VisitMut,
    VisitorMut, WindowSpec, WindowType, visit_expressions_mut,
};

use super::problem::Problem;
use super::{normalise, place_of};

/// Writes every window of a query out.
pub fn write_out(query: &mut Query) -> Result<(), DataFusionError> {
    let visited = match VisitMut::visit(query, &mut Windows) {
        // A name that is left stands where no WINDOW reaches.
        ControlFlow::Continue(()) => resolve(query, &[]),
        ControlFlow::Break(problem) => Err(problem),
    };
    visited.map_err(|problem| (*problem).into())
}

struct Windows;

/// The windows that are known so far, by name.
type Known = Vec<(String, WindowSpec)>;
type Found<T> = Result<T, Box<Problem>>;

impl VisitorMut for Windows {
    type Break = Box<Problem>;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        broken(known_to(select).and_then(|known| resolve(select, &known)))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        match (query.body.as_ref(), &mut query.order_by) {
            (SetExpr::Select(select), Some(order)) => {
                broken(known_to(select).and_then(|known| resolve(order, &known)))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn broken(found: Found<()>) -> ControlFlow<Box<Problem>> {
    match found {
        Ok(()) => ControlFlow::Continue(()),
        Err(problem) => ControlFlow::Break(problem),
    }
}

/// The windows that a SELECT names.
fn known_to(select: &Select) -> Found<Known> {
    let mut known = Known::new();
    for NamedWindowDefinition(name, window) in &select.named_window {
        let window = match window {
            NamedWindowExpr::NamedWindow(other) => named(other, &known)?,
            NamedWindowExpr::WindowSpec(window) => whole(window, &known)?,
        };
        known.push((normalise(name), window));
    }
    Ok(known)
}

/// Writes the windows of a part of a query out.
fn resolve(part: &mut impl VisitMut, known: &[(String, WindowSpec)]) -> Found<()> {
    let visited = visit_expressions_mut(part, |expr| {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let window = match &call.over {
            None => return ControlFlow::Continue(()),
            Some(WindowType::NamedWindow(name)) => named(name, known),
            Some(WindowType::WindowSpec(window)) => whole(window, known),
        };
        match window {
            Ok(window) => {
                call.over = Some(WindowType::WindowSpec(window));
                ControlFlow::Continue(())
            }
            Err(problem) => ControlFlow::Break(problem),
        }
    });
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(problem) => Err(problem),
    }
}

fn named(name: &Ident, known: &[(String, WindowSpec)]) -> Found<WindowSpec> {
    let wanted = normalise(name);
    let found = known.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, window)| window.clone()).ok_or_else(|| {
        let message = format!("there is no window `{wanted}`");
        let hint = format!("add WINDOW {wanted} AS (PARTITION BY .. ORDER BY ..) behind WHERE");
        Box::new(Problem::at(place_of(name.span), message).hint(hint))
    })
}

/// A window with what it has of another one.
fn whole(window: &WindowSpec, known: &[(String, WindowSpec)]) -> Found<WindowSpec> {
    let Some(name) = &window.window_name else {
        return Ok(window.clone());
    };
    let base = named(name, known)?;
    let refuse = |what: &str| {
        let message = format!("the window `{name}` has {what} already");
        let problem = Problem::at(place_of(name.span), message);
        Err(Box::new(
            problem.hint("write the whole window in the brackets"),
        ))
    };
    if !window.partition_by.is_empty() {
        return refuse("its partition");
    }
    if !window.order_by.is_empty() && !base.order_by.is_empty() {
        return refuse("an order");
    }
    if base.window_frame.is_some() {
        return refuse("a frame");
    }
    Ok(WindowSpec {
        window_name: None,
        partition_by: base.partition_by,
        order_by: match window.order_by.is_empty() {
            true => base.order_by,
            false => window.order_by.clone(),
        },
        window_frame: window.window_frame.clone(),
    })
}
