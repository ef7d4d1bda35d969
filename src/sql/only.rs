//! `--only`: some INSERTs of a file as a pipeline of their own.
//!
//! It has a name of its own, so marks and snapshots of its own, and goes at its own speed. Dead
//! letters belong to the pipeline that is asked for their table: two would write each twice.

use std::collections::BTreeSet;

use super::problem::{Problem, did_you_mean};
use super::{Declared, insert::Written, normalise};
use crate::plan::Table;

/// Leaves out every INSERT whose sink is not among `only`; empty means all.
pub fn keep(declared: &mut Declared, only: &[String], problems: &mut Vec<Problem>) {
    if only.is_empty() {
        return;
    }
    let sink = |written: &Written| normalise(&written.table);
    let sinks: BTreeSet<String> = declared.inserts.iter().map(sink).collect();
    let letters = |table: &Table| table.option("dead.letter").map(str::to_owned);
    let letters: BTreeSet<String> = declared.tables.iter().filter_map(letters).collect();
    for name in only {
        if !sinks.contains(name) && !letters.contains(name) {
            let known = sinks.iter().chain(&letters).map(String::as_str);
            let hint =
                did_you_mean(name, known).unwrap_or_else(|| format!("there are {}", names(&sinks)));
            let message = format!("no INSERT of the file writes to `{name}`, which --only names");
            problems.push(Problem::of_file(message).hint(hint));
        }
    }
    declared
        .inserts
        .retain(|written| only.contains(&sink(written)));
    for table in &mut declared.tables {
        let asked_for = table
            .option("dead.letter")
            .is_none_or(|letters| only.iter().any(|name| name == letters));
        if !asked_for {
            table.options.remove("dead.letter");
        }
    }
}

/// The name of the pipeline that `only` makes of the pipeline `name`.
pub fn name(name: String, only: &[String]) -> String {
    if only.is_empty() {
        return name;
    }
    let sinks: BTreeSet<&str> = only.iter().map(String::as_str).collect();
    let sinks: Vec<&str> = sinks.into_iter().collect();
    format!("{name}.{}", sinks.join("+"))
}

fn names(sinks: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = sinks.iter().map(|sink| format!("`{sink}`")).collect();
    quoted.join(", ")
}
