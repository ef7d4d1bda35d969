//! sqlparser's and DataFusion's errors as sentences that people understand.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's errors, those that carry more than a sentence are named"
)]

use arrow::datatypes::{Decimal128Type, DecimalType as _};
use datafusion_common::diagnostic::Diagnostic;
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::parser::ParserError;

use crate::plan::Place;

use super::problem::{Problem, did_you_mean};

/// A syntax error; sqlparser ends its message with the place.
pub fn of_parser(error: &ParserError) -> Problem {
    let (ParserError::TokenizerError(text) | ParserError::ParserError(text)) = error else {
        return Problem::of_file("a statement is nested too deeply")
            .hint("split it with CREATE VIEW");
    };
    let (message, place) = split_place(text);
    let message = message
        .replace("Expected: ", "expected ")
        .replace("found: ", "found ");
    let message = message.replace("found EOF", "found the end of the statement");
    let message = match message.rsplit_once(", found ") {
        Some((expected, found)) if !found.contains(' ') => {
            let sign = expected.strip_prefix("expected ").unwrap_or(expected);
            if sign.chars().all(|c| c.is_ascii_punctuation()) && !sign.contains('`') {
                format!("expected `{sign}`, found `{found}`")
            } else {
                format!("{expected}, found `{found}`")
            }
        }
        _ => message,
    };
    Problem {
        message: plain(&message),
        hint: None,
        place,
    }
}

/// Takes ` at Line: 3, Column: 5` off the end.
fn split_place(text: &str) -> (&str, Option<Place>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return (text, None);
    };
    let Some((line, column)) = place.split_once(", Column: ") else {
        return (text, None);
    };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (message, Some(Place { line, column })),
        _ => (text, None),
    }
}

/// An error of DataFusion's planner, analyser or optimiser.
pub fn of_datafusion(error: &DataFusionError) -> Problem {
    if let Some(problem) = carried(error) {
        return problem;
    }
    let found = diagnostic(error);
    let place = found.and_then(|found| found.span).map(place_of_span);
    if let Some(problem) = of_schema(error) {
        return Problem { place, ..problem };
    }
    if let DataFusionError::SQL(error, _) = root(error) {
        return of_parser(error);
    }
    let text = match found {
        Some(found) => found.message.clone(),
        None => root(error).strip_backtrace(),
    };
    let notes = found.map(|found| {
        let notes = found.notes.iter().map(|note| note.message.as_str());
        let helps = found.helps.iter().map(|help| help.message.as_str());
        helps.chain(notes).collect::<Vec<&str>>()
    });
    let problem = reworded(&text, &notes.unwrap_or_default());
    Problem { place, ..problem }
}

/// DataFusion's sentence in our words.
fn reworded(text: &str, notes: &[&str]) -> Problem {
    if text == "expressions have incompatible types" {
        let types: Vec<String> = notes
            .iter()
            .filter_map(|note| note.strip_prefix("has type "))
            .map(sql_types)
            .collect();
        return Problem::of_file(format!("{} do not go together", types.join(" and ")))
            .hint("write CAST(.. AS ..) around one of them");
    }
    if let Some((name, _)) = text.split_once(" must appear in GROUP BY clause") {
        let name = sql_literals(between(name, "'", "'").unwrap_or(name));
        let inner = match name.rsplit_once('.') {
            Some((_, column)) if !name.contains('(') => column,
            _ => &name,
        };
        let hint = format!("add it to GROUP BY, or write max({inner})");
        return Problem::of_file(format!("`{name}` is neither grouped by nor aggregated"))
            .hint(hint);
    }
    if let Some(inner) = between(
        text,
        "failed with: Error during planning: ",
        ". No function",
    ) {
        return sentence(plain(inner), notes);
    }
    if let Some(call) = between(text, "the given name and argument types '", "'.") {
        let hint = hint_for(call, &candidates(text));
        return Problem::of_file(format!("there is no {}", sql_types(call))).maybe_hint(hint);
    }
    if let Some((_, why)) = text.split_once("regex parse error:") {
        let why = why.rsplit("error: ").next().unwrap_or(why).trim();
        let why = why.lines().next().unwrap_or(why);
        return Problem::of_file(format!("this is no regular expression: {why}"));
    }
    if let Some((condition, kind)) = between(text, "non-boolean predicate '", "\n")
        .or_else(|| {
            text.split_once("non-boolean predicate '")
                .map(|(_, rest)| rest)
        })
        .and_then(|rest| rest.split_once("' returning "))
    {
        let (condition, kind) = (sql_literals(condition), sql_types(kind));
        return Problem::of_file(format!(
            "`{condition}` is {kind}, and a condition is BOOLEAN"
        ))
        .hint("compare it with something");
    }
    if text.contains("Span(") {
        return Problem::of_file("this expression is not complete, or not SQL");
    }
    sentence(plain(text), notes)
}

