//! Whatever order rows come in, wherever the watermark stood in between, and after a restart too,
//! each row comes out once, with what a naive evaluator says of it over all rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::Running;
use super::saved::Chunk;
use crate::dataflow::changing::Codec;
use crate::dataflow::framed::tests::{aggregate_over, any_frame, column, is_in};
use crate::dataflow::group::Groups as _;
use crate::dataflow::state::Stateful;
use crate::plan::{
    AggregateFunction, Expression, Frame, FrameBound, FrameUnits, OverCall, OverFunction,
    RowOfFrame, SortKey,
};
use crate::types::{EventTime, Watermark};

/// Key, time, value.
type Row = (i64, i64, Option<i64>);
/// A row, and what is said of it.
type Said = Vec<Option<i64>>;

fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("k", DataType::Int64, false),
        Field::new("t", DataType::Int64, false),
        Field::new("v", DataType::Int64, true),
    ];
    fields.push(Field::new("f", DataType::Boolean, true));
    Arc::new(Schema::new(fields))
}

/// What a row says of itself to a FILTER.
fn is_kept(row: &Row) -> Option<bool> {
    match (row.1 + row.2.unwrap_or(0)) % 3 {
        0 => None,
        other => Some(other == 1),
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let column = |of: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Int64Array>())
    };
    let kept: BooleanArray = rows.iter().map(is_kept).collect();
    let columns = vec![
        column(|row| Some(row.0)),
        column(|row| Some(row.1)),
        column(|row| row.2),
        Arc::new(kept),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn value() -> Expression {
    column("v", 2)
}

/// A function that yields this type.
fn call(function: OverFunction, data_type: DataType) -> OverCall {
    OverCall {
        function,
        output: Arc::new(Field::new("c", data_type, true)),
        text: "c".to_owned(),
    }
}

/// An aggregate of this type, of the rows that a FILTER leaves if there is one.
fn aggregate(function: AggregateFunction, of: DataType, filtered: bool, frame: Frame) -> OverCall {
    let mut call = aggregate_over(function, value(), frame);
    let OverFunction::Aggregate { call: inner, .. } = &mut call.function else {
        panic!("it is an aggregate");
    };
    call.output = Arc::new(Field::new("a", of, true));
    inner.output = Arc::clone(&call.output);
    inner.filter = filtered.then(|| Expression {
        data_type: DataType::Boolean,
        ..column("f", 3)
    });
    call
}

fn calls_of(frame: Frame) -> Vec<OverCall> {
    use AggregateFunction as F;
    let (whole, average) = (DataType::Decimal128(38, 0), DataType::Decimal128(38, 16));
    let of_row = |row| OverFunction::Value {
        row,
        value: value(),
        frame,
    };
    vec![
        aggregate(F::Sum, whole.clone(), false, frame),
        aggregate(F::Min, DataType::Int64, false, frame),
        aggregate(F::Average, average, false, frame),
        aggregate(F::Count, DataType::Int64, false, frame),
        aggregate(F::Sum, whole, true, frame),
        call(of_row(RowOfFrame::First), DataType::Int64),
        call(of_row(RowOfFrame::Last), DataType::Int64),
        call(of_row(RowOfFrame::Nth(2)), DataType::Int64),
    ]
}

/// Functions over several frames, and those that have none.
fn calls(frames: &[Frame]) -> Vec<OverCall> {
    let mut calls: Vec<OverCall> = frames.iter().copied().flat_map(calls_of).collect();
    let before = OverFunction::Before {
        distance: 2,
        value: value(),
    };
    calls.push(call(before, DataType::Int64));
    let numbers = [
        OverFunction::RowNumber,
        OverFunction::Rank,
        OverFunction::DenseRank,
    ];
    calls.extend(numbers.map(|number| call(number, DataType::UInt64)));
    calls
}

fn running(calls: &[OverCall], behind_us: i64) -> Running {
    let order = vec![SortKey {
        expression: column("t", 1),
        descending: false,
        nulls_first: false,
    }];
    let mut fields = schema().fields().to_vec();
    fields.extend(calls.iter().map(|call| Arc::clone(&call.output)));
    let codec = Arc::new(Codec::new(schema(), vec![0], order.clone()).unwrap());
    let output = Arc::new(Schema::new(fields));
    Running::new(codec, calls, &order, (1, behind_us), output).unwrap()
}

/// What a naive evaluator says, sorted.
fn naive(rows: &[Row], frames: &[Frame]) -> Vec<Said> {
    let mut by_key: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_key.entry(row.0).or_default().push(*row);
    }
    let mut all = Vec::new();
    for (_, mut rows) in by_key {
        rows.sort_unstable();
        let times: Vec<Option<i64>> = rows.iter().map(|row| Some(row.1)).collect();
        for (at, row) in rows.iter().enumerate() {
            let kept = is_kept(row).map(i64::from);
            let mut said: Said = vec![Some(row.0), Some(row.1), row.2, kept];
            for frame in frames {
                let inside = (0..rows.len()).filter(|other| is_in(*frame, &times, at, *other));
                said.extend(of_frame(
                    &inside.map(|other| rows[other]).collect::<Vec<_>>(),
                ));
            }
            let peer = times.iter().position(|time| *time == times[at]).unwrap();
            let mut before = times[..=at].to_vec();
            before.dedup();
            let number = |number: usize| Some(i64::try_from(number).unwrap());
            said.extend([
                at.checked_sub(2).and_then(|two| rows[two].2),
                number(at + 1),
                number(peer + 1),
                number(before.len()),
            ]);
            all.push(said);
        }
    }
    all.sort();
    all
}

