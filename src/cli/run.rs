//! `run`: a pipeline from start to end, with its progress and its summary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::cluster::Membership;
use super::eyes::Eyes;
use super::file::Planned;
use super::progress::{Watch, Who};
use super::signals::on_wishes;
use super::supervise::{Program, Supervision};
use super::{FAILED, LogFormat, RunArgs, WRONG, eyes, file, say, supervise, unused};
use crate::dataflow::outcome::{Failure, Shared};
use crate::dataflow::source::{AtEnd, Pace};
use crate::engine::{
    Looked, Replay, RunOptions, Summary, check_history, check_processes, look as world,
    look_what_is_kept, mesh, says_objects,
};
use crate::metrics::RESTARTS;
use crate::plan::{Pipeline, Role};
use crate::sql::{Problem, SourceText};
use crate::types::{Clock, Fates};

/// How often a supervisor that waits for the world looks at it again.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a pipeline and says how it went.
pub fn run(arguments: &RunArgs) -> u8 {
    run_with(arguments, |_| Ok(Replay::default()))
}

/// The same, with what is read from files instead: `replay` is asked for it, and may change the plan.
pub fn run_with(
    arguments: &RunArgs,
    replay: impl FnOnce(&mut Planned) -> Result<Replay, Vec<Problem>>,
) -> u8 {
    start_logging(arguments);
    let mut planned = match file::plan(&arguments.file) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    let alone = end_on_signals();
    let replay = can_share(arguments, &planned.pipeline)
        .and_then(|()| replay(&mut planned))
        .and_then(|replay| look(arguments, &planned, replay));
    let replay = match replay {
        Ok(replay) => replay,
        Err(problems) => {
            let (path, text) = (arguments.file.file.display().to_string(), &planned.text);
            return file::refuse(&problems, &SourceText { path: &path, text });
        }
    };
    let cluster = &arguments.cluster;
    if arguments.fresh && !arguments.yes && !cluster.member && !confirmed(&planned.pipeline) {
        return WRONG;
    }
    if let (Some(processes), false) = (cluster.processes, cluster.member) {
        return supervise_processes(arguments, usize::from(processes), &alone);
    }
    let options = options(arguments, planned.base, replay);
    let shared = Arc::new(Shared::default());
    stop_on_signals(&shared);
    alone.store(false, Ordering::SeqCst);
    let membership = match cluster.membership(
        (&planned.pipeline.recipe.fingerprint, &options.alike()),
        &shared,
    ) {
        Ok(membership) => membership,
        Err(failure) => {
            say::failure(&failure);
            return WRONG;
        }
    };
    let pipeline = &planned.pipeline;
    let process = membership.as_ref().map_or(0, |it| it.member.process);
    let (leads, is_one_of_several) = (process == 0, membership.is_some());
    let who = match is_one_of_several {
        true => Who::OneOfSeveral,
        false => Who::Alone,
    };
    let watch = (!arguments.quiet && leads).then(|| Watch::start(pipeline, &shared, who));
    let run = || match membership {
        None => crate::engine::run(pipeline, &options, &shared),
        Some(membership) => one_of_several(membership, pipeline, options, &shared),
    };
    let outcome = seen((arguments, process), pipeline, &shared, run);
    if let Some(watch) = watch {
        watch.end();
    }
    match outcome {
        Ok(_) if !leads => 0,
        Ok(summary) => say_done(arguments, pipeline, &summary, shared.is_stopping()),
        Err(failure) => {
            say::failure(&failure);
            // Who runs alone begins again by itself, so whatever ends it is final.
            match failure.again && is_one_of_several {
                true => mesh::PEER_LOST,
                false => FAILED,
            }
        }
    }
}

/// How it went, and with which exit code that ends.
fn say_done(arguments: &RunArgs, pipeline: &Pipeline, summary: &Summary, stopped: bool) -> u8 {
    if !arguments.quiet {
        say_summary(pipeline, summary, stopped);
    }
    let code = match &arguments.summary {
        Some(path) => write_summary(path, pipeline, summary),
        None => 0,
    };
    match unused::say(pipeline, summary, (stopped, arguments.quiet)) {
        true => code.max(FAILED),
        false => code,
    }
}

