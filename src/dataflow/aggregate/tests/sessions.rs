//! Sessions against a naive evaluator, however the rows are cut and spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;

use super::kit::{Random, batch, call, distinct, integers, only, plan, rows, times};
use crate::dataflow::aggregate::{Aggregation, Sessions};
use crate::dataflow::state::{Stateful, owner};
use crate::plan::{AggregateFunction, AggregateWindow, Assign, Emit, WindowKind};
use crate::types::{EventTime, Watermark};

const GAP: i64 = 10;

/// Time, user, page, amount.
type Row = (i64, &'static str, &'static str, i64);

fn sessions(partition: usize, lateness_us: i64) -> Option<AggregateWindow> {
    Some(AggregateWindow {
        kind: WindowKind::Session {
            gap_us: GAP,
            partition,
        },
        assign: Assign::Windows,
        start: 0,
        end: 1,
        lateness_us,
    })
}

fn input(rows: &[Row]) -> RecordBatch {
    let starts: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let ends: Vec<i64> = starts.iter().map(|start| start + GAP).collect();
    let texts =
        |of: fn(&Row) -> &'static str| Arc::new(StringArray::from_iter_values(rows.iter().map(of)));
    let amounts: Vec<i64> = rows.iter().map(|row| row.3).collect();
    batch(vec![
        ("window_start", times(&starts)),
        ("window_end", times(&ends)),
        ("user", texts(|row| row.1)),
        ("page", texts(|row| row.2)),
        ("amount", integers(&amounts)),
    ])
}

fn aggregation(keys: &[&str], partition: usize, lateness: i64, emit: Emit) -> Aggregation {
    let schema = input(&[]).schema();
    let calls = [
        call(AggregateFunction::Count, &schema, &[]),
        call(AggregateFunction::Sum, &schema, &["amount"]),
        call(AggregateFunction::Max, &schema, &["amount"]),
        distinct(call(AggregateFunction::Count, &schema, &["amount"])),
    ];
    plan(&schema, keys, &calls, sessions(partition, lateness), emit)
}

fn at(time: i64) -> Watermark {
    Watermark::behind(EventTime(time), 0)
}

/// Applies changes to a table.
fn accumulate(
    table: &mut BTreeMap<String, i64>,
    changes: Vec<(RecordBatch, arrow::array::Int64Array)>,
) {
    for (batch, counts) in changes {
        for (row, count) in rows(&batch).into_iter().zip(counts.values()) {
            let held = table.entry(row.clone()).or_default();
            *held += count;
            if *held == 0 {
                table.remove(&row);
            }
        }
    }
}

