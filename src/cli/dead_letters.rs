//! `dead-letters`: what a pipeline could not use, counted and listed, and sent again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use clap::Args;

use super::file::Planned;
use super::{FAILED, FileArgs, WRONG, file, say};
use crate::connector::{
    ConnectorError, KeptLetter, LetterFilter, ResendJob, Resent, places_at, read_letters, resend,
};
use crate::dataflow::outcome::Failure;
use crate::engine::changed;
use crate::plan::{Pipeline, Role, Table};
use crate::types::nearest;

/// How many letters are listed, unless it is said.
const LISTED: u64 = 10;
/// How much of a payload or message a line shows.
const SHOWN: usize = 60;

/// With --resend each record goes once, however often it is asked for: which have been sent is in
/// the topic `tidemark_marks`, in the transaction of the records.
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The dead-letter table [default: all of the file]
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only these: rejected, late
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["rejected", "late"])]
    kind: Vec<String>,
    /// Only those with this reason, as it is counted
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    reason: Vec<String>,
    /// Only those of this source
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    source: Vec<String>,
    /// Only those where this column was at fault
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    column: Vec<String>,
    /// Only those of this partition
    #[arg(long, value_name = "PARTITION", value_delimiter = ',')]
    partition: Vec<String>,
    /// Only those from this position of their partition on
    #[arg(long, value_name = "OFFSET")]
    from_offset: Option<u64>,
    /// Only those before this position of their partition
    #[arg(long, value_name = "OFFSET")]
    before_offset: Option<u64>,
    /// Only records that were written to their topic at this time (UTC) or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only records that were written to their topic before this time (UTC)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// List, or send, no more than so many [default: 10 are listed, all are sent]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print the letters as JSON, one a line
    #[arg(long, conflicts_with = "resend")]
    json: bool,
    /// Send the records to their topic again, each once
    #[arg(long)]
    resend: bool,
    /// With --resend: say how many would be sent, and send nothing
    #[arg(long, requires = "resend")]
    dry_run: bool,
    /// With --resend: send without asking
    #[arg(long, requires = "resend")]
    yes: bool,
    /// With --resend: also records that some INSERT may have counted already. It counts them twice
    #[arg(long, requires = "resend")]
    even_if_counted: bool,
}

/// Counts and lists, or sends.
pub fn dead_letters(arguments: &DeadLettersArgs) -> u8 {
    let planned = match file::plan(&arguments.file) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    match work(arguments, &planned) {
        Ok(()) => 0,
        Err(Stop::Wrong(message, hint)) => {
            say::err(&format!("error: {message}\n  hint:  {hint}\n"));
            WRONG
        }
        Err(Stop::Declined) => WRONG,
        Err(Stop::Failed(error)) => {
            refuse(&error);
            FAILED
        }
        Err(Stop::Unknown(failure)) => {
            say::failure(&failure);
            FAILED
        }
    }
}

/// Why there is no answer.
enum Stop {
    /// The command line does not fit the file.
    Wrong(String, String),
    /// Nobody agreed to what it does.
    Declined,
    Failed(ConnectorError),
    /// Where the tables stand cannot be told.
    Unknown(Failure),
}

impl From<ConnectorError> for Stop {
    fn from(error: ConnectorError) -> Self {
        Self::Failed(error)
    }
}

fn refuse(error: &ConnectorError) {
    let hint = match error {
        ConnectorError::Permanent { hint, .. } => hint.as_deref(),
        ConnectorError::Away { hint, .. } => Some(hint.as_str()),
        ConnectorError::Transient(_) => Some("run it again"),
        ConnectorError::Fenced { .. } | ConnectorError::Rewound { .. } => None,
    };
    let hint = hint.map(|hint| format!("  hint:  {hint}\n"));
    say::err(&format!("error: {error}\n{}", hint.unwrap_or_default()));
}

fn work(arguments: &DeadLettersArgs, planned: &Planned) -> Result<(), Stop> {
    let tables = chosen(arguments, &planned.pipeline)?;
    find_sources(arguments, &tables)?;
    for &(table, ref sources) in &tables {
        let named = |source: &&&Table| {
            arguments.source.is_empty() || arguments.source.contains(&source.name)
        };
        let meant: Vec<&Table> = sources.iter().filter(named).copied().collect();
        let [source, rest @ ..] = meant.as_slice() else {
            continue;
        };
        let filter = filter(arguments, source, rest)?;
        if arguments.resend {
            if tables.len() > 1 || !rest.is_empty() {
                return Err(Stop::Wrong(
                    "there are letters of several sources".to_owned(),
                    "--source TABLE says whose are sent; --table TABLE, from which".to_owned(),
                ));
            }
            send(arguments, planned, (table, source), &filter)?;
        } else {
            show(arguments, (table, &planned.base), &filter)?;
        }
    }
    Ok(())
}

