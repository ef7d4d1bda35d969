//! Functions OVER a partition, and ORDER BY .. LIMIT, which is a row number over all rows.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion_expr::{
    BinaryExpr, Expr, Limit, LogicalPlan, Operator as Op, Projection, Sort as SortPlan, Window,
    WindowFrameBound, WindowFrameUnits,
};

use crate::plan::{Operator, OverCall, OverFunction, SortKey};
use crate::sql::graph::Facts;
use crate::sql::problem::Problem;

use super::expression::{conjuncts, plain_column};
use super::framed::{read_of, sign_of};
use super::text::text;
use super::{Ask, Finality, Lowering, Positional, Result, Rows};

impl Lowering<'_> {
    /// Functions over partitions in an order.
    pub(super) fn over(&mut self, window: &Window, ask: Ask) -> Result<Rows> {
        let wanted = match ask.finality {
            Some(Finality::Latest) | None => Wanted::Current,
            Some(_) => Wanted::Final,
        };
        let OneSelect {
            input,
            calls,
            columns: shown,
        } = match wanted {
            // What DataFusion drops between two of them need not be held.
            Wanted::Current => OneSelect::of(&window.input).with(window),
            Wanted::Final => one_select(window),
        };
        let width = input.schema().fields().len();
        let named = calls.into_iter().map(|expr| {
            let name = expr.schema_name().to_string();
            Ok((self.call_over(expr)?, name))
        });
        let calls: Vec<Named<'_>> = named.collect::<Result<_>>()?;
        let what = format!("{} OVER (..)", calls[0].0.fun.name());
        let mut rows = self.input_of_over(input, ask, wanted, &what)?;
        let bounded = ask.first.and_then(|(column, most)| {
            let call = shown[column].checked_sub(width)?;
            let counts = matches!(calls[call].0.fun.name(), "row_number" | "rank");
            counts.then_some((call, most))
        });
        let mut places = vec![0; calls.len()];
        let mut waiting = None;
        let groups = match wanted {
            Wanted::Current => groups(&calls, bounded.map(|(call, _)| call)),
            Wanted::Final => waiting_last(groups(&calls, None), &calls),
        };
        for group in groups {
            let bounded = bounded.filter(|(call, _)| group.contains(call));
            let schema = input.schema();
            let computed = self.over_group(rows, schema, &calls, &group)?;
            rows = match ask.finality.filter(|_| wanted == Wanted::Final) {
                None => {
                    // A bound ends a partition early, unless something looks beyond it.
                    let looks_ahead = |call: &OverCall| call.function.frame().looks_ahead();
                    let first = bounded.filter(|_| !computed.calls.iter().any(looks_ahead));
                    self.add_over(computed, first.map(|(_, most)| most))
                }
                Some(finality) => {
                    let refused = match waiting {
                        Some(other) => self.two_wait(&calls[other], &calls[group[0]]),
                        None => self.over_is_not_final(finality, &what),
                    };
                    let waits = group.iter().find(|call| waits_for_rows(calls[**call].0));
                    waiting = waiting.or(waits.copied());
                    self.add_running(computed, refused)?
                }
            };
            let start = self.graph.fields(rows.node).len() - group.len();
            for (at, call) in group.iter().enumerate() {
                places[*call] = start + at;
            }
        }
        let all: Vec<usize> = rows.columns.iter().copied().chain(places).collect();
        let columns = shown.into_iter().map(|at| all[at]).collect();
        Ok(Rows { columns, ..rows })
    }

    /// Refuses two functions whose rows wait for later ones over different windows: when those of
    /// the first come, nothing says how late that is.
    fn two_wait(&self, first: &Named<'_>, second: &Named<'_>) -> Problem {
        let [first, second] = [first, second].map(|(call, _)| call.fun.name());
        Problem::at(
            self.place,
            format!(
                "{first} OVER (..) waits for later rows, and behind it {second} OVER (..) has no \
                 event time to go by"
            ),
        )
        .hint(format!(
            "give both the same PARTITION BY and ORDER BY, or declare a PRIMARY KEY on `{}`",
            self.sink
        ))
    }

    /// The calls of a group, which have one partition and order: a node whose last columns they
    /// are.
    fn over_group(
        &mut self,
        rows: Rows,
        schema: &DFSchema,
        calls: &[Named<'_>],
        group: &[usize],
    ) -> Result<Computed> {
        let params = &calls[group[0]].0.params;
        let order_by = order_of(params);
        let mut reads: Vec<&Expr> = params.partition_by.iter().collect();
        reads.extend(order_by.iter().map(|key| &key.expr));
        reads.extend(group.iter().flat_map(|call| read_of(calls[*call].0)));
        let (rows, at) = self.read_by_over(rows, schema, &reads)?;
        let over = self.positional(&rows)?;
        let (partition, at) = at.split_at(params.partition_by.len());
        let (ordered, mut values) = at.split_at(order_by.len());
        let order = self.sort_keys(&order_by, ordered, &over)?;
        let mut computed = Vec::new();
        for call in group {
            let (call, name) = &calls[*call];
            let (own, others) = values.split_at(read_of(call).len());
            values = others;
            computed.push(self.over_call(call, name, own, (&over, &order))?);
        }
        Ok(Computed {
            partition: partition.to_vec(),
            order_at: ordered.first().copied(),
            calls: computed,
            order,
            rows,
        })
    }

    /// The first rows in an order, or all but those.
    pub(super) fn sorted(&mut self, sort: &SortPlan, skip: u64, ask: Ask) -> Result<Rows> {
        if sort.fetch.is_none() && skip == 0 {
            return Err(self
                .cannot("sort rows that never end")
                .hint("leave ORDER BY out: a table has no order; or add LIMIT"));
        }
        let rows = self.input_of_over(&sort.input, ask, Wanted::Current, "ORDER BY .. LIMIT")?;
        let reads: Vec<&Expr> = sort.expr.iter().map(|key| &key.expr).collect();
        let (rows, ordered) = self.read_by_over(rows, sort.input.schema(), &reads)?;
        let over = self.positional(&rows)?;
        let order = self.sort_keys(&sort.expr, &ordered, &over)?;
        let number = OverCall {
            function: OverFunction::RowNumber,
            output: Arc::new(Field::new("row_number", DataType::UInt64, false)),
            text: "row_number".to_owned(),
        };
        let at = self.graph.fields(rows.node).len();
        let first = sort.fetch.map(|fetch| fetch as u64);
        let computed = Computed {
            partition: Vec::new(),
            order_at: ordered.first().copied(),
            calls: vec![number],
            order,
            rows,
        };
        let rows = self.add_over(computed, first);
        if skip == 0 {
            return Ok(rows);
        }
        let over = self.positional(&rows)?;
        let skipped = Expr::Literal(ScalarValue::UInt64(Some(skip)), None);
        let shown = over.column(at).gt(skipped);
        let node = self.keep_if(rows.node, &shown, &over)?;
        Ok(Rows { node, ..rows })
    }

    /// LIMIT and OFFSET, which mean something of sorted rows.
    pub(super) fn limit(&mut self, limit: &Limit, ask: Ask) -> Result<Rows> {
        let number = |expr: &Option<Box<Expr>>| match expr.as_deref() {
            None => Some(0),
            // LIMIT NULL is no limit.
            Some(Expr::Literal(ScalarValue::Int64(None), _)) => Some(0),
            Some(Expr::Literal(ScalarValue::Int64(Some(number)), _)) => u64::try_from(*number).ok(),
            Some(_) => None,
        };
        let (Some(skip), Some(_)) = (number(&limit.skip), number(&limit.fetch)) else {
            return Err(self
                .cannot("limit rows by anything but a number")
                .hint("write LIMIT 10"));
        };
        self.sorted_below(&limit.input, skip, ask)
    }

    fn sorted_below(&mut self, plan: &LogicalPlan, skip: u64, ask: Ask) -> Result<Rows> {
        match plan {
            LogicalPlan::Sort(sort) => self.sorted(sort, skip, ask),
            LogicalPlan::SubqueryAlias(alias) => self.sorted_below(&alias.input, skip, ask),
            LogicalPlan::Projection(projection) => {
                let rows = self.sorted_below(&projection.input, skip, ask)?;
                let schema = projection.input.schema();
                self.project(rows, schema, &projection.expr, &projection.schema)
            }
            _ => Err(self
                .cannot("limit rows that never end")
                .hint("leave LIMIT out, or say which rows: ORDER BY .. LIMIT")),
        }
    }

    fn input_of_over(
        &mut self,
        plan: &LogicalPlan,
        ask: Ask,
        wanted: Wanted,
        what: &str,
    ) -> Result<Rows> {
        let finality = ask.finality.filter(|_| wanted == Wanted::Final);
        if let (Some(asked), None) = (ask.finality, finality) {
            return Err(self.over_is_not_final(asked, what));
        }
        let below = Ask {
            assign: ask.assign,
            ..Ask::of_rows(finality)
        };
        let rows = self.rows(plan, below)?;
        let rows = Rows {
            window: None,
            time: None,
            ..rows
        };
        self.narrow(rows)
    }

    fn over_is_not_final(&self, finality: Finality, what: &str) -> Problem {
        let sink = self.sink;
        let keyed = format!("declare a PRIMARY KEY on `{sink}` to keep it current");
        match finality {
            Finality::AppendOnly => Problem::at(
                self.place,
                format!(
                    "`{sink}` has no PRIMARY KEY, so its rows are final; those of {what} are not: \
                     a row that comes later moves them"
                ),
            )
            .hint(match what.ends_with("OVER (..)") {
                false => keyed,
                true => format!(
                    "{keyed}; or let them be final: OVER (.. ORDER BY the WATERMARK FOR column), \
                     with no frame beyond CURRENT ROW"
                ),
            }),
            Finality::Asked => Problem::at(
                self.place,
                format!("EMIT ON WINDOW CLOSE asks for final rows, and {what} has none"),
            )
            .hint("leave EMIT ON WINDOW CLOSE out"),
            Finality::Latest => Problem::at(
                self.place,
                format!("'upsert.by' is for rows of a stream, and {what} makes others"),
            )
            .hint("leave 'upsert.by' out, and keep one row: row_number() .. = 1"),
            Finality::Above(above) => Problem::at(
                self.place,
                format!("a pipeline cannot compute {above} over {what}: its rows keep changing"),
            )
            .hint("window and aggregate the rows first"),
        }
    }

    fn call_over<'e>(&self, expr: &'e Expr) -> Result<&'e WindowFunction> {
        match expr {
            Expr::Alias(alias) => self.call_over(&alias.expr),
            Expr::WindowFunction(call) => Ok(call),
            other => Err(self.cannot(&format!("compute {}", text(other)))),
        }
    }

    /// The same rows with what is read of each among the columns: a row on which that fails is
    /// left out there, as anywhere else.
    fn read_by_over(
        &mut self,
        rows: Rows,
        schema: &DFSchema,
        reads: &[&Expr],
    ) -> Result<(Rows, Vec<usize>)> {
        let over = self.positional(&rows)?;
        let reads: Vec<Expr> = reads
            .iter()
            .map(|expr| self.resolve(expr, schema, &rows, &over))
            .collect::<Result<_>>()?;
        self.as_columns(rows, &over, reads)
    }

    /// An order by columns of `over`.
    fn sort_keys(&self, order: &[Sort], at: &[usize], over: &Positional) -> Result<Vec<SortKey>> {
        let keys = order.iter().zip(at).map(|(key, at)| {
            Ok(SortKey {
                expression: self.compile(&over.column(*at), over)?.0,
                descending: !key.asc,
                nulls_first: key.nulls_first,
            })
        });
        keys.collect()
    }

    fn add_over(&mut self, computed: Computed, first: Option<u64>) -> Rows {
        let (fields, mut facts) = self.of_over(&computed);
        let Computed {
            rows,
            partition,
            order,
            calls,
            ..
        } = computed;
        let text = format!(
            "over {} {partition:?} {order:?} {calls:?} {first:?}",
            rows.node
        );
        let is_row_number = matches!(calls[0].function, OverFunction::RowNumber);
        if first == Some(1) && is_row_number {
            let of_partition = facts.parts(&partition);
            facts.keys.insert(0, of_partition);
        }
        let operator = Operator::Over {
            input: rows.node,
            partition,
            order,
            calls,
            first,
        };
        Rows {
            node: self.graph.add(text, operator, fields, facts, self.place),
            ..rows
        }
    }

    /// The columns of the rows with those of the calls, and what is known of them.
    pub(super) fn of_over(&self, computed: &Computed) -> (Vec<FieldRef>, Facts) {
        let node = computed.rows.node;
        let mut fields = self.graph.fields(node);
        let mut facts = self.graph.facts(node).clone();
        facts.event_time.iter_mut().for_each(|is| *is = false);
        let numbers = fields.len();
        for call in &computed.calls {
            fields.push(Arc::clone(&call.output));
            facts.not_null.push(!call.output.is_nullable());
        }
        facts.event_time.resize(fields.len(), false);
        let signs = computed.calls.iter().enumerate();
        let signs = signs.filter_map(|(at, call)| Some((numbers + at, sign_of(call)?)));
        facts.signs.extend(signs);
        let is_row_number = |call: &OverCall| matches!(call.function, OverFunction::RowNumber);
        if let Some(at) = computed.calls.iter().position(is_row_number) {
            let mut key = facts.parts(&computed.partition);
            key.push(vec![numbers + at]);
            facts.keys.insert(0, key);
        }
        (fields, facts)
    }
}

