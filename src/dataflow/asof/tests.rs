//! Whatever the epochs, the workers and a restart in the middle: what comes out is what a naive
//! evaluator says of all rows, no row comes further behind the watermark than the plan says, and
//! nothing is held that nobody asks for any more.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::{AsofJoin, AsofPlan};
use crate::dataflow::fixtures::Memory;
use crate::dataflow::interval::Sided as _;
use crate::dataflow::interval::tests::{
    Brought, Out, Row, Story, batch, codec, numbers, run, schema, stories,
};
use crate::dataflow::roles::with_positions;
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
        let schemas = [schema(["k", "t", "v"]), schema(["l", "u", "w"])];
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
