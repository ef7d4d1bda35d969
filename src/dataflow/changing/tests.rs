//! After every epoch, what an operator has said comes to what a naive evaluator says of the rows
//! that are there: whatever the epochs, the workers and a restart in the middle.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "small random numbers"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use proptest::prelude::*;

use super::{Codec, Index, IndexParts, Join, JoinPlan, NullKeys, Over, index, join, over};
use crate::dataflow::fixtures::{Memory, collect, feed};
use crate::dataflow::framed::Calls;
use crate::dataflow::framed::tests::{aggregate_over, any_frame, column, is_in};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::packet::Packet;
use crate::dataflow::report::Positions;
use crate::dataflow::roles::{counts, with_counts};
use crate::dataflow::shell::Edge;
use crate::dataflow::state::{State, Vault};
use crate::dataflow::withheld::Withheld;
use crate::plan::{
    AggregateFunction, Expression, Frame, JoinType, OverCall, OverFunction, SortKey,
};
use crate::types::Epoch;

/// A key, which may be NULL, and a value.
type Row = (Option<i64>, i64);
/// Rows, and how many there are of each.
type Bag<T> = BTreeMap<T, i64>;
/// What was said: epoch, row, count.
type Said = Vec<(u64, Vec<Option<i64>>, i64)>;
/// What comes and goes, by epoch and side.
type Story = BTreeMap<u64, [Vec<(Row, i64)>; 2]>;

fn schema(names: [&str; 2]) -> SchemaRef {
    let fields = names.map(|name| Field::new(name, DataType::Int64, true));
    Arc::new(Schema::new(fields.to_vec()))
}

fn batch(schema: &SchemaRef, rows: &[(Row, i64)]) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|((key, _), _)| *key).collect();
    let values: Int64Array = rows.iter().map(|((_, value), _)| Some(*value)).collect();
    let counts: Int64Array = rows.iter().map(|(_, count)| Some(*count)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
    let rows = RecordBatch::try_new(Arc::clone(schema), columns).unwrap();
    with_counts(&rows, &counts)
}