/// Whether rows are to be current, or final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Current,
    Final,
}

/// Calls of one partition and order, over columns of rows.
pub(super) struct Computed {
    pub rows: Rows,
    pub partition: Vec<usize>,
    pub order: Vec<SortKey>,
    /// The column that the order is by first.
    pub order_at: Option<usize>,
    pub calls: Vec<OverCall>,
}

/// A call, and what DataFusion calls it.
type Named<'a> = (&'a WindowFunction, String);

/// The order of a window: a constant orders nothing.
fn order_of(params: &WindowFunctionParams) -> Vec<Sort> {
    let keys = params.order_by.iter();
    keys.filter(|key| !key.expr.column_refs().is_empty())
        .cloned()
        .collect()
}

/// The calls of each partition and order, those of `last` after the others, and it first of them.
fn groups(calls: &[Named<'_>], last: Option<usize>) -> Vec<Vec<usize>> {
    let window = |call: usize| {
        let params = &calls[call].0.params;
        (&params.partition_by, order_of(params))
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for call in 0..calls.len() {
        match groups
            .iter_mut()
            .find(|group| window(group[0]) == window(call))
        {
            Some(group) => group.push(call),
            None => groups.push(vec![call]),
        }
    }
    if let Some(last) = last {
        groups.sort_by_key(|group| group.contains(&last));
        let group = groups.last_mut().expect("it is in one");
        group.sort_by_key(|call| *call != last);
    }
    groups
}

/// The functions of one SELECT, which DataFusion computes one window after the other.
struct OneSelect<'a> {
    /// The rows that all of them are over.
    input: &'a LogicalPlan,
    calls: Vec<&'a Expr>,
    /// The columns of the last window, among those of the input with the calls behind them.
    columns: Vec<usize>,
}

impl<'a> OneSelect<'a> {
    fn of(input: &'a LogicalPlan) -> Self {
        Self {
            input,
            calls: Vec::new(),
            columns: (0..input.schema().fields().len()).collect(),
        }
    }

    fn with(mut self, window: &'a Window) -> Self {
        let first = self.input.schema().fields().len() + self.calls.len();
        self.calls.extend(&window.window_expr);
        self.columns
            .extend((first..).take(window.window_expr.len()));
        self
    }
}

fn one_select(window: &Window) -> OneSelect<'_> {
    let is_below = |below: &OneSelect<'_>| {
        let mut read = window.window_expr.iter().flat_map(Expr::column_refs);
        read.all(|column| below.input.schema().has_column(column))
    };
    let below = below(&window.input).filter(is_below);
    let below = below.unwrap_or_else(|| OneSelect::of(&window.input));
    below.with(window)
}

