//! Whatever the epochs, the workers and a restart in the middle: what comes out is what a naive
//! evaluator says of all rows, no row comes further behind the watermark than the plan says, and
//! nothing is held that nobody asks for any more.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;

use super::{AsofJoin, AsofPlan};
use crate::dataflow::fixtures::Memory;
use crate::dataflow::interval::tests::{
    Brought, Out, Row, Story, batch, codec, numbers, run, schema, stories,
};
use crate::dataflow::roles::with_positions;
use crate::dataflow::sided::Sided as _;
use crate::dataflow::state::Stateful as _;
use crate::plan::{Asof, JoinKind};
use crate::types::{EventTime, Watermark};

/// What is tried.
#[derive(Clone, Debug)]
struct Tried {
    kind: JoinKind,
    asof: Asof,
}

impl Tried {
    fn join(&self, located: bool) -> AsofJoin {
        self.join_of(schema(["l", "u", "w"]), located)
    }

    fn join_of(&self, right: SchemaRef, located: bool) -> AsofJoin {
        let schemas = [schema(["k", "t", "v"]), right];
        let codecs = schemas.clone().map(codec);
        let all = schemas.iter().flat_map(|schema| schema.fields());
        let all = all.map(|field| field.as_ref().clone().with_nullable(true));
        let plan = AsofPlan {
            kind: self.kind,
            asof: self.asof,
            located,
            output: Arc::new(Schema::new(all.collect::<Vec<Field>>())),
        };
        AsofJoin::new(plan, codecs)
    }

    fn is_before(&self, right: i64, left: i64) -> bool {
        right < left || (right == left && !self.asof.older)
    }

    /// What there must be.
    fn naive(&self, lefts: &[Row], rights: &[Row]) -> Vec<Out> {
        let mut out = Vec::new();
        for (key, time, value) in lefts {
            let earlier = rights
                .iter()
                .filter(|right| key.is_some() && right.0 == *key && self.is_before(right.1, *time));
            // Of two at one time, the one with the greater value.
            let newest = earlier.max_by_key(|right| (right.1, right.2));
            let mut row = vec![*key, Some(*time), Some(*value)];
            match (newest, self.kind) {
                (Some((key, time, value)), _) => row.extend([*key, Some(*time), Some(*value)]),
                (None, JoinKind::Left) => row.extend([None, None, None]),
                (None, JoinKind::Inner) => continue,
            }
            out.push(row);
        }
        out.sort();
        out
    }

    /// How many rows must be held at a watermark.
    fn held(&self, story: &Story, watermark: Watermark) -> usize {
        let rows = |side: usize| {
            let rows = story.values().flat_map(move |brought| &brought.rows[side]);
            rows.filter(|row| row.0.is_some())
        };
        let behind = |us: i64| match watermark.is_start() {
            true => i64::MIN,
            false => watermark.micros() - us,
        };
        // A right row may still come at that time, or after.
        let complete = behind(self.asof.behind_us[1]);
        let waiting = rows(0).filter(|row| match self.asof.older {
            true => row.1 > complete,
            false => row.1 >= complete,
        });
        let mut times: BTreeMap<Option<i64>, BTreeSet<i64>> = BTreeMap::new();
        for row in rows(1) {
            times.entry(row.0).or_default().insert(row.1);
        }
        let asked = behind(self.asof.lag_us());
        let versions = times.values().map(|times| {
            let seen = times
                .iter()
                .filter(|time| self.is_before(**time, asked))
                .count();
            times.len() - seen.saturating_sub(1)
        });
        waiting.count() + versions.sum::<usize>()
    }
}