/// The rows of an epoch, with their counts.
fn numbers(epoch: u64, batch: &RecordBatch, width: usize) -> Said {
    let counts = counts(batch, width);
    let row = |row: usize| {
        let values = batch.columns()[..width].iter().map(|column| {
            let column = arrow::compute::cast(column, &DataType::Int64).unwrap();
            let column = column.as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        });
        let count = counts.map_or(1, |counts| counts.value(row));
        (epoch, values.collect(), count)
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The further condition of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Further {
    None,
    /// `v < w`.
    Less,
    /// `6 / w > v`, which fails where `w` is 0.
    Share,
}

impl Further {
    fn expression(self) -> Option<Expression> {
        let column = |name: &str, at| Arc::new(Column::new(name, at));
        let condition = match self {
            Self::None => return None,
            Self::Less => BinaryExpr::new(column("v", 1), Op::Lt, column("w", 3)),
            Self::Share => {
                let share = BinaryExpr::new(number(6), Op::Divide, column("w", 3));
                BinaryExpr::new(Arc::new(share), Op::Gt, column("v", 1))
            }
        };
        Some(Expression {
            physical: Arc::new(condition),
            text: format!("{self:?}"),
            data_type: DataType::Boolean,
            nullable: true,
        })
    }

    /// What it says of two rows; `None` if it fails.
    fn holds(self, left: &Row, right: &Row) -> Option<bool> {
        match self {
            Self::None => Some(true),
            Self::Less => Some(left.1 < right.1),
            Self::Share => Some(6i64.checked_div(right.1)? > left.1),
        }
    }
}

/// A join as it is told in one's head.
#[derive(Clone, Copy)]
struct Matching {
    nulls_match: bool,
    further: Further,
}

impl Matching {
    /// Whether two rows match; `None` if that cannot be computed.
    fn of(self, left: &Row, right: &Row) -> Option<bool> {
        match left.0 == right.0 && (self.nulls_match || left.0.is_some()) {
            true => self.further.holds(left, right),
            false => Some(false),
        }
    }
}

/// What is tried.
#[derive(Clone, Debug)]
enum Tried {
    /// Of which kind, whether NULLs match, and the further condition.
    Join(JoinType, bool, Further),
    Over(Option<u64>),
    /// The sum and the count of a frame.
    Framed(Frame),
}

impl Tried {
    fn width(&self) -> usize {
        match self {
            Self::Join(JoinType::Semi | JoinType::Anti, _, _) => 2,
            Self::Join(..) | Self::Over(_) | Self::Framed(_) => 4,
        }
    }

    fn build<'scope>(&self, sides: &[Index<'scope>; 2], shared: &Arc<Shared>) -> Edge<'scope> {
        match self {
            Self::Join(kind, nulls_match, residual) => {
                let names = ["k", "v", "l", "w"];
                let all = names.map(|name| Field::new(name, DataType::Int64, true));
                let output = &all[..self.width()];
                let plan = JoinPlan {
                    kind: *kind,
                    nulls_match: *nulls_match,
                    residual: residual.expression(),
                    both: Arc::new(Schema::new(all.to_vec())),
                    output: Arc::new(Schema::new(output.to_vec())),
                    changing: true,
                    counted: true,
                };
                let codecs = [sides[0].codec(), sides[1].codec()];
                let core = Join::new(plan, codecs, Withheld::new("join", Arc::clone(shared)));
                join(&sides[0], &sides[1], "join", core, shared)
            }
            Self::Over(first) => {
                let functions = [("n", OverFunction::RowNumber), ("r", OverFunction::Rank)];
                let calls = functions.map(|(name, function)| OverCall {
                    function,
                    output: Arc::new(Field::new(name, DataType::UInt64, false)),
                    text: name.to_owned(),
                });
                over_by_half(&sides[0], calls.to_vec(), *first, shared)
            }
            Self::Framed(frame) => {
                let functions = [AggregateFunction::Sum, AggregateFunction::Count];
                let calls = functions.map(|f| aggregate_over(f, column("v", 1), *frame));
                over_by_half(&sides[0], calls.to_vec(), None, shared)
            }
        }
    }

    /// What there must be, of the rows that are there.
    fn naive(&self, left: &Bag<Row>, right: &Bag<Row>) -> Bag<Vec<Option<i64>>> {
        let mut bag = Bag::new();
        let mut add = |row: Vec<Option<i64>>, count: i64| {
            if count != 0 {
                *bag.entry(row).or_default() += count;
            }
        };
        let (kind, matching) = match self {
            Self::Over(first) => {
                for row in numbered(left, *first) {
                    add(row, 1);
                }
                return bag;
            }
            Self::Framed(frame) => {
                for row in framed(left, *frame) {
                    add(row, 1);
                }
                return bag;
            }
            &Self::Join(kind, nulls_match, further) => {
                let matching = Matching {
                    nulls_match,
                    further,
                };
                (kind, matching)
            }
        };
        let row = |l: Option<&Row>, r: Option<&Row>| {
            let side = |side: Option<&Row>| match side {
                Some((key, value)) => [*key, Some(*value)],
                None => [None, None],
            };
            [side(l), side(r)].concat()
        };
        for (l, n) in left {
            let verdicts = || right.keys().map(|r| matching.of(l, r));
            let is_matched = verdicts().any(|verdict| verdict == Some(true));
            let is_alone = verdicts().all(|verdict| verdict == Some(false));
            match kind {
                JoinType::Semi if is_matched => add(row(Some(l), None)[..2].to_vec(), *n),
                JoinType::Anti if is_alone => add(row(Some(l), None)[..2].to_vec(), *n),
                JoinType::Semi | JoinType::Anti => {}
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    for (r, m) in right {
                        if matching.of(l, r) == Some(true) {
                            add(row(Some(l), Some(r)), n * m);
                        }
                    }
                }
            }
            if is_alone && matches!(kind, JoinType::Left | JoinType::Full) {
                add(row(Some(l), None), *n);
            }
        }
        for (r, m) in right {
            let is_alone = left.keys().all(|l| matching.of(l, r) == Some(false));
            if is_alone && matches!(kind, JoinType::Right | JoinType::Full) {
                add(row(None, Some(r)), *m);
            }
        }
        bag
    }

    /// Whether something of it cannot be computed.
    fn fails(&self, left: &Bag<Row>, right: &Bag<Row>) -> bool {
        let Self::Join(_, nulls_match, further) = *self else {
            return false;
        };
        let matching = Matching {
            nulls_match,
            further,
        };
        let mut left = left.keys();
        left.any(|l| right.keys().any(|r| matching.of(l, r).is_none()))
    }
}

/// What is there after `epoch`.
fn there(story: &Story, epoch: u64) -> [Bag<Row>; 2] {
    let mut there: [Bag<Row>; 2] = Default::default();
    for sides in story.range(..=epoch).map(|(_, sides)| sides) {
        for (side, changes) in sides.iter().enumerate() {
            for (row, count) in changes {
                *there[side].entry(*row).or_default() += count;
            }
        }
    }
    there.iter_mut().for_each(|bag| bag.retain(|_, n| *n != 0));
    there
}

