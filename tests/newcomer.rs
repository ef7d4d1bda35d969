//! What somebody sees who is new here and types what is nearly right.

use std::path::Path;

use crate::support::{Ended, Exit, tidemark};

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.how, Exit::Code(code), "{}", ended.stderr);
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "`{word}` is not in:\n{}",
            ended.stderr
        );
    }
}

const COUNTS: &str = "
CREATE TABLE clicks (page TEXT NOT NULL) WITH (connector = 'file', path = 'clicks.csv', format = 'csv');
CREATE TABLE names (page TEXT PRIMARY KEY, name TEXT)
  WITH (connector = 'file', path = 'names.csv', format = 'csv');
CREATE TABLE counts (name TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite', path = 'counts.db');
INSERT INTO counts SELECT coalesce(name, '?'), count(*)
FROM clicks c LEFT JOIN names n ON c.page = n.page GROUP BY coalesce(name, '?');
";

#[test]
fn check_foresees_what_run_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "counts.sql", COUNTS);
    write(folder, "clicks.csv", "page\n/\n/a\n");
    write(folder, "names.csv", "page,name\n/,home\n");
    let check = || tidemark(folder, &["check", "counts.sql"], &[]);
    says(&check(), 0, &[]);
    says(&tidemark(folder, &["run", "counts.sql"], &[]), 0, &[]);
    says(&check(), 0, &[]);

    write(folder, "counts.sql", &COUNTS.replace("'?'", "'none'"));
    says(
        &check(),
        2,
        &[
            "cannot resume `counts`",
            "a different pipeline file: INSERT INTO `counts` has changed",
            "--fresh",
        ],
    );

    write(folder, "counts.sql", COUNTS);
    write(folder, "names.csv", "page,name\n/,home\n/a,about\n");
    says(
        &check(),
        2,
        &["`names.csv` of `names` has changed", "--fresh"],
    );

    write(folder, "names.csv", "page,name\n/,home\n/,house\n");
    says(
        &check(),
        2,
        &[
            "cannot use the reference table `names`",
            "two rows have the key",
        ],
    );
}

#[test]
fn infer_takes_what_a_path_takes_and_says_what_an_array_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("moves")).unwrap();
    write(folder, "moves/1.csv", "account,cents\na,1\n");
    write(folder, "moves/2.csv", "account,cents\nb,2\n");
    write(folder, "all.json", "[{\"n\": 1}]");

    for path in ["moves", "moves/*.csv"] {
        let found = tidemark(folder, &["infer", path], &[]);

        says(&found, 0, &[]);
        assert!(found.stdout.contains("cents   BIGINT"), "{}", found.stdout);
        assert!(
            found.stdout.contains(&format!("path = '{path}'")),
            "{}",
            found.stdout
        );
    }
    says(
        &tidemark(folder, &["infer", "all.json"], &[]),
        2,
        &["one JSON array"],
    );
    says(
        &tidemark(folder, &["infer", "no.csv"], &[]),
        2,
        &["no file matches `no.csv`"],
    );
}

/// It is found before a broker is asked.
#[test]
fn produce_refuses_a_key_that_is_misspelt_and_a_file_of_no_format() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "clicks.json", "{\"page\": \"/\"}\n");
    write(folder, "pipeline.sql", "CREATE TABLE a (b INT);\n");
    let produce = |more: &[&str]| {
        let mut arguments = vec![
            "produce",
            "--topic",
            "t",
            "--bootstrap-servers",
            "localhost:1",
        ];
        arguments.extend(more);
        tidemark(folder, &arguments, &[])
    };

    let misspelt = produce(&["--key", "pgae", "clicks.json"]);
    says(&misspelt, 1, &["has a field `pgae`", "--key page"]);
    let unknown = produce(&["pipeline.sql"]);
    says(&unknown, 1, &["does not tell its format", "--format csv"]);
}

/// A record that asks for a gigabyte is a bad record, and not the end of the process.
#[test]
fn a_record_that_asks_for_too_much_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let records = "{\"n\": 2}\n{\"n\": 2000000000}\n{\"n\": 9223372036854775807}\n{\"n\": null}\n";
    write(folder, "n.json", records);
    for made in [
        "repeat('ab', n)",
        "lpad('a', n)",
        "rpad('a', n, 'bc')",
        "array_to_string(array_repeat(1, n), ',')",
        "array_to_string(array_resize(ARRAY[1], n), ',')",
        "array_to_string(generate_series(1, n), ',')",
        "array_to_string(range(0, n, 2), ',')",
    ] {
        write(
            folder,
            "n.sql",
            &format!(
                "CREATE TABLE n (n BIGINT) WITH (connector = 'file', path = 'n.json', format = 'json');
                 CREATE TABLE out (made TEXT) WITH (connector = 'stdout', format = 'csv');
                 INSERT INTO out SELECT {made} FROM n;"
            ),
        );

        let ended = tidemark(folder, &["run", "n.sql"], &[]);

        says(
            &ended,
            0,
            &["out   n        4         2         0     0         2"],
        );
    }
}
