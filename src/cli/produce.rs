//! `produce`: files, or rows that are made up, into a topic, with a bar and a last line.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{FAILED, ProduceArgs, WRONG, file, say};
use crate::connector::{
    ConnectorError, ProduceInput, ProduceJob, ProduceProgress, connection_option, produce as send,
    validate,
};
use crate::dataflow::outcome::Failure;
use crate::engine::{admission, spawn_named};
use crate::plan::{Role, Table};
use crate::sql::{Given, Problem, SourceText};
use crate::types::{Clock, nearest};
use crate::web::Server;

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(200);

/// Sends, and says how it went.
pub fn produce(arguments: &ProduceArgs) -> u8 {
    let job = match job(arguments) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let clock = Clock::machine();
    let progress = Arc::new(ProduceProgress::default());
    let server = match serve(arguments, &progress, &clock) {
        Ok(server) => server,
        Err(failure) => {
            say::failure(&failure);
            return FAILED;
        }
    };
    let (end, ended) = sync_channel(1);
    let shows = !arguments.quiet && std::io::stderr().is_terminal();
    let bar = shows.then(|| {
        let progress = Arc::clone(&progress);
        spawn_named("progress", move || show(&progress, &ended))
    });
    let outcome = send(&job, &progress);
    drop(end);
    if let Some(bar) = bar
        && bar.join().is_err()
    {
        tracing::warn!("the progress display panicked");
    }
    if let Some(server) = server {
        server.end();
    }
    let summary = summary(&job, &progress, clock.elapsed());
    match outcome {
        Ok(()) => {
            if !arguments.quiet {
                say::err(&summary);
            }
            left_out(&progress)
        }
        Err(error) => {
            if loaded(&progress.committed) > 0 && !arguments.quiet {
                say::err(&summary);
            }
            refuse(&error);
            FAILED
        }
    }
}

/// Rows that were not sent are no success, whatever the others are.
fn left_out(progress: &ProduceProgress) -> u8 {
    let rejected = loaded(&progress.rejected);
    if rejected == 0 {
        return 0;
    }
    let first = progress.first_rejected.get().map_or("", String::as_str);
    let rows = if rejected == 1 {
        "row was"
    } else {
        "rows were"
    };
    complain(
        &format!(
            "{} {rows} not sent: the table does not let them in, the first {first}",
            say::grouped(rejected)
        ),
        Some("NOT NULL, CHECK and types in CREATE TABLE say what it lets in"),
    );
    FAILED
}

/// Serves the metrics, with `--metrics-port`.
fn serve(
    arguments: &ProduceArgs,
    progress: &ProduceProgress,
    clock: &Clock,
) -> Result<Option<Server>, Failure> {
    let Some(port) = arguments.metrics_port else {
        return Ok(None);
    };
    let at = (arguments.metrics_bind, port);
    let server = Server::of_metrics(at, progress.metrics.clone(), clock.clone())?;
    if !arguments.quiet {
        say::err(&format!("the metrics are at http://{}\n", server.address()));
    }
    Ok(Some(server))
}

/// Says why a file or a broker cannot be used.
pub fn refuse(error: &ConnectorError) {
    let hint = match error {
        ConnectorError::Permanent { hint, .. } => hint.as_deref(),
        ConnectorError::Away { hint, .. } => Some(hint.as_str()),
        ConnectorError::Transient(_) => Some("run it again: it goes on where it stopped"),
        ConnectorError::Fenced { .. } | ConnectorError::Rewound { .. } => None,
    };
    complain(&error.to_string(), hint);
}

fn complain(message: &str, hint: Option<&str>) {
    let hint = hint.map(|hint| format!("  hint:  {hint}\n"));
    say::err(&format!("error: {message}\n{}", hint.unwrap_or_default()));
}

fn job(arguments: &ProduceArgs) -> Result<ProduceJob, u8> {
    let wrong = |message: &str, hint: &str| {
        complain(message, Some(hint));
        WRONG
    };
    let mut options = Vec::new();
    for option in &arguments.options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(wrong(
                &format!("`--option {option}` has no value"),
                "--option name=value",
            ));
        };
        if let Err((message, hint)) = connection_option(name) {
            complain(&message, hint.as_deref());
            return Err(WRONG);
        }
        options.push((name.to_owned(), value.to_owned()));
    }
    let rate = match arguments.rate.as_deref().map(rate) {
        Some(None) => {
            return Err(wrong(
                "`--rate` is no number above 0",
                "--rate 5000 is 5000 records per second",
            ));
        }
        Some(Some(rate)) => Some(rate),
        None => None,
    };
    let input = match &arguments.from {
        None => ProduceInput::Files {
            patterns: arguments.files.clone(),
            format: arguments.format.clone(),
            header: arguments.header,
        },
        Some(path) => {
            let table = table(path, &arguments.files)?;
            let admission = admission(&table);
            ProduceInput::Table(Box::new(table), admission)
        }
    };
    let servers = arguments.bootstrap_servers.clone();
    let servers = servers.or_else(|| std::env::var("KAFKA").ok());
    Ok(ProduceJob {
        servers: servers.unwrap_or_else(|| "localhost:9092".to_owned()),
        options,
        topic: arguments.topic.clone(),
        job: arguments.job.clone(),
        fresh: arguments.fresh_job,
        producers: usize::from(arguments.producers),
        partitions: arguments.partitions,
        replication: arguments.replication,
        compression: arguments.compression.clone(),
        rate,
        key: arguments.key.clone(),
        objects: arguments.as_format == "json",
        input,
        lasts: true,
    })
}