/// Functions over the rows by key, in the order of half their values.
fn over_by_half<'scope>(
    input: &Index<'scope>,
    calls: Vec<OverCall>,
    first: Option<u64>,
    shared: &Arc<Shared>,
) -> Edge<'scope> {
    let codec = input.codec();
    let mut fields = codec.schema().fields().to_vec();
    fields.extend(calls.iter().map(|call| Arc::clone(&call.output)));
    let output = Arc::new(Schema::new(fields));
    let calls = Calls::new(calls, &[half()], codec.schema()).unwrap();
    let withheld = Withheld::new("over", Arc::clone(shared));
    let core = Over::new(codec, calls, first, output, withheld);
    over(input, "over", core, shared)
}

/// Values by key, in the order of their halves.
fn by_key(rows: &Bag<Row>) -> BTreeMap<Option<i64>, Vec<i64>> {
    let mut by_key: BTreeMap<Option<i64>, Vec<i64>> = BTreeMap::new();
    for ((key, value), count) in rows {
        for _ in 0..*count {
            by_key.entry(*key).or_default().push(*value);
        }
    }
    for values in by_key.values_mut() {
        values.sort_by_key(|value| (value / 2, *value));
    }
    by_key
}

/// Rows with the sum and the count of a frame.
fn framed(rows: &Bag<Row>, frame: Frame) -> Vec<Vec<Option<i64>>> {
    let mut out = Vec::new();
    for (key, values) in by_key(rows) {
        let halves: Vec<Option<i64>> = values.iter().map(|value| Some(value / 2)).collect();
        for (place, value) in values.iter().enumerate() {
            let inside = (0..values.len()).filter(|at| is_in(frame, &halves, place, *at));
            let inside: Vec<i64> = inside.map(|at| values[at]).collect();
            let sum = (!inside.is_empty()).then(|| inside.iter().sum());
            out.push(vec![key, Some(*value), sum, Some(inside.len() as i64)]);
        }
    }
    out
}

/// Rows by key, in the order of half their values, with row number and rank.
fn numbered(rows: &Bag<Row>, first: Option<u64>) -> Vec<Vec<Option<i64>>> {
    let mut out = Vec::new();
    for (key, values) in by_key(rows) {
        for (place, value) in values.iter().enumerate() {
            let peers = values.iter().position(|other| other / 2 == value / 2);
            let rank = peers.unwrap() as i64 + 1;
            if first.is_none_or(|first| (place as u64) < first) {
                out.push(vec![key, Some(*value), Some(place as i64 + 1), Some(rank)]);
            }
        }
    }
    out
}

fn number(number: i64) -> Arc<Literal> {
    let value = datafusion_common::ScalarValue::Int64(Some(number));
    Arc::new(Literal::new(value))
}

/// `v / 2`.
fn half() -> SortKey {
    let v = Arc::new(Column::new("v", 1));
    SortKey {
        expression: Expression {
            physical: Arc::new(BinaryExpr::new(v, Op::Divide, number(2))),
            text: "v / 2".to_owned(),
            data_type: DataType::Int64,
            nullable: true,
        },
        descending: false,
        nulls_first: false,
    }
}