/// A sentence in our words, with what to type instead.
fn sentence(message: String, notes: &[&str]) -> Problem {
    let of_value = message.rsplit_once(" is not ").and_then(|(_, kind)| {
        let (_, example) = WRITTEN.iter().find(|(name, _)| *name == kind)?;
        Some(format!("write it as {example}"))
    });
    let no_numbers = || {
        let (name, given) = message.split_once(" takes numbers, not ")?;
        match given {
            "TEXT" => Some(format!(
                "if it holds numbers, write {name}(CAST(.. AS NUMERIC))"
            )),
            "INTERVAL" => Some(format!(
                "go by the seconds: {name}(extract(epoch FROM x)) * INTERVAL '1 second'"
            )),
            _ => None,
        }
    };
    let hint = of_value.or_else(no_numbers);
    let hint = hint.or_else(|| notes.first().map(|note| plain(note)));
    Problem::of_file(message).maybe_hint(hint)
}

/// How values are written, of types that not every text is one of.
const WRITTEN: [(&str, &str); 6] = [
    ("DATE", "'2026-03-01'"),
    ("TIME", "'09:30:00'"),
    ("TIMESTAMP", "'2026-03-01 09:30:00'"),
    ("TIMESTAMPTZ", "'2026-03-01 09:30:00+01'"),
    ("BYTEA", "'\\x00ff', in hexadecimal"),
    ("INTERVAL", "'1 day 02:00:00'"),
];

/// What to write for a call that there is no function for.
fn hint_for(call: &str, candidates: &[String]) -> Option<String> {
    match call {
        _ if call.starts_with("substr(Utf8, Utf8") => {
            Some("for a pattern, write (regexp_match(x, 'pattern'))[1]".to_owned())
        }
        _ if call.starts_with("to_char(Interval") || call.starts_with("to_char(Duration") => {
            Some("take its parts: extract(hour FROM x)".to_owned())
        }
        _ if call.starts_with("to_char(") => {
            Some("to_char is for times; of a number, write CAST(round(x, 2) AS TEXT)".to_owned())
        }
        _ if candidates.is_empty() => None,
        _ => Some(format!("there is {}", candidates.join(", "))),
    }
}

/// The forms of a function that DataFusion names, without those for its other forms of text.
fn candidates(text: &str) -> Vec<String> {
    let listed = text.split_once("Candidate functions:");
    let lines = listed.into_iter().flat_map(|(_, lines)| lines.lines());
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    let ours = lines.filter(|line| !line.contains("Utf8View") && !line.contains("LargeUtf8"));
    let mut candidates: Vec<String> = ours.map(sql_types).collect();
    candidates.dedup();
    candidates.truncate(4);
    candidates
}

/// What stands between the first `start` and the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

/// Arrow's type names as SQL's.
fn sql_types(text: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("List(Utf8)", "TEXT[]"),
        ("List(Int32)", "INT[]"),
        ("List(Int64)", "BIGINT[]"),
        ("List(Float64)", "DOUBLE PRECISION[]"),
        ("Timestamp(\u{b5}s, \"UTC\")", "TIMESTAMPTZ"),
        ("Timestamp(\u{b5}s)", "TIMESTAMP"),
        ("Interval(MonthDayNano)", "INTERVAL"),
        ("Duration(\u{b5}s)", "INTERVAL"),
        ("Time64(\u{b5}s)", "TIME"),
        ("Decimal128", "NUMERIC"),
        ("Float64", "DOUBLE PRECISION"),
        ("Float32", "REAL"),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Boolean", "BOOLEAN"),
        ("Utf8", "TEXT"),
        ("Binary", "BYTEA"),
        ("Date32", "DATE"),
    ];
    NAMES.iter().fold(text.to_owned(), |text, (arrow, sql)| {
        text.replace(arrow, sql)
    })
}

/// DataFusion's literals as SQL's: `Utf8("x")` is `'x'`, `Int64(1)` is `1`.
fn sql_literals(text: &str) -> String {
    const TYPES: [&str; 7] = [
        "Utf8(",
        "Int32(",
        "Int64(",
        "Float64(",
        "Boolean(",
        "Decimal128(",
        "Null(",
    ];
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, start)) = TYPES
        .iter()
        .filter_map(|start| Some((rest.find(start)?, start)))
        .min()
    {
        let inside = &rest[at + start.len()..];
        let is_word = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let value = literal(inside).filter(|_| !is_word);
        let (value, length) = value.unwrap_or_else(|| ((*start).to_owned(), 0));
        out += &rest[..at];
        out += &value;
        rest = &inside[length..];
    }
    out + rest
}

