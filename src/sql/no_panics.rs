//! Every function of SQL with every kind of argument that it takes, at its edges: as columns, as
//! constants and as both. It may fail; it may not panic, which would end a pipeline for one record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema};
use datafusion_common::{Column, DFSchema, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, ScalarUDF};
use datafusion_physical_expr::create_physical_expr;

use super::catalog::Catalog;
use super::query;

/// Values of each type, with a NULL among them.
fn values() -> Vec<ArrayRef> {
    let mut all = numbers();
    all.extend(texts());
    all.extend(times());
    all.extend(lists());
    all
}

fn numbers() -> Vec<ArrayRef> {
    const LARGE: i128 = 10i128.pow(37);
    let numerics = Decimal128Array::from(vec![None, Some(0), Some(-5), Some(LARGE), Some(-LARGE)]);
    let infinite = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Some);
    let doubles = [None, Some(0.0), Some(-1.5), Some(1e300)];
    let reals = [None, Some(0.0), Some(-1.5), Some(f32::MAX), Some(f32::NAN)];
    vec![
        Arc::new(Int16Array::from(vec![
            None,
            Some(0),
            Some(-1),
            Some(i16::MIN),
            Some(i16::MAX),
        ])),
        Arc::new(Int32Array::from(vec![
            None,
            Some(0),
            Some(-1),
            Some(i32::MIN),
            Some(i32::MAX),
        ])),
        Arc::new(Int64Array::from(vec![
            None,
            Some(2),
            Some(-1),
            Some(i64::MIN),
            Some(i64::MAX),
        ])),
        Arc::new(numerics.with_precision_and_scale(38, 1).unwrap()),
        Arc::new(Float32Array::from(reals.to_vec())),
        Arc::new(
            doubles
                .into_iter()
                .chain(infinite)
                .collect::<Float64Array>(),
        ),
    ]
}

fn texts() -> Vec<ArrayRef> {
    let texts = [
        "",
        "a",
        "é%",
        "(",
        "hour",
        "2026-03-01",
        "YYYY",
        "-7",
        "{1}",
        "[1]",
    ];
    let texts: StringArray = std::iter::once(None).chain(texts.map(Some)).collect();
    vec![
        Arc::new(BooleanArray::from(vec![None, Some(true), Some(false)])),
        Arc::new(texts),
        Arc::new(BinaryArray::from(vec![
            None,
            Some(&b""[..]),
            Some(b"\xff\x00"),
        ])),
    ]
}

fn times() -> Vec<ArrayRef> {
    const YEAR_10000_US: i64 = 253_402_300_800_000_000;
    let moments = [
        None,
        Some(0),
        Some(-1),
        Some(i64::MIN),
        Some(i64::MAX),
        Some(YEAR_10000_US),
    ];
    let moments = TimestampMicrosecondArray::from(moments.to_vec());
    let days = [
        None,
        Some(0),
        Some(-1),
        Some(i32::MIN),
        Some(i32::MAX),
        Some(2_932_896),
    ];
    let interval = |months, days, nanos| Some(IntervalMonthDayNano::new(months, days, nanos));
    let intervals = [
        None,
        interval(0, 0, 0),
        interval(1, 2, 3),
        interval(-1, -2, -3),
        interval(i32::MAX, i32::MAX, i64::MAX),
        interval(i32::MIN, i32::MIN, i64::MIN),
    ];
    vec![
        Arc::new(Date32Array::from(days.to_vec())),
        Arc::new(Time64MicrosecondArray::from(vec![
            None,
            Some(0),
            Some(86_399_999_999),
        ])),
        Arc::new(moments.clone()),
        Arc::new(moments.with_timezone("UTC")),
        Arc::new(IntervalMonthDayNanoArray::from(intervals.to_vec())),
    ]
}

fn lists() -> Vec<ArrayRef> {
    let list = |items: &[i32]| Some(items.iter().map(|item| Some(*item)).collect::<Vec<_>>());
    let numbers = [
        None,
        list(&[]),
        Some(vec![None]),
        list(&[1, i32::MIN]),
        list(&[3, 3, 0]),
    ];
    let texts = ListArray::new(
        Arc::new(Field::new("item", DataType::Utf8, true)),
        OffsetBuffer::from_lengths([0, 1, 2, 0]),
        Arc::new(StringArray::from(vec![None, Some("a"), Some("")])),
        Some(vec![true, true, true, false].into()),
    );
    vec![
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(numbers)),
        Arc::new(texts),
    ]
}

/// The kinds that are tried in the third place and further on.
const FURTHER: [usize; 5] = [1, 5, 7, 11, 14];

