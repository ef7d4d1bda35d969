//! Whatever the epochs, the workers and a restart in the middle: what comes out is what a naive
//! evaluator says of all rows, no row comes further behind the watermark than the plan says, and
//! nothing is held that cannot match any more.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    reason = "small random numbers"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::{IntervalJoin, IntervalPlan};
use crate::dataflow::aggregate::routes;
use crate::dataflow::changing::Codec;
use crate::dataflow::fixtures::{Memory, collect, feed};
use crate::dataflow::outcome::Shared;
use crate::dataflow::packet::Packet;
use crate::dataflow::report::{Positions, Report};
use crate::dataflow::shell;
use crate::dataflow::sided::{Joined, Sided, joined};
use crate::dataflow::spread::Spread;
use crate::dataflow::state::{State, Stateful, Vault};
use crate::plan::{Expression, Interval, JoinType};
use crate::types::{Epoch, EventTime, Offset, PartitionMark, Watermark};

/// A key, which may be NULL, a time, and a value.
pub type Row = (Option<i64>, i64, i64);
/// What comes out: both sides' columns, or the left's.
pub type Out = Vec<Option<i64>>;
/// What was said: epoch and row.
pub type Said = Vec<(u64, Out)>;

/// What an epoch brings: rows of both sides, and where the two watermarks are at its end.
#[derive(Clone, Debug)]
pub struct Brought {
    pub rows: [Vec<Row>; 2],
    pub watermarks: [Watermark; 2],
}

impl Brought {
    pub fn watermark(&self) -> Watermark {
        self.watermarks[0].min(self.watermarks[1])
    }
}

pub type Story = BTreeMap<u64, Brought>;

/// What is tried.
#[derive(Clone, Debug)]
struct Tried {
    kind: JoinType,
    residual: bool,
    interval: Interval,
}

impl Tried {
    fn one_sided(&self) -> bool {
        matches!(self.kind, JoinType::Semi | JoinType::Anti)
    }

    fn join(&self) -> IntervalJoin {
        let schemas = [schema(["k", "t", "v"]), schema(["l", "u", "w"])];
        let codecs = schemas.clone().map(codec);
        let all = schemas.iter().flat_map(|schema| schema.fields());
        let all = all.map(|field| field.as_ref().clone().with_nullable(true));
        let all: Vec<Field> = all.collect();
        let shown = if self.one_sided() { 3 } else { 6 };
        let plan = IntervalPlan {
            kind: self.kind,
            interval: self.interval,
            by_watermarks: false,
            residual: self.residual.then(less),
            output: Arc::new(Schema::new(all[..shown].to_vec())),
            both: Arc::new(Schema::new(all)),
        };
        IntervalJoin::new(plan, codecs)
    }

    fn matches(&self, left: &Row, right: &Row) -> bool {
        let difference = left.1 - right.1;
        left.0.is_some()
            && left.0 == right.0
            && (self.interval.lower_us..=self.interval.upper_us).contains(&difference)
            && (!self.residual || left.2 < right.2)
    }

    /// What there must be.
    fn naive(&self, lefts: &[Row], rights: &[Row]) -> Vec<Out> {
        let row = |left: Option<&Row>, right: Option<&Row>| {
            let side = |side: Option<&Row>| match side {
                Some((key, time, value)) => [*key, Some(*time), Some(*value)],
                None => [None, None, None],
            };
            match self.one_sided() {
                true => side(left).to_vec(),
                false => [side(left), side(right)].concat(),
            }
        };
        let mut out = Vec::new();
        for left in lefts {
            let partners: Vec<&Row> = rights.iter().filter(|r| self.matches(left, r)).collect();
            match (self.kind, partners.is_empty()) {
                (JoinType::Semi, false)
                | (JoinType::Anti | JoinType::Left | JoinType::Full, true) => {
                    out.push(row(Some(left), None));
                }
                (JoinType::Semi, true)
                | (JoinType::Anti, false)
                | (JoinType::Inner | JoinType::Right, true) => {}
                (JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full, false) => {
                    out.extend(partners.iter().map(|right| row(Some(left), Some(right))));
                }
            }
        }
        if matches!(self.kind, JoinType::Right | JoinType::Full) {
            let alone = |right: &&Row| !lefts.iter().any(|left| self.matches(left, right));
            out.extend(
                rights
                    .iter()
                    .filter(alone)
                    .map(|right| row(None, Some(right))),
            );
        }
        out.sort();
        out
    }
}

