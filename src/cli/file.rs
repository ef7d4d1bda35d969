//! A pipeline file, read and planned, or what is wrong with it on standard error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{FileArgs, WRONG, say};
use crate::dataflow::outcome::Failure;
use crate::engine::{check_options, check_refused, error_line, says_objects};
use crate::plan::Pipeline;
use crate::sql::{Given, Problem, SourceText};

/// A file that is right as far as its text tells.
pub struct Planned {
    /// What it means.
    pub pipeline: Arc<Pipeline>,
    /// Its text.
    pub text: String,
    /// What relative paths in it are relative to: the folder it was started from.
    pub base: PathBuf,
}

/// Reads and plans; on failure the reasons have been said.
pub fn plan(arguments: &FileArgs) -> Result<Planned, u8> {
    let path = arguments.file.display().to_string();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| {
        say::failure(&Failure::new(format!("could not read `{path}`")).because(error));
        WRONG
    })?;
    let given = Given {
        variables: std::env::vars().collect(),
        settings: arguments
            .settings
            .iter()
            .map(|setting| split(setting))
            .collect::<Result<_, _>>()?,
        pipeline_name: stem(&arguments.file),
        only: arguments.only.clone(),
    };
    let source = SourceText {
        path: &path,
        text: &text,
    };
    let planned = crate::sql::plan(&source, &given);
    let pipeline = match planned {
        Ok(pipeline) => pipeline,
        Err(refused) => return Err(refuse(&check_refused(refused), &source)),
    };
    let problems = check_options(&pipeline);
    if !problems.is_empty() {
        return Err(refuse(&problems, &source));
    }
    Ok(Planned {
        pipeline: Arc::new(pipeline),
        text,
        base: PathBuf::new(),
    })
}

/// Says what is wrong with a file.
pub fn refuse(problems: &[Problem], source: &SourceText<'_>) -> u8 {
    let objects = says_objects();
    let texts = problems.iter().map(|problem| match objects {
        true => error_line(fields(problem, source.path)),
        false => problem.render(source),
    });
    let between = if objects { "" } else { "\n" };
    say::err(&texts.collect::<Vec<_>>().join(between));
    WRONG
}

/// A problem for programs.
fn fields(problem: &Problem, path: &str) -> Map<String, Value> {
    let (line, column) = problem.place.map(|it| (it.line, it.column)).unzip();
    let all = [
        ("message", Some(json!(problem.message))),
        ("hint", problem.hint.as_ref().map(|hint| json!(hint))),
        ("file", Some(json!(path))),
        ("line", line.map(|line| json!(line))),
        ("column", column.map(|column| json!(column))),
    ];
    let known = all.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn split(setting: &str) -> Result<(String, String), u8> {
    match setting.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            let message = format!("`--set {setting}` has no value");
            say::failure(&Failure::new(message).hint("--set name=value"));
            Err(WRONG)
        }
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}
