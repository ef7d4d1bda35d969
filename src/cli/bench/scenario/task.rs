//! What is measured, in a process of its own (see `child`): so that its CPU time and its memory are
//! its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commits::{Commits, Span};
use crate::cli::run;
use crate::connector::{KafkaBench, copy_again};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::written::Witness;
use crate::engine::{RunOptions, spawn_named};
use crate::plan::{OptionValue, Pipeline, Place, Role, TableId};
use crate::sql::{Given, SourceText};
use crate::types::Clock;

/// How often a run is looked at whether it has read enough.
const LOOK: Duration = Duration::from_millis(20);

/// Something to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// A pipeline.
    Run(RunTask),
    /// Files, read and dropped.
    Read {
        /// The files.
        files: Vec<PathBuf>,
        /// By so many threads.
        threads: usize,
    },
    /// A topic, read and dropped.
    Drain {
        /// The brokers.
        servers: String,
        /// The topic.
        topic: String,
        /// By so many consumers.
        consumers: usize,
    },
    /// A table, written again by COPY.
    Copy {
        /// The database.
        url: String,
        /// The table.
        table: String,
    },
}

/// A pipeline to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunTask {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where its source is read from instead: connector and options.
    pub input: Options,
    /// Where its sinks are instead; `{table}` stands for the table's name.
    pub output: Options,
    /// Worker threads.
    pub threads: usize,
    /// Where its state is kept.
    pub state: PathBuf,
    /// How long it runs; otherwise to the end of its input.
    pub paced: Option<Paced>,
}

/// A run that reads what is sent meanwhile.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Paced {
    /// It ends after so many records.
    pub records: u64,
    /// Of which these count for latency.
    pub span: Span,
}

/// A connector, as `connector`, and its options.
pub type Options = BTreeMap<String, String>;

/// What it came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Records read.
    pub records: u64,
    /// Bytes of input, where the task knows it.
    pub bytes: u64,
    /// Rows written, and in how many commits.
    pub rows: u64,
    /// Commits.
    pub commits: u64,
    /// By the clock.
    pub seconds: f64,
    /// CPU time of the program, and of the system for it.
    pub user_seconds: f64,
    /// The second.
    pub system_seconds: f64,
    /// The most memory that it had at a time.
    pub peak_bytes: u64,
    /// Quantiles of a commit's time, in milliseconds, as `metrics::QUANTILES` has them.
    pub commit_ms: Vec<f64>,
    /// The same of a paced run: from the time at which a record was due to the commit of its epoch,
    pub latency_ms: Vec<f64>,
    /// and the median of that in each quarter of the time: it does not grow where a rate is held.
    pub latency_by_quarter_ms: Vec<f64>,
}

/// Does a task here.
pub fn measure(task: &Task) -> Result<Measured, Failure> {
    let clock = Clock::machine();
    let failed = |error: crate::connector::ConnectorError| Failure::new(error.to_string());
    let mut measured = match task {
        Task::Run(task) => pipeline(task)?,
        Task::Read { files, threads } => read(files, *threads, &clock)?,
        Task::Drain {
            servers,
            topic,
            consumers,
        } => {
            let (records, bytes, took) = KafkaBench::new(servers)
                .drain(topic, *consumers, &clock)
                .map_err(failed)?;
            of(records, bytes, took)
        }
        Task::Copy { url, table } => {
            let (rows, bytes, took) = copy_again(url, table, &clock).map_err(failed)?;
            of(rows, bytes, took)
        }
    };
    (measured.user_seconds, measured.system_seconds) = cpu_seconds().unwrap_or_default();
    measured.peak_bytes = peak_bytes().unwrap_or_default();
    Ok(measured)
}

fn of(records: u64, bytes: u64, took: Duration) -> Measured {
    Measured {
        records,
        bytes,
        seconds: took.as_secs_f64(),
        ..Measured::default()
    }
}

fn read(files: &[PathBuf], threads: usize, clock: &Clock) -> Result<Measured, Failure> {
    let began = clock.elapsed();
    let share = files.len().div_ceil(threads.max(1)).max(1);
    let bytes = std::thread::scope(|scope| -> std::io::Result<u64> {
        let mut readers = Vec::new();
        for files in files.chunks(share) {
            let work = || files.iter().map(|file| drop_file(file)).sum();
            let reader = std::thread::Builder::new().name("bare-read".to_owned());
            readers.push(reader.spawn_scoped(scope, work)?);
        }
        let ended = readers.into_iter().map(|reader| {
            let read: std::io::Result<u64> = reader.join().expect("reading a file does not panic");
            read
        });
        ended.sum()
    });
    let bytes = bytes.map_err(|error| Failure::new("could not read the files").because(error))?;
    Ok(of(0, bytes, clock.elapsed() - began))
}