/// The dead-letter tables that are meant, each with the sources that name it.
fn chosen<'a>(
    arguments: &DeadLettersArgs,
    pipeline: &'a Pipeline,
) -> Result<Vec<(&'a Table, Vec<&'a Table>)>, Stop> {
    let mut tables: Vec<(&Table, Vec<&Table>)> = Vec::new();
    let named = pipeline.tables.iter().filter(|t| t.role == Role::Source);
    for source in named {
        let Some(name) = source.option("dead.letter") else {
            continue;
        };
        let mut known = pipeline.tables.iter();
        let Some(table) = known.find(|t| t.name == name || t.name == name.to_lowercase()) else {
            continue;
        };
        match tables
            .iter_mut()
            .find(|(other, _)| other.name == table.name)
        {
            Some((_, sources)) => sources.push(source),
            None => tables.push((table, vec![source])),
        }
    }
    if tables.is_empty() {
        return Err(Stop::Wrong(
            format!("no source of `{}` keeps dead letters", pipeline.name),
            "'dead.letter' = 'TABLE' in the WITH of a source has them kept".to_owned(),
        ));
    }
    let Some(wanted) = &arguments.table else {
        return Ok(tables);
    };
    let names: Vec<String> = tables.iter().map(|(table, _)| table.name.clone()).collect();
    tables.retain(|(table, _)| table.name == *wanted);
    if tables.is_empty() {
        let near = nearest(wanted, names.iter().map(String::as_str));
        return Err(Stop::Wrong(
            format!("no source keeps its dead letters in `{wanted}`"),
            match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("they are in {}", names.join(", ")),
            },
        ));
    }
    Ok(tables)
}

/// Without this a source that is misspelt would have no letters.
fn find_sources(arguments: &DeadLettersArgs, tables: &[(&Table, Vec<&Table>)]) -> Result<(), Stop> {
    let sources = tables.iter().flat_map(|(_, sources)| sources);
    let known: Vec<&str> = sources.map(|source| source.name.as_str()).collect();
    let mut wanted = arguments.source.iter();
    let Some(stranger) = wanted.find(|wanted| !known.contains(&wanted.as_str())) else {
        return Ok(());
    };
    let tables: Vec<&str> = tables
        .iter()
        .map(|(table, _)| table.name.as_str())
        .collect();
    Err(Stop::Wrong(
        format!(
            "no source `{stranger}` keeps dead letters in {}",
            tables.join(", ")
        ),
        match nearest(stranger, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("they are of {}", known.join(", ")),
        },
    ))
}

fn filter(
    arguments: &DeadLettersArgs,
    source: &Table,
    others: &[&Table],
) -> Result<LetterFilter, Stop> {
    let places = |time: &Option<String>| match time {
        None => Ok(None),
        Some(_) if source.connector != "kafka" || !others.is_empty() => Err(Stop::Wrong(
            "a time says which letters are meant only if their source is one topic".to_owned(),
            "--source TABLE names it; of other sources, --from-offset and --before-offset say it"
                .to_owned(),
        )),
        Some(time) => Ok(Some(places_at(source, time)?)),
    };
    Ok(LetterFilter {
        kinds: arguments.kind.clone(),
        reasons: arguments.reason.clone(),
        sources: arguments.source.clone(),
        columns: arguments.column.clone(),
        partitions: arguments.partition.clone(),
        from: arguments.from_offset,
        before: arguments.before_offset,
        since: places(&arguments.since)?,
        until: places(&arguments.until)?,
    })
}

fn send(
    arguments: &DeadLettersArgs,
    planned: &Planned,
    (letters, source): (&Table, &Table),
    filter: &LetterFilter,
) -> Result<(), Stop> {
    let job = ResendJob {
        pipeline: &planned.pipeline.name,
        letters,
        source,
        filter,
        counted_too: arguments.even_if_counted,
        limit: arguments.limit,
        dry: false,
    };
    if let Some(change) = changed(&planned.pipeline, &planned.base).map_err(Stop::Unknown)? {
        let name = &planned.pipeline.name;
        return Err(Stop::Wrong(
            format!("the tables of `{name}` were computed by {change}"),
            "run this file with --fresh instead, which reads these records again with all others; sent \
             again they would count twice"
                .to_owned(),
        ));
    }
    let topic = source.option("topic").unwrap_or_default();
    let resend = |dry| {
        let job = ResendJob { dry, ..job };
        resend(&job, |each| read_letters(letters, &planned.base, each))
    };
    if !arguments.yes || arguments.dry_run {
        let resent = resend(true)?;
        let what = records(resent.sent, topic);
        if arguments.dry_run || resent.sent == 0 {
            let what = match arguments.dry_run {
                true => format!("would send {what}"),
                false => what,
            };
            say::out(&said(&resent, &what));
            return Ok(());
        }
        let question = format!("This sends {what} again. Go on? [y/N] ");
        if !say::agreed(&question, &format!("--resend sends {what} again")) {
            return Err(Stop::Declined);
        }
    }
    let resent = resend(false)?;
    say::out(&said(&resent, &records(resent.sent, topic)));
    Ok(())
}

