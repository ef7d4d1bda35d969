//! Joins of append streams whose times bound each other: which two times, and by how much.
//!
//! ```text
//!   a.at BETWEEN b.at - INTERVAL '1' MINUTE AND b.at   ──▶  a.at - b.at in [-60 s, 0]
//!   a.window_end = b.window_end                        ──▶  [0, 0]
//! ```
//!
//! Both times must be such that the watermark says how late a row may come with them: then it
//! also says when a row can match no more. Rows of a source that are late by themselves are
//! turned away below the join; those of windows are as late as their windows allow.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{NullEquality, ScalarValue};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Between, BinaryExpr, Expr, ExprSchemable, Join, Operator as Op};

use crate::plan::{Interval, JoinType, NodeId, Operator};

use super::Lowering;
use super::expression::{conjuncts, plain_column};
use super::join::Sides;

/// What a condition says of the difference of two times: `left - right`.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Columns of the logical inputs, in the order of the lowered sides.
    left: usize,
    right: usize,
    lower_us: Option<i64>,
    upper_us: Option<i64>,
    /// The parts of the condition that say so, by number.
    parts: Vec<usize>,
}

/// An interval that the watermark can let rows go by, and what the condition says besides.
pub(super) struct Found {
    pub interval: Interval,
    pub rest: Option<Expr>,
}

/// A time: a column of one of two inputs, and what is added to it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    is_left: bool,
    column: usize,
    plus_us: i64,
}

/// The pairs of times whose difference a join bounds from both sides, as far as its text says.
pub(super) fn bounds(join: &Join, is_swapped: bool) -> Vec<Bound> {
    if join.null_equality != NullEquality::NullEqualsNothing || join.on.is_empty() {
        return Vec::new();
    }
    let mut bounds = Vec::new();
    for (ours, theirs) in &join.on {
        compared(join, (ours, Op::Eq, theirs), None, &mut bounds);
    }
    let parts = join.filter.iter().flat_map(conjuncts);
    for (number, part) in parts.enumerate() {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                compared(join, (left, *op, right), Some(number), &mut bounds);
            }
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) => {
                // One half alone would leave the other one out of what remains.
                let mut halves = Vec::new();
                compared(join, (expr, Op::GtEq, low), Some(number), &mut halves);
                compared(join, (expr, Op::LtEq, high), Some(number), &mut halves);
                if halves.len() == 1 && halves[0].parts.len() == 2 {
                    halves.into_iter().for_each(|half| add(half, &mut bounds));
                }
            }
            _ => {}
        }
    }
    bounds.retain(|bound| bound.lower_us.is_some() && bound.upper_us.is_some());
    if is_swapped {
        for bound in &mut bounds {
            (bound.left, bound.right) = (bound.right, bound.left);
            let negated = |us: Option<i64>| us.map(i64::saturating_neg);
            (bound.lower_us, bound.upper_us) = (negated(bound.upper_us), negated(bound.lower_us));
        }
    }
    bounds
}

/// Adds what a comparison says of two times, if it says anything.
fn compared(
    join: &Join,
    (one, op, other): (&Expr, Op, &Expr),
    number: Option<usize>,
    bounds: &mut Vec<Bound>,
) {
    let (Some(one), Some(other)) = (moment(one, join), moment(other, join)) else {
        return;
    };
    let (left, op, right) = match (one.is_left, other.is_left) {
        (true, false) => (one, op, other),
        (false, true) => match op.swap() {
            Some(op) => (other, op, one),
            None => return,
        },
        (true, true) | (false, false) => return,
    };
    let Some(difference) = right.plus_us.checked_sub(left.plus_us) else {
        return;
    };
    let (lower_us, upper_us) = match op {
        Op::Eq => (Some(difference), Some(difference)),
        Op::GtEq => (Some(difference), None),
        Op::Gt => (difference.checked_add(1), None),
        Op::LtEq => (None, Some(difference)),
        Op::Lt => (None, difference.checked_sub(1)),
        _ => return,
    };
    if lower_us.is_none() && upper_us.is_none() {
        return;
    }
    let bound = Bound {
        left: left.column,
        right: right.column,
        lower_us,
        upper_us,
        parts: number.into_iter().collect(),
    };
    add(bound, bounds);
}

/// Puts together what is said of the same two times.
fn add(bound: Bound, bounds: &mut Vec<Bound>) {
    let same = |known: &&mut Bound| (known.left, known.right) == (bound.left, bound.right);
    let Some(known) = bounds.iter_mut().find(same) else {
        return bounds.push(bound);
    };
    // None is less than any number.
    known.lower_us = known.lower_us.max(bound.lower_us);
    let uppers = known.upper_us.into_iter().chain(bound.upper_us);
    known.upper_us = uppers.min();
    known.parts.extend(bound.parts);
}

/// A column of microseconds, or one to which a constant is added.
fn moment(expr: &Expr, join: &Join) -> Option<Moment> {
    match expr {
        Expr::Alias(alias) => moment(&alias.expr, join),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (time, constant) = match (&**left, &**right, op) {
                (time, Expr::Literal(constant, _), Op::Plus | Op::Minus) => (time, constant),
                (Expr::Literal(constant, _), time, Op::Plus) => (time, constant),
                _ => return None,
            };
            let time = moment(time, join)?;
            let us = length_us(constant, expr, join)?;
            let plus_us = match op {
                Op::Minus => time.plus_us.checked_sub(us)?,
                _ => time.plus_us.checked_add(us)?,
            };
            Some(Moment { plus_us, ..time })
        }
        Expr::Column(_) => {
            let of_left = plain_column(expr, join.left.schema());
            let (is_left, schema) = match of_left {
                Some(_) => (true, join.left.schema()),
                None => (false, join.right.schema()),
            };
            let column = of_left.or_else(|| plain_column(expr, schema))?;
            let is_time = matches!(
                schema.field(column).data_type(),
                DataType::Timestamp(TimeUnit::Microsecond, _)
            );
            is_time.then_some(Moment {
                is_left,
                column,
                plus_us: 0,
            })
        }
        _ => None,
    }
}

