//! The real dataflow on batches that are already decoded: stamping, lateness, expressions,
//! windows, exchange, state, closing, sealing; a destination that commits by counting.
//!
//!     cargo bench --bench dataflow [-- SCENARIO]
//!
//! One worker, epochs of about 100 k rows, batches of 8192. Event time moves on so that windows
//! close all the time; one row in a hundred is out of order. Each scenario runs once to warm up
//! and then `RUNS` times; the median is printed. DATAFLOW_ROWS changes how many rows (50 M).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use mimalloc::MiMalloc;
use tidemark::dataflow::arrival::{Arrival, ArrivedRows, Inbox};
use tidemark::dataflow::chain::{Chain, Indexes};
use tidemark::dataflow::outcome::Shared;
use tidemark::dataflow::publish::{Line, MarkedSource, Publish, PublishSpec};
use tidemark::dataflow::render::{DestinationPart, Parts, SourcePart, positions_needed, render};
use tidemark::dataflow::report::Positions;
use tidemark::dataflow::schedule::Schedule;
use tidemark::dataflow::seal::Lane;
use tidemark::dataflow::source::{AtEnd, Pace, SourceSpec, SourceTask, Start};
use tidemark::dataflow::state::State;
use tidemark::dataflow::tide::Tide;
use tidemark::dataflow::zones::zones;
use tidemark::format::Positions as Places;
use tidemark::plan::{Node, Operator, Pipeline};
use tidemark::sql::{Given, SourceText};
use tidemark::types::{Clock, Epoch, Mark, Offset, PartitionMark, Span, Watermark};
use timely::dataflow::operators::probe::Handle;

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

const RUNS: usize = 5;
const BATCH: usize = 8192;
/// Distinct batches: enough that caches see many, few enough to make quickly.
const BATCHES: usize = 512;

const TABLES: &str = "
CREATE TABLE events (
  ts TIMESTAMP NOT NULL, kind TEXT NOT NULL, id BIGINT NOT NULL, amount DOUBLE PRECISION NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'file', path = 'unused', format = 'json');
";

struct Scenario {
    name: &'static str,
    keys: u64,
    /// Event time per row, in microseconds: 100 k rows are an epoch.
    step_us: i64,
    sql: &'static str,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "filter and project",
        keys: 60,
        step_us: 100,
        sql: "CREATE TABLE out (ts TIMESTAMP, id BIGINT, double_amount DOUBLE PRECISION) WITH (connector = 'discard');
              INSERT INTO out SELECT ts, id, amount * 2 FROM events WHERE amount > 500;",
    },
    Scenario {
        name: "tumbling count and sum, 60 keys",
        keys: 60,
        step_us: 100,
        sql: "CREATE TABLE out (ts TIMESTAMP, kind TEXT, n BIGINT, s DOUBLE PRECISION) WITH (connector = 'discard');
              INSERT INTO out SELECT window_start, kind, count(*), sum(amount)
              FROM TUMBLE(events, ts, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, kind;",
    },
    Scenario {
        name: "tumbling count and sum, 1 M keys",
        keys: 1_000_000,
        step_us: 10,
        sql: "CREATE TABLE out (ts TIMESTAMP, id BIGINT, n BIGINT, s DOUBLE PRECISION) WITH (connector = 'discard');
              INSERT INTO out SELECT window_start, id, count(*), sum(amount)
              FROM TUMBLE(events, ts, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, id;",
    },
    Scenario {
        name: "10 M groups of count and sum",
        keys: 10_000_000,
        step_us: 1,
        sql: "CREATE TABLE out (ts TIMESTAMP, id BIGINT, n BIGINT, s DOUBLE PRECISION) WITH (connector = 'discard');
              INSERT INTO out SELECT window_start, id, count(*), sum(amount)
              FROM TUMBLE(events, ts, INTERVAL '1' HOUR) GROUP BY window_start, window_end, id;",
    },
];

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let rows: u64 = std::env::var("DATAFLOW_ROWS").map_or(50_000_000, |text| text.parse().unwrap());
    println!(
        "{:36} {:>10} {:>10} {:>10} {:>9}",
        "", "M rows/s", "min", "max", "peak MB"
    );
    for scenario in SCENARIOS {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !scenario.name.contains(wanted.as_str()))
        {
            continue;
        }
        let batches = Arc::new(batches(scenario.keys));
        let mut rates = Vec::new();
        for run in 0..=RUNS {
            let start = Instant::now();
            let held = run_once(scenario, &batches, rows);
            if run > 0 {
                rates.push(rows as f64 / start.elapsed().as_secs_f64() / 1e6);
            }
            if held > 0 && run == 0 {
                println!("{:36} {held} MB of state before the end", scenario.name);
            }
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{:36} {:10.1} {:10.1} {:10.1} {:9}",
            scenario.name,
            rates[RUNS / 2],
            rates[0],
            rates[RUNS - 1],
            peak_mb()
        );
    }
}

