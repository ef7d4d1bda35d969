//! What README and docs/ say, tried: a reader may type any of it.
//!
//! * Each `dataflows/*.sql` runs to its end and comes to `dataflows/expected/*.txt`; `taxi.sql` and
//!   `demo.sql`, which need a broker, are in `tests/taxi.rs` and `tests/demo.rs`.
//! * A ` ```console ` block is a session: what stands after `$ ` is run, and what it prints must be
//!   what stands below. The blocks of one document share a copy of `dataflows/`.
//! * The ` ```sql ` blocks between two headings are one pipeline, which runs to its end. One that
//!   comes after `<!-- dataflows/x.sql -->` shows that file, and is equal to it.
//! * A table whose first column is `expression` shows results: its second column is what comes out.
//! * A ` ```sh ` block is not run, but the programs and subcommands in it exist.
//! * Links to files lead to files, and the connectors' page names every connector and option.
//!
//! `UPDATE=1` writes the answers into the documents: reviewing that difference is reviewing the
//! product.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;

use tidemark::connector::{CONNECTORS, GENERAL_OPTIONS};
use tidemark::format::FORMATS;

use crate::support::{Contents, Exit, Summary, tables, tidemark};

/// Errors only: how far a run is depends on the machine.
const QUIET: (&str, &str) = ("TIDEMARK_LOG", "error");
/// The demo takes its time, for people to watch; and a few trips are enough to look at.
const SHORT_DEMO: [(&str, &str); 3] = [
    ("DEMO_ROWS", "1000"),
    ("DEMO_RATE", "1000000"),
    ("TAXI_ROWS", "12"),
];

