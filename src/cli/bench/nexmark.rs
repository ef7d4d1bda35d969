//! `bench nexmark`: how fast each query runs, and what it takes.
//!
//! ```text
//!   this process ──▶ a process of its own per query and repeat ──▶ how long, CPU time, peak memory
//! ```
//!
//! Events are made up as fast as they are read, by the same cores: a query that cannot keep up is
//! what slows them. Rows go to `discard`, state and snapshots are real.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::{FAILED, WRONG, run, say};
use crate::dataflow::outcome::Shared;
use crate::engine::RunOptions;
use crate::plan::{Pipeline, Role};
use crate::sql::{Given, SourceText};

macro_rules! queries {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../benchmarks/nexmark/", $name, ".sql")))),*]
    };
}

/// Every query, by name.
const QUERIES: [(&str, &str); 23] = queries! {
    "q0" "q1" "q2" "q3" "q4" "q5" "q6" "q7" "q8" "q9" "q10" "q11" "q12" "q13" "q14" "q15" "q16"
    "q17" "q18" "q19" "q20" "q21" "q22"
};

/// Each query runs in a process of its own, so that its memory and its CPU time are its own.
#[derive(Debug, Args)]
pub struct NexmarkArgs {
    /// Which queries [default: all]
    #[arg(long, value_name = "QUERY,..", value_delimiter = ',')]
    queries: Vec<String>,
    /// How many events to make: persons, auctions and bids together
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Worker threads, and partitions of each table
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How often each query runs; the median is shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Print every run, as JSON
    #[arg(long)]
    json: bool,
    /// Run the one query here, and print what it took
    #[arg(long, hide = true)]
    measured: bool,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    /// Rows read from all tables.
    records: u64,
    seconds: f64,
    cpu_seconds: Option<f64>,
    peak_bytes: Option<u64>,
}

/// All runs of a query.
#[derive(Debug, Serialize)]
struct Measurements {
    query: String,
    events: u64,
    threads: u16,
    /// It cannot be planned yet.
    refused: bool,
    runs: Vec<Measured>,
}

/// Measures each query and shows a table.
pub fn nexmark(arguments: &NexmarkArgs) -> u8 {
    let chosen = match chosen(&arguments.queries) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            say::err(&format!(
                "error: there is no query `{unknown}`\n  hint:  they are q0 to q22\n"
            ));
            return WRONG;
        }
    };
    if arguments.measured {
        return measured(chosen[0], arguments);
    }
    let mut all = Vec::new();
    for query in chosen {
        match measurements(query, arguments) {
            Ok(measurements) => all.push(measurements),
            Err(code) => return code,
        }
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&all).expect("measurements are plain data");
        say::out(&format!("{text}\n"));
    } else {
        say::out(&table(&all));
    }
    0
}

type Query = (&'static str, &'static str);

/// The queries of these names, or the name that there is none of.
fn chosen(names: &[String]) -> Result<Vec<Query>, &String> {
    if names.is_empty() {
        return Ok(QUERIES.to_vec());
    }
    let query = |name| {
        let found = QUERIES.iter().find(|(known, _)| known == name);
        found.copied().ok_or(name)
    };
    names.iter().map(query).collect()
}

/// Runs a query as often as asked, each time in a process of its own.
fn measurements(query: Query, arguments: &NexmarkArgs) -> Result<Measurements, u8> {
    let (name, _) = query;
    let mut measurements = Measurements {
        query: name.to_owned(),
        events: arguments.events,
        threads: arguments.threads,
        refused: plan(query, arguments).is_none(),
        runs: Vec::new(),
    };
    let program = std::env::current_exe().map_err(|error| failed(name, &error.to_string()))?;
    while !measurements.refused && measurements.runs.len() < usize::from(arguments.repeat) {
        let output = Command::new(&program)
            .args(["bench", "nexmark", "--measured", "--queries", name])
            .args(["--events", &arguments.events.to_string()])
            .args(["--threads", &arguments.threads.to_string()])
            .output()
            .map_err(|error| failed(name, &error.to_string()))?;
        if !output.status.success() {
            return Err(failed(name, &String::from_utf8_lossy(&output.stderr)));
        }
        let run = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(name, &error.to_string()))?;
        measurements.runs.push(run);
    }
    Ok(measurements)
}

fn failed(query: &str, cause: &str) -> u8 {
    say::err(&format!(
        "error: could not run `{query}`\n  cause: {}\n",
        cause.trim_end()
    ));
    FAILED
}

/// The query with its rows dropped at the end, if it can be planned.
fn plan((name, text): Query, arguments: &NexmarkArgs) -> Option<Pipeline> {
    let variables = BTreeMap::from([
        ("NEXMARK_EVENTS".to_owned(), arguments.events.to_string()),
        (
            "NEXMARK_PARTITIONS".to_owned(),
            arguments.threads.to_string(),
        ),
    ]);
    let given = Given {
        variables,
        settings: Vec::new(),
        pipeline_name: name.to_owned(),
        only: Vec::new(),
    };
    let source = SourceText { path: name, text };
    let mut pipeline = crate::sql::plan(&source, &given).ok()?;
    for table in &mut pipeline.tables {
        if table.role == Role::Sink {
            "discard".clone_into(&mut table.connector);
            table.options.clear();
        }
    }
    Some(pipeline)
}

