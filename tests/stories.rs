//! Stories: files that anyone can read and write, each one test. Their answers are filled in with
//! `UPDATE=1 cargo test --test stories`; reviewing the difference is reviewing the product.
//!
//! ```text
//! # What this story is about.
//! sql
//! CREATE TABLE clicks (..) WITH (connector = 'file', path = 'clicks.csv', ..);
//!
//! feed clicks.csv
//! 12:00:10,home
//!
//! run --threads 2
//! ----
//! counts: window_end | n
//!   12:01:00 | 1
//! clicks into counts: 1 read = 1 in + 0 filtered + 0 late + 0 rejected
//! ```
//!
//! A story happens in an empty folder of its own. `sql` writes `story.sql`; `feed FILE` writes a
//! file (`\xFF` is a byte, and `\\` a backslash), of columns if it is called `.parquet` (names and
//! Arrow's types, then rows; `;` between them, and nothing for NULL); `append FILE` adds to one; `run` and `replay` run
//! the binary, with variables before options (`run TIDEMARK_CRASH_AT=1 --threads 2`), and the answer
//! shows every table of every `*.db` file in the folder, rows in order, and the fate of every record. `check` and `explain`
//! show what the command prints. A blank line ends a section.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use libtest_mimic::{Arguments, Failed, Trial};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rusqlite::types::Value;

use support::{Exit, Summary, tables, tidemark};

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    let trials = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Trial::test(name, move || tell(&path))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Plays one story and compares, or writes, its answers.
fn tell(path: &Path) -> Result<(), Failed> {
    let written = std::fs::read_to_string(path)?;
    let folder = tempfile::tempdir()?;
    let mut told = String::new();
    for section in sections(&written) {
        told.push_str(&section.question);
        if let Some(answer) = act(folder.path(), &section)? {
            write!(told, "----\n{answer}")?;
        }
        told.push('\n');
    }
    let told = format!("{}\n", told.trim_end());
    if told == written {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, told)?;
        return Ok(());
    }
    Err(format!(
        "the story goes otherwise (- as written, + as it goes):\n{}",
        difference(&written, &told)
    )
    .into())
}

/// A directive with its body, and what stands after it up to the answer.
struct Section {
    /// All lines before the answer, as written.
    question: String,
    directive: Vec<String>,
    body: String,
}

fn sections(text: &str) -> Vec<Section> {
    text.split("\n\n")
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let question: Vec<&str> = part.lines().take_while(|line| *line != "----").collect();
            let mut lines = question.iter().skip_while(|line| line.starts_with('#'));
            let directive = lines.next().copied().unwrap_or_default();
            Section {
                directive: directive.split_whitespace().map(str::to_owned).collect(),
                body: lines.map(|line| format!("{line}\n")).collect(),
                question: question.iter().map(|line| format!("{line}\n")).collect(),
            }
        })
        .collect()
}

/// Does what a section says; the answer, where it asks.
fn act(folder: &Path, section: &Section) -> Result<Option<String>, Failed> {
    let words: Vec<&str> = section.directive.iter().map(String::as_str).collect();
    match words.as_slice() {
        // Only a comment.
        [] => Ok(None),
        ["sql"] => {
            std::fs::write(folder.join("story.sql"), &section.body)?;
            Ok(None)
        }
        ["feed", file] => {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().unwrap())?;
            let is_of_columns = file.extension().is_some_and(|e| e == "parquet");
            if is_of_columns && section.body.contains(';') {
                write_columns(&file, &section.body)?;
            } else {
                std::fs::write(file, unescape(&section.body))?;
            }
            Ok(None)
        }
        ["append", file] => {
            let mut bytes = std::fs::read(folder.join(file))?;
            bytes.extend(unescape(&section.body));
            std::fs::write(folder.join(file), bytes)?;
            Ok(None)
        }
        [command @ ("run" | "replay"), rest @ ..] => Ok(Some(run(folder, command, rest)?)),
        [command @ ("check" | "explain"), rest @ ..] => {
            let mut arguments = vec![*command, "story.sql"];
            arguments.extend(rest);
            let ended = tidemark(folder, &arguments, &[]);
            Ok(Some(format!(
                "{}{}",
                said(folder, &ended.stdout),
                exit(folder, &ended)
            )))
        }
        other => Err(format!("not a directive: {other:?}").into()),
    }
}

