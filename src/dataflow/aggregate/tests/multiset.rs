//! Every function over every kind of column is a function of the multiset of rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use proptest::prelude::*;

use super::kit::{
    Accumulated, Random, batch, call, column, constant, distinct, only, order, plan, rows, times,
};
use crate::dataflow::aggregate::{Aggregates, Aggregation};
use crate::plan::AggregateFunction as F;
use crate::plan::{AggregateCall, AggregateWindow, Assign, Emit, WindowKind};
use crate::types::{EventTime, Watermark};

const NUMBERS: [&str; 6] = ["i16", "i32", "i64", "money", "wide", "cents"];
const ALL: [&str; 12] = [
    "i16", "i32", "i64", "money", "wide", "cents", "wild", "real", "text", "flag", "day", "at",
];

/// Rows with every kind of column, NULLs among them, and positions at the end.
#[allow(clippy::too_many_lines, reason = "one paragraph per column")]
pub fn random_rows(random: &mut Random, count: usize) -> RecordBatch {
    let starts: Vec<i64> = (0..count).map(|_| random.below(3) as i64 * 10).collect();
    let ends: Vec<i64> = starts.iter().map(|start| start + 10).collect();
    let wild = |r: &mut Random| match r.below(8) {
        0 => -0.0,
        1 => f64::NAN,
        2 => f64::from_bits(r.below(1 << 40)),
        _ => r.signed() * 10f64.powi(r.below(560) as i32 - 280),
    };
    let text = |r: &mut Random| {
        ["", "a", "ab", "a long text that is not short", "ü", "b"][r.below(6) as usize]
    };
    let money = Decimal128Array::from(random.column(count, |r| i128::from(r.small(1_000_000))));
    let wide = random.column(count, |r| i128::from(r.small(1 << 60)) << 60);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("window_start", times(&starts)),
        ("window_end", times(&ends)),
        (
            "key",
            Arc::new(StringArray::from(random.column(count, text))),
        ),
        (
            "float_key",
            Arc::new(Float64Array::from(random.column(count, |r| {
                [0.0, -0.0, f64::NAN, -f64::NAN][r.below(4) as usize]
            }))),
        ),
        (
            "i16",
            Arc::new(Int16Array::from(
                random.column(count, |r| r.small(1 << 15) as i16),
            )),
        ),
        (
            "i32",
            Arc::new(Int32Array::from(
                random.column(count, |r| r.small(1 << 31) as i32),
            )),
        ),
        (
            "i64",
            Arc::new(Int64Array::from(
                random.column(count, |r| r.small(i64::MAX)),
            )),
        ),
        (
            "money",
            Arc::new(money.with_precision_and_scale(12, 2).unwrap()),
        ),
        (
            "wide",
            Arc::new(
                Decimal128Array::from(wide)
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            ),
        ),
        (
            "cents",
            Arc::new(Float64Array::from(
                random.column(count, |r| r.small(10_000_000) as f64 / 100.0),
            )),
        ),
        (
            "wild",
            Arc::new(Float64Array::from(random.column(count, wild))),
        ),
        (
            "real",
            Arc::new(Float32Array::from(
                random.column(count, |r| r.small(1000) as f32 / 7.0),
            )),
        ),
        (
            "text",
            Arc::new(StringArray::from(random.column(count, text))),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(
                random.column(count, |r| r.below(2) == 0),
            )),
        ),
        (
            "day",
            Arc::new(Date32Array::from(
                random.column(count, |r| r.below(9) as i32),
            )),
        ),
        (
            "at",
            times(
                &(0..count)
                    .map(|_| random.below(1000) as i64)
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "__partition",
            Arc::new(UInt32Array::from_iter_values(
                (0..count).map(|row| row as u32 % 3),
            )),
        ),
        (
            "__offset",
            Arc::new(UInt64Array::from_iter_values(
                (0..count).map(|row| row as u64 / 3),
            )),
        ),
    ];
    batch(columns)
}

