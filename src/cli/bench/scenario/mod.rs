//! `bench scenario`: pipelines under load, beside what bounds them on the same machine.
//!
//! ```text
//!   load (made once) ──▶ warm-up, then N runs, each a process ──▶ rows/s, CPU, memory, commits
//!                   └──▶ the same load read by nobody but a loop ──▶ the limit
//!   rate ──▶ records that keep their schedule ──▶ one run ──▶ latency
//! ```
//!
//! What has been measured is kept: files are written after each scenario, and one that fails is said and
//! does not end the others.

mod child;
mod commits;
mod load;
mod origin;
mod rate;
mod report;
mod search;
mod spec;
mod task;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::child::Child;
use self::load::{Load, PARTITIONS};
use self::origin::Origin;
use self::rate::{Latency, Sought};
use self::spec::{Output, Scenario};
use self::task::{Measured, Options, Paced, RunTask, Task};
use crate::cli::{FAILED, WRONG, say};
use crate::connector::{ConnectorError, KafkaBench, reach_postgres};
use crate::sql::did_you_mean;
use crate::types::Clock;

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
    /// Search for the highest rate at which 99 of 100 records are committed within --bound and the lag
    /// does not grow
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
    origin: Origin,
    /// As asked for.
    rows: u64,
    threads: u16,
    warm_up: u16,
    seconds: u64,
    /// Bytes of input.
    bytes: u64,
    runs: Vec<Measured>,
    /// What bounds it, by name.
    limits: Vec<Limit>,
    latency: Option<Latency>,
    /// The highest rate that is held, if it was searched for.
    search: Option<Sought>,
}

/// How fast a part of the way is, by itself.
#[derive(Clone, Debug, Serialize)]
struct Limit {
    name: &'static str,
    /// Input records per second, if the rest took no time.
    records_per_second: f64,
    measured: Measured,
}

/// Measures scenarios.
pub fn scenario(arguments: &ScenarioArgs) -> u8 {
    if arguments.measured {
        return child::measured();
    }
    if cfg!(debug_assertions) {
        say::err(
            "this is a debug build, many times slower: cargo run --release -- bench scenario\n",
        );
    }
    match Bench::new(arguments) {
        Ok(bench) => bench.all(),
        Err(wrong) => say_wrong(wrong),
    }
}

fn say_wrong((code, message): Wrong) -> u8 {
    say::err(&format!("error: {}\n", message.trim_end()));
    code
}

/// Writes the files that were asked for.
fn keep(arguments: &ScenarioArgs, all: &[Measurements]) -> Result<(), Wrong> {
    let json = || serde_json::to_string_pretty(all).expect("measurements are plain data") + "\n";
    let page = arguments.report.as_ref();
    let files = [
        arguments.json.as_ref().map(|path| (path, json())),
        page.map(|path| (path, report::page(all))),
    ];
    for (path, text) in files.into_iter().flatten() {
        std::fs::write(path, text).map_err(|error| unwritten(path, &error))?;
    }
    Ok(())
}

/// Refuses files that cannot be written, before anything is measured; what they hold stays till then.
fn can_keep(arguments: &ScenarioArgs) -> Result<(), Wrong> {
    for path in [&arguments.json, &arguments.report].into_iter().flatten() {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| unwritten(path, &error))?;
    }
    Ok(())
}

