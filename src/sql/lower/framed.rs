//! One function OVER a partition: what it reads, its frame and its result.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and values, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use crate::plan::aggregate_types::result_type;
use crate::plan::{
    AggregateCall, AggregateFunction, Expression, Frame, FrameBound, FrameUnits, OverCall,
    OverFunction, RowOfFrame, SortKey,
};
use crate::sql::functions::{NUMBERS_OVER, VALUES_OVER, function_of};
use crate::sql::graph::Sign;
use crate::sql::problem::Problem;
use crate::sql::types::name_of as type_name;

use super::calls::{sign, takes_each};
use super::expression::is_constant;
use super::text::{text, texts};
use super::{Lowering, Positional, Result, name_of};

/// What a call reads of each row: its arguments, and its filter.
pub(super) fn read_of(call: &WindowFunction) -> Vec<&Expr> {
    let params = &call.params;
    if NUMBERS_OVER.contains(&call.fun.name()) {
        return Vec::new();
    }
    let mut reads: Vec<&Expr> = match is_value(call) {
        true => params.args.iter().take(1).collect(),
        false => params.args.iter().filter(|arg| !is_constant(arg)).collect(),
    };
    reads.extend(params.filter.as_deref());
    reads
}

/// Whether it reads one row.
fn is_value(call: &WindowFunction) -> bool {
    VALUES_OVER.contains(&call.fun.name())
}