/// Every function over every column that it takes, with DISTINCT, FILTER and ORDER BY among them.
pub fn every_call(rows: &RecordBatch) -> Vec<AggregateCall> {
    let schema = rows.schema();
    let over = |function: F, columns: &[&str]| call(function, &schema, columns);
    let mut calls = vec![over(F::Count, &[])];
    for name in ALL {
        for function in [F::Count, F::Min, F::Max, F::ApproxDistinct] {
            calls.push(over(function, &[name]));
        }
        calls.push(distinct(over(F::Count, &[name])));
        for function in [F::First, F::Last, F::ArrayAgg] {
            calls.push(order(
                over(function.clone(), &[name]),
                column(&schema, "i16"),
                false,
            ));
            calls.push(order(
                over(function.clone(), &[name]),
                column(&schema, "text"),
                true,
            ));
            calls.push(distinct(order(
                over(function, &[name]),
                column(&schema, name),
                true,
            )));
        }
        calls.push(with_fraction(over(F::PercentileDisc, &[name]), 0.3));
    }
    for name in NUMBERS.iter().copied().chain(["wild", "real"]) {
        for function in [F::Sum, F::Average] {
            calls.push(over(function.clone(), &[name]));
            calls.push(distinct(over(function.clone(), &[name])));
            let mut filtered = over(function, &[name]);
            filtered.filter = Some(column(&schema, "flag"));
            filtered.text += " filtered";
            calls.push(filtered);
        }
        calls.push(with_fraction(over(F::PercentileCont, &[name]), 0.75));
        calls.push(over(F::PercentileCont, &[name]));
        calls.push(with_fraction(over(F::ApproxPercentile, &[name]), 0.9));
    }
    for name in NUMBERS {
        for function in [
            F::VariancePopulation,
            F::VarianceSample,
            F::DeviationPopulation,
            F::DeviationSample,
        ] {
            calls.push(over(function, &[name]));
        }
        for function in [F::CovariancePopulation, F::CovarianceSample, F::Correlation] {
            calls.push(over(function, &[name, "cents"]));
        }
    }
    for function in [F::BitAnd, F::BitOr, F::BitXor] {
        calls.push(over(function.clone(), &["i64"]));
        calls.push(distinct(over(function, &["i16"])));
    }
    calls.extend([over(F::BoolAnd, &["flag"]), over(F::BoolOr, &["flag"])]);
    let mut joined = over(F::StringAgg, &["text"]);
    joined.arguments.push(constant("; ".into()));
    calls.push(order(joined, column(&schema, "i16"), false));
    calls
}

fn with_fraction(mut call: AggregateCall, fraction: f64) -> AggregateCall {
    call.arguments.push(constant(fraction.into()));
    call.text += &fraction.to_string();
    call
}

fn tumbling(rows: &RecordBatch, calls: &[AggregateCall], emit: Emit) -> Aggregation {
    let window = AggregateWindow {
        kind: WindowKind::Tumble { size_us: 10 },
        assign: Assign::Windows,
        start: 0,
        end: 1,
        lateness_us: 0,
    };
    plan(
        &rows.schema(),
        &["key", "float_key"],
        calls,
        Some(window),
        emit,
    )
}

fn shuffled(random: &mut Random, rows: &RecordBatch) -> RecordBatch {
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    random.shuffle(&mut order);
    take_record_batch(rows, &UInt32Array::from(order)).unwrap()
}

/// Random pieces of a batch, in order.
fn cut(random: &mut Random, rows: &RecordBatch) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < rows.num_rows() {
        let length = (1 + random.below(60) as usize).min(rows.num_rows() - from);
        pieces.push(rows.slice(from, length));
        from += length;
    }
    pieces
}