/// A constant length of time, where it is the same at any time: a month is not, nor is a day where
/// clocks are changed.
fn length_us(constant: &ScalarValue, sum: &Expr, join: &Join) -> Option<i64> {
    const DAY_US: i64 = 86_400_000_000;
    let (days, nanoseconds) = match constant {
        ScalarValue::IntervalMonthDayNano(Some(length)) if length.months == 0 => {
            (length.days, length.nanoseconds)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => return Some(*us),
        _ => return None,
    };
    let schemas = [join.left.schema(), join.right.schema()];
    let data_type = schemas.iter().find_map(|schema| sum.get_type(*schema).ok());
    let zone = match data_type? {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => zone,
        _ => return None,
    };
    let is_even = zone.is_none_or(|zone| ["UTC", "+00:00", "Z"].contains(&&*zone));
    if (days != 0 && !is_even) || nanoseconds % 1000 != 0 {
        return None;
    }
    let of_days = i64::from(days).checked_mul(DAY_US)?;
    of_days.checked_add(nanoseconds / 1000)
}

impl Lowering<'_> {
    /// The two times that rows are let go by: those by which the fewest are held.
    pub(super) fn interval(&self, join: &Join, sides: &Sides, bounds: &[Bound]) -> Option<Found> {
        let nodes = [sides.left.node, sides.right.node];
        if nodes.iter().any(|node| self.graph.nodes[*node].changing) {
            return None;
        }
        let found = bounds.iter().filter_map(|bound| {
            let times = [
                sides.left.columns[bound.left],
                sides.right.columns[bound.right],
            ];
            let behind_us = [
                self.behind_us(nodes[0], times[0])?,
                self.behind_us(nodes[1], times[1])?,
            ];
            let interval = Interval {
                times,
                lower_us: bound.lower_us?,
                upper_us: bound.upper_us?,
                behind_us,
            };
            Some((interval, bound))
        });
        let held = |interval: &Interval| interval.held_us().map(i128::from).iter().sum::<i128>();
        let (interval, bound) = found.min_by_key(|(interval, _)| held(interval))?;
        let parts = join.filter.iter().flat_map(conjuncts).enumerate();
        let rest = parts.filter(|(number, _)| !bound.parts.contains(number));
        Some(Found {
            interval,
            rest: conjunction(rest.map(|(_, part)| part.clone())),
        })
    }

    /// How far before the watermark a row may come with the time in a column; for rows of a
    /// source, once those that are late are turned away.
    pub(super) fn behind_us(&self, node: NodeId, column: usize) -> Option<i64> {
        let facts = self.graph.facts(node);
        match facts.event_time[column] {
            true => (!self.is_behind_state(node)).then_some(self.lateness_us),
            false => facts
                .lag(column)
                .or_else(|| facts.windows.get(&column).copied()),
        }
    }

    pub(super) fn is_behind_state(&self, node: NodeId) -> bool {
        let operator = &self.graph.nodes[node].operator;
        let mut inputs = operator.inputs().into_iter();
        operator.is_stateful() || inputs.any(|input| self.is_behind_state(input))
    }

    /// The rows of a side that are not late by themselves, if it is a source's event time that
    /// they are joined by.
    pub(super) fn on_time(&mut self, input: NodeId, time: usize) -> NodeId {
        if self.graph.facts(input).event_time[time] {
            self.only_on_time(input, time)
        } else {
            input
        }
    }

    /// The rows that have a time and are not late by themselves.
    pub(super) fn only_on_time(&mut self, input: NodeId, time: usize) -> NodeId {
        let mut facts = self.graph.facts(input).clone();
        facts.not_null[time] = true;
        let text = format!("on time {input} by {time}");
        let fields = self.graph.fields(input);
        let operator = Operator::OnTime { input, time };
        self.graph.add(text, operator, fields, facts, self.place)
    }

    /// How far behind the watermark rows come out, by the times that are never NULL in them.
    pub(super) fn lags(
        &self,
        sides: &Sides,
        kind: JoinType,
        interval: &Interval,
    ) -> impl Iterator<Item = (usize, i64)> + use<> {
        let width = self.graph.fields(sides.left.node).len();
        let (of_left, of_right) = match kind {
            JoinType::Inner => (true, true),
            JoinType::Left | JoinType::Semi | JoinType::Anti => (true, false),
            JoinType::Right => (false, true),
            JoinType::Full => (false, false),
        };
        let [left_lag, right_lag] = interval.lag_us();
        let mut lags = Vec::new();
        // Of two equal times, one came just now: neither is further behind than they come.
        for &(l, r) in sides.keys.iter().filter(|_| kind == JoinType::Inner) {
            let left = self.behind_us(sides.left.node, l);
            let right = self.behind_us(sides.right.node, r);
            if let (Some(left), Some(right)) = (left, right) {
                lags.extend([(l, left.max(right)), (width + r, left.max(right))]);
            }
        }
        let [left, right] = interval.times;
        lags.extend(of_left.then_some((left, left_lag)));
        lags.extend(of_right.then_some((width + right, right_lag)));
        lags.into_iter()
    }
}