impl Lowering<'_> {
    /// A call; `at` is where what it reads stands among the columns of `over`.
    pub(super) fn over_call(
        &self,
        call: &WindowFunction,
        name: &str,
        at: &[usize],
        (over, order): (&Positional, &[SortKey]),
    ) -> Result<OverCall> {
        let params = &call.params;
        if params.null_treatment.is_some() || params.distinct {
            return Err(self.cannot("compute DISTINCT or IGNORE NULLS with OVER (..)"));
        }
        let is_aggregate = !is_value(call) && !NUMBERS_OVER.contains(&call.fun.name());
        if params.filter.is_some() && !is_aggregate {
            return Err(self.cannot("compute FILTER of a function that is no aggregate"));
        }
        let column = |at: &usize| Ok(self.compile(&over.column(*at), over)?.0);
        let read: Vec<Expression> = at.iter().map(column).collect::<Result<_>>()?;
        let frame = self.frame(&params.window_frame, order)?;
        let text = call_text(call, is_aggregate || is_framed_value(call));
        let function = match is_aggregate {
            true => self.aggregate_over(call, read, frame, over)?,
            false => self.function_over(call, read.into_iter().next(), frame)?,
        };
        let (data_type, nullable) = result_of(&function);
        let name = name_of(name, &text);
        Ok(OverCall {
            output: Arc::new(Field::new(name, data_type, nullable)),
            function,
            text,
        })
    }

    /// What is no aggregate; `value` is what it reads of a row.
    fn function_over(
        &self,
        call: &WindowFunction,
        value: Option<Expression>,
        frame: Frame,
    ) -> Result<OverFunction> {
        let of_frame = |row, value: Option<Expression>| OverFunction::Value {
            row,
            value: value.expect("it has an argument"),
            frame,
        };
        let arguments = call.params.args.as_slice();
        Ok(match (call.fun.name(), arguments) {
            ("row_number", _) => OverFunction::RowNumber,
            ("rank", _) => OverFunction::Rank,
            ("dense_rank", _) => OverFunction::DenseRank,
            ("percent_rank", _) => OverFunction::PercentRank,
            ("cume_dist", _) => OverFunction::CumulativeShare,
            ("ntile", [parts]) => OverFunction::Ntile(self.positive(parts, "ntile(4)")?),
            ("first_value", [_]) => of_frame(RowOfFrame::First, value),
            ("last_value", [_]) => of_frame(RowOfFrame::Last, value),
            ("nth_value", [_, number]) => {
                let number = self.positive(number, "nth_value(x, 2)")?;
                of_frame(RowOfFrame::Nth(number), value)
            }
            (name @ ("lag" | "lead"), [_, distance @ ..]) => {
                let distance = match distance {
                    [] => 1,
                    [Expr::Literal(ScalarValue::Int64(Some(distance)), _)] => *distance,
                    _ => {
                        return Err(self
                            .cannot("compute lag or lead by a distance that varies")
                            .hint("write lag(x, 2) OVER (..)"));
                    }
                };
                OverFunction::Before {
                    distance: if name == "lag" { distance } else { -distance },
                    value: value.expect("it has an argument"),
                }
            }
            (other, _) => {
                return Err(self
                    .cannot(&format!("compute {other}({}) OVER (..)", texts(arguments)))
                    .hint("there are the aggregates, row_number, rank, dense_rank, percent_rank, cume_dist, \
                           ntile(n), lag, lead, first_value, last_value and nth_value(x, n)"));
            }
        })
    }

    fn positive(&self, number: &Expr, example: &str) -> Result<u64> {
        let value = match number {
            Expr::Literal(ScalarValue::Int64(Some(value)), _) => u64::try_from(*value).ok(),
            Expr::Literal(ScalarValue::UInt64(value), _) => *value,
            _ => None,
        };
        value.filter(|value| *value > 0).ok_or_else(|| {
            let message = format!("`{}` is not a number from 1 on", text(number));
            Problem::at(self.place, message).hint(format!("write {example}"))
        })
    }

    /// An aggregate of a frame; `read` is its arguments that are no constants, and its filter.
    fn aggregate_over(
        &self,
        call: &WindowFunction,
        read: Vec<Expression>,
        frame: Frame,
        over: &Positional,
    ) -> Result<OverFunction> {
        let (params, name) = (&call.params, call.fun.name());
        let known = match &call.fun {
            WindowFunctionDefinition::AggregateUDF(_) => function_of(name),
            WindowFunctionDefinition::WindowUDF(_) => None,
        };
        let Some(function) = known else {
            return Err(self.cannot(&format!("compute {name} OVER (..)")));
        };
        if matches!(function, AggregateFunction::ApproxDistinct) {
            return Err(self
                .cannot("compute approx_distinct OVER (..)")
                .hint("an estimate cannot let rows go: GROUP BY, and count(DISTINCT x)"));
        }
        let mut read = read.into_iter();
        let mut arguments = Vec::new();
        // count(*) arrives as count(1).
        let counts_rows =
            matches!(function, AggregateFunction::Count) && params.args.iter().all(is_constant);
        for argument in params.args.iter().filter(|_| !counts_rows) {
            arguments.push(match is_constant(argument) {
                true => self.compile(argument, over)?.0,
                false => read.next().expect("every column was read"),
            });
        }
        let types: Vec<DataType> = arguments.iter().map(|a| a.data_type.clone()).collect();
        let data_type =
            result_type(&function, &types).map_err(|message| Problem::at(self.place, message))?;
        let filter = params.filter.as_ref().and_then(|_| read.next());
        let each_row = frame.has_current_row() && takes_each(&arguments, filter.as_ref());
        let nullable = function.may_be_null(each_row);
        let text = call_text(call, false);
        Ok(OverFunction::Aggregate {
            call: Box::new(AggregateCall {
                distinct: false,
                order_by: Vec::new(),
                output: Arc::new(Field::new(text.clone(), data_type, nullable)),
                function,
                arguments,
                filter,
                text,
            }),
            frame,
        })
    }

    fn frame(&self, given: &WindowFrame, order: &[SortKey]) -> Result<Frame> {
        use WindowFrameBound as Bound;
        let ends_before = match (&given.start_bound, &given.end_bound) {
            (Bound::CurrentRow, Bound::Preceding(_)) => Some("CURRENT ROW"),
            (Bound::Following(_), Bound::Preceding(_) | Bound::CurrentRow) => Some("FOLLOWING"),
            _ => None,
        };
        if let Some(start) = ends_before {
            let message = format!("a frame that starts with {start} cannot end before it");
            return Err(Problem::at(self.place, message)
                .hint("write the earlier end first: ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"));
        }
        let bound = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => Ok(FrameBound::At(0)),
            WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value)
                if value.is_null() =>
            {
                Ok(FrameBound::Unbounded)
            }
            WindowFrameBound::Preceding(value) => {
                Ok(FrameBound::At(-self.distance(value, given.units, order)?))
            }
            WindowFrameBound::Following(value) => {
                Ok(FrameBound::At(self.distance(value, given.units, order)?))
            }
        };
        Ok(Frame {
            units: match given.units {
                WindowFrameUnits::Rows => FrameUnits::Rows,
                WindowFrameUnits::Range => FrameUnits::Range,
                WindowFrameUnits::Groups => FrameUnits::Groups,
            },
            start: bound(&given.start_bound)?,
            end: bound(&given.end_bound)?,
        })
    }

    /// A distance in what frames count in.
    fn distance(
        &self,
        value: &ScalarValue,
        units: WindowFrameUnits,
        order: &[SortKey],
    ) -> Result<i128> {
        const DAY_US: i128 = 86_400_000_000;
        let shown = text(&Expr::Literal(value.clone(), None));
        let refuse = |message: String, hint: &str| Err(Problem::at(self.place, message).hint(hint));
        let of = order.first().map(|key| &key.expression.data_type);
        let distance = match (units, of, value) {
            (
                WindowFrameUnits::Rows | WindowFrameUnits::Groups,
                _,
                ScalarValue::UInt64(Some(n)),
            ) => i128::from(*n),
            (
                WindowFrameUnits::Range,
                Some(DataType::Decimal128(_, scale)),
                ScalarValue::Decimal128(Some(n), _, given),
            ) if scale == given => *n,
            (WindowFrameUnits::Range, Some(of), whole) if of.is_integer() => {
                match whole.cast_to(&DataType::Int64) {
                    Ok(ScalarValue::Int64(Some(n))) => i128::from(n),
                    _ => {
                        return refuse(
                            format!("`{shown}` is no distance of a frame"),
                            "write RANGE BETWEEN 5 PRECEDING AND CURRENT ROW",
                        );
                    }
                }
            }
            (
                WindowFrameUnits::Range,
                Some(
                    DataType::Date32
                    | DataType::Timestamp(TimeUnit::Microsecond, _)
                    | DataType::Time64(TimeUnit::Microsecond),
                ),
                ScalarValue::IntervalMonthDayNano(Some(interval)),
            ) => {
                if interval.months != 0 || interval.nanoseconds % 1000 != 0 {
                    // A bare number counts as months, which nobody meant.
                    return refuse(
                        "a frame over times needs a length of days, hours, minutes or seconds"
                            .to_owned(),
                        "write RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW",
                    );
                }
                i128::from(interval.days) * DAY_US + i128::from(interval.nanoseconds / 1000)
            }
            (_, Some(of), _) => {
                return refuse(
                    format!("a frame cannot count {shown} in {}", type_name(of)),
                    "order by a whole number, a NUMERIC, a date or a time; or count ROWS",
                );
            }
            (_, None, _) => {
                return refuse(
                    format!("a frame of {shown} has no order to count in"),
                    "write OVER (PARTITION BY .. ORDER BY ..)",
                );
            }
        };
        if distance < 0 {
            return refuse(
                format!("the frame's distance {shown} is negative"),
                "write FOLLOWING for PRECEDING, or the other way round",
            );
        }
        Ok(distance)
    }
}

