//! `bench scenario`: pipelines under load, beside what bounds them on the same machine.
//!
//! ```text
//!   load (made once) ──▶ warm-up, then N runs, each a process ──▶ rows/s, CPU, memory, commits
//!                   └──▶ the same load read by nobody but a loop ──▶ the limit
//!   rate ──▶ records that keep their schedule ──▶ one run ──▶ latency
//! ```

mod load;
mod report;
mod search;
mod spec;
mod task;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;

use self::load::{Load, PARTITIONS};
use self::search::Search;
use self::spec::{Input, Output, Scenario};
use self::task::{Measured, Options, RunTask, Task};
use crate::cli::{FAILED, WRONG, say};
use crate::connector::{Feed, KafkaBench};
use crate::sql::did_you_mean;
use crate::types::Clock;

/// A load that is sent at a rate begins with so many seconds that do not count.
const WARM_SECONDS: u64 = 3;

/// Each run is a process of its own, so that its memory and its CPU time are its own. Loads are made once and
/// kept; tables and topics that are written to begin with `bench`.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// Which scenarios [default: all whose servers are there]
    names: Vec<String>,
    /// Where the scenarios are
    #[arg(long, value_name = "DIR", default_value = "benchmarks/scenarios")]
    folder: PathBuf,
    /// Where loads are kept
    #[arg(long, value_name = "DIR", default_value = "benchmarks/.data/scenarios")]
    data: PathBuf,
    /// How many records [default: as the scenario says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How often each scenario runs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// How often it runs before that, without being measured
    #[arg(long, value_name = "N", default_value_t = 1)]
    warm_up: u16,
    /// How long records are sent at the scenario's rate, for latency; 0 leaves that out
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Search for the highest rate at which 99 of 100 records are committed within --bound
    #[arg(long)]
    search: bool,
    /// The bound of --search, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "search")]
    bound: u32,
    /// Brokers, as host:port [default: $KAFKA]
    #[arg(long, value_name = "SERVERS")]
    bootstrap_servers: Option<String>,
    /// A database for tables that begin with `bench` [default: $DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Measure the one task that standard input says
    #[arg(long, hide = true)]
    measured: bool,
}

/// All that was measured of a scenario.
#[derive(Clone, Debug, Serialize)]
struct Measurements {
    scenario: String,
    about: String,
    threads: u16,
    /// Bytes of input.
    bytes: u64,
    runs: Vec<Measured>,
    /// What bounds it, by name.
    limits: Vec<Limit>,
    latency: Option<Latency>,
    /// The highest rate that was held, in records per second, if it was searched for.
    held: Option<u64>,
}

/// How fast a part of the way is, by itself.
#[derive(Clone, Debug, Serialize)]
struct Limit {
    name: &'static str,
    /// Input records per second, if the rest took no time.
    records_per_second: f64,
    measured: Measured,
}

/// At a rate.
#[derive(Clone, Debug, Serialize)]
struct Latency {
    /// Records per second.
    rate: u64,
    /// How far the load was behind its schedule at worst: that is in the latency too.
    behind_ms: f64,
    measured: Measured,
}

/// Measures scenarios.
pub fn scenario(arguments: &ScenarioArgs) -> u8 {
    if arguments.measured {
        return measured();
    }
    if cfg!(debug_assertions) {
        say::err(
            "this is a debug build, many times slower: cargo run --release -- bench scenario\n",
        );
    }
    let outcome = Bench::new(arguments).and_then(|bench| bench.all());
    match outcome {
        Ok(all) => show(arguments, &all),
        Err((code, message)) => {
            say::err(&format!("error: {}\n", message.trim_end()));
            code
        }
    }
}

