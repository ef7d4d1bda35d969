//! Whatever order rows come in, wherever the watermark stood in between, and after a restart too,
//! each row comes out once, with what a naive evaluator says of it over all rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::Running;
use crate::dataflow::changing::Codec;
use crate::dataflow::framed::tests::{aggregate_over, any_frame, column, is_in};
use crate::dataflow::state::Stateful;
use crate::plan::{
    AggregateFunction, Frame, FrameBound, OverCall, OverFunction, RowOfFrame, SortKey,
};
use crate::types::{EventTime, Watermark};

/// Key, time, value.
type Row = [i64; 3];
/// A row, and what is said of it.
type Said = Vec<Option<i64>>;

fn schema() -> SchemaRef {
    let names = ["k", "t", "v"];
    let fields = names.map(|name| Field::new(name, DataType::Int64, false));
    Arc::new(Schema::new(fields.to_vec()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns = (0..3).map(|at| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(row[at])).collect::<Int64Array>())
    });
    RecordBatch::try_new(schema(), columns.collect()).unwrap()
}

fn calls(frame: Frame) -> Vec<OverCall> {
    let value = || column("v", 2);
    let mut calls = vec![
        aggregate_over(AggregateFunction::Sum, value(), frame),
        aggregate_over(AggregateFunction::Min, value(), frame),
    ];
    let of_row = |row| OverFunction::Value {
        row,
        value: value(),
        frame,
    };
    let functions = [
        of_row(RowOfFrame::First),
        of_row(RowOfFrame::Last),
        OverFunction::Before {
            distance: 2,
            value: value(),
        },
        OverFunction::RowNumber,
        OverFunction::Rank,
        OverFunction::DenseRank,
    ];
    for function in functions {
        let counts = function.reads().is_empty();
        let data_type = match counts {
            true => DataType::UInt64,
            false => DataType::Int64,
        };
        calls.push(OverCall {
            function,
            output: Arc::new(Field::new("c", data_type, true)),
            text: "c".to_owned(),
        });
    }
    calls
}

fn running(calls: &[OverCall]) -> Running {
    let order = vec![SortKey {
        expression: column("t", 1),
        descending: false,
        nulls_first: false,
    }];
    let mut fields = schema().fields().to_vec();
    fields.extend(calls.iter().map(|call| Arc::clone(&call.output)));
    let codec = Arc::new(Codec::new(schema(), vec![0], order.clone()).unwrap());
    let output = Arc::new(Schema::new(fields));
    Running::new(codec, calls, &order, (1, 0), output).unwrap()
}

/// What a naive evaluator says, sorted.
fn naive(rows: &[Row], frame: Frame) -> Vec<Said> {
    let mut by_key: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_key.entry(row[0]).or_default().push(*row);
    }
    let mut all = Vec::new();
    for (_, mut rows) in by_key {
        rows.sort_unstable();
        let times: Vec<Option<i64>> = rows.iter().map(|row| Some(row[1])).collect();
        for (at, row) in rows.iter().enumerate() {
            let inside = (0..rows.len()).filter(|other| is_in(frame, &times, at, *other));
            let inside: Vec<i64> = inside.map(|other| rows[other][2]).collect();
            let peer = times.iter().position(|time| *time == times[at]).unwrap();
            let mut before = times[..=at].to_vec();
            before.dedup();
            let number = |number: usize| Some(i64::try_from(number).unwrap());
            let mut said: Said = row.iter().copied().map(Some).collect();
            said.extend([
                (!inside.is_empty()).then(|| inside.iter().sum()),
                inside.iter().min().copied(),
                inside.first().copied(),
                inside.last().copied(),
                at.checked_sub(2).map(|two| rows[two][2]),
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

fn rows_of(batches: &[RecordBatch]) -> Vec<Said> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns: Vec<Int64Array> = columns
            .map(|column| cast(column, &DataType::Int64).unwrap())
            .map(|column| column.as_primitive::<Int64Type>().clone())
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

/// The same after a restart.
fn restarted(before: &Running, calls: &[OverCall]) -> Running {
    let mut after = running(calls);
    for saved in before.save().unwrap() {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_row_comes_out_once_with_what_is_said_of_it_in_the_end(
        frame in ending(),
        mut watermarks in prop::collection::vec(0i64..24, 0..8),
        rows in prop::collection::vec(([0i64..3, 0i64..20, 0i64..6], any::<prop::sample::Index>()), 0..40),
        restart in 0usize..8,
    ) {
        watermarks.sort_unstable();
        let calls = calls(frame);
        let mut running = running(&calls);
        let mut said = Vec::new();
        // A row comes before the watermark has passed it.
        let arrives = |(row, when): &(Row, prop::sample::Index)| {
            let latest = watermarks.iter().take_while(|watermark| **watermark <= row[1]).count();
            when.index(latest + 1)
        };
        for step in 0..=watermarks.len() {
            let now: Vec<Row> = rows.iter().filter(|row| arrives(row) == step).map(|row| row.0).collect();
            running.update(&batch(&now)).unwrap();
            let watermark = watermarks.get(step);
            let watermark = watermark.map_or(Watermark::END, |at| Watermark::behind(EventTime(*at), 0));
            said.extend(rows_of(&running.close(watermark).unwrap()));
            if step == restart {
                running = restarted(&running, &calls);
            }
        }

        said.sort();
        let all: Vec<Row> = rows.iter().map(|row| row.0).collect();
        prop_assert_eq!(said, naive(&all, frame));
    }
}

#[test]
fn a_frame_of_a_length_of_time_holds_the_rows_of_that_length() {
    let frame = Frame {
        units: crate::plan::FrameUnits::Range,
        start: FrameBound::At(-10),
        end: FrameBound::At(0),
    };
    let call = aggregate_over(AggregateFunction::Sum, column("v", 2), frame);
    let mut running = running(&[call]);

    for at in 0..1000 {
        running.update(&batch(&[[at % 7, at, 1]])).unwrap();
        running.close(Watermark::behind(EventTime(at), 0)).unwrap();
        assert!(running.rows() <= 12, "{} rows at {at}", running.rows());
    }
    running
        .close(Watermark::behind(EventTime(2000), 0))
        .unwrap();

    assert_eq!(running.rows(), 0);
}