/// `v < w`.
fn less() -> Expression {
    let column = |name: &str, at| Arc::new(Column::new(name, at));
    Expression {
        physical: Arc::new(BinaryExpr::new(column("v", 2), Op::Lt, column("w", 5))),
        text: "v < w".to_owned(),
        data_type: DataType::Boolean,
        nullable: true,
    }
}

pub fn schema(names: [&str; 3]) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let types = [DataType::Int64, time, DataType::Int64];
    let fields = names.into_iter().zip(types);
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub fn codec(schema: SchemaRef) -> Arc<Codec> {
    Arc::new(Codec::new(schema, vec![0], Vec::new()).unwrap())
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|row| row.0).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.1)).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(values)];
    RecordBatch::try_new(schema(["k", "t", "v"]), columns).unwrap()
}

/// The rows of a batch, as whole numbers.
pub fn numbers(batch: &RecordBatch) -> Vec<Out> {
    let whole = |column: &ArrayRef| {
        let column = arrow::compute::cast(column, &DataType::Int64).unwrap();
        column.as_primitive::<Int64Type>().clone()
    };
    let columns: Vec<Int64Array> = batch.columns().iter().map(whole).collect();
    let value = |column: &Int64Array, row| column.is_valid(row).then(|| column.value(row));
    let row = |row| columns.iter().map(|column| value(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn report(table: usize, watermark: Watermark) -> Report {
    let mark = PartitionMark {
        watermark,
        ..PartitionMark::beginning(Offset(1))
    };
    Report {
        table,
        partitions: vec![(0, mark)],
        ..Report::default()
    }
}

/// The rows of a side that are read by worker `me` of `peers`.
fn rows_of(story: &Story, side: usize, me: usize, peers: usize) -> Vec<(u64, Vec<Packet>)> {
    let packets = |rows: &Vec<Row>| {
        let rows = rows.iter().enumerate();
        let mine = rows.filter(|(at, _)| at % peers == me);
        let mine: Vec<Row> = mine.map(|(_, row)| *row).collect();
        // The rows of an epoch come in two batches.
        let batches = mine.chunks((mine.len() / 2).max(1)).map(batch);
        batches.map(|batch| Packet::rows(me, batch)).collect()
    };
    let epochs = story.iter();
    epochs
        .map(|(&epoch, brought)| (epoch, packets(&brought.rows[side])))
        .collect()
}

/// Runs a part of a story on some workers; says what came out.
pub fn run<J: Sided + 'static>(
    make: impl Fn() -> J + Send + Sync + 'static,
    story: &Story,
    workers: usize,
    vault: &Arc<Memory>,
) -> Said {
    let out = Arc::new(Mutex::new(Vec::new()));
    let (story, vault, said) = (story.clone(), Arc::clone(vault), Arc::clone(&out));
    let run = timely::execute(timely::Config::process(workers), move |worker| {
        let (me, peers) = (worker.index(), worker.peers());
        let door: Arc<dyn Vault> = Arc::<Memory>::clone(&vault);
        let state = State::new(me, peers, Some(door));
        let shared: Arc<Shared> = Arc::default();
        worker.dataflow::<u64, _, _>(|scope| {
            let sides = [0, 1].map(|side| {
                let rows = feed(scope, rows_of(&story, side, me, peers));
                let codec = codec(schema(["k", "t", "v"]));
                let hashes = Box::new(move |rows: &RecordBatch| Ok(routes(&codec.keys(rows)?)));
                let spread = Spread::new("join".to_owned(), hashes, peers);
                shell::spread(rows, spread, Arc::clone(&shared))
            });
            let reports = story.iter().map(|(&epoch, brought)| {
                let reports = [0, 1].map(|table| Packet::Report {
                    target: me,
                    report: report(table, brought.watermarks[table]),
                });
                (epoch, Vec::from(reports))
            });
            let reports = feed(scope, reports.collect());
            let held = state.hold("join", make()).unwrap();
            let positions = Positions::new([(0, 1), (1, 1)]);
            let core = Joined::new("join".to_owned(), held, positions, Arc::clone(&shared));
            let said = Arc::clone(&said);
            collect(joined(sides, reports, "join", core), move |epoch, batch| {
                let rows = numbers(batch).into_iter();
                said.lock().unwrap().extend(rows.map(|row| (epoch, row)));
            });
        });
        while worker.step() {}
        assert!(shared.failure().is_none(), "{:?}", shared.failure());
        let last = story.last_key_value().map_or(0, |(&epoch, _)| epoch);
        state.cut(Epoch(last)).unwrap();
    });
    run.unwrap().join().into_iter().for_each(Result::unwrap);
    Arc::try_unwrap(out).unwrap().into_inner().unwrap()
}

/// Rows about in the order of time, cut into epochs anyhow; those that are late are left out, as
/// sources do.
pub fn stories(behind_us: [i64; 2]) -> impl Strategy<Value = Story> {
    let step = (0usize..2, 0i64..4, 0i64..10, 0i64..6, 0u64..4);
    let steps = prop::collection::vec(step, 1..100);
    (steps, 0i64..8).prop_map(move |(steps, bound)| {
        let mut story = Story::new();
        let (mut epoch, mut watermarks) = (1, [Watermark::START; 2]);
        for (at, (side, key, jitter, value, later)) in steps.into_iter().enumerate() {
            epoch += u64::from(later == 0) * 2;
            let (key, time) = ((key > 0).then_some(key), at as i64 / 2 + jitter);
            let brought = story.entry(epoch).or_insert_with(|| Brought {
                rows: Default::default(),
                watermarks,
            });
            let limit = watermarks[side].micros();
            if time >= limit.saturating_sub(behind_us[side]) {
                brought.rows[side].push((key, time, value));
            }
            let own = Watermark::behind(EventTime(time), bound);
            watermarks[side] = watermarks[side].max(own);
            brought.watermarks = watermarks;
        }
        story
    })
}

fn every() -> impl Strategy<Value = (Tried, Story)> {
    let kinds = prop::sample::select(vec![
        JoinType::Inner,
        JoinType::Left,
        JoinType::Right,
        JoinType::Full,
        JoinType::Semi,
        JoinType::Anti,
    ]);
    let interval = (-8i64..8, -1i64..8, 0i64..4, 0i64..4);
    let tried = (kinds, any::<bool>(), interval).prop_map(
        |(kind, residual, (lower, length, left, right))| Tried {
            kind,
            residual,
            interval: Interval {
                times: [1, 1],
                lower_us: lower,
                upper_us: lower + length,
                behind_us: [left, right],
            },
        },
    );
    tried.prop_flat_map(|tried| {
        let story = stories(tried.interval.behind_us);
        (Just(tried), story)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_that_comes_out_is_what_a_naive_evaluator_says(
        (tried, story) in every(),
        workers in (1usize..4, 1usize..4),
        cut in 0u64..60,
    ) {
        let (first, mut second): (Story, Story) =
            story.clone().into_iter().partition(|(epoch, _)| *epoch <= cut);
        let ended = story.last_key_value().unwrap().0 + 1;
        second.insert(ended, Brought { rows: Default::default(), watermarks: [Watermark::END; 2] });

        let vault = Arc::new(Memory::default());
        let make = |tried: &Tried| { let tried = tried.clone(); move || tried.join() };
        let mut said = run(make(&tried), &first, workers.0, &vault);
        let vault_after = Arc::new(vault.after());
        said.extend(run(make(&tried), &second, workers.1, &vault_after));

        let all = |side: usize| -> Vec<Row> {
            story.values().flat_map(|brought| brought.rows[side].clone()).collect()
        };
        let mut rows: Vec<Out> = said.iter().map(|(_, row)| row.clone()).collect();
        rows.sort();
        prop_assert_eq!(rows, tried.naive(&all(0), &all(1)));

        // No row comes further behind the watermark of the epoch before than the plan says.
        let mut watermark = Watermark::START;
        for epoch in 0..=ended {
            let here = said.iter().filter(|(at, _)| *at == epoch);
            for (_, row) in here.filter(|_| !watermark.is_start()) {
                for (time, lag) in [row.get(1), row.get(4)].into_iter().zip(tried.interval.lag_us()) {
                    let time = time.copied().flatten().unwrap_or(i64::MAX);
                    prop_assert!(time >= watermark.micros() - lag, "{:?} in {}", row, epoch);
                }
            }
            watermark = story.get(&epoch).map_or(watermark, Brought::watermark);
        }

        // Nothing is held that can match no more.
        let at_cut = first.values().last().map_or(Watermark::START, Brought::watermark);
        let may_match = |side: usize| {
            let rows = first.values().flat_map(move |brought| &brought.rows[side]);
            let held_us = tried.interval.held_us()[side];
            rows.filter(move |row| row.0.is_some() && row.1 + held_us >= at_cut.micros()).count()
        };
        let may_match = may_match(0) + may_match(1);
        match tried.one_sided() {
            true => prop_assert!(vault.rows() <= may_match),
            false => prop_assert_eq!(vault.rows(), may_match),
        }
        prop_assert_eq!(vault_after.rows(), 0);
    }
}

#[test]
fn what_is_held_is_what_an_interval_has_however_long_it_runs() {
    let tried = Tried {
        kind: JoinType::Full,
        residual: false,
        interval: Interval {
            times: [1, 1],
            lower_us: -10,
            upper_us: 10,
            behind_us: [0, 0],
        },
    };
    let mut join = tried.join();
    let mut most = 0;
    for time in 0..2000 {
        let rows: Vec<Row> = (0..10)
            .map(|key| (Some(time * 10 + key), time, key))
            .collect();
        join.update(0, &batch(&rows), &mut |_| {}).unwrap();
        join.update(1, &batch(&rows), &mut |_| {}).unwrap();
        let watermark = Watermark::behind(EventTime(time), 0);
        join.close(watermark, &mut |_| {}).unwrap();
        most = most.max(join.rows());
    }

    assert_eq!(most, 2 * 10 * 11);
    join.close(Watermark::END, &mut |_| {}).unwrap();
    assert_eq!((join.rows(), join.bytes()), (0, 0));
}

#[test]
fn one_row_finds_more_partners_than_a_batch_holds() {
    let tried = Tried {
        kind: JoinType::Left,
        residual: true,
        interval: Interval {
            times: [1, 1],
            lower_us: 0,
            upper_us: 0,
            behind_us: [0, 0],
        },
    };
    let mut join = tried.join();
    let rows: Vec<Row> = (0..20_000).map(|value| (Some(1), 5, value)).collect();

    join.update(1, &batch(&rows), &mut |_| {}).unwrap();
    let mut sizes = Vec::new();
    let mut emit = |batch: RecordBatch| sizes.push(batch.num_rows());
    join.update(0, &batch(&[(Some(1), 5, 9_999)]), &mut emit)
        .unwrap();
    join.close(Watermark::END, &mut emit).unwrap();

    assert_eq!(sizes.iter().sum::<usize>(), 10_000);
    assert!(sizes.iter().all(|size| *size <= 8192));
}