fn show(arguments: &ScenarioArgs, all: &[Measurements]) -> u8 {
    say::out(&report::table(all));
    let json = || serde_json::to_string_pretty(all).expect("measurements are plain data") + "\n";
    let files = [
        arguments.json.as_ref().map(|path| (path, json())),
        arguments
            .report
            .as_ref()
            .map(|path| (path, report::page(all))),
    ];
    for (path, text) in files.into_iter().flatten() {
        if let Err(error) = std::fs::write(path, text) {
            say::err(&format!(
                "error: could not write `{}`\n  cause: {error}\n",
                path.display()
            ));
            return FAILED;
        }
    }
    0
}

/// The hidden side: one task in, what it came to out.
fn measured() -> u8 {
    let task = match serde_json::from_reader(std::io::stdin()) {
        Ok(task) => task,
        Err(error) => {
            say::err(&format!("error: no task\n  cause: {error}\n"));
            return WRONG;
        }
    };
    match task::measure(&task) {
        Ok(measured) => {
            say::out(&serde_json::to_string(&measured).expect("a measurement is plain data"));
            0
        }
        Err(failure) => {
            say::failure(&failure);
            FAILED
        }
    }
}

/// What went wrong, and how to end because of it.
type Wrong = (u8, String);

fn failed(message: impl Into<String>) -> Wrong {
    (FAILED, message.into())
}

