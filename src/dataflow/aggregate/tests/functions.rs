//! What each function says about a few rows that one can check by hand.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, UInt32Array,
    UInt64Array,
};

use super::kit::{batch, call, column, constant, distinct, order, plan, rows};
use crate::dataflow::aggregate::{AggregateError, Aggregation, Input};
use crate::plan::AggregateFunction as F;
use crate::plan::{AggregateCall, Emit};

/// One aggregate of one column, over everything.
fn of(values: ArrayRef, make: impl Fn(&arrow::datatypes::Schema) -> AggregateCall) -> String {
    try_of(values, make).unwrap()
}

fn try_of(
    values: ArrayRef,
    make: impl Fn(&arrow::datatypes::Schema) -> AggregateCall,
) -> Result<String, AggregateError> {
    let count = values.len();
    let positions = 0..count as u64;
    let input = batch(vec![
        ("x", values),
        (
            "y",
            Arc::new(Int64Array::from_iter_values(
                (0..count as i64).map(|row| row % 2),
            )),
        ),
        ("__partition", Arc::new(UInt32Array::from(vec![0; count]))),
        (
            "__offset",
            Arc::new(UInt64Array::from_iter_values(positions.rev())),
        ),
    ]);
    let plan = plan(
        &input.schema(),
        &[],
        &[make(&input.schema())],
        None,
        Emit::Changes,
    );
    let mut aggregates = plan.aggregates();
    aggregates.update(&input)?;
    let changes = aggregates.changes()?;
    match (changes.first(), aggregates.left_over()?) {
        (Some((changes, _)), None) => Ok(rows(changes).concat()),
        (None, Some((_, why, 1))) => Err(AggregateError::Row(why)),
        (shown, left) => panic!("{shown:?} and {left:?}"),
    }
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn integers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn over_x(function: F) -> impl Fn(&arrow::datatypes::Schema) -> AggregateCall {
    move |schema| call(function.clone(), schema, &["x"])
}

fn at(function: F, fraction: f64) -> impl Fn(&arrow::datatypes::Schema) -> AggregateCall {
    move |schema| {
        let mut call = call(function.clone(), schema, &["x"]);
        call.arguments.push(constant(fraction.into()));
        call
    }
}

#[test]
fn a_sum_of_integers_that_leaves_its_type_is_an_error_and_does_not_wrap() {
    let most = 10i128.pow(38) - 1;
    let wide = |values: Vec<i128>| -> ArrayRef {
        let values = Decimal128Array::from(values);
        Arc::new(values.with_precision_and_scale(38, 0).unwrap())
    };

    assert_eq!(
        of(integers(&[i64::MAX, 1]), over_x(F::Sum)),
        "9223372036854775808"
    );
    assert_eq!(
        of(wide(vec![most, most, -most]), over_x(F::Sum)),
        most.to_string()
    );
    let error = try_of(wide(vec![most, 1]), over_x(F::Sum)).unwrap_err();
    assert!(
        error.to_string().starts_with("could not compute `sum("),
        "{error}"
    );
}

#[test]
fn an_average_of_integers_is_rounded_half_away_from_zero() {
    assert_eq!(
        of(integers(&[1, 2, 2]), over_x(F::Average)),
        "1.6666666666666667"
    );
    assert_eq!(
        of(integers(&[-1, -2, -2]), over_x(F::Average)),
        "-1.6666666666666667"
    );
}

#[test]
fn aggregates_of_no_values_are_null_and_counts_zero() {
    let nothing = || -> ArrayRef { Arc::new(Int64Array::from(vec![None, None])) };

    assert_eq!(of(nothing(), over_x(F::Count)), "0");
    for function in [
        F::Sum,
        F::Average,
        F::Min,
        F::BitXor,
        F::VariancePopulation,
        F::PercentileCont,
    ] {
        assert_eq!(of(nothing(), over_x(function)), "NULL");
    }
}

#[test]
fn nan_is_the_greatest_float_and_zero_has_no_sign() {
    assert_eq!(of(floats(&[f64::NAN, 1.0]), over_x(F::Max)), "NaN");
    assert_eq!(of(floats(&[-f64::NAN, 1.0]), over_x(F::Min)), "1.0");
    assert_eq!(of(floats(&[f64::NEG_INFINITY]), over_x(F::Max)), "-inf");
    assert_eq!(of(floats(&[-0.0]), over_x(F::Min)), "0.0");
}

#[test]
fn a_float_sum_is_exact_until_it_is_read() {
    assert_eq!(of(floats(&[1e308, 1e308, -1e308]), over_x(F::Sum)), "1e308");
    assert_eq!(of(floats(&[1e16, 1.0, -1e16]), over_x(F::Sum)), "1.0");
    assert_eq!(
        of(floats(&[f64::INFINITY, -f64::INFINITY]), over_x(F::Sum)),
        "NaN"
    );
    assert!(try_of(floats(&[1e308, 1e308]), over_x(F::Sum)).is_err());
}

#[test]
fn variances_do_not_cancel() {
    let near = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];

    assert_eq!(of(floats(&near), over_x(F::VarianceSample)), "30.0");
    assert_eq!(of(floats(&near), over_x(F::VariancePopulation)), "22.5");
    let cents = Decimal128Array::from(vec![100, 200, 400])
        .with_precision_and_scale(9, 2)
        .unwrap();
    assert_eq!(
        of(Arc::new(cents), over_x(F::VarianceSample)),
        "2.3333333333333335"
    );
    assert_eq!(of(floats(&[1.0]), over_x(F::VarianceSample)), "NULL");
    assert_eq!(
        of(floats(&[1.0, f64::INFINITY]), over_x(F::DeviationSample)),
        "NaN"
    );
}