/// Whether as many processes can run it.
fn can_share(arguments: &RunArgs, pipeline: &Pipeline) -> Result<(), Vec<Problem>> {
    let cluster = &arguments.cluster;
    let are_several = cluster.processes.is_some_and(|processes| processes > 1);
    if !are_several && cluster.hosts.is_none() {
        return Ok(());
    }
    match check_processes(pipeline) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(problems),
    }
}

/// Looks whether the world is as the pipeline says. With --fresh the tables that do not fit are about
/// to be emptied. A supervisor has looked before: its processes start again while the world may be
/// away, which is no refusal.
fn look(arguments: &RunArgs, planned: &Planned, replay: Replay) -> Result<Replay, Vec<Problem>> {
    if arguments.cluster.member {
        return Ok(replay);
    }
    let (clock, mut said) = (Clock::machine(), false);
    loop {
        let Looked {
            mut problems,
            away,
            notes,
        } = if arguments.fresh {
            look_what_is_kept(&planned.pipeline)
        } else {
            world(&planned.pipeline, &planned.base)
        };
        if !arguments.fresh {
            problems.extend(check_history(&planned.pipeline, &replay, &planned.base));
        }
        if problems.is_empty() && away.is_empty() {
            for note in notes {
                warn!(
                    note,
                    "could not look how long a source keeps what a restart reads again"
                );
            }
            return Ok(replay);
        }
        // Who is started by hand wants to know; a supervisor starts with the machine, perhaps before
        // the servers. What refuses will refuse again, and is waited for by nobody.
        if !problems.is_empty() || arguments.cluster.processes.is_none() {
            problems.extend(away);
            return Err(problems);
        }
        if !std::mem::replace(&mut said, true) {
            let (cause, hint) = (&away[0].message, &away[0].hint);
            warn!(cause, hint, "it is away: waiting for it to begin");
        }
        clock.wait_until(clock.elapsed() + LOOK);
    }
}

/// Runs, and with `--metrics-port` is seen meanwhile: each of several processes at a port of its
/// own, which follow each other.
fn seen(
    (arguments, process): (&RunArgs, usize),
    pipeline: &Arc<Pipeline>,
    shared: &Arc<Shared>,
    run: impl FnOnce() -> Result<Summary, Failure>,
) -> Result<Summary, Failure> {
    let Some(first) = arguments.metrics_port else {
        return run();
    };
    let port = match (first, u16::try_from(process)) {
        (0, _) => 0,
        (first, Ok(process)) => first.saturating_add(process),
        (first, Err(_)) => first,
    };
    let state = arguments.state.as_deref();
    let file = (process == 0).then(|| eyes::file(pipeline, Path::new(""), state));
    let eyes = Eyes::open((arguments.metrics_bind, port), pipeline, shared, file)?;
    let outcome = run();
    eyes.end();
    outcome
}

/// Runs the pipeline together with the other processes.
fn one_of_several(
    membership: Membership,
    pipeline: &Arc<Pipeline>,
    mut options: RunOptions,
    shared: &Arc<Shared>,
) -> Result<Summary, Failure> {
    let Membership {
        member,
        fresh,
        ends,
        mut supervisor,
    } = membership;
    options.ends = ends;
    options.fresh = fresh.unwrap_or(options.fresh);
    // The supervisor counts its starts from 1; whoever starts this process otherwise does not.
    let restarts = member.attempt.map_or(0, |attempt| attempt - 1);
    shared.metrics.add(&RESTARTS, &[], restarts);
    crate::engine::run_as(
        member,
        |ends| supervisor.running(ends),
        pipeline,
        &options,
        shared,
    )
}

fn options(arguments: &RunArgs, base: PathBuf, replay: Replay) -> RunOptions {
    RunOptions {
        threads: arguments.threads.map(usize::from),
        base,
        pace: variable("TIDEMARK_TEST_PACE").map(|seed| Pace::Arrivals { seed }),
        crash_at: variable("TIDEMARK_CRASH_AT"),
        until_caught_up: arguments.until_caught_up,
        ends: None,
        at_end: if arguments.until_caught_up && !arguments.close_windows {
            AtEnd::Wait
        } else {
            AtEnd::Close
        },
        state: arguments.state.clone(),
        several_machines: arguments.cluster.hosts.is_some(),
        fresh: arguments.fresh,
        replay,
    }
}