/// Runs the pipeline and shows what it left.
fn run(folder: &Path, command: &str, words: &[&str]) -> Result<String, Failed> {
    let (variables, options): (Vec<&str>, Vec<&str>) = words
        .iter()
        .partition(|word| word.contains('=') && word.starts_with(|c: char| c.is_uppercase()));
    let variables: Vec<(&str, &str)> = variables.iter().filter_map(|v| v.split_once('=')).collect();
    let mut arguments = vec![command, "story.sql", "--quiet", "--summary", "summary.json"];
    arguments.extend(options);
    let summary = folder.join("summary.json");
    if summary.exists() {
        std::fs::remove_file(&summary)?;
    }

    let ended = tidemark(folder, &arguments, &variables);

    let mut answer = exit(folder, &ended);
    if ended.how == Exit::Aborted {
        // Which database was ahead is a matter of luck.
        return Ok(answer);
    }
    for table in databases(folder)?.iter().flat_map(|file| tables(file)) {
        writeln!(answer, "{}: {}", table.name, table.columns.join(" | "))?;
        for row in &table.rows {
            let row: Vec<String> = row.iter().map(show).collect();
            writeln!(answer, "  {}", row.join(" | "))?;
        }
    }
    if summary.exists() {
        for insert in Summary::read(&summary).inserts {
            writeln!(
                answer,
                "{} into {}: {} read = {} in + {} filtered + {} late + {} rejected",
                insert.source,
                insert.table,
                insert.read,
                insert.accepted,
                insert.filtered,
                insert.late,
                insert.rejected
            )?;
        }
    }
    Ok(answer)
}

/// How it ended, unless well, with what it said.
fn exit(folder: &Path, ended: &support::Ended) -> String {
    match ended.how {
        Exit::Code(0) => String::new(),
        Exit::Code(code) => format!("exit {code}\n{}", said(folder, &ended.stderr)),
        Exit::Aborted => "killed\n".to_owned(),
    }
}

/// Output without the folder's name, which is another one each time, and without blank lines,
/// which would end the section.
fn said(folder: &Path, text: &str) -> String {
    text.replace(&format!("{}/", folder.display()), "")
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn databases(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "db"));
    files.sort();
    Ok(files)
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(i) => i.to_string(),
        Value::Real(f) => format!("{f:?}"),
        Value::Text(text) => text.replace('\n', "\\n"),
        Value::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("x'{}'", text.escape_default()),
            Err(_) => format!("x'{}'", bytes.escape_ascii()),
        },
    }
}

/// A file of columns, in row groups of three.
fn write_columns(file: &Path, body: &str) -> Result<(), Failed> {
    let mut lines = body.lines().map(|line| line.split(';').map(str::trim));
    let (mut fields, mut texts) = (Vec::new(), Vec::new());
    for column in lines.next().unwrap() {
        let (name, data_type) = column.split_once(' ').unwrap();
        fields.push(Field::new(name, data_type.parse()?, true));
        texts.push(Vec::new());
    }
    for line in lines {
        for (values, value) in texts.iter_mut().zip(line) {
            values.push(Some(value).filter(|value| !value.is_empty()));
        }
    }
    let columns = fields.iter().zip(texts).map(|(field, texts)| {
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        arrow::compute::cast(&texts, field.data_type())
    });
    let columns = columns.collect::<Result<_, _>>()?;
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3));
    let written = std::fs::File::create(file)?;
    let mut writer = ArrowWriter::try_new(written, rows.schema(), Some(properties.build()))?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(())
}

/// `\xFF` is a byte; every other backslash is itself, but two are one.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let byte = rest
            .strip_prefix('x')
            .and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        if let Some(byte) = byte {
            bytes.push(byte);
            rest = &rest[3..];
        } else {
            bytes.push(b'\\');
            rest = rest.strip_prefix('\\').unwrap_or(rest);
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Line by line; enough to see where a story turns.
fn difference(written: &str, told: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (written.lines().collect(), told.lines().collect());
    let same = before
        .iter()
        .zip(&after)
        .take_while(|(a, b)| a == b)
        .count();
    let tail = before[same..]
        .iter()
        .rev()
        .zip(after[same..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    for line in &before[same.saturating_sub(3)..same] {
        let _ = writeln!(text, "  {line}");
    }
    for line in &before[same..before.len() - tail] {
        let _ = writeln!(text, "- {line}");
    }
    for line in &after[same..after.len() - tail] {
        let _ = writeln!(text, "+ {line}");
    }
    text
}