#[test]
fn covariance_and_correlation_are_those_of_pairs() {
    let pair = |function: F| {
        of(floats(&[1.0, 3.0, 1.0, 3.0]), |schema| {
            call(function.clone(), schema, &["x", "y"])
        })
    };

    assert_eq!(pair(F::CovariancePopulation), "0.5");
    assert_eq!(pair(F::CovarianceSample), "0.6666666666666666");
    assert_eq!(pair(F::Correlation), "1.0");
    let constant = of(floats(&[2.0, 2.0]), |schema| {
        call(F::Correlation, schema, &["x", "y"])
    });
    assert_eq!(constant, "NULL");
}

#[test]
fn percentiles_are_those_of_postgresql() {
    let values = || floats(&[4.0, 1.0, 3.0, 2.0]);

    assert_eq!(of(values(), over_x(F::PercentileCont)), "2.5");
    assert_eq!(of(values(), at(F::PercentileCont, 0.1)), "1.3");
    assert_eq!(of(values(), at(F::PercentileDisc, 0.5)), "2.0");
    assert_eq!(of(values(), at(F::PercentileDisc, 0.0)), "1.0");
    assert_eq!(of(values(), at(F::PercentileDisc, 1.0)), "4.0");
    assert_eq!(of(texts(&["b", "a", "c"]), at(F::PercentileDisc, 0.5)), "b");
    let descending = |schema: &_| {
        order(
            at(F::PercentileCont, 0.1)(schema),
            column(schema, "x"),
            true,
        )
    };
    assert_eq!(of(values(), descending), "3.7");
}

#[test]
fn an_approximate_percentile_is_within_one_percent() {
    let values: Vec<f64> = (1..=10_000).map(|value| f64::from(value) * 0.37).collect();
    for fraction in [0.0, 0.01, 0.5, 0.99, 1.0] {
        let exact: f64 = of(floats(&values), at(F::PercentileDisc, fraction))
            .parse()
            .unwrap();
        let about: f64 = of(floats(&values), at(F::ApproxPercentile, fraction))
            .parse()
            .unwrap();
        assert!(
            (about / exact - 1.0).abs() < 0.01,
            "{fraction}: {about} and not {exact}"
        );
        let negative: Vec<f64> = values.iter().map(|value| -value).collect();
        let mirrored = of(floats(&negative), at(F::ApproxPercentile, fraction));
        assert!(mirrored.starts_with('-'), "{mirrored}");
    }
}

#[test]
fn approximate_distinct_counts_are_within_two_percent() {
    for count in [0i64, 1, 100, 1_000, 1_100, 5_000, 40_000, 300_000] {
        let values: Vec<i64> = (0..count.max(1)).map(|value| value * 7).collect();
        let nulls = count == 0;
        let values: ArrayRef = if nulls {
            Arc::new(Int64Array::from(vec![None]))
        } else {
            integers(&values)
        };
        let about: f64 = of(values, over_x(F::ApproxDistinct)).parse().unwrap();
        assert!(
            (about - count as f64).abs() <= 0.02 * count as f64,
            "{about} and not {count}"
        );
    }
}

#[test]
fn an_order_is_that_of_the_call_and_then_of_the_source() {
    let first = |schema: &_| order(call(F::First, schema, &["x"]), column(schema, "y"), false);
    let array = |schema: &_| order(call(F::ArrayAgg, schema, &["x"]), column(schema, "y"), true);
    let joined = |schema: &_| {
        let mut call = call(F::StringAgg, schema, &["x"]);
        call.arguments.push(constant("-".into()));
        order(call, column(schema, "x"), false)
    };
    // Rows come in the reverse of their order in the source.
    let values = || texts(&["a", "b", "c", "b"]);

    assert_eq!(of(values(), first), "c");
    assert_eq!(of(values(), array), "[b, b, c, a]");
    assert_eq!(of(values(), joined), "a-b-b-c");
    assert_eq!(of(values(), |schema: &_| distinct(joined(schema))), "a-b-c");
}

#[test]
fn an_aggregate_that_depends_on_an_unknown_order_is_refused() {
    let schema = batch(vec![("x", integers(&[1]))]).schema();
    let calls = [call(F::ArrayAgg, &schema, &["x"])];
    let output = Arc::new(arrow::datatypes::Schema::new(vec![Arc::clone(
        &calls[0].output,
    )]));

    let refused = Aggregation::new(Input::Records, &[], &calls, None, Emit::Changes, output);

    let message = refused.err().unwrap().to_string();
    assert!(
        message.ends_with("write ORDER BY inside the call"),
        "{message}"
    );
}

#[test]
fn booleans_and_bits_fold() {
    let flags =
        || -> ArrayRef { Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])) };

    assert_eq!(of(flags(), over_x(F::BoolAnd)), "false");
    assert_eq!(of(flags(), over_x(F::BoolOr)), "true");
    assert_eq!(of(integers(&[6, 3]), over_x(F::BitAnd)), "2");
    assert_eq!(of(integers(&[6, 3]), over_x(F::BitOr)), "7");
    assert_eq!(of(integers(&[6, 3, 6]), over_x(F::BitXor)), "3");
    let once = |schema: &_| distinct(call(F::BitXor, schema, &["x"]));
    assert_eq!(of(integers(&[6, 3, 6]), once), "5");
}

#[test]
fn distinct_values_count_once() {
    let values = || floats(&[0.0, -0.0, 1.5, 1.5, f64::NAN, -f64::NAN]);

    assert_eq!(
        of(values(), |schema: &_| distinct(call(
            F::Count,
            schema,
            &["x"]
        ))),
        "3"
    );
    let sum = |schema: &_| distinct(call(F::Sum, schema, &["x"]));
    assert_eq!(of(integers(&[2, 2, 3]), sum), "5");
}