/// Whether the signs of the results of a call are known.
pub(super) fn sign_of(call: &OverCall) -> Option<Sign> {
    match &call.function {
        OverFunction::RowNumber
        | OverFunction::Rank
        | OverFunction::DenseRank
        | OverFunction::CumulativeShare
        | OverFunction::Ntile(_) => Some(Sign::Positive),
        OverFunction::PercentRank => Some(Sign::NotNegative),
        OverFunction::Before { .. } | OverFunction::Value { .. } => None,
        OverFunction::Aggregate { call, frame } => sign(call, frame.has_current_row()),
    }
}

/// Type, and whether it may be NULL.
fn result_of(function: &OverFunction) -> (DataType, bool) {
    match function {
        OverFunction::RowNumber
        | OverFunction::Rank
        | OverFunction::DenseRank
        | OverFunction::Ntile(_) => (DataType::UInt64, false),
        OverFunction::PercentRank | OverFunction::CumulativeShare => (DataType::Float64, false),
        OverFunction::Before { value, .. } => (value.data_type.clone(), true),
        OverFunction::Value { value, row, frame } => {
            let is_there = frame.has_current_row() && !matches!(row, RowOfFrame::Nth(_));
            (value.data_type.clone(), value.nullable || !is_there)
        }
        OverFunction::Aggregate { call, .. } => {
            (call.output.data_type().clone(), call.output.is_nullable())
        }
    }
}

fn is_framed_value(call: &WindowFunction) -> bool {
    is_value(call) && !matches!(call.fun.name(), "lag" | "lead")
}

/// How a call reads, with its frame if that is asked for and is not the one that it has anyway.
fn call_text(call: &WindowFunction, with_frame: bool) -> String {
    let (params, name) = (&call.params, call.fun.name());
    let is_rows = matches!(params.args.as_slice(), [only] if is_constant(only)) && name == "count";
    let mut out = match is_rows {
        true => "count(*)".to_owned(),
        false => format!("{name}({})", texts(&params.args)),
    };
    if let Some(filter) = &params.filter {
        out += &format!(" FILTER (WHERE {})", text(filter));
    }
    let frame = &params.window_frame;
    let is_usual = frame.start_bound.is_unbounded()
        && match frame.end_bound {
            WindowFrameBound::CurrentRow => frame.units == WindowFrameUnits::Range,
            WindowFrameBound::Following(_) => frame.end_bound.is_unbounded(),
            WindowFrameBound::Preceding(_) => false,
        };
    // Without an order, the usual frame is the whole partition.
    let is_usual = is_usual && (params.order_by.is_empty() || !frame.end_bound.is_unbounded());
    if with_frame && !is_usual {
        let bound = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => "CURRENT ROW".to_owned(),
            WindowFrameBound::Preceding(value) => format!("{} PRECEDING", amount(value)),
            WindowFrameBound::Following(value) => format!("{} FOLLOWING", amount(value)),
        };
        let (start, end) = (bound(&frame.start_bound), bound(&frame.end_bound));
        out += &format!(" {} BETWEEN {start} AND {end}", frame.units);
    }
    out
}

fn amount(value: &ScalarValue) -> String {
    match value.is_null() {
        true => "UNBOUNDED".to_owned(),
        false => text(&Expr::Literal(value.clone(), None)),
    }
}
