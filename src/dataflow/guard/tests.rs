//! Two sinks, of which one holds every text and the other one none with a NUL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::super::assign::Passed;
use super::super::chain::{Chain, Indexes, Outcome, Place};
use super::super::zones::zones;
use super::*;
use crate::format::Positions;
use crate::plan::{Column, Insert, Node, Place as FilePlace, Role, Settings, Table};
use crate::types::{Fates, Offset, Recipe, Span};

fn table(name: &str, connector: &str) -> Table {
    Table {
        name: name.to_owned(),
        role: Role::Sink,
        takes_letters: false,
        columns: vec![Column {
            field: Arc::new(Field::new("name", DataType::Utf8, true)),
            place: FilePlace::default(),
            computed: None,
        }],
        primary_key: Vec::new(),
        checks: Vec::new(),
        watermark: None,
        connector: connector.to_owned(),
        options: BTreeMap::new(),
        place: FilePlace::default(),
    }
}

fn node(operator: Operator) -> Node {
    Node {
        changing: operator.is_stateful(),
        operator,
        schema: Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)])),
        place: FilePlace::default(),
    }
}

/// A source and functions over its rows; `inserts` are each a table, 1 in PostgreSQL and 2 in
/// SQLite, and a node: 0 the source, 1 behind state.
fn pipeline(inserts: &[(usize, NodeId)]) -> Pipeline {
    let source = Operator::Source {
        table: 0,
        columns: vec![0],
        counted: false,
    };
    let over = Operator::Over {
        input: 0,
        partition: Vec::new(),
        order: Vec::new(),
        calls: Vec::new(),
        first: None,
    };
    let tables = [("t", "file"), ("pg", "postgres"), ("lite", "sqlite")];
    let insert = |&(table, input): &(usize, NodeId)| Insert {
        narrowed: Vec::new(),
        table,
        input,
        place: FilePlace::default(),
        views: Vec::new(),
    };
    Pipeline {
        name: "test".to_owned(),
        settings: Settings::default(),
        tables: tables
            .map(|(name, connector)| table(name, connector))
            .into(),
        nodes: vec![node(source), node(over)],
        inserts: inserts.iter().map(insert).collect(),
        recipe: Recipe::default(),
    }
}

fn rows(names: &[&str]) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("name", names, true)]).unwrap()
}

fn run(pipeline: &Pipeline, names: &[&str]) -> Outcome {
    let zones = zones(pipeline);
    let chain = Chain::new(pipeline, &zones, 0, &Indexes::new(), &BTreeSet::new());
    let positions = Positions::Bytes { start: Offset(0) };
    let span = |at: usize| Span {
        start: at as u32,
        len: 0,
    };
    let spans: Vec<Span> = (0..names.len()).map(span).collect();
    let place = Place {
        partition: 0,
        positions: &positions,
        spans: &spans,
    };
    chain.run(&rows(names), &Passed::nothing(), place).unwrap()
}

fn texts(rows: &RecordBatch) -> Vec<&str> {
    rows.column(0).as_string::<i32>().iter().flatten().collect()
}

/// What an INSERT of these rows gets of them.
fn passed(pipeline: &Pipeline, insert: usize, rows: &RecordBatch) -> Vec<String> {
    let gate = gate(pipeline, &zones(pipeline), insert);
    let passed = gate.pass(rows.clone()).unwrap();
    texts(&passed).into_iter().map(str::to_owned).collect()
}

fn fates(accepted: u64, rejected: u64) -> Fates {
    Fates {
        accepted,
        rejected,
        ..Fates::default()
    }
}

#[test]
fn a_record_that_one_sink_cannot_hold_is_rejected_for_its_insert_alone() {
    let pipeline = pipeline(&[(1, 0), (2, 0), (2, 1)]);

    let outcome = run(&pipeline, &["a", "\0", "c"]);

    assert_eq!(
        outcome.fates,
        [(0, fates(2, 1)), (1, fates(3, 0)), (2, fates(3, 0))]
    );
    let turned: Vec<(usize, u32)> = outcome
        .turned
        .iter()
        .map(|(insert, turned)| (*insert, turned.row()))
        .collect();
    assert_eq!(turned, [(0, 1)]);
    let [(0, left)] = &outcome.rows[..] else {
        panic!("one edge has rows: {:?}", outcome.rows)
    };
    assert_eq!(texts(left), ["a", "\0", "c"]);
    assert_eq!(passed(&pipeline, 0, left), ["a", "c"]);
    assert_eq!(passed(&pipeline, 1, left), ["a", "\0", "c"]);
}

#[test]
fn what_a_query_yields_does_not_hang_on_where_else_it_goes() {
    // The functions see all rows, whether a sink that holds them all reads them too, or none.
    for inserts in [&[(1, 1)][..], &[(1, 1), (2, 1)], &[(1, 1), (2, 0)]] {
        let pipeline = pipeline(inserts);

        let outcome = run(&pipeline, &["a", "\0"]);

        assert_eq!(outcome.fates[0], (0, fates(1, 1)), "{inserts:?}");
        assert_eq!(texts(&outcome.rows[0].1), ["a", "\0"], "{inserts:?}");
        assert_eq!(passed(&pipeline, 0, &outcome.rows[0].1), ["a"]);
    }
}

#[test]
fn an_edge_that_only_one_sink_reads_lets_out_what_that_can_hold() {
    let mut pipeline = pipeline(&[(1, 0)]);
    pipeline.nodes.truncate(1);

    let outcome = run(&pipeline, &["a", "\0"]);

    assert_eq!(outcome.fates, [(0, fates(1, 1))]);
    assert_eq!(texts(&outcome.rows[0].1), ["a"]);
    assert!(gate(&pipeline, &zones(&pipeline), 0).is_open());
}

#[test]
fn a_column_that_one_branch_computes_behind_state_has_no_guard() {
    let mut pipeline = pipeline(&[(1, 3)]);
    // What an element of a list is, is made there.
    let made = Operator::Unnest {
        input: 1,
        column: 0,
    };
    pipeline.nodes.push(node(made));
    pipeline
        .nodes
        .push(node(Operator::Union { inputs: vec![1, 2] }));

    let outcome = run(&pipeline, &["\0"]);

    // To leave its row out would leave out rows of the other branch that nobody counted.
    assert_eq!(outcome.fates, [(0, fates(1, 0))]);
    assert!(gate(&pipeline, &zones(&pipeline), 0).is_open());
}