/// What is given to a function.
struct Given {
    /// A column of each argument, row by row all pairs of its values with the others'.
    columns: Vec<ArrayRef>,
}

impl Given {
    fn of(kinds: &[&ArrayRef]) -> Self {
        let rows: usize = kinds.iter().map(|values| values.len()).product();
        let mut apart = rows;
        let columns = kinds.iter().map(|values| {
            apart /= values.len();
            let places = (0..rows).map(|row| (row / apart % values.len()) as u32);
            take(values, &UInt32Array::from_iter_values(places), None).unwrap()
        });
        Self {
            columns: columns.collect(),
        }
    }

    fn rows(&self) -> usize {
        self.columns[0].len()
    }

    fn constants(&self, row: usize) -> Vec<Expr> {
        let values = self.columns.iter();
        let values = values.map(|column| ScalarValue::try_from_array(column, row).unwrap());
        values.map(|value| Expr::Literal(value, None)).collect()
    }

    fn names(&self) -> Vec<Expr> {
        let names = (0..self.columns.len()).map(|at| format!("c{at}"));
        names
            .map(|name| Expr::Column(Column::new_unqualified(name)))
            .collect()
    }

    fn batch(&self) -> RecordBatch {
        let fields = self.columns.iter().enumerate();
        let fields = fields
            .map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), self.columns.clone()).unwrap()
    }
}

/// Plans a call as `check` does, and computes it of the rows and, where they fail, of each; whether
/// it can be planned at all.
fn computed(catalog: &Catalog, call: Expr, batch: &RecordBatch) -> bool {
    let schema = DFSchema::try_from(batch.schema()).unwrap();
    let Ok(planned) = query::coerced(&catalog.config(), call, &schema) else {
        return false;
    };
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let Ok(physical) = create_physical_expr(&planned, &schema, &properties, &context) else {
        return false;
    };
    let _ = physical.evaluate(&batch.slice(0, 0));
    let rows = batch.num_rows();
    let result = physical
        .evaluate(batch)
        .and_then(|result| result.into_array(rows));
    match result {
        Ok(result) => assert_eq!(result.len(), rows, "as many results as rows"),
        Err(_) => {
            for row in (0..rows).step_by(rows.div_ceil(24)) {
                let _ = physical.evaluate(&batch.slice(row, 1));
            }
        }
    }
    true
}

/// How a function panics, if it does.
fn panics(catalog: &Catalog, function: &Arc<ScalarUDF>, kinds: &[&ArrayRef]) -> Option<String> {
    let given = Given::of(kinds);
    let call = |arguments: Vec<Expr>| function.call(arguments);
    let mut now = String::new();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        now = "columns".to_owned();
        // Some take only constants in a place.
        let tries = match computed(catalog, call(given.names()), &given.batch()) {
            true => 6,
            false => 1,
        };
        let step = given.rows().div_ceil(tries);
        for row in (0..given.rows()).step_by(step) {
            let constants = given.constants(row);
            now = format!("{constants:?}");
            computed(
                catalog,
                call(constants.clone()),
                &given.batch().slice(row, 1),
            );
            let first = given.names().into_iter().take(1);
            let mixed = first.chain(constants.into_iter().skip(1)).collect();
            computed(catalog, call(mixed), &given.batch());
        }
    }));
    tried.is_err().then(|| {
        let kinds = kinds.iter().map(|kind| kind.data_type().to_string());
        let kinds: Vec<String> = kinds.collect();
        format!("{}({}) of {now}", function.name(), kinds.join(", "))
    })
}

#[test]
fn no_function_panics_whatever_it_is_given() {
    let catalog = Catalog::new("UTC");
    let values = values();
    let all: Vec<&ArrayRef> = values.iter().collect();
    let further: Vec<&ArrayRef> = FURTHER.iter().map(|at| &values[*at]).collect();
    let mut found = Vec::new();
    for function in catalog.scalar_functions() {
        let mut ways: Vec<Vec<&ArrayRef>> = all.iter().map(|first| vec![*first]).collect();
        for second in &all {
            ways.extend(all.iter().map(|first| vec![*first, *second]));
        }
        for first in &further {
            for second in &further {
                ways.extend(further.iter().map(|third| vec![*first, *second, *third]));
            }
        }
        found.extend(
            ways.iter()
                .find_map(|kinds| panics(&catalog, &function, kinds)),
        );
    }
    assert!(
        found.is_empty(),
        "{} panic:\n{}",
        found.len(),
        found.join("\n")
    );
}