/// Runs the query in this process and prints what it took.
fn measured(query: Query, arguments: &NexmarkArgs) -> u8 {
    let Some(pipeline) = plan(query, arguments) else {
        return failed(query.0, "a pipeline cannot compute it yet");
    };
    let folder = std::env::temp_dir().join(format!("tidemark-bench-{}", std::process::id()));
    let options = RunOptions {
        threads: Some(usize::from(arguments.threads)),
        state: Some(folder.clone()),
        ..RunOptions::default()
    };
    let shared = Arc::new(Shared::default());
    run::stop_on_signals(&shared);
    let outcome = crate::engine::run(&Arc::new(pipeline), &options, &shared);
    // There is none if it took no snapshot.
    let _ = std::fs::remove_dir_all(&folder);
    let summary = match outcome {
        Ok(summary) => summary,
        Err(failure) => {
            say::failure(&failure);
            return FAILED;
        }
    };
    let by_source: BTreeMap<usize, u64> = summary
        .fates
        .iter()
        .map(|(&(_, source), fates)| (source, fates.read()))
        .collect();
    let measured = Measured {
        records: by_source.values().sum(),
        seconds: summary.elapsed.as_secs_f64(),
        cpu_seconds: cpu_seconds(),
        peak_bytes: peak_bytes(),
    };
    let text = serde_json::to_string(&measured).expect("a measurement is plain data");
    say::out(&text);
    0
}

/// CPU time of this process so far, where the system says it.
fn cpu_seconds() -> Option<f64> {
    /// What Linux shows to programs, whatever it counts in.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets, with whatever in it; then come the others.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// The most memory this process has had, where the system says it.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn table(all: &[Measurements]) -> String {
    let header = [
        "query",
        "records",
        "seconds",
        "records/s",
        "records per CPU s",
        "CPU s per M",
        "peak MB",
    ];
    let line = |of: &Measurements| {
        let mut line = vec![of.query.clone()];
        if of.refused {
            line.push("not planned yet".to_owned());
        }
        if let Some(first) = of.runs.first() {
            #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let records = first.records as f64;
            let seconds = median(of, |run| Some(run.seconds));
            let cpu = median(of, |run| run.cpu_seconds);
            #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let peak = median(of, |run| Some(run.peak_bytes? as f64));
            line.push(say::grouped(first.records));
            line.push(shown(seconds, |seconds| format!("{seconds:.2}")));
            line.push(shown(seconds, |seconds| whole(records / seconds)));
            line.push(shown(cpu, |cpu| whole(records / cpu)));
            line.push(shown(cpu, |cpu| format!("{:.2}", cpu * 1e6 / records)));
            line.push(shown(peak, |peak| format!("{:.0}", peak / 1e6)));
        }
        line.resize(header.len(), String::new());
        line
    };
    let lines: Vec<Vec<String>> = all.iter().map(line).collect();
    say::table(&header.map(str::to_owned), &lines)
}

/// The median of what the runs say, if they all say it.
fn median(of: &Measurements, value: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = of.runs.iter().map(value).collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn shown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(String::new, show)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "records per second"
)]
fn whole(number: f64) -> String {
    say::grouped(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: f64) -> Measured {
        Measured {
            records: 920_000,
            seconds,
            cpu_seconds: Some(seconds / 2.0),
            peak_bytes: Some(50_000_000),
        }
    }

    #[test]
    fn the_table_shows_the_median_run() {
        let measurements = |query: &str, refused, runs| Measurements {
            query: query.to_owned(),
            events: 1_000_000,
            threads: 1,
            refused,
            runs,
        };
        let all = [
            measurements("q0", false, vec![run(4.0), run(1.0), run(2.0)]),
            measurements("q6", true, Vec::new()),
        ];

        assert_eq!(
            table(&all),
            "query  records          seconds  records/s  records per CPU s  CPU s per M  peak MB\n\
             q0     920,000             2.00    460,000            920,000         1.09       50\n\
             q6     not planned yet\n"
        );
    }

    #[test]
    fn what_this_process_took_is_known_on_linux() {
        if cfg!(target_os = "linux") {
            assert!(peak_bytes().is_some_and(|bytes| bytes > 1_000_000));
            assert!(cpu_seconds().is_some());
        }
    }

    #[test]
    fn queries_are_chosen_by_name() {
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };

        assert_eq!(chosen(&names(&["q5", "q0"])).unwrap().len(), 2);
        assert_eq!(chosen(&names(&["q0", "q23"])).unwrap_err(), "q23");
        assert_eq!(chosen(&[]).unwrap().len(), 23);
    }
}
