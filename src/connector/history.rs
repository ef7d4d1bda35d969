//! The files that are read in the place of a topic: the same table, with another connector.
//!
//! The columns, their constraints and event time stay. Options that are the topic's fall away;
//! those of the format stay where the files have the same one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Field;

use super::catalog::GENERAL_OPTIONS;
use super::file::FileSource;
use super::option::{self, Side};
use super::validate::{OptionProblem, validate};
use super::{ConnectorError, connector};
use crate::format::{FORMATS, FormatKind, InferredTable, METADATA, infer, is_parquet, metadata_of};
use crate::plan::{Column, OptionValue, Table};
use crate::types::{EventTime, nearest};

/// How much of a file its format is guessed from.
const SAMPLE_BYTES: u64 = 1 << 16;

/// What cannot be read instead of a topic.
#[derive(Debug)]
pub enum NoHistory {
    /// The files.
    Files(ConnectorError),
    /// An option.
    Options(Vec<OptionProblem>),
}

/// `table` with the files that `pattern` means for its source; `given` are options of their format.
/// Columns that come with a topic's record have no value there.
pub fn history_table(
    table: &Table,
    pattern: &str,
    base: &Path,
    given: &[(String, String)],
) -> Result<Table, NoHistory> {
    of_formats(table, given)?;
    let (name, sample) =
        FileSource::sample(pattern, base, SAMPLE_BYTES).map_err(NoHistory::Files)?;
    let of_columns = is_parquet(&name, &sample);
    let guess = (!of_columns).then(|| infer(&name, &sample).ok()).flatten();
    let declared = table.option("format");
    let chosen = given.iter().rev().find(|(name, _)| name == "format");
    let chosen = match (chosen, &guess) {
        (Some((_, format)), _) => format.as_str(),
        (None, _) if of_columns => "parquet",
        (None, Some(guess)) => name_of(guess),
        (None, None) => declared.unwrap_or("csv"),
    };
    let same = declared == Some(chosen);
    let mut options = table.options.clone();
    options.retain(|name, _| is_general(name) || (same && is_of(name, chosen)));
    let value = |text: String| OptionValue {
        text,
        place: table.place,
    };
    if let (false, Some(guess)) = (same, &guess) {
        for (name, text) in guessed(guess) {
            options.insert(name.to_owned(), value(text));
        }
    }
    for (name, text) in given {
        options.insert(name.clone(), value(text.clone()));
    }
    options.insert("format".to_owned(), value(chosen.to_owned()));
    options.insert("path".to_owned(), value(pattern.to_owned()));
    let history = Table {
        connector: "file".to_owned(),
        options,
        columns: table.columns.iter().map(without_record).collect(),
        ..table.clone()
    };
    let problems = validate(&plain(&history));
    if problems.is_empty() {
        Ok(history)
    } else {
        Err(NoHistory::Options(problems))
    }
}

/// Options of a command line are the formats': what else a table has, it declares.
fn of_formats(table: &Table, given: &[(String, String)]) -> Result<(), NoHistory> {
    let formats = FORMATS.iter().flat_map(|format| format.options.iter());
    let names: Vec<&str> = formats.map(|option| option.name).collect();
    let is_one = |name: &str| name == "format" || names.contains(&name);
    let other = given.iter().map(|(name, _)| name.as_str());
    let other = other.filter(|name| !is_one(name));
    let problem = |name: &str| OptionProblem {
        place: table.place,
        message: format!("--option `{name}` is no option of a format"),
        hint: Some(match nearest(name, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "what is not about the files' format is said in the pipeline file".to_owned(),
        }),
    };
    match other.map(problem).collect::<Vec<_>>() {
        problems if problems.is_empty() => Ok(()),
        problems => Err(NoHistory::Options(problems)),
    }
}

/// Whether a topic can follow the files of this table.
#[must_use]
pub fn can_follow(table: &Table) -> bool {
    connector(&table.connector).is_some_and(|connector| connector.name == "kafka")
}

/// A time in UTC, or milliseconds since 1970.
#[must_use]
pub fn moment(text: &str) -> Option<EventTime> {
    let milliseconds = text.parse::<i64>().ok().filter(|&number| number >= 0);
    let micros = milliseconds.map(|number| number.checked_mul(1000));
    micros
        .unwrap_or_else(|| option::timestamp(text))
        .map(EventTime)
}

fn name_of(guess: &InferredTable) -> &'static str {
    match guess.options.kind {
        FormatKind::Json => "json",
        FormatKind::Csv => "csv",
        FormatKind::Parquet => "parquet",
    }
}

/// What a file seems to be, where the declared table says nothing of it.
fn guessed(guess: &InferredTable) -> BTreeMap<&'static str, String> {
    match guess.options.kind {
        FormatKind::Json | FormatKind::Parquet => BTreeMap::new(),
        FormatKind::Csv => BTreeMap::from([
            ("csv.header", guess.options.csv.header.to_string()),
            (
                "csv.delimiter",
                char::from(guess.options.csv.delimiter).to_string(),
            ),
        ]),
    }
}