/// The averages are compared by 12 digits, which no rounding of the 16th changes.
const AVERAGE: i64 = 1_000_000_000_000;

/// What is said of the rows of one frame.
fn of_frame(inside: &[Row]) -> Said {
    let values: Vec<i64> = inside.iter().filter_map(|row| row.2).collect();
    let kept = inside.iter().filter(|row| is_kept(row) == Some(true));
    let kept: Vec<i64> = kept.filter_map(|row| row.2).collect();
    let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let count = i64::try_from(values.len()).unwrap();
    vec![
        sum(&values),
        values.iter().min().copied(),
        sum(&values).map(|sum| sum * AVERAGE / count),
        Some(count),
        sum(&kept),
        inside.first().and_then(|row| row.2),
        inside.last().and_then(|row| row.2),
        inside.get(1).and_then(|row| row.2),
    ]
}

fn rows_of(batches: &[RecordBatch]) -> Vec<Said> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns: Vec<Int64Array> = columns
            .map(|column| {
                if matches!(column.data_type(), DataType::Decimal128(_, 16)) {
                    let averages = column.as_primitive::<Decimal128Type>();
                    return averages.unary(|average| i64::try_from(average / 10_000).unwrap());
                }
                let numbers = cast(column, &DataType::Int64).unwrap();
                numbers.as_primitive::<Int64Type>().clone()
            })
            .collect();
        for row in 0..batch.num_rows() {
            let values = columns
                .iter()
                .map(|column| column.is_valid(row).then(|| column.value(row)));
            rows.push(values.collect());
        }
    }
    rows
}

/// The same after a restart, from batches of a few records.
fn restarted(before: &Running, mut after: Running) -> Running {
    let few = Chunk {
        records: 3,
        bytes: 100,
    };
    for saved in before.saved_in(few).unwrap() {
        assert!(saved.num_rows() <= 3);
        after.restore(&saved).unwrap();
    }
    assert_eq!(after.rows(), before.rows());
    after
}

/// A frame that ends somewhere.
fn ending() -> impl Strategy<Value = Frame> {
    any_frame().prop_map(|frame| Frame {
        end: match frame.end {
            FrameBound::Unbounded => FrameBound::At(0),
            FrameBound::At(distance) => FrameBound::At(distance),
        },
        ..frame
    })
}

fn any_row() -> impl Strategy<Value = Row> {
    (0i64..3, 0i64..20, prop::option::weighted(0.7, 0i64..6))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_row_comes_out_once_with_what_is_said_of_it_in_the_end(
        frames in prop::collection::vec(ending(), 1..4),
        mut watermarks in prop::collection::vec(0i64..24, 0..8),
        behind_us in 0i64..5,
        rows in prop::collection::vec((any_row(), any::<prop::sample::Index>()), 0..40),
        restart in 0usize..8,
    ) {
        watermarks.sort_unstable();
        let calls = calls(&frames);
        let mut running = running(&calls, behind_us);
        let mut said = Vec::new();
        // A row comes before the watermark has passed it by as much as rows may be behind.
        let arrives = |(row, when): &(Row, prop::sample::Index)| {
            let latest = watermarks.iter().take_while(|watermark| **watermark - behind_us <= row.1).count();
            when.index(latest + 1)
        };
        for step in 0..=watermarks.len() {
            let now: Vec<Row> = rows.iter().filter(|row| arrives(row) == step).map(|row| row.0).collect();
            running.update(&batch(&now)).unwrap();
            let watermark = watermarks.get(step);
            let watermark = watermark.map_or(Watermark::END, |at| Watermark::behind(EventTime(*at), 0));
            said.extend(rows_of(&running.close(watermark).unwrap()));
            if step == restart {
                running = restarted(&running, self::running(&calls, behind_us));
            }
        }

        said.sort();
        let all: Vec<Row> = rows.iter().map(|row| row.0).collect();
        prop_assert_eq!(said, naive(&all, &frames));
    }
}

#[test]
fn a_frame_of_a_length_of_time_holds_the_rows_of_that_length() {
    let frame = Frame {
        units: FrameUnits::Range,
        start: FrameBound::At(-10),
        end: FrameBound::At(0),
    };
    let call = aggregate_over(AggregateFunction::Sum, value(), frame);
    let mut running = running(&[call], 0);

    for at in 0..1000 {
        running.update(&batch(&[(at % 7, at, Some(1))])).unwrap();
        running.close(Watermark::behind(EventTime(at), 0)).unwrap();
        assert!(running.rows() <= 12, "{} rows at {at}", running.rows());
    }
    running
        .close(Watermark::behind(EventTime(2000), 0))
        .unwrap();

    assert_eq!(running.rows(), 0);
}

#[test]
fn a_partition_larger_than_a_batch_of_a_snapshot_is_there_again() {
    let most = 10_000;
    let calls = [aggregate_over(
        AggregateFunction::Sum,
        value(),
        Frame::rows(1 - i128::from(most), 0),
    )];
    let mut before = running(&calls, 0);
    let rows: Vec<Row> = (0..2 * most).map(|at| (0, at, Some(1))).collect();
    before.update(&batch(&rows)).unwrap();
    before.close(Watermark::behind(EventTime(most), 0)).unwrap();

    let saved = before.save().unwrap();
    let mut after = running(&calls, 0);
    for saved in &saved {
        assert!(saved.num_rows() <= 8192, "{} records", saved.num_rows());
        after.restore(saved).unwrap();
    }

    assert!(saved.len() > 2);
    assert_eq!(after.rows(), before.rows());
    let said = rows_of(&after.close(Watermark::END).unwrap());
    assert_eq!(said.len(), 10_000);
    assert!(said.iter().all(|said| said[4] == Some(most)));
}