#[test]
fn each_pipeline_of_the_dataflows_folder_comes_to_its_expected_result() {
    let mut different = Vec::new();
    for path in files(&root().join("dataflows"), "sql") {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ["demo", "taxi"].contains(&stem.as_str()) {
            continue;
        }

        let result = result_of(&format!("dataflows/{stem}.sql"));

        let expected = root().join(format!("dataflows/expected/{stem}.txt"));
        if !same_or_updated(&expected, &result) {
            different.push(format!("{stem}:\n{result}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_command_in_the_documents_prints_what_they_show() {
    let mut different = Vec::new();
    for path in documents() {
        let written = fs::read_to_string(&path).unwrap();

        let played = play(&written);

        if !same_or_updated(&path, &played) {
            different.push(format!("{}:\n{played}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_pipeline_in_the_documents_runs() {
    let mut count = 0;
    for path in documents() {
        for (title, text) in pipelines(&fs::read_to_string(&path).unwrap()) {
            let folder = scratch();
            fs::write(folder.path().join("section.sql"), &text).unwrap();

            // A table that is read again goes on for ever.
            let goes_on = text.contains("reload.interval");
            let mut options = vec!["run", "section.sql"];
            options.extend(goes_on.then_some("--until-caught-up"));
            let ended = tidemark(folder.path(), &options, &[QUIET]);

            let at = format!("{}, {title}", path.display());
            assert_eq!(ended.how, Exit::Code(0), "{at}:\n{text}\n{}", ended.stderr);
            count += 1;
        }
    }
    assert!(count > 5, "{count} pipelines were found");
}

#[test]
fn every_expression_in_the_documents_has_the_result_that_they_show() {
    let mut count = 0;
    for path in documents() {
        for (expression, result) in expressions(&fs::read_to_string(&path).unwrap()) {
            let at = format!("{}: {expression}", path.display());
            assert_eq!(value_of(&expression), result, "{at}");
            count += 1;
        }
    }
    assert!(count > 10, "{count} expressions were found");
}

#[test]
fn the_files_that_documents_show_are_shown_as_they_are() {
    let mut count = 0;
    for path in documents() {
        for block in blocks(&fs::read_to_string(&path).unwrap()) {
            let Some(file) = block.shows else { continue };
            let there = fs::read_to_string(root().join(&file)).unwrap();
            assert_eq!(block.text, there, "{} shows {file}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "no file is shown");
}

#[test]
fn what_the_documents_tell_to_type_in_a_shell_exists() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for line in blocks(&text)
            .iter()
            .filter(|b| b.language == "sh")
            .flat_map(|b| b.text.lines())
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            let subcommand = match words.as_slice() {
                ["cargo", "run", "--release", "--", subcommand, ..]
                | ["tidemark", subcommand, ..] => *subcommand,
                [script, ..] if script.starts_with("scripts/") => {
                    assert!(root().join(script).exists(), "{}: {line}", path.display());
                    continue;
                }
                _ => continue,
            };
            let ended = tidemark(&root(), &[subcommand, "--help"], &[]);
            assert_eq!(ended.how, Exit::Code(0), "{}: {line}", path.display());
        }
    }
}

#[test]
fn links_lead_to_files() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let mut targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let broken = targets.find(|target| {
            let file = target.split('#').next().unwrap_or_default();
            !target.starts_with("http") && !path.parent().unwrap().join(file).exists()
        });
        assert_eq!(broken, None, "in {}", path.display());
    }
}

#[test]
fn the_page_of_connectors_names_every_connector_format_and_option() {
    let page = fs::read_to_string(root().join("docs/connectors.md")).unwrap();

    let sections = CONNECTORS.iter().map(|c| (c.name, c.options));
    for (name, options) in sections {
        let section = section(&page, &format!("## {name}\n"));
        for option in options {
            let option = option.name.replace(".*.", ".<column>.");
            let option = option.replace(".*", ".<setting>");
            assert!(
                section.contains(&format!("| `{option}` |")),
                "{name}: {option}"
            );
        }
    }
    for option in GENERAL_OPTIONS {
        assert!(
            page.contains(&format!("| `{}` |", option.name)),
            "{}",
            option.name
        );
    }
    for format in FORMATS {
        let section = section(&page, &format!("## Format {}\n", format.name));
        for option in format.options {
            assert!(
                section.contains(&format!("| `{}` |", option.name)),
                "{}",
                option.name
            );
        }
    }
}

#[test]
fn the_page_of_operating_names_every_command_and_option() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let help = |arguments: &[&str]| tidemark(&root(), arguments, &[]).stdout;

    let commands = help(&["--help"]);
    let commands = commands
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help");
    for command in commands {
        assert!(
            page.contains(&format!("| `tidemark {command}")),
            "{command}"
        );
    }
    let options = help(&["run", "--help"]) + &help(&["replay", "--help"]);
    let options = options
        .split_whitespace()
        .filter(|word| word.starts_with("--") && *word != "--help");
    for option in options {
        assert!(page.contains(&format!("| `{option}")), "{option}");
    }
}

#[test]
fn the_page_of_sql_names_every_setting() {
    let page = fs::read_to_string(root().join("docs/sql.md")).unwrap();
    let strange = ["check", "dataflows/events.sql", "--set", "zzzzzzzzzzzz=1"];

    // The refusal lists them all.
    let refusal = tidemark(&root(), &strange, &[]).stderr;
    let names: Vec<&str> = refusal
        .lines()
        .filter(|line| line.contains("there are"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();

    assert!(names.contains(&"commit.interval"), "{refusal}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page
        .split_once(heading)
        .unwrap_or_else(|| panic!("no section {heading:?}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All documents for people; decisions are history and stay as they were.
fn documents() -> Vec<PathBuf> {
    let mut found = files(&root(), "md");
    found.extend(files(&root().join("docs"), "md"));
    found
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|there| there == extension));
    found.sort();
    found
}

fn same_or_updated(path: &Path, text: &str) -> bool {
    if fs::read_to_string(path).ok().as_deref() == Some(text) {
        return true;
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
        return true;
    }
    false
}

/// A folder with `dataflows/` in it.
fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("dataflows"), &folder.path().join("dataflows"));
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs a pipeline; what it wrote, row by row in order, and what became of the records.
fn result_of(pipeline: &str) -> String {
    let folder = scratch();
    let arguments = ["run", pipeline, "--summary", "summary"];
    let [rows, rate, trips] = SHORT_DEMO;
    let ended = tidemark(folder.path(), &arguments, &[QUIET, rows, rate, trips]);
    assert_eq!(ended.how, Exit::Code(0), "{pipeline}:\n{}", ended.stderr);

    let mut result = String::new();
    for table in files(folder.path(), "db")
        .iter()
        .flat_map(|file| tables(file))
    {
        result.push_str(&shown(&table));
    }
    let written = ["csv", "json"]
        .map(|extension| files(folder.path(), extension))
        .concat();
    for file in written {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        writeln!(result, "{name}:\n{}", sorted(&text)).unwrap();
    }
    if !ended.stdout.is_empty() {
        writeln!(result, "stdout:\n{}", sorted(&ended.stdout)).unwrap();
    }
    for fate in Summary::read(&folder.path().join("summary")).inserts {
        writeln!(
            result,
            "{} into {}: {} read = {} in + {} filtered + {} late + {} rejected",
            fate.source,
            fate.table,
            fate.read,
            fate.accepted,
            fate.filtered,
            fate.late,
            fate.rejected
        )
        .unwrap();
    }
    result
}

/// The rows of a table have no order.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn shown(table: &Contents) -> String {
    let mut text = format!("{}: {}\n", table.name, table.columns.join(" | "));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|value| cell(value, "NULL")).collect();
        writeln!(text, "  {}", cells.join(" | ")).unwrap();
    }
    text + "\n"
}

fn cell(value: &Value, null: &str) -> String {
    match value {
        Value::Null => null.to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// A fenced block of a document.
struct Block {
    language: String,
    text: String,
    /// The heading above it.
    title: String,
    /// The file that it shows.
    shows: Option<String>,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut title, mut shows) = (String::new(), None);
    let mut open: Option<Block> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                    title: title.clone(),
                    shows: shows.take(),
                });
            }
            (None, None) if line.starts_with('#') => title = line.to_owned(),
            (None, None) => {
                let comment = line
                    .strip_prefix("<!-- ")
                    .and_then(|l| l.strip_suffix(" -->"))
                    .filter(|comment| comment.starts_with("dataflows/"));
                shows = comment.map(str::to_owned).or(shows);
            }
        }
    }
    found
}

/// The SQL under each heading, as one file.
fn pipelines(document: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for block in blocks(document)
        .into_iter()
        .filter(|block| block.language == "sql")
    {
        match found.last_mut().filter(|(title, _)| *title == block.title) {
            Some((_, text)) => text.push_str(&block.text),
            None => found.push((block.title, block.text)),
        }
    }
    found
}

/// The rows of tables of expressions: what is computed, and what it comes to.
fn expressions(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for line in document.lines() {
        in_table = line.starts_with("| expression |") || (in_table && line.starts_with('|'));
        let mut cells = line.split('`').skip(1).step_by(2).map(str::to_owned);
        if let (true, Some(expression), Some(result)) = (in_table, cells.next(), cells.next()) {
            found.push((expression, result));
        }
    }
    found
}

/// What a pipeline makes of an expression, as text.
fn value_of(expression: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "CREATE TABLE one (n BIGINT) WITH (connector = 'generator', rows = '1');
         CREATE TABLE result (value TEXT) WITH (connector = 'stdout', format = 'json');
         INSERT INTO result SELECT CAST(({expression}) AS TEXT) FROM one;"
    );
    fs::write(folder.path().join("one.sql"), text).unwrap();
    let ended = tidemark(folder.path(), &["run", "one.sql"], &[QUIET]);
    let row: BTreeMap<String, String> =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    row["value"].clone()
}