fn unwritten(path: &Path, error: &std::io::Error) -> Wrong {
    let path = path.display();
    failed(format!("could not write `{path}`\n  cause: {error}"))
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
        let bench = Self {
            scenarios: all.iter().filter(|it| chosen(it)).cloned().collect(),
            servers: given(&arguments.bootstrap_servers, "KAFKA"),
            database: given(&arguments.database, "DATABASE_URL"),
            arguments,
        };
        if arguments.search {
            bench.can_search()?;
        }
        can_keep(arguments)?;
        Ok(bench)
    }

    /// A search that would find nothing is refused before anything is measured.
    fn can_search(&self) -> Result<(), Wrong> {
        if self.arguments.seconds == 0 {
            let why = "--search sends records for --seconds at each rate: 0 is none";
            return Err((WRONG, why.to_owned()));
        }
        let named = |it: &&Scenario| self.arguments.names.contains(&it.name);
        let mut named = self.scenarios.iter().filter(named);
        match named.find(|it| it.rate.is_none()) {
            Some(Scenario { name, .. }) => Err((
                WRONG,
                format!(
                    "`{name}` has no `rate=`: there is nothing to search for\n  hint:  latency is from \
                     a record to the commit of its epoch, so rates are for scenarios over a topic \
                     whose every epoch writes rows"
                ),
            )),
            None => Ok(()),
        }
    }

    /// Measures one after the other, and shows what came of it.
    fn all(&self) -> u8 {
        let (mut all, mut code) = (Vec::new(), 0);
        for scenario in &self.scenarios {
            let missing = match scenario.needs() {
                (true, _) if self.servers.is_none() => Some("--bootstrap-servers, or $KAFKA"),
                (_, true) if self.database.is_none() => Some("--database, or $DATABASE_URL"),
                _ => None,
            };
            let name = &scenario.name;
            let outcome = match missing {
                Some(missing) if self.arguments.names.contains(name) => {
                    Err((WRONG, format!("`{name}` needs {missing}")))
                }
                Some(missing) => {
                    say::err(&format!("{name}: left out, it needs {missing}\n"));
                    continue;
                }
                None => self
                    .reach(scenario)
                    .and_then(|()| self.measure(scenario, &mut all)),
            };
            let outcome = outcome.and_then(|()| keep(self.arguments, &all));
            if let Err(wrong) = outcome {
                code = say_wrong(wrong);
            }
        }
        if let Err(wrong) = keep(self.arguments, &all) {
            code = say_wrong(wrong);
        }
        say::out(&report::table(&all));
        code
    }

    /// Refuses a database that nobody answers for: a run would wait for it, unseen.
    fn reach(&self, scenario: &Scenario) -> Result<(), Wrong> {
        let (true, Some(url)) = (scenario.needs().1, &self.database) else {
            return Ok(());
        };
        reach_postgres(url).map_err(|error| {
            let hint = match &error {
                ConnectorError::Away { hint, .. } => format!("\n  hint:  {hint}"),
                ConnectorError::Permanent { .. }
                | ConnectorError::Transient(_)
                | ConnectorError::Fenced { .. }
                | ConnectorError::Rewound { .. } => String::new(),
            };
            let name = &scenario.name;
            failed(format!(
                "could not measure `{name}`\n  cause: {error}{hint}"
            ))
        })
    }

    /// Adds to `all` what comes of a scenario, as soon as it is there.
    fn measure(&self, scenario: &Scenario, all: &mut Vec<Measurements>) -> Result<(), Wrong> {
        let (name, arguments) = (&scenario.name, self.arguments);
        let rows = arguments.rows.unwrap_or(scenario.rows);
        let origin = Origin::now(&Clock::machine());
        let grouped = say::grouped(rows);
        say::err(&format!("{name}: makes its load of {grouped} records\n"));
        let load = load::make(scenario, rows, &arguments.data, self.servers.as_deref());
        let load = load.map_err(|why| failed(format!("`{name}`: {why}")))?;
        let (mut runs, mut inputs) = (Vec::new(), Vec::new());
        let repeats = u32::from(arguments.warm_up) + u32::from(arguments.repeat);
        for turn in 0..repeats {
            say::err(&format!("{name}: run {} of {repeats}\n", turn + 1));
            let run = self.run(scenario, load.options.clone(), None)?.end()?;
            self.is_whole(name, "a run", run.records, rows)?;
            if turn >= u32::from(arguments.warm_up) {
                runs.push(run);
                let input = self.input(scenario, &load)?;
                if load.topic.is_some() {
                    self.is_whole(name, "the limit", input.records, rows)?;
                }
                inputs.push(input);
            }
        }
        let limits = self.limits(scenario, &load, &runs[0], inputs)?;
        all.push(Measurements {
            scenario: name.clone(),
            about: scenario.about.clone(),
            origin,
            rows,
            threads: arguments.threads,
            warm_up: arguments.warm_up,
            seconds: arguments.seconds,
            bytes: limits.first().map_or(0, |limit| limit.measured.bytes),
            runs,
            limits,
            latency: None,
            search: None,
        });
        let measured = all.last_mut().expect("it was pushed");
        match scenario.rate {
            // It begins with the scenario's rate.
            Some(rate) if arguments.search => {
                let sought = self.search(scenario, rate)?;
                let first = sought.tried.first();
                measured.latency = first.and_then(|step| step.latency.clone());
                measured.search = Some(sought);
            }
            Some(rate) if arguments.seconds > 0 => {
                measured.latency = Some(self.latency(scenario, rate, rate::PATIENCE)?);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// A load of which part is gone is another load.
    fn is_whole(&self, name: &str, who: &str, read: u64, rows: u64) -> Result<(), Wrong> {
        if read == rows {
            return Ok(());
        }
        let (read, rows) = (say::grouped(read), say::grouped(rows));
        Err(failed(format!(
            "{who} of `{name}` has read {read} of {rows} records\n  hint:  a topic gives back what it \
             has kept too long: remove it, and it is filled anew"
        )))
    }

    /// Starts a run.
    fn run(
        &self,
        scenario: &Scenario,
        input: Options,
        paced: Option<Paced>,
    ) -> Result<Running, Wrong> {
        let state = std::env::temp_dir().join(format!("tidemark-bench-{}", std::process::id()));
        let (output, topic) = self.output(scenario);
        let task = Task::Run(RunTask {
            name: scenario.name.clone(),
            text: scenario.text.clone(),
            input,
            output,
            threads: usize::from(self.arguments.threads),
            state: state.clone(),
            paced,
        });
        Ok(Running {
            child: Child::start(&scenario.name, &task)?,
            state,
            topic: topic.zip(self.servers.clone()),
        })
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

    /// The input of a scenario, read by a loop.
    fn input(&self, scenario: &Scenario, load: &Load) -> Result<Measured, Wrong> {
        let threads = usize::from(self.arguments.threads);
        let task = match (&load.topic, &self.servers) {
            (Some(topic), Some(servers)) => Task::Drain {
                servers: servers.clone(),
                topic: topic.clone(),
                consumers: threads,
            },
            (Some(_) | None, _) => Task::Read {
                files: load.files.clone(),
                threads,
            },
        };
        Child::start(&scenario.name, &task)?.end()
    }

    /// What bounds a scenario: its input at its fastest, and its rows written by COPY.
    fn limits(
        &self,
        scenario: &Scenario,
        load: &Load,
        run: &Measured,
        inputs: Vec<Measured>,
    ) -> Result<Vec<Limit>, Wrong> {
        let name = &scenario.name;
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let records = run.records as f64;
        let limit = |name, measured: Measured| Limit {
            name,
            records_per_second: records / measured.seconds.max(1e-9),
            measured,
        };
        let which = match load.topic {
            Some(_) => "bare librdkafka",
            None => "bare read",
        };
        let best = inputs.into_iter();
        let best = best.min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let mut limits: Vec<Limit> = best.map(|best| limit(which, best)).into_iter().collect();
        // Where few rows are written, how fast they could be says nothing.
        let writes = run.rows * 10 >= run.records;
        if let (Output::Postgres, Some(url), true) = (scenario.output, &self.database, writes) {
            say::err(&format!("{name}: COPY\n"));
            let (url, table) = (url.clone(), format!("bench_{name}"));
            let copied = Child::start(name, &Task::Copy { url, table })?.end()?;
            limits.push(limit("bare COPY", copied));
        }
        Ok(limits)
    }
}

/// A run under way, and what it leaves behind.
struct Running {
    child: Child,
    state: PathBuf,
    /// A topic that it writes, and where.
    topic: Option<(String, String)>,
}

impl Running {
    fn end(self) -> Result<Measured, Wrong> {
        let outcome = self.child.end();
        // There is none if it took no snapshot.
        let _ = std::fs::remove_dir_all(&self.state);
        let removed = self.topic.map_or(Ok(()), |(topic, servers)| {
            let removed = KafkaBench::new(&servers).remove(&topic);
            removed.map_err(|error| failed(error.to_string()))
        });
        // What failed first: a run that failed may not have made its topic.
        outcome.and_then(|measured| removed.map(|()| measured))
    }
}