fn records(count: u64, topic: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} record{plural} to `{topic}`", say::grouped(count))
}

fn said(resent: &Resent, what: &str) -> String {
    let mut text = format!("{what}\n");
    let rest = [
        (resent.before, "were sent before"),
        (
            resent.counted,
            "may have been counted by some INSERT; --even-if-counted sends them too",
        ),
        (
            resent.cut,
            "have only the beginning of their record: it is longer than `max.record.bytes`; a greater one \
             and --fresh read it whole",
        ),
        (
            resent.incomplete,
            "do not say why, where the record was or what its bytes were; a payload of type BYTEA has them",
        ),
    ];
    for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(
            "not sent: {} letters {what}\n",
            say::grouped(*count)
        ));
    }
    text
}

fn show(
    arguments: &DeadLettersArgs,
    (table, base): (&Table, &Path),
    filter: &LetterFilter,
) -> Result<(), Stop> {
    let limit = arguments.limit;
    let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let mut listed: Vec<Vec<String>> = Vec::new();
    let (mut total, mut printed) = (0, 0);
    let has = |name: &&&str| table.columns.iter().any(|c| c.field.name() == **name);
    let by = ["kind", "reason", "source", "column_name", "insert_into"];
    let by: Vec<&str> = by.iter().filter(has).copied().collect();
    let shown = [
        "kind",
        "reason",
        "partition",
        "offset",
        "message",
        "payload",
    ];
    let shown: Vec<&str> = shown.iter().filter(has).copied().collect();
    read_letters(table, base, &mut |letter| {
        if !filter.admits(&letter) {
            return Ok(ControlFlow::Continue(()));
        }
        total += 1;
        if arguments.json {
            if limit.is_none_or(|limit| printed < limit) {
                printed += 1;
                say::out(&format!("{}\n", json(table, &letter)));
            }
            return Ok(ControlFlow::Continue(()));
        }
        let key = by.iter().map(|name| cell(&letter, name)).collect();
        *counts.entry(key).or_default() += 1;
        if total <= limit.unwrap_or(LISTED) {
            listed.push(shown.iter().map(|name| cell(&letter, name)).collect());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if arguments.json {
        return Ok(());
    }
    let letters = if total == 1 { "letter" } else { "letters" };
    let mut text = format!("{}: {} {letters}\n", table.name, say::grouped(total));
    if total > 0 && !by.is_empty() {
        text.push_str(&format!("\n{}", counted(&by, counts)));
    }
    if !listed.is_empty() && !shown.is_empty() {
        let header: Vec<String> = shown.iter().map(|name| (*name).to_owned()).collect();
        text.push_str(&format!("\n{}", say::table(&header, &listed)));
    }
    let rest = total - listed.len() as u64;
    if rest > 0 {
        text.push_str(&format!("and {} more: --limit N\n", say::grouped(rest)));
    }
    say::out(&text);
    Ok(())
}

/// The counts, the most frequent first.
fn counted(by: &[&str], counts: BTreeMap<Vec<String>, u64>) -> String {
    let mut header = vec!["letters".to_owned()];
    header.extend(by.iter().map(|name| (*name).to_owned()));
    let mut counts: Vec<(Vec<String>, u64)> = counts.into_iter().collect();
    counts.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    let lines: Vec<Vec<String>> = counts
        .into_iter()
        .map(|(key, count)| std::iter::once(say::grouped(count)).chain(key).collect())
        .collect();
    say::table(&header, &lines)
}

/// What a column of a letter shows in a line.
fn cell(letter: &KeptLetter, name: &str) -> String {
    let text = if name == "payload" {
        let bytes = letter.payload.as_deref().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        letter.text(name).unwrap_or_default().to_owned()
    };
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN + 1)
        .collect();
    if line.chars().count() > SHOWN {
        line.pop();
        line.push('…');
    }
    line
}

fn json(table: &Table, letter: &KeptLetter) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    for column in &table.columns {
        let name = column.field.name();
        let value = if name == "payload" {
            let bytes = letter.payload.as_deref();
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        } else {
            letter.text(name).map(str::to_owned)
        };
        object.insert(name.clone(), value.into());
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_said_with_its_reason() {
        let resent = Resent {
            sent: 1200,
            before: 3,
            counted: 0,
            cut: 2,
            incomplete: 1,
        };

        let text = said(&resent, &records(resent.sent, "trips"));

        assert!(
            text.starts_with("1,200 records to `trips`\nnot sent: 3 letters were sent before\n")
        );
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn the_most_frequent_reason_comes_first() {
        let counts = [("late", 2), ("bad_value", 7), ("missing", 2)];
        let counts = counts.map(|(reason, count)| (vec![reason.to_owned()], count));

        let text = counted(&["reason"], counts.into());

        let reasons: Vec<&str> = text
            .lines()
            .filter_map(|l| l.split_whitespace().last())
            .collect();
        assert_eq!(reasons, ["reason", "bad_value", "late", "missing"]);
    }
}
