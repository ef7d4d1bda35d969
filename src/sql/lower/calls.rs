//! The calls of a GROUP BY: what they read, in which order, and what is known of their results.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion_common::ScalarValue;
use datafusion_expr::Expr;
use datafusion_expr::expr::{AggregateFunction as Call, Sort};

use crate::plan::aggregate_types::result_type;
use crate::plan::{AggregateCall, AggregateFunction, Expression, SortKey};
use crate::sql::functions::{ORDER_DEPENDENT, function_of};
use crate::sql::graph::Sign;
use crate::sql::problem::Problem;

use super::expression::{Positional, unaliased};
use super::text::{text, texts};
use super::{Lowering, Result, Rows};

impl Lowering<'_> {
    /// One aggregate call. `expr` is over the columns of the input node.
    pub(super) fn call(
        &self,
        expr: &Expr,
        over: &Positional,
        rows: &Rows,
        is_whole: bool,
    ) -> Result<AggregateCall> {
        let Expr::AggregateFunction(call) = unaliased(expr) else {
            return Err(self.cannot(&format!("compute {}", text(expr))));
        };
        let Some(function) = function_of(call.func.name()) else {
            return Err(self.cannot(&format!("compute {}", call.func.name())));
        };
        let is_estimate = matches!(function, AggregateFunction::ApproxDistinct);
        if is_estimate && self.is_changing(rows) {
            let message = "approx_distinct cannot take rows back, and these keep changing";
            return Err(Problem::at(self.place, message).hint("write count(DISTINCT ..) instead"));
        }
        let params = &call.params;
        let mut arguments = Vec::new();
        // count(*) arrives as count(1).
        let counts_rows = matches!(function, AggregateFunction::Count)
            && matches!(params.args.as_slice(), [Expr::Literal(value, _)] if !value.is_null());
        if !counts_rows {
            for argument in &params.args {
                arguments.push(self.compile(argument, over)?.0);
            }
        }
        self.check_fraction(call, &function)?;
        let filter = match &params.filter {
            Some(filter) => Some(self.compile(filter, over)?.0),
            None => None,
        };
        let mut order_by = Vec::new();
        for key in &self.order(call, over, rows)? {
            order_by.push(SortKey {
                expression: self.compile(&key.expr, over)?.0,
                descending: !key.asc,
                nulls_first: key.nulls_first,
            });
        }
        let types: Vec<_> = arguments.iter().map(|a| a.data_type.clone()).collect();
        let data_type =
            result_type(&function, &types).map_err(|message| Problem::at(self.place, message))?;
        // Over all rows, there may be none.
        let each_row = !is_whole && takes_each(&arguments, filter.as_ref());
        let nullable = function.may_be_null(each_row);
        let text = call_text(call, counts_rows);
        let name = match expr {
            // An alias of DataFusion's own is the call once more, in its words.
            Expr::Alias(alias) if !alias.name.contains('(') => alias.name.clone(),
            _ => text.clone(),
        };
        Ok(AggregateCall {
            distinct: params.distinct,
            arguments,
            filter,
            order_by,
            output: Arc::new(Field::new(name, data_type, nullable)),
            text,
            function,
        })
    }

    /// The order of a call that depends on one: what it says, else the event time.
    fn order(&self, call: &Call, over: &Positional, rows: &Rows) -> Result<Vec<Sort>> {
        if !call.params.order_by.is_empty() || !ORDER_DEPENDENT.contains(&call.func.name()) {
            return Ok(call.params.order_by.clone());
        }
        // Distinct values are in their own order.
        if let Some(value) = call.params.args.first().filter(|_| collects_distinct(call)) {
            return Ok(vec![value.clone().sort(true, false)]);
        }
        match rows.time {
            Some(at) => Ok(vec![over.column(at).sort(true, false)]),
            None => {
                let name = call.func.name();
                Err(Problem::at(
                    self.place,
                    format!(
                        "the result of {name} depends on the order of its rows, and none is given"
                    ),
                )
                .hint(format!("write {name}(.. ORDER BY ..)")))
            }
        }
    }

    /// The fraction of a percentile is a constant between 0 and 1.
    fn check_fraction(&self, call: &Call, function: &AggregateFunction) -> Result<()> {
        let is_percentile = matches!(
            function,
            AggregateFunction::PercentileCont
                | AggregateFunction::PercentileDisc
                | AggregateFunction::ApproxPercentile
        );
        let Some(fraction) = call.params.args.get(1).filter(|_| is_percentile) else {
            return Ok(());
        };
        match fraction {
            Expr::Literal(ScalarValue::Float64(Some(f)), _) if (0.0..=1.0).contains(f) => Ok(()),
            other => Err(Problem::at(
                self.place,
                format!("`{}` is not a fraction between 0 and 1", text(other)),
            )
            .hint(format!(
                "write {}(0.5) WITHIN GROUP (ORDER BY x)",
                call.func.name()
            ))),
        }
    }
}

