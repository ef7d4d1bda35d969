//! What aggregating costs, without a dataflow around it: nanoseconds per row and bytes per group.
//!
//! ```text
//!   cargo bench --bench aggregate [-- NAME]
//! ```
//!
//! Columns are decoded already, in batches of 8192 rows; epochs have about 100 k rows. Times are
//! processor time of one thread, the best of three runs; they include evaluating the expressions.
//! Linux only: what the system knows of the process is read from `/proc`.

#![allow(clippy::print_stdout, reason = "figures are what this program is for")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing better to say"
)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_physical_expr::expressions::Column;
use tidemark::dataflow::aggregate::{Aggregation, Input};
use tidemark::plan::aggregate_types::result_type;
use tidemark::plan::{
    AggregateCall, AggregateFunction as F, AggregateWindow, Assign, Emit, Expression, WindowKind,
};
use tidemark::types::{EventTime, Watermark};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 8192;
const EPOCH: usize = 12;
const MINUTE: i64 = 60_000_000;

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| name.contains(wanted));
    let count_sum = [(F::Count, None), (F::Sum, Some("amount"))];
    // First, while the process holds nothing else.
    if is_wanted("10 M groups") {
        memory(10_000_000, &count_sum);
    }
    let five = [
        (F::Count, None),
        (F::Sum, Some("amount")),
        (F::Average, Some("amount")),
        (F::Min, Some("amount")),
        (F::Max, Some("amount")),
    ];
    for (name, key, keys, rows, calls) in [
        (
            "60 text keys, count and sum",
            "text",
            60,
            20_000_000,
            &count_sum[..],
        ),
        (
            "60 text keys, five aggregates",
            "text",
            60,
            10_000_000,
            &five[..],
        ),
        (
            "60 text keys, sum of integers",
            "text",
            60,
            10_000_000,
            &[(F::Sum, Some("id"))][..],
        ),
        (
            "1 M integer keys, count and sum",
            "id",
            1_000_000,
            10_000_000,
            &count_sum[..],
        ),
        (
            "1 M text keys, count and sum",
            "text",
            1_000_000,
            10_000_000,
            &count_sum[..],
        ),
    ] {
        if is_wanted(name) {
            speed(name, key, keys, rows, calls);
        }
    }
}

/// Nanoseconds per row of each way through.
fn speed(name: &str, key: &str, keys: u64, rows: usize, calls: &[(F, Option<&str>)]) {
    let batches = batches(keys, rows);
    println!("{name} ({rows} rows)");
    let report = |way: &str, run: &dyn Fn() -> Duration| {
        let best = (0..3).map(|_| run()).min().unwrap();
        println!(
            "  {way:<52} {:>6.1} ns/row",
            best.as_nanos() as f64 / rows as f64
        );
    };
    let closing = plan(key, calls, true, Emit::OnClose);
    let changing = plan(key, calls, true, Emit::Changes);
    let silent = plan(key, calls, false, Emit::OnClose);
    report("no windows, rows to state alone", &|| {
        let started = processor_time();
        let mut state = silent.aggregates();
        batches
            .iter()
            .for_each(|batch| state.update(batch).unwrap());
        processor_time() - started
    });
    report("1-minute windows, rows to state, emit on close", &|| {
        let started = processor_time();
        let mut state = closing.aggregates();
        for epoch in batches.chunks(EPOCH) {
            epoch.iter().for_each(|batch| state.update(batch).unwrap());
            state.close(watermark(epoch)).unwrap();
        }
        state.close(Watermark::END).unwrap();
        processor_time() - started
    });
    report(
        "1-minute windows, partials to state, emit on close",
        &|| {
            let started = processor_time();
            let (mut partials, mut state) = (closing.partials(), closing.aggregates());
            for epoch in batches.chunks(EPOCH) {
                epoch
                    .iter()
                    .for_each(|batch| partials.update(batch).unwrap());
                partials
                    .drain()
                    .unwrap()
                    .iter()
                    .for_each(|partial| state.merge(partial).unwrap());
                state.close(watermark(epoch)).unwrap();
            }
            state.close(Watermark::END).unwrap();
            processor_time() - started
        },
    );
    report("1-minute windows, rows to state, emit changes", &|| {
        let started = processor_time();
        let mut state = changing.aggregates();
        for epoch in batches.chunks(EPOCH) {
            epoch.iter().for_each(|batch| state.update(batch).unwrap());
            state.changes().unwrap();
            state.close(watermark(epoch)).unwrap();
        }
        processor_time() - started
    });
    let running = plan(key, calls, false, Emit::Changes);
    report("no windows, rows to state, emit changes", &|| {
        let started = processor_time();
        let mut state = running.aggregates();
        for epoch in batches.chunks(EPOCH) {
            epoch.iter().for_each(|batch| state.update(batch).unwrap());
            state.changes().unwrap();
        }
        processor_time() - started
    });
}