/// Whatever waits for further rows loses the event time that the others go by: it comes last.
fn waiting_last(mut groups: Vec<Vec<usize>>, calls: &[Named<'_>]) -> Vec<Vec<usize>> {
    groups.sort_by_key(|group| group.iter().any(|call| waits_for_rows(calls[*call].0)));
    groups
}

/// The window below another, columns that are only passed on aside.
fn below(plan: &LogicalPlan) -> Option<OneSelect<'_>> {
    match plan {
        LogicalPlan::Window(window) => Some(one_select(window)),
        LogicalPlan::Projection(projection) => {
            let all = below(&projection.input)?;
            let schema = projection.input.schema();
            let passed = projection.expr.iter().map(|expr| match expr {
                Expr::Column(_) => Some(all.columns[plain_column(expr, schema)?]),
                _ => None,
            });
            let columns = passed.collect::<Option<_>>()?;
            Some(OneSelect { columns, ..all })
        }
        _ => None,
    }
}

/// Whether a row waits for so many rows behind it, which may come at any time.
fn waits_for_rows(call: &WindowFunction) -> bool {
    let frame = &call.params.window_frame;
    let follows = match &frame.end_bound {
        WindowFrameBound::Following(distance) => !distance.is_null(),
        WindowFrameBound::CurrentRow | WindowFrameBound::Preceding(_) => false,
    };
    let is_framed = !matches!(call.fun.name(), "lag" | "lead");
    call.fun.name() == "lead" || is_framed && follows && frame.units != WindowFrameUnits::Range
}

