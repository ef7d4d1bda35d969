//! `check`, `explain` and `list`: everything that is said without running.

use super::file::Planned;
use super::{CheckArgs, FileArgs, WRONG, file, say};
use crate::connector::{Guarantee, is_watched};
use crate::engine::{Looked, destinations, foresee, look, promise, reach_snapshots, state_folder};
use crate::plan::{self, Loss, Narrowed, Role};
use crate::sql::SourceText;

/// Says what is wrong with a pipeline, or that nothing is.
pub fn check(
    CheckArgs {
        file: arguments,
        state,
    }: &CheckArgs,
) -> u8 {
    let planned = match file::plan(arguments) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    let Looked {
        mut problems,
        away,
        notes,
    } = look(&planned.pipeline, &planned.base);
    problems.extend(away);
    if !problems.is_empty() {
        let path = arguments.file.display().to_string();
        return file::refuse(
            &problems,
            &SourceText {
                path: &path,
                text: &planned.text,
            },
        );
    }
    let place = state.as_deref();
    let place = place.map(|place| state_folder(&planned.pipeline, &planned.base, Some(place)));
    let reached = place.as_deref().map_or(Ok(()), reach_snapshots);
    if let Err(failure) = reached.and_then(|()| foresee(&planned.pipeline, &planned.base)) {
        say::failure(&failure);
        return WRONG;
    }
    let tables = &planned.pipeline.tables;
    let count = |role| tables.iter().filter(|table| table.role == role).count();
    let counts = [
        (count(Role::Source), "source"),
        (count(Role::Reference), "reference table"),
        (planned.pipeline.inserts.len(), "insert"),
        (count(Role::Sink), "sink"),
    ];
    let parts = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| {
            let plural = if *count == 1 { "" } else { "s" };
            format!("{count} {what}{plural}")
        });
    let parts: Vec<String> = parts.collect();
    say::out(&format!(
        "{} is right: {}\n",
        arguments.file.display(),
        parts.join(", ")
    ));
    for table in tables.iter().filter(|table| is_watched(table)) {
        let path = table.option("path").unwrap_or_default();
        let name = &table.name;
        say::out(&format!(
            "  {name}: reads new files of {path} as they appear; event time does not end\n"
        ));
    }
    let notes = notes.iter().map(|note| format!("  {note}\n"));
    say::out(&notes.collect::<String>());
    for table in tables.iter().filter(|table| table.role == Role::Sink) {
        if let Some(promise) = promise(table) {
            say::out(&format!("  {}: {promise}\n", table.name));
        }
    }
    if let Some(place) = place {
        say::out(&format!("  snapshots: {}\n", place.display()));
    }
    say::out(&together(&planned));
    for text in [narrowed, growth, sliding, versions, forgetting] {
        say::out(&text(&planned));
    }
    0
}

/// Where a value that does not fit ends the run, because there is no record to reject.
fn narrowed(planned: &Planned) -> String {
    let narrowed = plan::narrowed_above_state(&planned.pipeline).into_iter();
    let lines = narrowed.map(|(sink, narrowed)| {
        let Narrowed {
            column,
            from,
            to,
            loss,
            place,
            ..
        } = narrowed;
        let (what, wider) = match loss {
            Loss::Digits => ("values are rounded", from.as_str()),
            Loss::Range => ("a value out of range ends the run", "BIGINT"),
        };
        format!(
            "{what}, line {}: `{column}` of `{sink}` is {to}, and the query yields {from}\n  \
             hint:  declare `{column}` as {wider}, or write CAST(.. AS {to}) where that is meant\n",
            place.line
        )
    });
    lines.collect()
}

/// What is held for every record, for ever.
fn growth(planned: &Planned) -> String {
    let growing = plan::growing(&planned.pipeline).into_iter();
    let lines = growing.map(|(place, what)| {
        format!(
            "memory grows with every record, line {}: {what}\n  hint:  aggregate or take the first \
             rows per key below it, as far as the question allows; give a pattern WITHIN\n",
            place.line
        )
    });
    let back = plan::looking_back(&planned.pipeline).into_iter();
    let back = back.map(|(place, what)| {
        format!(
            "memory grows with every key, line {}: {what}\n  hint:  the last rows of each are kept, \
             for a match that may stay open (give the pattern WITHIN) or for PREV of its first row (name \
             that row in the PATTERN), where the question allows\n",
            place.line
        )
    });
    lines.chain(back).collect()
}