/// Bytes per group of a running aggregate, as counted and as the system sees it.
fn memory(groups: u64, calls: &[(F, Option<&str>)]) {
    let running = plan("id", calls, false, Emit::Changes);
    let before = resident();
    let mut state = running.aggregates();
    let (mut held, mut most) = (0, 0);
    for first in (0..groups).step_by(BATCH) {
        let ids = first..(first + BATCH as u64).min(groups);
        state
            .update(&batch(&mut Random(first | 1), ids, 0))
            .unwrap();
        if (first / BATCH as u64).is_multiple_of(EPOCH as u64) {
            state.changes().unwrap();
            held = resident() - before;
            most = most.max(held);
        }
    }
    state.changes().unwrap();
    println!("{groups} groups of count and sum");
    let per_group = |bytes: usize| bytes as f64 / state.groups() as f64;
    println!(
        "  counted {:>6.1} bytes per group",
        per_group(state.bytes())
    );
    println!(
        "  resident {:>5.1} bytes per group, at most {:.1}",
        per_group(held),
        per_group(most)
    );
}

/// Time that the processor has spent on this thread.
fn processor_time() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(figures.split(' ').next().unwrap().parse().unwrap())
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn watermark(epoch: &[RecordBatch]) -> Watermark {
    let last = epoch.last().unwrap().column(0);
    let last: &TimestampMicrosecondArray = arrow::array::AsArray::as_primitive(last);
    Watermark::behind(EventTime(last.value(0)), 0)
}

/// A minute lasts a million rows.
fn batches(keys: u64, rows: usize) -> Vec<RecordBatch> {
    let mut random = Random(7);
    let batch_of = |number: usize| {
        let ids: Vec<u64> = (0..BATCH).map(|_| random.next() % keys).collect();
        let minute = (number * BATCH / 1_000_000) as i64;
        batch(&mut random, ids.into_iter(), minute)
    };
    (0..rows.div_ceil(BATCH)).map(batch_of).collect()
}

fn batch(random: &mut Random, ids: impl Iterator<Item = u64>, minute: i64) -> RecordBatch {
    let ids: Vec<u64> = ids.collect();
    let rows = ids.len();
    let amounts = (0..rows).map(|_| (random.next() % 1_000_000) as f64 / 100.0);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_value(minute * MINUTE, rows)),
        Arc::new(TimestampMicrosecondArray::from_value(
            (minute + 1) * MINUTE,
            rows,
        )),
        Arc::new(Int64Array::from_iter_values(
            ids.iter().map(|&id| id.cast_signed()),
        )),
        Arc::new(StringArray::from_iter_values(
            ids.iter().map(|id| format!("k{id:07}")),
        )),
        Arc::new(Float64Array::from_iter_values(amounts)),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).unwrap()
}

fn schema() -> Schema {
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    Schema::new(vec![
        Field::new("window_start", time.clone(), false),
        Field::new("window_end", time, false),
        Field::new("id", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
    ])
}

fn column(name: &str) -> Expression {
    let schema = schema();
    let index = schema.index_of(name).unwrap();
    Expression {
        physical: Arc::new(Column::new(name, index)),
        text: name.to_owned(),
        data_type: schema.field(index).data_type().clone(),
        nullable: schema.field(index).is_nullable(),
    }
}

fn plan(key: &str, calls: &[(F, Option<&str>)], windowed: bool, emit: Emit) -> Aggregation {
    let call = |(function, argument): &(F, Option<&str>)| {
        let arguments: Vec<Expression> = argument.iter().map(|name| column(name)).collect();
        let types: Vec<DataType> = arguments.iter().map(|a| a.data_type.clone()).collect();
        let text = format!("{function:?}({argument:?})");
        AggregateCall {
            output: Arc::new(Field::new(
                &text,
                result_type(function, &types).unwrap(),
                true,
            )),
            function: function.clone(),
            distinct: false,
            arguments,
            filter: None,
            order_by: Vec::new(),
            text,
        }
    };
    let calls: Vec<AggregateCall> = calls.iter().map(call).collect();
    let key = column(key);
    let mut fields = vec![Field::new("key", key.data_type.clone(), true)];
    fields.extend(calls.iter().map(|call| call.output.as_ref().clone()));
    let window = AggregateWindow {
        kind: WindowKind::Tumble { size_us: MINUTE },
        assign: Assign::Windows,
        start: 0,
        end: 1,
        lateness_us: 0,
    };
    if windowed {
        fields.extend(
            schema().fields()[..2]
                .iter()
                .map(|field| field.as_ref().clone()),
        );
    }
    let window = windowed.then_some(window);
    Aggregation::new(
        Input::Records,
        &[key],
        &calls,
        window,
        emit,
        Arc::new(Schema::new(fields)),
    )
    .unwrap()
}

/// A small generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
}