/// The columns that do not change, and how far each row is behind its place in time.
struct Columns {
    kind: ArrayRef,
    id: ArrayRef,
    amount: ArrayRef,
    behind: Vec<i64>,
}

fn batches(keys: u64) -> Vec<Columns> {
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut batch = || {
        let ids: Vec<i64> = (0..BATCH)
            .map(|_| ((random() << 20 ^ random()) % keys) as i64)
            .collect();
        let kinds = ids.iter().map(|id| format!("event-{:02}", id % 60));
        let behind = |_| {
            if random() % 100 == 0 {
                (random() % 4_000_000) as i64
            } else {
                0
            }
        };
        Columns {
            kind: Arc::new(StringArray::from_iter_values(kinds)),
            behind: (0..BATCH).map(behind).collect(),
            amount: Arc::new(Float64Array::from_iter_values(
                (0..BATCH).map(|_| (random() % 100_000) as f64 / 100.0),
            )),
            id: Arc::new(Int64Array::from(ids)),
        }
    };
    (0..BATCHES).map(|_| batch()).collect()
}

/// Gives the batches round and round, with event time moving on.
struct Rounds {
    batches: Arc<Vec<Columns>>,
    schema: arrow::datatypes::SchemaRef,
    spans: Vec<Span>,
    given: u64,
    rows: u64,
    step_us: i64,
    ended: bool,
}

impl Inbox for Rounds {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        if self.given >= self.rows {
            return (!std::mem::replace(&mut self.ended, true)).then_some((0, Arrival::End));
        }
        let columns = &self.batches[(self.given / BATCH as u64) as usize % BATCHES];
        let first = self.given as i64 * self.step_us;
        let time = |(row, behind): (usize, &i64)| first + row as i64 * self.step_us - behind;
        let times: Vec<i64> = columns.behind.iter().enumerate().map(time).collect();
        let times = TimestampMicrosecondArray::from(times);
        let by_name = |name: &str| -> ArrayRef {
            match name {
                "ts" => Arc::new(times.clone()),
                "kind" => Arc::clone(&columns.kind),
                "id" => Arc::clone(&columns.id),
                _ => Arc::clone(&columns.amount),
            }
        };
        let arrays = self
            .schema
            .fields()
            .iter()
            .map(|field| by_name(field.name()))
            .collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), arrays).unwrap();
        let start = Offset(self.given);
        self.given += BATCH as u64;
        Some((
            0,
            Arrival::Rows(ArrivedRows {
                rows,
                times: times.values().clone(),
                spans: self.spans.clone(),
                rejects: Vec::new(),
                bytes: Arc::default(),
                line: 0,
                positions: Places::Bytes { start },
                from: start,
                end: Offset(self.given),
            }),
        ))
    }

    fn park(&mut self, _: usize) {}

    fn resume(&mut self, _: usize) {}

    fn is_quiet(&self, _: usize) -> bool {
        false
    }

    fn reads_since(&self, _: usize) -> Duration {
        Duration::ZERO
    }

    fn ask(&mut self, _: usize) {}
}

fn plan(scenario: &Scenario) -> Pipeline {
    let text = format!("{TABLES}{}", scenario.sql);
    let file = SourceText {
        path: scenario.name,
        text: &text,
    };
    tidemark::sql::plan(&file, &Given::default()).unwrap_or_else(|refused| {
        panic!(
            "{}",
            refused
                .problems
                .iter()
                .map(|p| p.render(&file))
                .collect::<String>()
        )
    })
}

