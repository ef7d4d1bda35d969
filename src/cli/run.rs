//! `run`: a pipeline from start to end, with its progress and its summary.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

use super::progress::Watch;
use super::{FAILED, LogFormat, RunArgs, WRONG, file, say};
use crate::dataflow::outcome::Shared;
use crate::dataflow::source::{AtEnd, Pace};
use crate::engine::{RunOptions, Summary, check_world};
use crate::plan::{Pipeline, Role};
use crate::sql::SourceText;

/// Runs a pipeline and says how it went.
pub fn run(arguments: &RunArgs) -> u8 {
    start_logging(arguments);
    let planned = match file::plan(&arguments.file) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    if !arguments.fresh {
        // With --fresh the tables that do not fit are about to be emptied.
        let problems = check_world(&planned.pipeline, &planned.base);
        if !problems.is_empty() {
            let path = arguments.file.file.display().to_string();
            return file::refuse(
                &problems,
                &SourceText {
                    path: &path,
                    text: &planned.text,
                },
            );
        }
    }
    if arguments.fresh && !arguments.yes && !confirmed(&planned.pipeline) {
        return WRONG;
    }
    let options = RunOptions {
        threads: arguments.threads.map(usize::from),
        base: planned.base,
        pace: variable("TIDEMARK_TEST_PACE").map(|seed| Pace::Arrivals { seed }),
        crash_at: variable("TIDEMARK_CRASH_AT"),
        until_caught_up: arguments.until_caught_up,
        at_end: if arguments.until_caught_up && !arguments.close_windows {
            AtEnd::Wait
        } else {
            AtEnd::Close
        },
        state: arguments.state.clone(),
        fresh: arguments.fresh,
    };
    let shared = Arc::new(Shared::default());
    stop_on_signals(&shared);
    let watch = (!arguments.quiet).then(|| Watch::start(&planned.pipeline, &shared));
    let outcome = crate::engine::run(Arc::clone(&planned.pipeline), &options, &shared);
    if let Some(watch) = watch {
        watch.end();
    }
    match outcome {
        Ok(summary) => {
            if !arguments.quiet {
                say::err(&summary_text(
                    &planned.pipeline,
                    &summary,
                    shared.is_stopping(),
                ));
            }
            match &arguments.summary {
                Some(path) => write_summary(path, &planned.pipeline, &summary),
                None => 0,
            }
        }
        Err(failure) => {
            say::failure(&failure);
            FAILED
        }
    }
}

/// A number from the environment, for tests.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn start_logging(arguments: &RunArgs) {
    let level = if arguments.quiet { "error" } else { "info" };
    let level = std::env::var("TIDEMARK_LOG").unwrap_or_else(|_| level.to_owned());
    // A bare level is meant for what we say, not for what the libraries say.
    let bare = level.parse::<tracing::Level>().is_ok();
    let wanted = if bare {
        format!("tidemark={level}")
    } else {
        level
    };
    let filter = EnvFilter::new(wanted);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second run in one process keeps the first one's logging.
    let _ = match arguments.log {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

fn confirmed(pipeline: &Pipeline) -> bool {
    let sinks = pipeline
        .tables
        .iter()
        .filter(|table| table.role == Role::Sink);
    let names: Vec<&str> = sinks.map(|table| table.name.as_str()).collect();
    if !std::io::stdin().is_terminal() {
        say::err("error: --fresh empties tables and nobody is here to ask\n  hint:  add --yes\n");
        return false;
    }
    say::err(&format!("This empties {}. Go on? [y/N] ", names.join(", ")));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// The first signal stops after the open epoch; the second ends the process.
pub(super) fn stop_on_signals(shared: &Arc<Shared>) {
    for signal in [SIGINT, SIGTERM] {
        let flag = shared.stop_flag();
        // Order matters: the one registered first sees the flag as the first signal left it.
        let first = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag));
        let second = signal_hook::flag::register(signal, flag);
        if first.is_err() || second.is_err() {
            tracing::warn!(signal, "could not listen for the signal");
        }
    }
}

/// One line per INSERT and source: the four counts add up to what was read.
pub(super) fn summary_text(pipeline: &Pipeline, summary: &Summary, stopped: bool) -> String {
    let header = [
        "into", "from", "read", "accepted", "filtered", "late", "rejected",
    ];
    let header = header.map(str::to_owned);
    let mut lines = Vec::new();
    let mut read = std::collections::BTreeMap::new();
    for (&(insert, source), fates) in &summary.fates {
        let table = |id: usize| pipeline.tables[id].name.clone();
        let mut line = vec![table(pipeline.inserts[insert].table), table(source)];
        let counts = [
            fates.read(),
            fates.accepted,
            fates.filtered,
            fates.late,
            fates.rejected,
        ];
        line.extend(counts.map(say::grouped));
        lines.push(line);
        read.insert(source, fates.read());
    }
    let mut text = say::table(&header, &lines);
    let total: u64 = read.values().sum();
    let seconds = summary.elapsed.as_secs_f64();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let rate = if seconds > 0.0 {
        (total as f64 / seconds) as u64
    } else {
        0
    };
    let verb = if stopped { "stopped after" } else { "done in" };
    text.push_str(&format!(
        "{verb} {seconds:.2} s, {} rows/s, {} commit{}\n",
        say::grouped(rate),
        say::grouped(summary.commits),
        if summary.commits == 1 { "" } else { "s" }
    ));
    text
}

#[derive(Serialize)]
struct SummaryFile {
    inserts: Vec<InsertCounts>,
    commits: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct InsertCounts {
    table: String,
    source: String,
    read: u64,
    accepted: u64,
    filtered: u64,
    late: u64,
    rejected: u64,
}

fn write_summary(path: &Path, pipeline: &Pipeline, summary: &Summary) -> u8 {
    let counts = summary
        .fates
        .iter()
        .map(|(&(insert, source), fates)| InsertCounts {
            table: pipeline.tables[pipeline.inserts[insert].table].name.clone(),
            source: pipeline.tables[source].name.clone(),
            read: fates.read(),
            accepted: fates.accepted,
            filtered: fates.filtered,
            late: fates.late,
            rejected: fates.rejected,
        });
    let file = SummaryFile {
        inserts: counts.collect(),
        commits: summary.commits,
        seconds: summary.elapsed.as_secs_f64(),
    };
    let text = serde_json::to_string_pretty(&file).expect("a summary is plain data");
    match std::fs::write(path, text + "\n") {
        Ok(()) => 0,
        Err(error) => {
            let path = path.display();
            say::err(&format!(
                "error: could not write the summary to `{path}`\n  cause: {error}\n"
            ));
            FAILED
        }
    }
}