/// The document with the answers that its commands give now.
fn play(document: &str) -> String {
    let folder = scratch();
    let mut played = String::new();
    let mut in_session = false;
    let mut code = 0;
    // What stands below the last command, and what should.
    let (mut written, mut answer) = (String::new(), String::new());
    for line in document.lines() {
        let ends = in_session && line == "```";
        let command = line.strip_prefix("$ ").filter(|_| in_session);
        if ends || command.is_some() {
            played.push_str(&agreed(&written, &answer));
            written.clear();
            answer.clear();
        }
        if in_session && !ends && command.is_none() {
            written.push_str(line);
            written.push('\n');
            continue;
        }
        played.push_str(line);
        played.push('\n');
        in_session = !ends && (in_session || line == "```console");
        if let Some(command) = command {
            answer = run(folder.path(), command, &mut code);
        }
    }
    played
}

/// The answer, but for how long a run took and how many epochs that were, which is as it was written.
fn agreed(written: &str, answer: &str) -> String {
    let by_time = |line: &str| line.starts_with("done in ") || line.contains("epoch ");
    let without_digits = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    let mut before = written.lines();
    let mut agreed = String::new();
    for now in answer.lines() {
        let before = before.next().unwrap_or_default();
        let same = now.starts_with("done in ") && before.starts_with("done in ")
            || by_time(now) && without_digits(now) == without_digits(before);
        agreed.push_str(if same { before } else { now });
        agreed.push('\n');
    }
    agreed
}

/// What a command of a session prints.
fn run(folder: &Path, command: &str, code: &mut i32) -> String {
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cargo", "run", "--release", "--", arguments @ ..] | ["tidemark", arguments @ ..] => {
            let ended = tidemark(folder, arguments, &[QUIET]);
            match ended.how {
                Exit::Code(ended) => *code = ended,
                Exit::Aborted => panic!("{command} crashed"),
            }
            ended.stdout + &ended.stderr
        }
        ["echo", "$?"] => format!("{code}\n"),
        ["cat", file] => fs::read_to_string(folder.join(file)).unwrap(),
        ["sqlite3", file, query] => query_of(&folder.join(file), query),
        _ => panic!("the documents have no command such as {command}"),
    }
}

/// As `sqlite3` prints a query.
fn query_of(file: &Path, query: &str) -> String {
    let database = Connection::open(file).unwrap();
    let mut statement = database.prepare(query).unwrap();
    let count = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut text = String::new();
    while let Some(row) = rows.next().unwrap() {
        let cells: Vec<String> = (0..count).map(|i| cell(&row.get(i).unwrap(), "")).collect();
        writeln!(text, "{}", cells.join("|")).unwrap();
    }
    text
}

/// Splits a command as a shell does, as far as the documents need it.
fn words(command: &str) -> Vec<String> {
    let (mut found, mut quote) = (vec![String::new()], None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => found.push(String::new()),
            _ => found.last_mut().unwrap().push(c),
        }
    }
    found
}