fn every() -> impl Strategy<Value = (Tried, Story)> {
    let kinds = prop::sample::select(vec![JoinKind::Inner, JoinKind::Left]);
    let tried = (kinds, any::<bool>(), 0i64..4, 0i64..4);
    let tried = tried.prop_map(|(kind, older, left, right)| Tried {
        kind,
        asof: Asof {
            times: [1, 1],
            older,
            gone: None,
            behind_us: [left, right],
        },
    });
    tried.prop_flat_map(|tried| {
        let story = stories(tried.asof.behind_us);
        (Just(tried), story)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_that_comes_out_is_what_a_naive_evaluator_says(
        (tried, story) in every(),
        workers in (1usize..5, 1usize..5),
        cut in 0u64..60,
    ) {
        let (first, mut second): (Story, Story) =
            story.clone().into_iter().partition(|(epoch, _)| *epoch <= cut);
        let ended = story.last_key_value().unwrap().0 + 1;
        second.insert(ended, Brought { rows: Default::default(), watermarks: [Watermark::END; 2] });

        let vault = Arc::new(Memory::default());
        let make = |tried: &Tried| { let tried = tried.clone(); move || tried.join(false) };
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
                let time = row[1].unwrap();
                prop_assert!(time >= watermark.micros() - tried.asof.lag_us(), "{:?} in {}", row, epoch);
            }
            watermark = story.get(&epoch).map_or(watermark, Brought::watermark);
        }

        // What is held is what may still come out, and what may still be asked for.
        let at_cut = first.values().last().map_or(Watermark::START, Brought::watermark);
        prop_assert_eq!(vault.rows(), tried.held(&first, at_cut));
        prop_assert_eq!(vault_after.rows(), 0);
    }
}

fn at_or_before(kind: JoinKind) -> Tried {
    Tried {
        kind,
        asof: Asof {
            times: [1, 1],
            older: false,
            gone: None,
            behind_us: [0, 0],
        },
    }
}

#[test]
fn what_is_held_is_a_row_per_key_however_long_it_runs() {
    let mut join = at_or_before(JoinKind::Inner).join(false);
    let (mut most, mut said) = (0, 0);
    for time in 0..2000 {
        let rows: Vec<Row> = (0..10).map(|key| (Some(key), time, key)).collect();
        join.update(0, &batch(&rows), &mut |_| {}).unwrap();
        join.update(1, &batch(&rows), &mut |_| {}).unwrap();
        let mut emit = |rows: RecordBatch| said += rows.num_rows();
        join.close(Watermark::behind(EventTime(time), 0), &mut emit)
            .unwrap();
        most = most.max(join.rows());
    }

    assert_eq!((most, said), (20, 19_990));
    join.close(Watermark::END, &mut |_| {}).unwrap();
    assert_eq!((join.rows(), join.bytes()), (0, 0));
}

/// Rows, and where they stand.
fn placed(rows: &[Row], offsets: &[u64]) -> RecordBatch {
    let rows = batch(rows);
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(UInt32Array::from_value(7, offsets.len())));
    columns.push(Arc::new(UInt64Array::from(offsets.to_vec())));
    RecordBatch::try_new(with_positions(&rows.schema()), columns).unwrap()
}

#[test]
fn of_two_rows_at_one_time_the_later_one_in_the_input_counts_also_after_a_restart() {
    let tried = at_or_before(JoinKind::Left);
    let mut join = tried.join(true);
    let rights = placed(&[(Some(1), 5, 10), (Some(1), 5, 99)], &[30, 20]);
    join.update(1, &rights, &mut |_| {}).unwrap();
    let mut again = tried.join(true);
    for saved in join.save().unwrap() {
        again.restore(&saved).unwrap();
    }
    let rights = placed(&[(Some(1), 5, 1)], &[25]);
    again.update(1, &rights, &mut |_| {}).unwrap();
    again
        .update(0, &batch(&[(Some(1), 9, 0)]), &mut |_| {})
        .unwrap();

    let mut said = Vec::new();
    let mut emit = |rows: RecordBatch| said.extend(numbers(&rows));
    again.close(Watermark::END, &mut emit).unwrap();

    assert_eq!(said, [[1, 9, 0, 1, 5, 10].map(Some)]);
}

/// A right row in one of two partitions, which may end its key.
#[derive(Clone, Debug)]
struct Placed {
    row: Row,
    place: (u32, u64),
    ends: bool,
}

/// The schema of rows that may end their key.
fn ending() -> SchemaRef {
    let mut fields = schema(["l", "u", "w"]).fields().to_vec();
    fields.push(Arc::new(Field::new("gone", DataType::Boolean, true)));
    Arc::new(Schema::new(fields))
}

fn ending_batch(rows: &[Placed]) -> RecordBatch {
    let plain: Vec<Row> = rows.iter().map(|placed| placed.row).collect();
    let mut columns = batch(&plain).columns().to_vec();
    let ends = rows.iter().map(|placed| placed.ends);
    columns.push(Arc::new(BooleanArray::from_iter(ends.map(Some))));
    let places = || rows.iter().map(|placed| placed.place);
    columns.push(Arc::new(UInt32Array::from_iter_values(
        places().map(|place| place.0),
    )));
    columns.push(Arc::new(UInt64Array::from_iter_values(
        places().map(|place| place.1),
    )));
    RecordBatch::try_new(with_positions(&ending()), columns).unwrap()
}