/// What a commit costs that is not as much as came in it.
fn sliding(planned: &Planned) -> String {
    let sliding = plan::sliding(&planned.pipeline).into_iter();
    let lines = sliding.map(|(place, what)| {
        format!(
            "a commit goes through all rows of the interval, line {}: {what}\n  hint:  those of the \
             partitions that it changed; where many are held, GROUP BY with HOP costs less, and so \
             does a longer commit.interval\n",
            place.line
        )
    });
    lines.collect()
}

/// Joins with all versions of a key, where the one of the time may have been meant.
fn versions(planned: &Planned) -> String {
    let joined = plan::versions_joined(&planned.pipeline).into_iter();
    let lines = joined.map(|(place, what, table)| {
        format!(
            "every version is joined, line {}: {what}\n  hint:  `{table}` has versions of its \
             PRIMARY KEY; for the one of the time write JOIN {table} FOR SYSTEM_TIME AS OF a.ts\n",
            place.line
        )
    });
    lines.collect()
}

/// What `state.ttl` forgets, and what is held in spite of it.
fn forgetting(planned: &Planned) -> String {
    let pipeline = &planned.pipeline;
    if pipeline.settings.state_ttl.is_none() {
        return String::new();
    }
    let forgets = plan::forgetting(pipeline);
    let mut lines = String::new();
    for forgets in &forgets {
        lines += &format!(
            "state.ttl forgets, line {}: {}\n",
            forgets.place.line, forgets.what
        );
    }
    if !forgets.is_empty() {
        lines += "  hint:  a key without a record for that long leaves the table, and what comes \
                  later begins anew\n";
    }
    let taking_back = plan::taking_back(pipeline);
    for (place, what) in &taking_back {
        lines += &format!("state.ttl takes rows back, line {}: {what}\n", place.line);
    }
    if !taking_back.is_empty() {
        lines += "  hint:  a record is there for that long, and leaves with what was made of it\n";
    }
    let within = plan::joined_within(pipeline);
    for (place, what) in &within {
        lines += &format!("state.ttl bounds line {}: {what}\n", place.line);
    }
    if !within.is_empty() {
        lines += "  hint:  rows that were joined stay, as the table asks; records further apart are not\n";
    }
    for kept in plan::kept_despite_ttl(pipeline) {
        let plan::Forgets { place, what, .. } = kept;
        lines += &format!("state.ttl does not bound line {}: {what}\n", place.line);
        for table in kept.timeless {
            let table = &pipeline.tables[table].name;
            lines +=
                &format!("  hint:  `{table}` has no event time: WATERMARK FOR ts AS ts - ..\n");
        }
    }
    if forgets.is_empty() && taking_back.is_empty() && within.is_empty() {
        lines += "state.ttl applies to nothing in this file\n  \
                  hint:  it bounds what holds the records of sources with a WATERMARK FOR\n";
    }
    lines
}

/// Which sinks move together, and which only wait for each other.
fn together(planned: &Planned) -> String {
    let pipeline = &planned.pipeline;
    let destinations = destinations(pipeline, &planned.base);
    let name = |table: &usize| pipeline.tables[*table].name.clone();
    let mut text = String::new();
    for (place, guarantee, tables) in &destinations {
        if tables.len() < 2 || *guarantee != Guarantee::ExactlyOnce {
            continue;
        }
        let names: Vec<String> = tables.iter().map(name).collect();
        text.push_str(&format!(
            "in {place} one transaction moves {}\n",
            names.join(", ")
        ));
    }
    let is_inserted = |table: &&usize| pipeline.inserts.iter().any(|i| i.table == **table);
    let mut parts: Vec<Vec<String>> = destinations
        .iter()
        .map(|(_, _, tables)| tables.iter().filter(is_inserted).map(name).collect())
        .filter(|names: &Vec<String>| !names.is_empty())
        .collect();
    // The lanes of a table.
    parts.dedup();
    if let [first, _, ..] = parts.as_slice() {
        text.push_str(&format!(
            "{} destinations wait for each other: what is slow or away holds back the others\n  \
             hint:  --only {} runs these as a pipeline of their own\n",
            destinations.len(),
            first.join(",")
        ));
    }
    text
}

/// Prints the plan.
pub fn explain(arguments: &FileArgs) -> u8 {
    match file::plan(arguments) {
        Ok(planned) => {
            let text = plan::explain(&planned.pipeline, |table| {
                promise(table).unwrap_or_default()
            });
            say::out(&text);
            0
        }
        Err(code) => code,
    }
}

/// Lists the connectors and formats.
pub fn list() -> u8 {
    say::out(&crate::connector::list());
    0
}