/// Runs a part of a story on some workers; says what came out, and whether something is left over
/// that cannot be computed.
fn run(tried: &Tried, story: &Story, workers: usize, vault: &Arc<Memory>) -> (Said, bool) {
    let out = Arc::new(Mutex::new(Vec::new()));
    let (tried, story, vault, said) = (
        tried.clone(),
        story.clone(),
        Arc::clone(vault),
        Arc::clone(&out),
    );
    let run = timely::execute(timely::Config::process(workers), move |worker| {
        let (me, peers) = (worker.index(), worker.peers());
        let door: Arc<dyn Vault> = Arc::<Memory>::clone(&vault);
        let state = State::new(me, peers, Some(door));
        let shared: Arc<Shared> = Arc::default();
        worker.dataflow::<u64, _, _>(|scope| {
            let schemas = [schema(["k", "v"]), schema(["l", "w"])];
            let sides = [0, 1].map(|side| {
                let mine = story.iter().map(|(&epoch, sides)| {
                    let rows = sides[side].iter().enumerate();
                    let mine = rows.filter(|(at, _)| at % peers == me);
                    let mine: Vec<(Row, i64)> = mine.map(|(_, row)| *row).collect();
                    // The rows of an epoch come in two batches.
                    let halves = mine.chunks((mine.len() / 2).max(1));
                    let halves = halves.map(|rows| Packet::rows(0, batch(&schemas[side], rows)));
                    (epoch, halves.collect())
                });
                let order = match tried {
                    Tried::Join(..) => Vec::new(),
                    Tried::Over(_) | Tried::Framed(_) => vec![half()],
                };
                let input = feed(scope, mine.collect());
                let parts = IndexParts {
                    name: ["left", "right"][side],
                    codec: Codec::new(Arc::clone(&schemas[side]), vec![0], order).unwrap(),
                    nulls: NullKeys::Kept,
                    state: &state,
                    reports: feed(scope, Vec::new()),
                    positions: Positions::new([]),
                    shared: &shared,
                };
                index(input, parts).unwrap()
            });
            let (width, said) = (tried.width(), Arc::clone(&said));
            collect(tried.build(&sides, &shared), move |epoch, batch| {
                said.lock().unwrap().extend(numbers(epoch, batch, width));
            });
        });
        while worker.step() {}
        let failure = shared.failure();
        let is_left_over =
            |failure: &Failure| failure.message.starts_with("cannot compute the row");
        assert!(failure.as_ref().is_none_or(is_left_over), "{failure:?}");
        let last = story.last_key_value().map_or(0, |(&epoch, _)| epoch);
        state.cut(Epoch(last)).unwrap();
        failure.is_some()
    });
    let workers = run.unwrap().join().into_iter();
    let failed = workers.map(Result::unwrap).collect::<Vec<bool>>();
    let said = Arc::try_unwrap(out).unwrap().into_inner().unwrap();
    (said, failed.contains(&true))
}

/// Random comings and goings; nothing goes that is not there.
fn stories() -> impl Strategy<Value = Story> {
    let step = (1u64..12, 0usize..2, 0i64..4, 0i64..6, any::<bool>());
    prop::collection::vec(step, 1..80).prop_map(|mut steps| {
        steps.sort_by_key(|(epoch, ..)| *epoch);
        let mut story = Story::new();
        let mut there: [Bag<Row>; 2] = Default::default();
        for (epoch, side, key, value, comes) in steps {
            let row = ((key > 0).then_some(key), value);
            let count = there[side].entry(row).or_default();
            let change = if comes || *count == 0 { 1 } else { -1 };
            *count += change;
            story.entry(epoch).or_default()[side].push((row, change));
        }
        story
    })
}

fn every() -> impl Strategy<Value = Tried> {
    let kinds = prop::sample::select(vec![
        JoinType::Inner,
        JoinType::Left,
        JoinType::Right,
        JoinType::Full,
        JoinType::Semi,
        JoinType::Anti,
    ]);
    let further = prop::sample::select(vec![Further::None, Further::Less, Further::Share]);
    prop_oneof![
        4 => (kinds, any::<bool>(), further).prop_map(|(k, n, f)| Tried::Join(k, n, f)),
        1 => prop::option::of(1u64..4).prop_map(Tried::Over),
        3 => any_frame().prop_map(Tried::Framed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_epoch_is_what_a_naive_evaluator_says(
        tried in every(),
        story in stories(),
        workers in (1usize..4, 1usize..4),
        cut in 0u64..12,
    ) {
        // While something is withheld, no snapshot is published.
        let is_whole = |epoch: &u64| {
            let [left, right] = there(&story, *epoch);
            !tried.fails(&left, &right)
        };
        let cut = (0..=cut).rev().find(is_whole).unwrap();
        let (first, second): (Story, Story) =
            story.clone().into_iter().partition(|(epoch, _)| *epoch <= cut);
        let vault = Arc::new(Memory::default());
        let (mut said, failed) = run(&tried, &first, workers.0, &vault);
        prop_assert!(!failed);
        let vault = Arc::new(vault.after());
        let (more, failed) = run(&tried, &second, workers.1, &vault);
        prop_assert_eq!(failed, !is_whole(&u64::MAX));
        said.extend(more);

        for &epoch in story.keys() {
            let [left, right] = there(&story, epoch);
            let mut so_far = Bag::new();
            for (_, row, count) in said.iter().filter(|(at, ..)| *at <= epoch) {
                *so_far.entry(row.clone()).or_default() += count;
            }
            so_far.retain(|_, count| *count != 0);
            prop_assert_eq!(so_far, tried.naive(&left, &right), "after epoch {}", epoch);
        }
    }
}
