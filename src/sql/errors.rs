//! sqlparser's and DataFusion's errors as sentences that people understand.

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
    let message = match message.split_once(", found ") {
        Some((expected, found)) if !found.contains(' ') => format!("{expected}, found `{found}`"),
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
    let place = diagnostic(error).and_then(|d| d.span).map(place_of_span);
    if let Some(problem) = of_schema(error) {
        return Problem { place, ..problem };
    }
    if let DataFusionError::SQL(error, _) = root(error) {
        return of_parser(error);
    }
    let (message, hint) = match diagnostic(error) {
        Some(found) => {
            let hint = found
                .helps
                .first()
                .or(None)
                .map(|help| plain(&help.message));
            let hint = hint.or_else(|| found.notes.first().map(|note| plain(&note.message)));
            (found.message.clone(), hint)
        }
        None => (root(error).strip_backtrace(), None),
    };
    Problem {
        message: plain(&message),
        hint,
        place,
    }
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

fn place_of_span(span: datafusion_common::Span) -> Place {
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
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text).trim();
    }
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    let first = characters.next();
    let second = characters.clone().next();
    match (first, second) {
        // An abbreviation or a name in capitals stays.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}
