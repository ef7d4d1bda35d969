use std::sync::Arc;

use arrow::array::{Decimal128Array, RecordBatch, StringArray};

use super::kit::{Accumulated, batch, call, integers, only, plan, rows, times};
use crate::dataflow::aggregate::Aggregates;
use crate::plan::{AggregateFunction, AggregateWindow, Assign, Emit, WindowKind};
use crate::types::{EventTime, Watermark};

fn tumble(size_us: i64, lateness_us: i64) -> Option<AggregateWindow> {
    let kind = WindowKind::Tumble { size_us };
    Some(AggregateWindow {
        kind,
        assign: Assign::Windows,
        start: 0,
        end: 1,
        lateness_us,
    })
}

fn orders(starts: &[i64], pages: &[&str], amounts: &[i64]) -> RecordBatch {
    let ends: Vec<i64> = starts.iter().map(|start| start + 10).collect();
    batch(vec![
        ("window_start", times(starts)),
        ("window_end", times(&ends)),
        ("page", Arc::new(StringArray::from(pages.to_vec()))),
        ("amount", integers(amounts)),
    ])
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

/// A snapshot costs by groups, and coming back from it too: not by windows times windows.
#[test]
fn many_small_windows_are_saved_together_and_come_back_as_shown() {
    let starts: Vec<i64> = (0..6000).map(|n| n * 10).collect();
    let input = orders(&starts, &["a"; 6000], &[1; 6000]);
    let calls = [call(AggregateFunction::Count, &input.schema(), &[])];
    let window = tumble(10, 0);
    let plan = plan(&input.schema(), &["page"], &calls, window, Emit::Changes);
    let mut aggregates = plan.aggregates();
    aggregates.update(&input).unwrap();
    aggregates.changes().unwrap();

    let saved = aggregates.saved().unwrap();
    let mut other = plan.aggregates();
    saved.iter().for_each(|state| other.load(state).unwrap());

    assert_eq!(saved.len(), 2);
    assert_eq!(other.groups(), 6000);
    assert!(other.changes().unwrap().is_empty());
}

#[test]
fn a_window_is_emitted_once_when_the_watermark_reaches_its_end_and_the_lateness() {
    let input = orders(&[0, 0, 10, 0], &["b", "a", "a", "b"], &[1, 2, 3, 4]);
    let calls = [
        call(AggregateFunction::Count, &input.schema(), &[]),
        call(AggregateFunction::Sum, &input.schema(), &["amount"]),
    ];
    let plan = plan(
        &input.schema(),
        &["page"],
        &calls,
        tumble(10, 5),
        Emit::OnClose,
    );
    let mut aggregates = plan.aggregates();

    aggregates.update(&input).unwrap();

    assert!(aggregates.changes().unwrap().is_empty());
    assert!(aggregates.close(at(14)).unwrap().is_empty());
    let closed = only(aggregates.close(at(15)).unwrap());
    assert_eq!(rows(&closed), ["a 1 2 0 10", "b 2 5 0 10"]);
    assert!(aggregates.close(at(15)).unwrap().is_empty());
    let rest = only(aggregates.close(Watermark::END).unwrap());
    assert_eq!(rows(&rest), ["a 1 3 10 20"]);
    assert_eq!(aggregates.groups(), 0);
}

#[test]
fn changes_retract_the_old_row_and_leave_out_what_is_as_before() {
    let input = orders(&[0, 0], &["a", "b"], &[5, 5]);
    let calls = [call(AggregateFunction::Max, &input.schema(), &["amount"])];
    let plan = plan(
        &input.schema(),
        &["page"],
        &calls,
        tumble(10, 0),
        Emit::Changes,
    );
    let mut aggregates = plan.aggregates();

    aggregates.update(&input).unwrap();
    let (first, first_diffs) = only(aggregates.changes().unwrap());
    aggregates
        .update(&orders(&[0, 0, 0], &["a", "b", "b"], &[4, 6, 7]))
        .unwrap();
    let (second, second_diffs) = only(aggregates.changes().unwrap());
    aggregates.update(&orders(&[0], &["a"], &[1])).unwrap();

    assert_eq!(rows(&first), ["a 5 0 10", "b 5 0 10"]);
    assert_eq!(first_diffs.values(), &[1, 1]);
    assert_eq!(rows(&second), ["b 5 0 10", "b 7 0 10"]);
    assert_eq!(second_diffs.values(), &[-1, 1]);
    assert!(aggregates.changes().unwrap().is_empty());
}

#[test]
fn partial_states_of_several_workers_add_up_to_the_aggregate_of_all_rows() {
    let input = orders(&[0, 0, 10, 0], &["b", "a", "a", "b"], &[1, 2, 3, 4]);
    let calls = [
        call(AggregateFunction::Average, &input.schema(), &["amount"]),
        call(AggregateFunction::Sum, &input.schema(), &["amount"]),
        call(AggregateFunction::Min, &input.schema(), &["page"]),
    ];
    let plan = plan(
        &input.schema(),
        &["page"],
        &calls,
        tumble(10, 0),
        Emit::Changes,
    );
    let mut whole = plan.aggregates();
    whole.update(&input).unwrap();
    let mut merged = plan.aggregates();

    for row in [2, 0, 3, 1] {
        let mut partials = plan.partials();
        partials.update(&input.slice(row, 1)).unwrap();
        for partial in partials.drain().unwrap() {
            merged.merge(&partial).unwrap();
        }
    }

    let mut expected = Accumulated::default();
    expected.apply(&mut whole);
    let mut actual = Accumulated::default();
    actual.apply(&mut merged);
    assert_eq!(
        expected.rows(),
        [
            "a 2.0000000000000000 2 a 0 10",
            "a 3.0000000000000000 3 a 10 20",
            "b 2.5000000000000000 5 b 0 10",
        ]
    );
    assert_eq!(actual, expected);
}

fn amounts(page: &str, amount: i128) -> RecordBatch {
    let amounts = Decimal128Array::from(vec![amount]);
    batch(vec![
        ("page", Arc::new(StringArray::from(vec![page]))),
        (
            "amount",
            Arc::new(amounts.with_precision_and_scale(38, 0).unwrap()),
        ),
    ])
}

#[test]
fn a_sum_beyond_its_type_for_a_moment_shows_no_row_and_leaves_no_trace() {
    let most = 10i128.pow(38) - 1;
    let schema = amounts("a", 0).schema();
    let calls = [call(AggregateFunction::Sum, &schema, &["amount"])];
    let plan = plan(&schema, &["page"], &calls, None, Emit::Changes);
    let mut aggregates = plan.aggregates();
    let mut table = Accumulated::default();
    let mut bring = |aggregates: &mut Aggregates, page: &str, amount: i128| {
        aggregates.update(&amounts(page, amount)).unwrap();
        table.apply(aggregates);
        let shown: Vec<String> = table.rows().into_iter().map(str::to_owned).collect();
        (shown, aggregates.left_over().unwrap())
    };
    let text = |page: &str, amount: i128| format!("{page} {amount}");

    bring(&mut aggregates, "a", most);
    bring(&mut aggregates, "b", 1);
    let (shown, left) = bring(&mut aggregates, "a", 5);
    assert_eq!(shown, [text("b", 1)]);
    let (row, why, count) = left.unwrap();
    assert_eq!((row.as_str(), count), ("page = a", 1));
    assert!(why.contains("has more than 38 digits"), "{why}");

    // A state that was saved meanwhile goes on in the same way.
    let mut restored = plan.aggregates();
    for part in aggregates.state() {
        restored.load(&part.unwrap()).unwrap();
    }
    let (shown, left) = bring(&mut restored, "a", 1);
    assert_eq!((shown.len(), left.unwrap().2), (1, 1));
    let (shown, left) = bring(&mut restored, "a", -10);
    assert_eq!(shown, [text("a", most - 4), text("b", 1)]);
    assert_eq!(left, None);
}

#[test]
fn a_window_that_closes_with_a_sum_beyond_its_type_is_an_error() {
    let most = 10i128.pow(38) - 1;
    let windowed = |amount: i128| {
        let rows = amounts("a", amount);
        batch(vec![
            ("window_start", times(&[0])),
            ("window_end", times(&[10])),
            ("page", Arc::clone(rows.column(0))),
            ("amount", Arc::clone(rows.column(1))),
        ])
    };
    let schema = windowed(0).schema();
    let calls = [call(AggregateFunction::Sum, &schema, &["amount"])];
    let plan = plan(&schema, &["page"], &calls, tumble(10, 0), Emit::Changes);
    let mut aggregates = plan.aggregates();
    aggregates.update(&windowed(most)).unwrap();
    aggregates.update(&windowed(most)).unwrap();

    assert!(aggregates.changes().unwrap().is_empty());
    let (row, _, _) = aggregates.left_over().unwrap().unwrap();
    assert_eq!(row, "page = a, window_start = 1970-01-01T00:00:00");
    assert!(aggregates.close(at(9)).is_ok());
    assert!(aggregates.close(at(10)).is_err());
}

/// Where hardly any two rows have one key, to look for that costs more than it saves.
#[test]
fn rows_of_one_key_meet_before_the_exchange_or_after_it() {
    const ROWS: usize = 2000;
    let alone: Vec<String> = (0..ROWS).map(|page| page.to_string()).collect();
    let alone: Vec<&str> = alone.iter().map(String::as_str).collect();
    let alone = orders(&[0; ROWS], &alone, &[1; ROWS]);
    let alike = orders(&[0; ROWS], &["a"; ROWS], &[1; ROWS]);
    let calls = [call(AggregateFunction::Count, &alone.schema(), &[])];
    let plan = plan(
        &alone.schema(),
        &["page"],
        &calls,
        tumble(10, 0),
        Emit::OnClose,
    );
    let (mut partials, mut aggregates) = (plan.partials(), plan.aggregates());
    let mut sent = Vec::new();

    for input in std::iter::once(&alone).chain([&alike; 17]) {
        partials.update(input).unwrap();
        sent.push(partials.groups());
        for state in partials.drain().unwrap() {
            aggregates.merge(&state).unwrap();
        }
    }

    assert_eq!(sent, [&[ROWS; 16][..], &[1; 2]].concat());
    assert_eq!(aggregates.groups(), ROWS + 1);
    let closed = only(aggregates.close(Watermark::END).unwrap());
    assert_eq!(rows(&closed).last().unwrap(), "a 34000 0 10");
}