/// The same state in other hands.
pub fn moved(plan: &Aggregation, aggregates: &Aggregates) -> Aggregates {
    let mut other = plan.aggregates();
    for state in aggregates.state() {
        other.load(&state.unwrap()).unwrap();
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..Default::default() })]

    #[test]
    fn batches_workers_merge_order_and_restarts_leave_no_trace(seed: u64) {
        let mut random = Random::new(seed);
        let rows = random_rows(&mut random, 300);
        let plan = tumbling(&rows, &every_call(&rows), Emit::OnClose);
        let mut whole = plan.aggregates();
        whole.update(&rows).unwrap();
        let expected = only(whole.close(Watermark::END).unwrap());

        let mut partials = Vec::new();
        let mut workers = [plan.partials(), plan.partials(), plan.partials()];
        workers[0].hold_apart();
        let shuffled_rows = shuffled(&mut random, &rows);
        for piece in cut(&mut random, &shuffled_rows) {
            let worker = &mut workers[random.below(3) as usize];
            worker.update(&piece).unwrap();
            if random.below(4) == 0 {
                partials.extend(worker.drain().unwrap());
            }
        }
        for worker in &mut workers {
            partials.extend(worker.drain().unwrap());
        }
        random.shuffle(&mut partials);
        let mut merged = plan.aggregates();
        for partial in &partials {
            merged.merge(partial).unwrap();
            if random.below(8) == 0 {
                merged = moved(&plan, &merged);
            }
        }
        let actual = only(merged.close(Watermark::END).unwrap());

        prop_assert_eq!(actual, expected);
    }

    #[test]
    fn changes_add_up_to_the_rows_of_the_whole(seed: u64) {
        let mut random = Random::new(seed);
        let rows_in = random_rows(&mut random, 200);
        let calls = every_call(&rows_in);
        let closing = tumbling(&rows_in, &calls, Emit::OnClose);
        let mut whole = closing.aggregates();
        whole.update(&rows_in).unwrap();
        let expected = only(whole.close(Watermark::END).unwrap());
        let plan = tumbling(&rows_in, &calls, Emit::Changes);

        let mut aggregates = plan.aggregates();
        let mut accumulated = Accumulated::default();
        let shuffled_rows = shuffled(&mut random, &rows_in);
        for piece in cut(&mut random, &shuffled_rows) {
            aggregates.update(&piece).unwrap();
            if random.below(2) == 0 {
                accumulated.apply(&mut aggregates);
                if random.below(4) == 0 {
                    aggregates = moved(&plan, &aggregates);
                }
            }
        }
        accumulated.apply(&mut aggregates);

        let mut expected = rows(&expected);
        expected.sort();
        prop_assert_eq!(accumulated.rows(), expected);
    }

    #[test]
    fn windows_of_panes_are_the_windows_of_their_rows(seed: u64) {
        let mut random = Random::new(seed);
        let kind = match random.below(2) {
            0 => WindowKind::Hop { slide_us: 10, size_us: 30 },
            _ => WindowKind::Cumulate { step_us: 10, size_us: 30 },
        };
        let emit = [Emit::OnClose, Emit::Changes][random.below(2) as usize];
        let events: Vec<Event> = (0..400).map(|_| Event::random(&mut random, kind)).collect();
        let input = |assign| {
            let columns = events.iter().flat_map(|event| event.assigned(assign)).collect::<Vec<_>>();
            let starts: Vec<i64> = columns.iter().map(|row| row.0).collect();
            let ends: Vec<i64> = columns.iter().map(|row| row.1).collect();
            let amounts = Float64Array::from_iter_values(columns.iter().map(|row| row.2));
            batch(vec![("window_start", times(&starts)), ("window_end", times(&ends)), ("amount", Arc::new(amounts))])
        };
        let mut results = Vec::new();
        for assign in [Assign::Windows, Assign::Panes] {
            let rows_in = input(assign);
            let calls = [call(F::Count, &rows_in.schema(), &[]), call(F::Sum, &rows_in.schema(), &["amount"])];
            let window = AggregateWindow { kind, assign, start: 0, end: 1, lateness_us: 3 };
            let plan = plan(&rows_in.schema(), &[], &calls, Some(window), emit);
            let shuffled_rows = shuffled(&mut random, &rows_in);
            results.push(run(&mut random, &plan, &shuffled_rows));
        }

        let panes = results.pop().unwrap();
        prop_assert_eq!(panes, results.pop().unwrap());
    }
}

