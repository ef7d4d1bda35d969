//! `--log json`: whoever reads standard error reads one object per line, whatever goes wrong.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
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

const ENDLESS: &str = "
CREATE TABLE ticks (n BIGINT) WITH (connector = 'generator', rate = '100', rows = '20000');
CREATE TABLE seen (n BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO seen SELECT n FROM ticks;
";

/// A run by itself begins again by itself: 75 is for whoever starts several processes.
#[test]
fn a_run_that_is_stopped_while_its_table_is_locked_fails_and_says_what_becomes_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), ENDLESS).unwrap();
    // It is made before anyone runs, so that it can be locked before anyone writes.
    let lock = Connection::open(folder.path().join("out.db")).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["run", "p.sql", "--log", "json", "--threads", "1"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let (mut reading, mut error) = (0, Value::Null);

    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let said = line["fields"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        reading += u32::from(said == "reading");
        if said == "reading" && reading == 1 {
            lock.busy_timeout(std::time::Duration::from_secs(30))
                .unwrap();
            lock.execute_batch("begin exclusive").unwrap();
        } else if said == "reading" && reading == 60 {
            // Nobody noticed: the run ends well, and the test does not.
            lock.execute_batch("rollback").unwrap();
        } else if said.starts_with("it does not work now") {
            let pid = run.id().to_string();
            let sent = Command::new("kill").args(["-INT", &pid]).status();
            assert!(sent.unwrap().success());
        } else if line["level"] == "ERROR" {
            error = line["fields"].clone();
        }
    }

    assert_eq!(run.wait().unwrap().code(), Some(1), "{error}");
    let cause = error["cause"].as_str().unwrap();
    assert!(cause.contains("another process is writing"), "{error}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("nothing is lost"), "{error}");
}