/// `5000`, `5_000`, `5000/s`.
fn rate(text: &str) -> Option<f64> {
    let text = text.trim_end_matches("/s").replace('_', "");
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
}

/// The table of a pipeline file, whose other tables and queries do not matter.
fn table(path: &Path, names: &[String]) -> Result<Table, u8> {
    let shown = path.display().to_string();
    let [name] = names else {
        complain(
            "--from takes the name of one table",
            Some("tidemark produce --topic t --from FILE.sql TABLE"),
        );
        return Err(WRONG);
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        complain(&format!("could not read `{shown}`: {error}"), None);
        WRONG
    })?;
    let source = SourceText {
        path: &shown,
        text: &text,
    };
    let given = Given {
        variables: std::env::vars().collect(),
        settings: Vec::new(),
        pipeline_name: "produce".to_owned(),
        only: Vec::new(),
    };
    let (tables, problems) = match crate::sql::plan(&source, &given) {
        Ok(pipeline) => (pipeline.tables, Vec::new()),
        Err(refused) => (refused.tables, refused.problems),
    };
    let Some(table) = tables.iter().find(|table| table.name == *name) else {
        if !problems.is_empty() {
            return Err(file::refuse(&problems, &source));
        }
        let known = nearest(name, tables.iter().map(|table| table.name.as_str()));
        let hint = known.map(|known| format!("did you mean `{known}`?"));
        complain(
            &format!("`{shown}` declares no table `{name}`"),
            hint.as_deref(),
        );
        return Err(WRONG);
    };
    let table = Table {
        role: Role::Source,
        ..table.clone()
    };
    let wrong = validate(&table).into_iter();
    let wrong: Vec<Problem> = wrong
        .map(|problem| Problem::at(problem.place, problem.message).maybe_hint(problem.hint))
        .collect();
    if wrong.is_empty() {
        Ok(table)
    } else {
        Err(file::refuse(&wrong, &source))
    }
}

fn loaded(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

fn show(progress: &ProduceProgress, ended: &Receiver<()>) {
    let bar = ProgressBar::no_length();
    let known = "[{wide_bar:.cyan/blue}] {percent:>3} % {eta:>4} left  {msg}";
    let unknown = "{spinner} {elapsed}  {msg}";
    let style = |template| {
        let style = ProgressStyle::with_template(template).expect("the template is right");
        style.progress_chars("━╸ ")
    };
    bar.set_style(style(unknown));
    while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
        let length = loaded(&progress.length);
        if length > 0 && bar.length() != Some(length) {
            bar.set_length(length);
            bar.set_style(style(known));
        }
        bar.set_position(loaded(&progress.distance));
        bar.set_message(format!("{} records", say::grouped(loaded(&progress.sent))));
    }
    bar.finish_and_clear();
}

fn summary(job: &ProduceJob, progress: &ProduceProgress, took: Duration) -> String {
    let records = loaded(&progress.committed);
    let topic = &job.topic;
    let again = loaded(&progress.before) > 0;
    if records == 0 && again {
        return format!(
            "everything is in `{topic}` already; --fresh-job sends it again, --job NAME is another job\n"
        );
    }
    let per_second = records as f64 / took.as_secs_f64().max(0.001);
    let mut text = format!(
        "{} records to `{topic}` in {:.1} s, {} per second",
        say::grouped(records),
        took.as_secs_f64(),
        say::grouped(per_second as u64)
    );
    if again {
        text.push_str(", behind what was there already");
    }
    let odd = loaded(&progress.as_they_were);
    if odd > 0 {
        text.push_str(&format!(
            "; {} did not convert and went as they stand",
            say::grouped(odd)
        ));
        if let Some(first) = progress.first_odd.get() {
            text.push_str(&format!(", the first {first}"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_a_number_per_second() {
        assert_eq!(rate("5000"), Some(5000.0));
        assert_eq!(rate("5_000/s"), Some(5000.0));
        for text in ["", "0", "-1", "fast", "inf"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