/// All that a plan says about rows, while event time moves on behind them.
fn run(random: &mut Random, plan: &Aggregation, rows_in: &RecordBatch) -> Vec<String> {
    let by_end = sort_to_indices(rows_in.column(1), None, None).unwrap();
    let rows_in = take_record_batch(rows_in, &by_end).unwrap();
    let ends: &TimestampMicrosecondArray = rows_in.column(1).as_primitive();
    let mut aggregates = plan.aggregates();
    let mut accumulated = Accumulated::default();
    let mut closed = Vec::new();
    let mut read = 0;
    for piece in cut(random, &rows_in) {
        let mut partials = plan.partials();
        partials.update(&piece).unwrap();
        for partial in partials.drain().unwrap() {
            aggregates.merge(&partial).unwrap();
        }
        accumulated.apply(&mut aggregates);
        read += piece.num_rows();
        if let Some(next) = ends.values().get(read) {
            // No row that is still to come is late: its window is open at this time.
            let watermark = Watermark::behind(EventTime(*next), 0);
            closed.extend(aggregates.close(watermark).unwrap());
        }
    }
    closed.extend(aggregates.close(Watermark::END).unwrap());
    assert_eq!(aggregates.groups(), 0);
    let mut said: Vec<String> = accumulated.rows().into_iter().map(str::to_owned).collect();
    if let Some(first) = closed.first() {
        said.extend(rows(&concat_batches(&first.schema(), &closed).unwrap()));
    }
    said
}

/// A row at a time, late for the windows that end before `first`.
struct Event {
    kind: WindowKind,
    pane: i64,
    first: i64,
    amount: f64,
}

impl Event {
    fn random(random: &mut Random, kind: WindowKind) -> Self {
        let pane = random.below(10) as i64 * 10;
        let ends = Self::ends(kind, pane);
        let first = ends[random.below(ends.len() as u64) as usize];
        Self {
            kind,
            pane,
            first,
            amount: random.signed(),
        }
    }

    fn ends(kind: WindowKind, pane: i64) -> Vec<i64> {
        match kind {
            WindowKind::Cumulate { .. } => (pane + 10..=pane / 30 * 30 + 30).step_by(10).collect(),
            WindowKind::Hop { .. } | WindowKind::Tumble { .. } | WindowKind::Session { .. } => {
                (pane + 10..=pane + 30).step_by(10).collect()
            }
        }
    }

    fn assigned(&self, assign: Assign) -> Vec<(i64, i64, f64)> {
        let open = Self::ends(self.kind, self.pane)
            .into_iter()
            .filter(|end| *end >= self.first);
        match (assign, self.kind) {
            (Assign::Panes, _) => vec![(self.pane, self.first, self.amount)],
            (Assign::Windows, WindowKind::Cumulate { .. }) => open
                .map(|end| (self.pane / 30 * 30, end, self.amount))
                .collect(),
            (Assign::Windows, _) => open.map(|end| (end - 30, end, self.amount)).collect(),
        }
    }
}

/// Not every expression is a column: two that read alike are one.
#[test]
fn calls_over_one_column_share_its_state() {
    let rows_in = random_rows(&mut Random::new(1), 50);
    let schema = rows_in.schema();
    let one = plan(
        &schema,
        &[],
        &[call(F::Sum, &schema, &["cents"])],
        None,
        Emit::Changes,
    );
    let calls = [F::Sum, F::Average, F::Sum].map(|function| call(function, &schema, &["cents"]));
    let three = plan(&schema, &[], &calls, None, Emit::Changes);

    assert_eq!(one.partial_schema(), three.partial_schema());
}

#[test]
fn one_plan_serves_every_worker() {
    fn shared<T: Clone + Send + Sync>() {}
    shared::<Aggregation>();
}

/// What a worker sends its keys by.
#[test]
fn rows_and_partial_states_of_a_key_are_sent_to_one_place() {
    let rows_in = random_rows(&mut Random::new(2), 1);
    let plan = tumbling(&rows_in, &every_call(&rows_in), Emit::OnClose);
    let mut partials = plan.partials();
    partials.update(&rows_in).unwrap();

    let partial = partials.drain().unwrap().remove(0);

    let hashes: &dyn arrow::array::Array = &plan.hashes(&rows_in).unwrap();
    assert_eq!(partial.column(0).as_ref(), hashes);
}
