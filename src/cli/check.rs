//! `check`, `explain` and `list`: everything that is said without running.

use super::{FileArgs, WRONG, file, say};
use crate::engine::{check_world, foresee, guarantee};
use crate::plan::{self, Role};
use crate::sql::SourceText;

/// Says what is wrong with a pipeline, or that nothing is.
pub fn check(arguments: &FileArgs) -> u8 {
    let planned = match file::plan(arguments) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    let problems = check_world(&planned.pipeline, &planned.base);
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
    if let Err(failure) = foresee(&planned.pipeline, &planned.base) {
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
    for table in tables.iter().filter(|table| table.role == Role::Sink) {
        if let Some(guarantee) = guarantee(table) {
            say::out(&format!("  {}: {guarantee}\n", table.name));
        }
    }
    0
}

/// Prints the plan.
pub fn explain(arguments: &FileArgs) -> u8 {
    match file::plan(arguments) {
        Ok(planned) => {
            let text = plan::explain(&planned.pipeline, |table| {
                guarantee(table).map_or_else(String::new, |guarantee| guarantee.to_string())
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