/// The value that `text`, after the opening bracket, starts with, and how much of `text` it is,
/// the closing bracket included.
fn literal(text: &str) -> Option<(String, usize)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = quoted.find("\")")?;
        return Some((format!("'{}'", quoted[..end].replace('\'', "''")), end + 3));
    }
    if let Some(decimal) = text.strip_prefix("Some(") {
        let (digits, after) = decimal.split_once(')')?;
        let end = after.find(')')?;
        let scale = after[..end].rsplit(',').next()?.parse().ok()?;
        let value = Decimal128Type::format_decimal(digits.parse().ok()?, 38, scale);
        return Some((value, "Some(".len() + digits.len() + 1 + end + 1));
    }
    let end = text.find(')')?;
    let value = text[..end].split(',').next()?;
    let is_value = !value.is_empty() && !value.contains(['(', ' ', '"']);
    is_value.then(|| (value.to_owned(), end + 1))
}

/// A problem on its way through DataFusion, which knows only its own errors.
#[derive(Debug)]
pub struct Carried(pub Problem);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Carried {}

impl From<Problem> for DataFusionError {
    fn from(problem: Problem) -> Self {
        Self::External(Box::new(Carried(problem)))
    }
}

/// The error under all context, diagnostics and collections.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        DataFusionError::Shared(inner) => root(inner),
        other => other,
    }
}

fn carried(error: &DataFusionError) -> Option<Problem> {
    match root(error) {
        DataFusionError::External(inner) => inner.downcast_ref::<Carried>().map(|c| c.0.clone()),
        _ => None,
    }
}

fn diagnostic(error: &DataFusionError) -> Option<&Diagnostic> {
    match error {
        DataFusionError::Diagnostic(diagnostic, _) => Some(diagnostic),
        DataFusionError::Context(_, inner) => diagnostic_of(inner),
        DataFusionError::Shared(inner) => diagnostic_of(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(diagnostic),
        _ => None,
    }
}

fn diagnostic_of(error: &DataFusionError) -> Option<&Diagnostic> {
    diagnostic(error)
}

/// Names that are not there, or there twice.
fn of_schema(error: &DataFusionError) -> Option<Problem> {
    let DataFusionError::SchemaError(inner, _) = root(error) else {
        return None;
    };
    Some(match inner.as_ref() {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let names = valid_fields.iter().map(|column| column.name.as_str());
            let hint = did_you_mean(&field.name, names).or_else(|| {
                let mut names: Vec<_> = valid_fields.iter().map(|c| c.name.as_str()).collect();
                names.dedup();
                (!names.is_empty()).then(|| format!("there are {}", list(&names)))
            });
            Problem::of_file(match &field.relation {
                Some(relation) => format!("column `{}` not found in `{relation}`", field.name),
                None => format!("column `{}` not found", field.name),
            })
            .maybe_hint(hint)
        }
        SchemaError::AmbiguousReference { field } => {
            Problem::of_file(format!("column `{}` is in several tables", field.name))
                .hint(format!("write which one: table.{}", field.name))
        }
        SchemaError::DuplicateUnqualifiedField { name }
        | SchemaError::DuplicateQualifiedField { name, .. } => {
            Problem::of_file(format!("two columns are called `{name}`"))
                .hint(format!("give one of them another name: .. AS {name}_2"))
        }
    })
}

/// `a`, `b` and `c`; at most eight.
pub fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(8)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > shown.len() {
        return format!(
            "{} and {} more",
            shown.join(", "),
            names.len() - shown.len()
        );
    }
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => shown.concat(),
    }
}

/// Where DataFusion says that something stands.
pub fn place_of_span(span: datafusion_common::Span) -> Place {
    Place {
        line: span.start.line,
        column: span.start.column,
    }
}

/// One sentence in our style out of one in another's: names in backticks, the first letter
/// small, no full stop, no prefix of DataFusion's, and nothing after the first line.
pub fn plain(message: &str) -> String {
    let mut text = message.lines().next().unwrap_or_default().trim();
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "SQL error: ",
        "Arrow error: ",
        "Optimizer rule ",
        "type_coercion",
        "Internal error: ",
        "External error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text).trim();
    }
    let text = sql_types(&sql_literals(text.trim_end_matches('.')));
    let mut characters = text.chars();
    let first = characters.next();
    let second = characters.clone().next();
    match (first, second) {
        // An abbreviation or a name in capitals stays.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_value_is_shown_one() {
        let problem = reworded("Execution error: '2026-13-01' is not DATE", &[]);

        assert_eq!(problem.message, "'2026-13-01' is not DATE");
        assert_eq!(problem.hint.as_deref(), Some("write it as '2026-03-01'"));
    }

    #[test]
    fn literals_read_as_in_sql() {
        for (theirs, ours) in [
            ("coalesce(t.k,Utf8(\"it's\"))", "coalesce(t.k,'it''s')"),
            ("t.n + Int64(-1) > Float64(1.5)", "t.n + -1 > 1.5"),
            ("Decimal128(Some(-150),10,2)", "-1.50"),
            ("Utf8(NULL), Boolean(true)", "NULL, true"),
            ("List(Utf8) and Utf8(", "List(Utf8) and Utf8("),
            ("LargeUtf8(x)", "LargeUtf8(x)"),
        ] {
            assert_eq!(sql_literals(theirs), ours);
        }
    }
}