/// The column that a filter bounds from above, and by what.
pub(super) fn bound(predicate: &Expr, schema: &DFSchema) -> Option<(usize, u64)> {
    conjuncts(predicate).into_iter().find_map(|part| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
            return None;
        };
        let (column, op, value) = match (left.as_ref(), right.as_ref()) {
            (column, Expr::Literal(value, _)) => (column, *op, value),
            (Expr::Literal(value, _), column) => (column, op.swap()?, value),
            _ => return None,
        };
        let column = match column {
            Expr::Cast(cast) => cast.expr.as_ref(),
            other => other,
        };
        let at = plain_column(column, schema)?;
        let value = whole(value)?;
        let most = match op {
            Op::LtEq | Op::Eq => value,
            Op::Lt => value.checked_sub(1)?,
            _ => return None,
        };
        Some((at, most))
    })
}

fn whole(value: &ScalarValue) -> Option<u64> {
    match value {
        ScalarValue::UInt64(number) => *number,
        ScalarValue::Int64(number) => u64::try_from((*number)?).ok(),
        ScalarValue::Int32(number) => u64::try_from((*number)?).ok(),
        ScalarValue::Decimal128(number, _, 0) => u64::try_from((*number)?).ok(),
        _ => None,
    }
}

/// What is asked of a column of a projection, as it is asked of the column that it passes on.
pub(super) fn through(
    projection: &Projection,
    first: Option<(usize, u64)>,
) -> Option<(usize, u64)> {
    let (at, most) = first?;
    // The number of a row is shown as BIGINT.
    let shown = match &projection.expr[at] {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let shown = match shown {
        Expr::Cast(cast) if cast.field.data_type() == &DataType::Int64 => cast.expr.as_ref(),
        other => other,
    };
    let at = plain_column(shown, projection.input.schema())?;
    Some((at, most))
}
