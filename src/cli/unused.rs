//! The last word on a run that could use nothing of what it read: a table that stays empty because
//! a column is declared wrong looks like a table of an empty input.
//!
//! ```text
//!   of a source, all rejected for an INSERT ──▶ said, after the summary
//!   so for every INSERT and source          ──▶ the run failed (exit code 1), if its input ended
//! ```
//!
//! Filtered and late records are used: the query has an answer for them. As soon as one INSERT can use
//! one record of one source the run has done something, and ends well; what the others lack is
//! said. A run that was stopped is not judged: its input goes on.

use tracing::warn;

use super::say;
use crate::connector::are_letters_read;
use crate::dataflow::outcome::Failure;
use crate::engine::{Summary, says_objects};
use crate::plan::{Pipeline, Table};
use crate::types::Fates;

/// Says what could not be used at all. Whether that is everything, and the input has ended; `quiet`
/// says no more than that.
#[must_use]
pub fn say(pipeline: &Pipeline, summary: &Summary, (stopped, quiet): (bool, bool)) -> bool {
    let read = summary.fates.iter().filter(|(_, fates)| fates.read() > 0);
    let (unused, used): (Vec<_>, Vec<_>) = read.partition(|(_, fates)| is_unused(fates));
    let texts = unused.iter().map(|(key, fates)| {
        let (insert, source) = **key;
        let into = &pipeline.tables[pipeline.inserts[insert].table].name;
        let from = &pipeline.tables[source];
        let all = match fates.rejected {
            1 => "the one record was".to_owned(),
            count => format!("all {} records were", say::grouped(count)),
        };
        (
            format!("nothing of `{}` is in `{into}`: {all} rejected", from.name),
            what_says_why(pipeline, from),
        )
    });
    let texts: Vec<_> = texts.collect();
    let fails = used.is_empty() && !texts.is_empty() && !stopped;
    for (at, (text, hint)) in texts.iter().enumerate() {
        let is_last = at + 1 == texts.len();
        if fails && is_last {
            say::failure(&Failure::new(text.clone()).hint(hint.clone()));
        } else if quiet {
            // The summary has the counts.
        } else if says_objects() {
            warn!("{text}");
        } else {
            say::err(&format!("{text}\n"));
        }
    }
    fails
}

fn what_says_why(pipeline: &Pipeline, from: &Table) -> String {
    let name = from.option("dead.letter").unwrap_or_default();
    let mut tables = pipeline.tables.iter();
    match tables.find(|table| table.name == name || table.name == name.to_lowercase()) {
        Some(letters) if are_letters_read(letters) => {
            "`tidemark dead-letters FILE` says why".to_owned()
        }
        Some(letters) => format!("the letters in `{}` say why", letters.name),
        None => "the log says why for the first; with 'dead.letter' each is kept with its reason"
            .to_owned(),
    }
}

fn is_unused(fates: &Fates) -> bool {
    fates.rejected == fates.read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_are_filtered_or_late_are_used() {
        let fates = |filtered, late, rejected| Fates {
            filtered,
            late,
            rejected,
            ..Fates::default()
        };

        assert!(is_unused(&fates(0, 0, 3)));
        assert!(!is_unused(&fates(1, 0, 3)));
        assert!(!is_unused(&fates(0, 1, 3)));
    }
}