fn is_general(name: &str) -> bool {
    let mut general = GENERAL_OPTIONS.iter();
    general.any(|option| option.name == name && option.side != Side::Sink)
}

fn is_of(name: &str, chosen: &str) -> bool {
    let format = FORMATS.iter().find(|format| format.name == chosen);
    format.is_some_and(|format| format.options.iter().any(|option| option.name == name))
}

/// A column that comes with a record of a topic has no value in a file.
fn without_record(column: &Column) -> Column {
    if metadata_of(&column.field).is_none() {
        return column.clone();
    }
    Column {
        field: Arc::new(column.field.as_ref().clone().with_nullable(true)),
        ..column.clone()
    }
}

/// The same without what a file could not have: only options are looked at.
fn plain(table: &Table) -> Table {
    let plain = |column: &Column| {
        let mut metadata = column.field.metadata().clone();
        metadata.remove(METADATA);
        let field: Field = column.field.as_ref().clone().with_metadata(metadata);
        Column {
            field: Arc::new(field),
            ..column.clone()
        }
    };
    Table {
        columns: table.columns.iter().map(plain).collect(),
        ..table.clone()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::connector::fixtures;
    use crate::plan::Role;

    fn topic() -> Table {
        fixtures::table(
            Role::Source,
            &[("n", DataType::Int64)],
            &[
                ("connector", "kafka"),
                ("topic", "numbers"),
                ("format", "json"),
                ("timestamp.format", "unix_ms"),
                ("reject.limit", "0.5"),
                ("kafka.fetch.min.bytes", "1"),
            ],
        )
    }

    fn options(table: &Table) -> Vec<(&str, &str)> {
        let options = table.options.iter();
        options
            .map(|(name, value)| (name.as_str(), value.text.as_str()))
            .collect()
    }

    #[test]
    fn options_of_the_topic_fall_away_and_those_of_its_format_with_another() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("a.json"), "{\"n\": 1}\n").unwrap();
        std::fs::write(folder.path().join("a.csv"), "n;m\n1;2\n3;4\n").unwrap();
        std::fs::write(folder.path().join("columns"), "PAR1 and so on").unwrap();

        let json = history_table(&topic(), "a.json", folder.path(), &[]).unwrap();
        assert_eq!(
            options(&json),
            [
                ("format", "json"),
                ("path", "a.json"),
                ("reject.limit", "0.5"),
                ("timestamp.format", "unix_ms"),
            ]
        );
        let given = [("csv.null".to_owned(), "-".to_owned())];
        let csv = history_table(&topic(), "a.csv", folder.path(), &given).unwrap();
        assert_eq!(
            options(&csv),
            [
                ("csv.delimiter", ";"),
                ("csv.header", "true"),
                ("csv.null", "-"),
                ("format", "csv"),
                ("path", "a.csv"),
                ("reject.limit", "0.5"),
            ]
        );
        let columns = history_table(&topic(), "columns", folder.path(), &[]).unwrap();
        assert_eq!(
            options(&columns),
            [
                ("format", "parquet"),
                ("path", "columns"),
                ("reject.limit", "0.5"),
            ]
        );
    }

    #[test]
    fn what_is_no_file_of_records_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("a.csv"), "n\n1\n").unwrap();

        let refused = history_table(&topic(), "b.csv", folder.path(), &[]).unwrap_err();
        assert!(matches!(refused, NoHistory::Files(_)));
        let wrong = [("csv.nul".to_owned(), "-".to_owned())];
        let refused = history_table(&topic(), "a.csv", folder.path(), &wrong).unwrap_err();
        assert!(matches!(refused, NoHistory::Options(_)));
    }

    /// A folder that is watched, or a table for dead letters, is nothing that files are read by.
    #[test]
    fn only_options_of_a_format_are_given_for_files() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("a.csv"), "n\n1\n").unwrap();
        for name in ["watch", "dead.letter", "path"] {
            let given = [(name.to_owned(), "true".to_owned())];
            let refused = history_table(&topic(), "a.csv", folder.path(), &given).unwrap_err();
            let NoHistory::Options(problems) = refused else {
                panic!("it is about options");
            };
            let expected = format!("--option `{name}` is no option of a format");
            assert_eq!(problems[0].message, expected);
        }
    }

    #[test]
    fn a_moment_is_a_time_or_milliseconds() {
        assert_eq!(
            moment("1700000000000"),
            Some(EventTime(1_700_000_000_000_000))
        );
        assert_eq!(moment("1970-01-02"), Some(EventTime(86_400_000_000)));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Some(EventTime(1_000_000)));
        assert_eq!(moment("soon"), None);
    }
}