fn drop_file(path: &Path) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            len => bytes += len as u64,
        }
    }
}

/// Plans a scenario's file for a load of so many rows.
pub fn plan(name: &str, text: &str, rows: u64) -> Result<Pipeline, String> {
    let mut variables: BTreeMap<String, String> = std::env::vars().collect();
    variables.insert("ROWS".to_owned(), rows.to_string());
    let given = Given {
        variables,
        settings: Vec::new(),
        pipeline_name: format!("bench-{name}"),
        only: Vec::new(),
    };
    let source = SourceText { path: name, text };
    crate::sql::plan(&source, &given).map_err(|refused| {
        let problems = refused.problems.iter();
        problems.map(|problem| problem.render(&source)).collect()
    })
}

/// The one source of a scenario.
pub fn source_of(pipeline: &Pipeline) -> Result<TableId, String> {
    let sources: Vec<TableId> = pipeline.sources().map(|(table, _)| table).collect();
    match sources.as_slice() {
        [one] => Ok(*one),
        _ => Err("a scenario has one source, of connector `generator`".to_owned()),
    }
}

/// Puts a table elsewhere.
fn retarget(table: &mut crate::plan::Table, options: &Options) {
    table.options.clear();
    for (name, text) in options {
        let text = text.replace("{table}", &table.name);
        if name == "connector" {
            table.connector = text;
        } else {
            let place = Place::default();
            table
                .options
                .insert(name.clone(), OptionValue { text, place });
        }
    }
}

fn pipeline(task: &RunTask) -> Result<Measured, Failure> {
    let mut pipeline = plan(&task.name, &task.text, 1).map_err(Failure::new)?;
    let source = source_of(&pipeline).map_err(Failure::new)?;
    retarget(&mut pipeline.tables[source], &task.input);
    for table in &mut pipeline.tables {
        if table.role == Role::Sink {
            retarget(table, &task.output);
        }
    }
    let options = RunOptions {
        threads: Some(task.threads),
        until_caught_up: task.paced.is_none() && task.input["connector"] == "kafka",
        state: Some(task.state.clone()),
        fresh: true,
        ..RunOptions::default()
    };
    let shared = Arc::new(Shared::default());
    let commits = Arc::new(Commits::new(task.paced.map(|paced| paced.span)));
    let witness: Arc<dyn Witness> = Arc::<Commits>::clone(&commits);
    shared.witness.set(witness).expect("nobody else looks on");
    run::stop_on_signals(&shared);
    if let Some(Paced { records, .. }) = task.paced {
        let shared = Arc::clone(&shared);
        spawn_named("enough", move || stop_after(records, source, &shared));
    }
    let summary = crate::engine::run(&Arc::new(pipeline), &options, &shared)?;
    let missed: u64 = summary.fates.values().map(|of| of.late + of.rejected).sum();
    if missed > 0 {
        let message = format!("{missed} records of the load are late or rejected");
        return Err(Failure::new(message).because("what they cost is not what is asked"));
    }
    let progress = shared.progress();
    let facts = shared.board.facts();
    let tables = facts.destinations.iter().flat_map(|it| &it.tables);
    Ok(Measured {
        rows: tables.map(|table| table.upserts + table.deletes).sum(),
        commits: summary.commits,
        commit_ms: commits.took_ms(),
        latency_ms: commits.ages_ms(),
        latency_by_quarter_ms: commits.quarters_ms(),
        ..of(
            progress.get(&source).map_or(0, |it| it.records),
            0,
            summary.elapsed,
        )
    })
}

/// Stops a run that has read enough.
fn stop_after(records: u64, source: TableId, shared: &Shared) {
    let clock = Clock::machine();
    loop {
        clock.wait_until(clock.elapsed() + LOOK);
        let read = shared.progress().get(&source).map_or(0, |it| it.records);
        if read >= records || shared.has_failed() {
            return shared.stop();
        }
    }
}

/// CPU time of this process so far: the program's, and the system's for it.
fn cpu_seconds() -> Option<(f64, f64)> {
    /// What Linux shows to programs, whatever it counts in.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets, with whatever in it; then come the others.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

/// The most memory this process has had.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