/// Until others listen, a signal ends the process: nothing has begun. Without a handler, the first
/// process of a container would not hear it.
fn end_on_signals() -> Arc<AtomicBool> {
    let alone = Arc::new(AtomicBool::new(true));
    let ends = Arc::clone(&alone);
    on_wishes(move || {
        if ends.load(Ordering::SeqCst) {
            signal_hook::low_level::exit(0);
        }
        false
    });
    alone
}

/// Becomes the supervisor of `processes` others, which are given the same arguments.
fn supervise_processes(arguments: &RunArgs, processes: usize, alone: &AtomicBool) -> u8 {
    let path = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => {
            say::failure(&Failure::new("could not find this program's own file").because(error));
            return FAILED;
        }
    };
    let mut given: Vec<OsString> = std::env::args_os().skip(1).collect();
    given.push("--member".into());
    let supervision = Supervision {
        program: Program {
            path,
            arguments: given,
            json: arguments.log == LogFormat::Json,
        },
        processes,
        failures_max: arguments.cluster.failed_starts,
        fresh: arguments.fresh,
    };
    supervise::supervise(supervision, || alone.store(false, Ordering::SeqCst))
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
        // A line that cannot be written, as on a full disk, is no reason to end.
        .log_internal_errors(false)
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
    let question = format!("This empties {}. Go on? [y/N] ", names.join(", "));
    say::agreed(&question, "--fresh empties tables")
}

/// The first signal stops after the open epoch; a later one ends the process.
pub(super) fn stop_on_signals(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    // Not the wish to stop itself: another process may have had that before the first signal came.
    let mut signalled = false;
    on_wishes(move || {
        if std::mem::replace(&mut signalled, true) {
            signal_hook::low_level::exit(i32::from(FAILED));
        }
        shared.stop();
        true
    });
}

/// The summary for people, or as lines of the log.
fn say_summary(pipeline: &Pipeline, summary: &Summary, stopped: bool) {
    if !says_objects() {
        return say::err(&summary_text(pipeline, summary, stopped));
    }
    for counts in counts(pipeline, summary) {
        info!(
            into = counts.table,
            from = counts.source,
            read = counts.read,
            accepted = counts.accepted,
            filtered = counts.filtered,
            late = counts.late,
            rejected = counts.rejected,
            "read"
        );
    }
    let (seconds, commits) = (summary.elapsed.as_secs_f64(), summary.commits);
    info!(seconds, commits, stopped, "done");
}

/// One line per INSERT and source: the four counts add up to what was read.
pub(super) fn summary_text(pipeline: &Pipeline, summary: &Summary, stopped: bool) -> String {
    let header = [
        "into", "from", "read", "accepted", "filtered", "late", "rejected",
    ];
    let header = header.map(str::to_owned);
    let mut lines = Vec::new();
    let mut read = BTreeMap::new();
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
        let before = summary.before.get(&(insert, source));
        let before = before.map_or(0, Fates::read);
        read.insert(source, fates.read().saturating_sub(before));
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

fn counts(pipeline: &Pipeline, summary: &Summary) -> impl Iterator<Item = InsertCounts> {
    let fates = summary.fates.iter();
    fates.map(|(&(insert, source), fates)| InsertCounts {
        table: pipeline.tables[pipeline.inserts[insert].table].name.clone(),
        source: pipeline.tables[source].name.clone(),
        read: fates.read(),
        accepted: fates.accepted,
        filtered: fates.filtered,
        late: fates.late,
        rejected: fates.rejected,
    })
}

fn write_summary(path: &Path, pipeline: &Pipeline, summary: &Summary) -> u8 {
    let file = SummaryFile {
        inserts: counts(pipeline, summary).collect(),
        commits: summary.commits,
        seconds: summary.elapsed.as_secs_f64(),
    };
    let text = serde_json::to_string_pretty(&file).expect("a summary is plain data");
    match std::fs::write(path, text + "\n") {
        Ok(()) => 0,
        Err(error) => {
            let path = path.display();
            let message = format!("could not write the summary to `{path}`");
            say::failure(&Failure::new(message).because(error));
            FAILED
        }
    }
}