/// A benchmark under way.
struct Bench<'a> {
    arguments: &'a ScenarioArgs,
    scenarios: Vec<Scenario>,
    servers: Option<String>,
    database: Option<String>,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a ScenarioArgs) -> Result<Self, Wrong> {
        let all = Scenario::all(&arguments.folder).map_err(|why| (WRONG, why))?;
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        for name in &arguments.names {
            if !names.contains(&name.as_str()) {
                let hint = did_you_mean(name, names.iter().copied());
                let hint = hint.unwrap_or_else(|| format!("there is {}", names.join(", ")));
                return Err((
                    WRONG,
                    format!("there is no scenario `{name}`\n  hint:  {hint}"),
                ));
            }
        }
        let given = |option: &Option<String>, variable| {
            option.clone().or_else(|| std::env::var(variable).ok())
        };
        let chosen =
            |it: &Scenario| arguments.names.is_empty() || arguments.names.contains(&it.name);
        Ok(Self {
            scenarios: all.iter().filter(|it| chosen(it)).cloned().collect(),
            servers: given(&arguments.bootstrap_servers, "KAFKA"),
            database: given(&arguments.database, "DATABASE_URL"),
            arguments,
        })
    }

    fn all(&self) -> Result<Vec<Measurements>, Wrong> {
        let mut all = Vec::new();
        for scenario in &self.scenarios {
            let missing = match scenario.needs() {
                (true, _) if self.servers.is_none() => Some("--bootstrap-servers, or $KAFKA"),
                (_, true) if self.database.is_none() => Some("--database, or $DATABASE_URL"),
                _ => None,
            };
            if let Some(missing) = missing {
                let name = &scenario.name;
                if self.arguments.names.contains(name) {
                    return Err((WRONG, format!("`{name}` needs {missing}")));
                }
                say::err(&format!("{name}: left out, it needs {missing}\n"));
                continue;
            }
            all.push(self.measure(scenario)?);
        }
        Ok(all)
    }

    fn measure(&self, scenario: &Scenario) -> Result<Measurements, Wrong> {
        let name = &scenario.name;
        let rows = self.arguments.rows.unwrap_or(scenario.rows);
        say::err(&format!(
            "{name}: makes its load of {} records\n",
            say::grouped(rows)
        ));
        let load = load::make(
            scenario,
            rows,
            &self.arguments.data,
            self.servers.as_deref(),
        );
        let load = load.map_err(|why| failed(format!("`{name}`: {why}")))?;
        let mut runs = Vec::new();
        let repeats = self.arguments.warm_up + self.arguments.repeat;
        for turn in 0..repeats {
            say::err(&format!("{name}: run {} of {repeats}\n", turn + 1));
            let run = self.run(scenario, load.options.clone(), None)?;
            if turn >= self.arguments.warm_up {
                runs.push(run);
            }
        }
        let limits = self.limits(scenario, &load, &runs[0])?;
        let latency = match (scenario.rate, scenario.input, self.arguments.seconds) {
            (Some(rate), Input::Kafka, seconds) if seconds > 0 => {
                Some(self.latency(scenario, rate, seconds)?)
            }
            (Some(_) | None, Input::Files | Input::Kafka, _) => None,
        };
        let held = match (scenario.rate, scenario.input) {
            (Some(rate), Input::Kafka) if self.arguments.search => self.search(scenario, rate)?,
            (Some(_) | None, Input::Files | Input::Kafka) => None,
        };
        Ok(Measurements {
            held,
            scenario: name.clone(),
            about: scenario.about.clone(),
            threads: self.arguments.threads,
            bytes: limits.first().map_or(0, |limit| limit.measured.bytes),
            runs,
            limits,
            latency,
        })
    }

    fn run(
        &self,
        scenario: &Scenario,
        input: Options,
        records: Option<(u64, u64)>,
    ) -> Result<Measured, Wrong> {
        let state = std::env::temp_dir().join(format!("tidemark-bench-{}", std::process::id()));
        let (output, topic) = self.output(scenario);
        let task = Task::Run(RunTask {
            name: scenario.name.clone(),
            text: scenario.text.clone(),
            input,
            output,
            threads: usize::from(self.arguments.threads),
            state: state.clone(),
            records,
        });
        let outcome = self.child(&scenario.name, &task).and_then(Child::end);
        // There is none if it took no snapshot.
        let _ = std::fs::remove_dir_all(&state);
        if let (Some(topic), Some(servers)) = (topic, &self.servers) {
            let removed = KafkaBench::new(servers).remove(&topic);
            removed.map_err(|error| failed(error.to_string()))?;
        }
        outcome
    }

    /// Where rows go, and the topic that is to be removed afterwards.
    fn output(&self, scenario: &Scenario) -> (Options, Option<String>) {
        let table = format!("bench_{}", scenario.name);
        match scenario.output {
            Output::Discard => (load::owned(&[("connector", "discard")]), None),
            Output::Sqlite => {
                let path = self.arguments.data.join(format!("{}.db", scenario.name));
                let path = path.display().to_string();
                (
                    load::owned(&[("connector", "sqlite"), ("path", &path)]),
                    None,
                )
            }
            Output::Postgres => {
                let url = self.database.as_deref().unwrap_or_default();
                let options = [("connector", "postgres"), ("url", url), ("table", &table)];
                (load::owned(&options), None)
            }
            Output::Kafka => {
                let topic = format!("{}-{}", table.replace('_', "-"), std::process::id());
                let servers = self.servers.as_deref().unwrap_or_default();
                let mut options = load::read_topic(&topic, servers);
                options.insert("partitions".to_owned(), PARTITIONS.to_string());
                (options, Some(topic))
            }
        }
    }

    /// What bounds a scenario: its input read by a loop, and its rows written by COPY.
    fn limits(
        &self,
        scenario: &Scenario,
        load: &Load,
        run: &Measured,
    ) -> Result<Vec<Limit>, Wrong> {
        let name = &scenario.name;
        say::err(&format!("{name}: the limits\n"));
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let records = run.records as f64;
        let limit = |name, measured: Measured| Limit {
            name,
            records_per_second: records / measured.seconds.max(1e-9),
            measured,
        };
        let input = match (&load.topic, &self.servers) {
            (Some(topic), Some(servers)) => {
                let (servers, topic) = (servers.clone(), topic.clone());
                let drained = self.child(name, &Task::Drain { servers, topic })?;
                limit("bare librdkafka", drained.end()?)
            }
            (Some(_) | None, _) => {
                let (files, threads) = (load.files.clone(), usize::from(self.arguments.threads));
                limit(
                    "bare read",
                    self.child(name, &Task::Read { files, threads })?.end()?,
                )
            }
        };
        let mut limits = vec![input];
        // Where few rows are written, how fast they could be says nothing.
        let writes = run.rows * 10 >= run.records;
        if let (Output::Postgres, Some(url), true) = (scenario.output, &self.database, writes) {
            let (url, table) = (url.clone(), format!("bench_{name}"));
            limits.push(limit(
                "bare COPY",
                self.child(name, &Task::Copy { url, table })?.end()?,
            ));
        }
        Ok(limits)
    }

    /// Sends records at a rate while a run reads them.
    fn latency(&self, scenario: &Scenario, rate: u64, seconds: u64) -> Result<Latency, Wrong> {
        let name = &scenario.name;
        say::err(&format!(
            "{name}: {seconds} s at {} records/s\n",
            say::grouped(rate)
        ));
        let servers = self.servers.as_deref().unwrap_or_default();
        let kafka = KafkaBench::new(servers);
        let wrong = |error: crate::connector::ConnectorError| failed(error.to_string());
        let topic = format!(
            "bench-rate-{}-{}",
            name.replace('_', "-"),
            std::process::id()
        );
        kafka.make(&topic, PARTITIONS).map_err(wrong)?;
        let lines = load::lines(scenario, 100_000).map_err(failed)?;
        let (warm, records) = (rate * WARM_SECONDS, rate * (seconds + WARM_SECONDS));
        let feed = Feed {
            topic: &topic,
            partitions: PARTITIONS,
            lines: &lines,
            #[allow(clippy::cast_precision_loss, reason = "a rate")]
            rate: rate as f64,
            records,
        };
        let (fed, measured) = std::thread::scope(|scope| {
            let feeding = std::thread::Builder::new()
                .name("feed".to_owned())
                .spawn_scoped(scope, || kafka.feed(&feed, &Clock::machine()));
            let input = load::read_topic(&topic, servers);
            let measured = self.run(scenario, input, Some((records, warm)));
            let fed = feeding.map(|feeding| feeding.join().expect("feeding does not panic"));
            (fed, measured)
        });
        let fed = fed.map_err(|error| failed(format!("could not start a thread: {error}")))?;
        kafka.remove(&topic).map_err(wrong)?;
        Ok(Latency {
            rate,
            behind_ms: fed.map_err(wrong)?.as_secs_f64() * 1000.0,
            measured: measured?,
        })
    }

    /// The highest rate that is held: latency is bounded, and the load keeps its schedule.
    fn search(&self, scenario: &Scenario, guess: u64) -> Result<Option<u64>, Wrong> {
        let bound = f64::from(self.arguments.bound);
        let mut search = Search::new(guess);
        while let Some(rate) = search.next() {
            let latency = self.latency(scenario, rate, self.arguments.seconds.max(1))?;
            let p99 = latency.measured.latency_ms.get(2).copied();
            search.tell(p99.is_some_and(|ms| ms <= bound) && latency.behind_ms <= bound);
        }
        Ok(search.held())
    }

    fn child(&self, name: &str, task: &Task) -> Result<Child, Wrong> {
        let wrong = |error: std::io::Error| failed(format!("could not measure `{name}`: {error}"));
        let program = std::env::current_exe().map_err(wrong)?;
        let mut process = Command::new(program)
            .args(["bench", "scenario", "--measured"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(wrong)?;
        let stdin = process.stdin.take().expect("it was asked for");
        let written = serde_json::to_writer(stdin, task);
        written.map_err(|error| failed(format!("could not measure `{name}`: {error}")))?;
        Ok(Child {
            name: name.to_owned(),
            process,
        })
    }
}

/// A process that measures.
struct Child {
    name: String,
    process: std::process::Child,
}

impl Child {
    fn end(self) -> Result<Measured, Wrong> {
        let wrong = |why: String| failed(format!("could not measure `{}`: {why}", self.name));
        let output = self.process.wait_with_output();
        let output = output.map_err(|error| wrong(error.to_string()))?;
        if !output.status.success() {
            return Err(wrong(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))
    }
}