/// Whether a call takes a value of each row.
pub(super) fn takes_each(arguments: &[Expression], filter: Option<&Expression>) -> bool {
    filter.is_none() && arguments.iter().all(|argument| !argument.nullable)
}

/// The sign of a call's results, if it is known; `has_rows`: it is over one row at least.
pub(super) fn sign(call: &AggregateCall, has_rows: bool) -> Option<Sign> {
    let is_count = matches!(call.function, AggregateFunction::Count);
    let takes_each = takes_each(&call.arguments, call.filter.as_ref());
    match (call.function.counts(), is_count && has_rows && takes_each) {
        (true, true) => Some(Sign::Positive),
        (true, false) => Some(Sign::NotNegative),
        (false, _) => None,
    }
}

/// The condition on the rows of a call.
pub(super) fn filter_of(call: &Expr) -> Option<&Expr> {
    match unaliased(call) {
        Expr::AggregateFunction(call) => call.params.filter.as_deref(),
        _ => None,
    }
}

/// The arguments, the filter and the order of a call.
pub(super) fn read_by(call: &mut Expr) -> Vec<&mut Expr> {
    match call {
        Expr::Alias(alias) => read_by(&mut alias.expr),
        Expr::AggregateFunction(call) => {
            let params = &mut call.params;
            let filter = params.filter.iter_mut().map(|filter| &mut **filter);
            let order = params.order_by.iter_mut().map(|key| &mut key.expr);
            params.args.iter_mut().chain(filter).chain(order).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a call depends on an order and does not say which.
pub(super) fn needs_order(expr: &Expr) -> bool {
    matches!(unaliased(expr), Expr::AggregateFunction(call)
        if call.params.order_by.is_empty() && ORDER_DEPENDENT.contains(&call.func.name())
            && !collects_distinct(call))
}

/// Whether a call puts distinct values beside each other.
fn collects_distinct(call: &Call) -> bool {
    call.params.distinct && matches!(call.func.name(), "array_agg" | "string_agg")
}

/// How a call reads.
fn call_text(call: &Call, counts_rows: bool) -> String {
    let params = &call.params;
    let distinct = if params.distinct { "DISTINCT " } else { "" };
    let arguments = if counts_rows {
        "*".to_owned()
    } else {
        texts(&params.args)
    };
    let mut out = format!("{}({distinct}{arguments}", call.func.name());
    if !params.order_by.is_empty() {
        let keys: Vec<String> = params
            .order_by
            .iter()
            .map(|key| format!("{}{}", text(&key.expr), if key.asc { "" } else { " DESC" }))
            .collect();
        out += &format!(" ORDER BY {}", keys.join(", "));
    }
    out.push(')');
    if let Some(filter) = &params.filter {
        out += &format!(" FILTER (WHERE {})", text(filter));
    }
    out
}
