//! Frames, and what is said of them, against what the words say of each row.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_physical_expr::expressions::Column;
use proptest::prelude::*;

use super::bounds::{Lines, frames};
use super::{Asked, Before, Calls, Partition};
use crate::plan::{
    AggregateCall, AggregateFunction, Expression, Frame, FrameBound, FrameUnits, OverCall,
    OverFunction, SortKey,
};

/// Any frame with small distances.
pub fn any_frame() -> impl Strategy<Value = Frame> {
    let bound = || {
        prop_oneof![
            1 => Just(FrameBound::Unbounded),
            4 => (-3i128..4).prop_map(FrameBound::At),
        ]
    };
    let units = prop::sample::select(vec![
        FrameUnits::Rows,
        FrameUnits::Range,
        FrameUnits::Groups,
    ]);
    (units, bound(), bound()).prop_map(|(units, start, end)| Frame { units, start, end })
}

/// Whether place `at` is in the frame of place `of`, where rows have these values in their order.
pub fn is_in(frame: Frame, values: &[Option<i64>], of: usize, at: usize) -> bool {
    let group = |place: usize| {
        let steps = values[..=place]
            .windows(2)
            .filter(|pair| pair[0] != pair[1]);
        i128::try_from(steps.count()).unwrap()
    };
    // How far `at` is from `of`: in rows, in groups, in values; among peers, no distance.
    let far = match (frame.units, values[of], values[at]) {
        (FrameUnits::Rows, _, _) => Some(at as i128 - of as i128),
        (FrameUnits::Groups, _, _) => Some(group(at) - group(of)),
        (FrameUnits::Range, Some(of), Some(at)) => Some(i128::from(at) - i128::from(of)),
        (FrameUnits::Range, None, None) => Some(0),
        (FrameUnits::Range, _, _) => None,
    };
    let is_null = frame.units == FrameUnits::Range && values[of].is_none();
    let fits = |bound, is_start: bool| match (bound, far) {
        (FrameBound::Unbounded, _) => true,
        // NULLs are as far away as can be, and from a NULL there is no distance but to its peers.
        (FrameBound::At(_), None) => (at > of) == is_start,
        (FrameBound::At(_), Some(_)) if is_null => true,
        (FrameBound::At(distance), Some(far)) if is_start => far >= distance,
        (FrameBound::At(distance), Some(far)) => far <= distance,
    };
    fits(frame.start, true) && fits(frame.end, false)
}

/// A partition of these values, row `i` being value `i`.
fn partition(values: &[Option<i64>]) -> Partition {
    let mut partition = Partition::default();
    for (row, value) in values.iter().enumerate() {
        let is_peer = row > 0 && values[row - 1] == *value;
        partition.add(u32::try_from(row).unwrap(), is_peer);
    }
    partition
}

/// Values in their order, NULLs first or last.
fn ordered() -> impl Strategy<Value = Vec<Option<i64>>> {
    let value = prop::option::weighted(0.8, 0i64..8);
    (prop::collection::vec(value, 0..12), any::<bool>()).prop_map(|(mut values, nulls_first)| {
        values.sort_by_key(|value| (value.is_none() != nulls_first, *value));
        values
    })
}

/// The column `v`.
pub fn column(name: &str, at: usize) -> Expression {
    Expression {
        physical: Arc::new(Column::new(name, at)),
        text: name.to_owned(),
        data_type: DataType::Int64,
        nullable: true,
    }
}

/// An aggregate of `value` over a frame.
pub fn aggregate_over(function: AggregateFunction, value: Expression, frame: Frame) -> OverCall {
    let data_type = match matches!(function, AggregateFunction::Sum) {
        true => DataType::Decimal128(38, 0),
        false => DataType::Int64,
    };
    let call = AggregateCall {
        function,
        distinct: false,
        arguments: vec![value],
        filter: None,
        order_by: Vec::new(),
        output: Arc::new(Field::new("a", data_type, true)),
        text: "a".to_owned(),
    };
    OverCall {
        output: Arc::clone(&call.output),
        function: OverFunction::Aggregate {
            call: Box::new(call),
            frame,
        },
        text: "a".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_frame_holds_the_rows_between_its_bounds(frame in any_frame(), values in ordered()) {
        let partition = partition(&values);
        let counted: Vec<Option<i128>> = values.iter().map(|v| v.map(i128::from)).collect();

        let found = frames(frame, Lines { peers: &partition.peers, values: &counted });

        for (of, found) in found.iter().enumerate() {
            let range = found.start as usize..found.end as usize;
            for at in 0..values.len() {
                let expected = is_in(frame, &values, of, at);
                prop_assert_eq!(range.contains(&at), expected, "{} in that of {}", at, of);
            }
        }
    }

    #[test]
    fn an_aggregate_is_that_of_the_rows_of_its_frame(
        frame in any_frame(),
        parts in prop::collection::vec(ordered(), 1..4),
        from in 0usize..4,
    ) {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
        let all: Int64Array = parts.iter().flatten().copied().collect();
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(all)]).unwrap();
        let value = || column("v", 0);
        let functions = [AggregateFunction::Sum, AggregateFunction::Count, AggregateFunction::Min];
        let calls = functions.map(|function| aggregate_over(function, value(), frame));
        // What is said hangs on the frames, so the order may be another one than they were made by.
        let order = [SortKey { expression: value(), descending: false, nulls_first: false }];
        let calls = Calls::new(calls.to_vec(), &order, &schema).unwrap();
        let mut base = 0;
        let partitions: Vec<Partition> = parts.iter().map(|values| {
            let mut partition = partition(values);
            partition.rows.iter_mut().for_each(|row| *row += base);
            base += u32::try_from(values.len()).unwrap();
            partition
        }).collect();

        let counted = calls.counted(&rows).unwrap();
        let frames: Vec<_> = partitions.iter().map(|p| calls.frames(p, &counted)).collect();
        let asked: Vec<Asked<'_>> = partitions.iter().zip(&frames).map(|(partition, frames)| Asked {
            partition,
            frames,
            places: from.min(partition.rows.len())..partition.rows.len(),
            before: Before::default(),
        }).collect();
        let said = calls.say(&rows, &asked, None).unwrap();

        prop_assert!(said.failed.is_empty());
        let columns = said.columns.iter().map(|c| cast(c, &DataType::Int64).unwrap());
        let columns: Vec<Int64Array> = columns.map(|c| c.as_primitive::<Int64Type>().clone()).collect();
        let mut row = 0;
        for values in &parts {
            for of in from.min(values.len())..values.len() {
                let inside = (0..values.len()).filter(|at| is_in(frame, values, of, *at));
                let inside: Vec<i64> = inside.filter_map(|at| values[at]).collect();
                let sum = (!inside.is_empty()).then(|| inside.iter().sum::<i64>());
                let count = i64::try_from(inside.len()).unwrap();
                let expected = [sum, Some(count), inside.iter().min().copied()];
                let found = columns.iter().map(|column| column.iter().nth(row).unwrap());
                prop_assert_eq!(found.collect::<Vec<_>>(), expected.to_vec());
                row += 1;
            }
        }
    }
}

#[test]
fn parts_are_as_equal_as_possible_and_the_first_are_larger() {
    let parts = |rows, parts| -> Vec<u64> {
        (0..rows)
            .map(|row| super::part_of(row, rows, parts))
            .collect()
    };

    assert_eq!(parts(7, 3), [1, 1, 1, 2, 2, 3, 3]);
    assert_eq!(parts(2, 4), [1, 2]);
    assert_eq!(parts(4, 2), [1, 1, 2, 2]);
}