/// What an epoch brings, and the watermark at its end.
type Epochs = Vec<(Vec<Row>, Vec<Placed>, Watermark)>;

/// Epochs of rows that are never late, but may be as late as that: at the very time up to which
/// the watermark has come less what their side promised.
fn epochs_with_ends(tried: &Tried) -> impl Strategy<Value = Epochs> + use<> {
    let step = (0u32..3, 0i64..2, 0i64..5, any::<bool>(), 0u64..3);
    let behind_us = tried.asof.behind_us;
    prop::collection::vec(step, 1..80).prop_map(move |steps| {
        let (mut epochs, mut newest) = (Epochs::new(), i64::MIN);
        let mut brought = (Vec::new(), Vec::new());
        let mut watermark = Watermark::START;
        for (offset, (stream, key, jitter, ends, later)) in steps.into_iter().enumerate() {
            let (offset, side) = (offset as u64, usize::from(stream > 0));
            let earliest = match watermark.is_start() {
                true => 0,
                false => watermark.micros() - behind_us[side],
            };
            let row = (Some(key), earliest + jitter, offset as i64);
            newest = newest.max(row.1);
            match stream {
                0 => brought.0.push(row),
                _ => brought.1.push(Placed {
                    row,
                    place: (stream, offset),
                    ends,
                }),
            }
            if later == 0 {
                let next = Watermark::behind(EventTime(newest), 2);
                watermark = watermark.max(next);
                let (lefts, rights) = std::mem::take(&mut brought);
                epochs.push((lefts, rights, watermark));
            }
        }
        let settled = Watermark::behind(EventTime(newest.max(0) + 100), 0);
        epochs.push((brought.0, brought.1, settled));
        epochs
    })
}

fn with_ends() -> impl Strategy<Value = (Tried, Epochs)> {
    let tried = (any::<bool>(), 0i64..4, 0i64..4).prop_map(|(older, left, right)| Tried {
        kind: JoinKind::Left,
        asof: Asof {
            times: [1, 1],
            older,
            gone: Some(3),
            behind_us: [left, right],
        },
    });
    tried.prop_flat_map(|tried| {
        let epochs = epochs_with_ends(&tried);
        (Just(tried), epochs)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_key_that_ended_stays_so_until_its_next_row_and_takes_no_room_after_that(
        (tried, epochs) in with_ends(),
        cut in 0usize..40,
    ) {
        let (mut join, mut said) = (tried.join_of(ending(), true), Vec::new());
        for (epoch, (lefts, rights, watermark)) in epochs.iter().enumerate() {
            let mut emit = |rows: RecordBatch| said.extend(numbers(&rows));
            join.update(1, &ending_batch(rights), &mut emit).unwrap();
            join.update(0, &batch(lefts), &mut emit).unwrap();
            join.close(*watermark, &mut emit).unwrap();
            if epoch == cut {
                let saved = join.save().unwrap();
                join = tried.join_of(ending(), true);
                saved.iter().for_each(|part| join.restore(part).unwrap());
            }
        }

        let rights: Vec<&Placed> = epochs.iter().flat_map(|(_, rights, _)| rights).collect();
        let newest = |key, holds: &dyn Fn(i64) -> bool| {
            let rights = rights.iter().filter(|right| right.row.0 == key && holds(right.row.1));
            let newest = rights.max_by_key(|right| (right.row.1, right.place))?;
            (!newest.ends).then_some(newest.row)
        };
        let lefts = epochs.iter().flat_map(|(lefts, ..)| lefts);
        let mut naive: Vec<Out> = lefts.map(|&(key, time, value)| {
            let found = newest(key, &|right| tried.is_before(right, time));
            let mut row = vec![key, Some(time), Some(value)];
            row.extend(match found {
                Some((key, time, value)) => [key, Some(time), Some(value), Some(0)],
                None => [None; 4],
            });
            row
        }).collect();
        naive.sort();
        said.sort();
        prop_assert_eq!(said, naive);

        let held = (0..2).filter(|key| newest(Some(*key), &|_| true).is_some()).count();
        prop_assert_eq!(join.rows(), held);
    }
}