/// The sessions of rows, one row after the other in the order of time.
fn naive(all: &[Row], by_page: bool) -> Vec<String> {
    let mut users: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for row in all {
        users.entry(row.1).or_default().push(*row);
    }
    let mut out = Vec::new();
    for (user, mut rows) in users {
        rows.sort_unstable();
        for session in rows.chunk_by(|a, b| b.0 - a.0 < GAP) {
            let bounds = (session[0].0, session[session.len() - 1].0 + GAP);
            let mut groups: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
            for row in session {
                let group = if by_page { row.2 } else { "" };
                groups.entry(group).or_default().push(row.3);
            }
            for (page, mut amounts) in groups {
                let (count, sum) = (amounts.len(), amounts.iter().sum::<i64>());
                amounts.sort_unstable();
                let max = amounts[amounts.len() - 1];
                amounts.dedup();
                let page = if by_page {
                    format!(" {page}")
                } else {
                    String::new()
                };
                let distinct = amounts.len();
                out.push(format!(
                    "{user}{page} {count} {sum} {max} {distinct} {} {}",
                    bounds.0, bounds.1
                ));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn a_row_between_two_sessions_makes_them_one() {
    let plan = aggregation(&["user"], 1, 0, Emit::Changes);
    let mut sessions = plan.sessions().unwrap();

    sessions
        .update(&input(&[
            (0, "a", "", 1),
            (18, "a", "", 2),
            (5, "b", "", 3),
        ]))
        .unwrap();
    let mut table = BTreeMap::new();
    accumulate(&mut table, sessions.changes().unwrap());
    sessions.update(&input(&[(9, "a", "", 4)])).unwrap();
    let changes = sessions.changes().unwrap();

    let counts: Vec<i64> = changes
        .iter()
        .flat_map(|(_, counts)| counts.values().to_vec())
        .collect();
    assert_eq!(counts, [-1, -1, 1]);
    accumulate(&mut table, changes);
    let table: Vec<&String> = table.keys().collect();
    assert_eq!(table, ["a 3 7 4 3 0 28", "b 1 3 3 1 5 15"]);
}

#[test]
fn a_row_at_the_end_of_a_session_begins_another_one() {
    let plan = aggregation(&["user"], 1, 0, Emit::OnClose);
    let mut sessions = plan.sessions().unwrap();

    sessions
        .update(&input(&[
            (0, "a", "", 1),
            (10, "a", "", 2),
            (19, "a", "", 3),
        ]))
        .unwrap();

    assert!(sessions.close(at(9)).unwrap().is_empty());
    assert_eq!(
        rows(&only(sessions.close(at(10)).unwrap())),
        ["a 1 1 1 1 0 10"]
    );
    assert_eq!(
        rows(&only(sessions.close(at(29)).unwrap())),
        ["a 2 5 3 2 10 29"]
    );
    assert_eq!(sessions.groups(), 0);
}

#[test]
fn the_lateness_keeps_a_session_open_for_longer() {
    let plan = aggregation(&["user"], 1, 5, Emit::OnClose);
    let mut sessions = plan.sessions().unwrap();
    sessions.update(&input(&[(0, "a", "", 1)])).unwrap();

    assert!(sessions.close(at(14)).unwrap().is_empty());
    // Not late: it is no more than the lateness before the watermark.
    sessions.update(&input(&[(9, "a", "", 1)])).unwrap();
    assert!(sessions.close(at(23)).unwrap().is_empty());
    assert_eq!(
        rows(&only(sessions.close(at(24)).unwrap())),
        ["a 2 2 1 1 0 19"]
    );
}

#[test]
fn a_row_that_changes_nothing_shows_nothing() {
    let schema = input(&[]).schema();
    let calls = [call(AggregateFunction::Max, &schema, &["amount"])];
    let plan = plan(&schema, &["user"], &calls, sessions(1, 0), Emit::Changes);
    let mut sessions = plan.sessions().unwrap();
    sessions
        .update(&input(&[(0, "a", "", 7), (5, "a", "", 1)]))
        .unwrap();
    sessions.changes().unwrap();

    sessions.update(&input(&[(3, "a", "", 2)])).unwrap();

    assert!(sessions.changes().unwrap().is_empty());
}

#[test]
fn slots_of_sessions_that_are_gone_are_freed() {
    let plan = aggregation(&["user", "page"], 1, 0, Emit::Changes);
    let mut sessions = plan.sessions().unwrap();
    let mut table = BTreeMap::new();
    let mut all = Vec::new();
    for round in 0..200 {
        let new: Vec<Row> = (0..20)
            .map(|n| {
                (
                    round * 20 + n % 3,
                    ["a", "b", "c"][n as usize % 3],
                    ["x", "y"][n as usize % 2],
                    n,
                )
            })
            .collect();
        // One session lasts.
        let lasting: Row = (round * 5, "d", "x", round);
        all.extend(new.iter().copied().chain([lasting]));
        sessions.update(&input(&new)).unwrap();
        sessions.update(&input(&[lasting])).unwrap();
        accumulate(&mut table, sessions.changes().unwrap());
        sessions.close(at(round * 5)).unwrap();
    }
    assert!(sessions.close(Watermark::END).unwrap().is_empty());

    let table: Vec<String> = table.into_keys().collect();
    assert_eq!(table, naive(&all, true));
    assert!(
        Stateful::bytes(&sessions) < 1 << 20,
        "{}",
        Stateful::bytes(&sessions)
    );
}

/// A run of several workers over epochs.
struct Run {
    plan: Aggregation,
    workers: Vec<Sessions>,
    table: BTreeMap<String, i64>,
}

impl Run {
    fn new(plan: Aggregation, workers: usize) -> Self {
        let workers = (0..workers).map(|_| plan.sessions().unwrap()).collect();
        Self {
            plan,
            workers,
            table: BTreeMap::new(),
        }
    }

    /// Some rows arrive, at different workers.
    fn take(&mut self, random: &mut Random, rows: &[Row]) {
        let peers = self.workers.len();
        if peers == 1 {
            return self.workers[0].update(&input(rows)).unwrap();
        }
        let mut parts: Vec<Vec<Row>> = vec![Vec::new(); peers];
        for row in rows {
            parts[random.below(peers as u64) as usize].push(*row);
        }
        for part in parts {
            let mut partials = self.plan.session_partials().unwrap();
            let (first, second) = part.split_at(random.below(part.len() as u64 + 1) as usize);
            partials.update(&input(first)).unwrap();
            partials.update(&input(second)).unwrap();
            for states in partials.drain().unwrap() {
                for (worker, sessions) in self.workers.iter_mut().enumerate() {
                    sessions.merge(&own(&states, worker, peers)).unwrap();
                }
            }
            assert_eq!(partials.groups(), 0);
        }
    }

    fn seal(&mut self, watermark: Watermark) {
        for sessions in &mut self.workers {
            let changes = sessions.changes().unwrap();
            accumulate(&mut self.table, changes);
            for batch in sessions.close(watermark).unwrap() {
                let counts = arrow::array::Int64Array::from_value(1, batch.num_rows());
                accumulate(&mut self.table, vec![(batch, counts)]);
            }
        }
    }

    /// Saves all, and goes on with another number of workers.
    fn restart(&mut self, workers: usize) {
        let saved: Vec<RecordBatch> = self
            .workers
            .iter()
            .flat_map(|sessions| sessions.save().unwrap())
            .collect();
        self.workers = (0..workers)
            .map(|_| self.plan.sessions().unwrap())
            .collect();
        for (worker, sessions) in self.workers.iter_mut().enumerate() {
            for saved in &saved {
                sessions.restore(&own(saved, worker, workers)).unwrap();
            }
            assert!(
                sessions.changes().unwrap().is_empty(),
                "all was shown before"
            );
        }
    }
}

fn own(states: &RecordBatch, worker: usize, peers: usize) -> RecordBatch {
    let hashes = states.column(0).as_primitive::<UInt64Type>().values();
    let own: BooleanArray = hashes
        .iter()
        .map(|hash| Some(owner(*hash, peers) == worker))
        .collect();
    filter_record_batch(states, &own).unwrap()
}

#[test]
fn sessions_are_a_function_of_the_rows() {
    const USERS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for seed in 0..300 {
        let mut random = Random::new(seed * 77 + 1);
        let users = 1 + random.below(5);
        let lateness = *[0, 0, 15].get(random.below(3) as usize).unwrap();
        let emit = [Emit::Changes, Emit::OnClose][random.below(2) as usize];
        let by_page = random.below(2) == 0;
        let keys: &[&str] = if by_page {
            &["user", "page"]
        } else {
            &["user"]
        };
        let mut run = Run::new(
            aggregation(keys, 1, lateness, emit),
            1 + random.below(4) as usize,
        );
        let disorder = 1 + random.below(40);
        let (mut now, mut watermark) = (0, i64::MIN);
        let mut all = Vec::new();
        for _ in 0..1 + random.below(12) {
            let mut new = Vec::new();
            for _ in 0..random.below(25) {
                now += random.below(12) as i64;
                let time = now - random.below(disorder) as i64;
                // What is late does not come here.
                if time < watermark.saturating_sub(lateness) {
                    continue;
                }
                let user = USERS[random.below(users) as usize];
                let page = ["x", "y", "z"][random.below(3) as usize];
                new.push((time, user, page, random.below(9) as i64 - 4));
            }
            all.extend(new.iter().copied());
            let cut = random.below(new.len() as u64 + 1) as usize;
            run.take(&mut random, &new[..cut]);
            run.take(&mut random, &new[cut..]);
            watermark = watermark.max(now - random.below(30) as i64);
            run.seal(at(watermark));
            if random.below(4) == 0 {
                run.restart(1 + random.below(4) as usize);
            }
        }
        run.seal(Watermark::END);

        assert!(run.table.values().all(|count| *count == 1), "seed {seed}");
        let table: Vec<String> = run.table.into_keys().collect();
        assert_eq!(table, naive(&all, by_page), "seed {seed}");
        assert!(run.workers.iter().all(|sessions| sessions.groups() == 0));
    }
}
