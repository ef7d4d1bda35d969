//! `--log json`: whoever reads standard error reads one object per line, whatever goes wrong.

use std::path::Path;

use serde_json::Value;

use crate::support::{Exit, tidemark};

const PIPELINE: &str = "
CREATE TABLE clicks (n BIGINT) WITH (connector = 'file', path = 'clicks.csv', format = 'csv');
CREATE TABLE seen (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO seen SELECT n FROM clicks;
";

/// What a run says, as objects.
fn said(folder: &Path, arguments: &[&str], code: i32) -> Vec<Value> {
    let arguments = [&["run"], arguments, &["--log", "json"]].concat();
    let ended = tidemark(folder, &arguments, &[]);
    assert_eq!(ended.how, Exit::Code(code), "{}", ended.stderr);
    let object = |line: &str| {
        let value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let Value::Object(_) = value else {
            panic!("no object: {line}");
        };
        value
    };
    ended.stderr.lines().map(object).collect()
}

/// The only error among what is said.
fn error(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let mut said = said(folder, arguments, code);
    said.retain(|line| line["level"] == "ERROR");
    assert_eq!(said.len(), 1, "{said:?}");
    said.remove(0)["fields"].take()
}

#[test]
fn what_is_wrong_is_an_object_with_its_hint_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("p.sql"), PIPELINE).unwrap();

    let missing = error(folder, &["q.sql"], 2);
    assert_eq!(missing["message"], "could not read `q.sql`");
    assert!(missing["cause"].as_str().unwrap().contains("No such file"));

    let unknown = error(folder, &["p.sql", "--treads", "2"], 2);
    let message = unknown["message"].as_str().unwrap();
    assert!(
        message.contains("unexpected argument '--treads'"),
        "{unknown}"
    );

    let no_value = error(folder, &["p.sql", "--set", "a"], 2);
    assert_eq!(no_value["hint"], "--set name=value");

    let nobody = error(folder, &["p.sql", "--fresh"], 2);
    assert_eq!(nobody["hint"], "add --yes");

    let no_file = error(folder, &["p.sql"], 2);
    assert_eq!(no_file["message"], "no file matches `clicks.csv`");
    assert_eq!(
        (&no_file["file"], &no_file["line"]),
        (&"p.sql".into(), &2.into())
    );
}

#[test]
fn a_run_that_ends_well_or_in_a_failure_says_only_objects() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("p.sql"), PIPELINE).unwrap();
    std::fs::write(folder.join("clicks.csv"), "n\n1\nx\n2\n").unwrap();

    let lines = said(folder, &["p.sql"], 0);
    let counts = lines
        .iter()
        .find(|line| line["fields"]["message"] == "read");
    let counts = &counts.expect("there is a summary")["fields"];
    assert_eq!(
        (&counts["read"], &counts["rejected"]),
        (&3.into(), &1.into())
    );
    assert!(lines.iter().any(|line| line["fields"]["message"] == "done"));

    std::fs::write(folder.join("clicks.csv"), "n\n1\n").unwrap();
    let refused = error(folder, &["p.sql"], 1);
    assert_eq!(refused["message"], "cannot resume `p`");
    assert!(refused["hint"].as_str().unwrap().contains("--fresh"));
}