/// Runs to the end; returns the megabytes of state that were held just before it.
fn run_once(scenario: &Scenario, batches: &Arc<Vec<Columns>>, rows: u64) -> usize {
    let pipeline = plan(scenario);
    let (step_us, batches) = (scenario.step_us, Arc::clone(batches));
    timely::execute_directly(move |worker| {
        let (probe, state, shared) = (
            Handle::new(),
            State::new(0, 1, None),
            Arc::new(Shared::default()),
        );
        let (destination, committer) = destination(&pipeline, &shared);
        worker.dataflow::<u64, _, _>(|scope| {
            let tide = Tide::new(Positions::new([(0, 1)]), Epoch(0));
            let parts = Parts {
                pipeline: &pipeline,
                zones: &zones(&pipeline),
                indexes: &Indexes::new(),
                partitions: &BTreeMap::from([(0, 1)]),
                shared: &shared,
                sources: vec![source(
                    &pipeline,
                    &shared,
                    tide.clone(),
                    (batches, rows, step_us),
                )],
                destinations: vec![destination],
                state: &state,
                tide,
            };
            render(scope, parts, &probe, 256 << 20);
        });
        let mut most = 0;
        while !probe.done() {
            worker.step_or_park(None);
            if shared
                .progress()
                .get(&0)
                .is_some_and(|progress| progress.records + 200_000 > rows)
            {
                most = most.max(state.sizes().iter().map(|held| held.bytes).sum());
            }
        }
        assert!(!shared.has_failed(), "{:?}", shared.failure());
        drop(state);
        worker
            .installed_dataflows()
            .into_iter()
            .for_each(|id| worker.drop_dataflow(id));
        committer.join().unwrap();
        most >> 20
    })
}

/// The source, over batches in memory.
fn source(
    pipeline: &Pipeline,
    shared: &Arc<Shared>,
    tide: Tide,
    (batches, rows, step_us): (Arc<Vec<Columns>>, u64, i64),
) -> SourcePart<Rounds> {
    let positions = positions_needed(pipeline);
    let chain = Chain::new(pipeline, &zones(pipeline), 0, &Indexes::new(), &positions);
    let is_source = |node: &&Node| matches!(node.operator, Operator::Source { .. });
    let schema = Arc::clone(&pipeline.nodes.iter().find(is_source).unwrap().schema);
    let spans = vec![Span { start: 0, len: 0 }; BATCH];
    let inbox = Rounds {
        batches,
        schema,
        spans,
        given: 0,
        rows,
        step_us,
        ended: false,
    };
    let begin = PartitionMark::beginning(Offset(0));
    let spec = SourceSpec {
        table: 0,
        name: "events".to_owned(),
        chain: chain.clone(),
        bound_us: 5_000_000,
        partitions: Arc::new(vec!["memory".to_owned()]),
        letters: None,
        inserts: Arc::new(vec!["out".to_owned()]),
        pace: Pace::Count { arrivals: 12 },
        at_end: AtEnd::Close,
        idle_after: None,
        goes_on: false,
        expected: 0,
        history: None,
        reject_limit: 1.0,
        skips_lost: false,
    };
    let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));
    let start = Start {
        partitions: BTreeMap::from([(0, begin)]),
        watermark: Watermark::START,
        tide,
    };
    let (shared, clock) = (Arc::clone(shared), Clock::machine());
    SourcePart {
        table: 0,
        name: "events".to_owned(),
        task: SourceTask::new(spec, inbox, start, schedule, shared, clock),
        edges: chain.edges().collect(),
        letters_to: None,
        waker: Box::new(|_| {}),
    }
}

/// A destination whose thread signs for everything.
fn destination(pipeline: &Pipeline, shared: &Arc<Shared>) -> (DestinationPart, JoinHandle<()>) {
    let (sender, jobs) = sync_channel(4);
    let (line, receipt) = Line::new(sender);
    let committer = tidemark::engine::spawn_named("commit", move || {
        while let Ok(job) = jobs.recv() {
            receipt.committed(job.mark.epoch);
        }
    });
    let out = pipeline
        .tables
        .iter()
        .find(|table| table.name == "out")
        .unwrap();
    let names = Arc::new(vec!["memory".to_owned()]);
    let source = MarkedSource {
        name: "events".to_owned(),
        partitions: names,
        identity: None,
        decoding: BTreeMap::new(),
    };
    let spec = PublishSpec {
        lanes: vec![Lane {
            name: out.name.clone(),
            schema: out.schema(),
            key: vec![],
        }],
        mark: Mark {
            generation: 1,
            incarnation: 1,
            life: 0,
            epoch: Epoch(0),
            recipe: tidemark::types::Recipe::default(),
            sources: BTreeMap::new(),
        },
        references: BTreeMap::new(),
        sources: BTreeMap::from([(0, source)]),
        share: None,
    };
    let shared = Arc::clone(shared);
    let part = DestinationPart {
        name: "out".to_owned(),
        home: 0,
        inserts: vec![(0, 0)],
        share: None,
        core: Box::new(move |waker| Some(Publish::new(spec, line, shared, waker))),
    };
    (part, committer)
}

/// The most memory this process has had.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
