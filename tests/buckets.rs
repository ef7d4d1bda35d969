//! Snapshots in a bucket of a real server that speaks S3's protocol.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::crash::{PIPELINE, crash_at_every_step};
use crate::services;
use crate::support::{Exit, tidemark};

const SNAPSHOTS: &str = "snapshot.interval=1ms";

/// What a process needs to reach the server, which asks nobody who they are.
pub fn variables(endpoint: &str) -> Vec<(&str, &str)> {
    vec![
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ]
}

/// Whose the objects are; nobody checks the signature.
const OWNER: &str = "Authorization: AWS4-HMAC-SHA256 \
    Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// One request, and what came of it.
pub fn ask(endpoint: &str, method: &str, path: &str, body: &str) -> String {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n{OWNER}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let head = answer.lines().next().unwrap_or_default().to_owned();
    assert!(head.contains(" 200 "), "{method} {path}: {answer}");
    answer
}

#[test]
fn a_crash_at_any_step_of_a_snapshot_in_a_bucket_leaves_nothing_lost_and_nothing_twice() {
    let Some(endpoint) = services::s3("this test") else {
        return;
    };
    ask(&endpoint, "PUT", "/crashes", "");

    let elsewhere = Some(("s3://crashes/some/prefix", variables(&endpoint)));
    let (crashes, used) = crash_at_every_step(PIPELINE, SNAPSHOTS, elsewhere);

    assert!(crashes >= 12, "there were only {crashes} to crash at");
    assert!(
        used.begun >= 5,
        "only {} runs began with a snapshot",
        used.begun
    );
}

#[test]
fn a_snapshot_in_a_bucket_is_listed_and_one_that_was_altered_is_said() {
    let Some(endpoint) = services::s3("this test") else {
        return;
    };
    ask(&endpoint, "PUT", "/listed", "");
    let folder = tempfile::tempdir().unwrap();
    crate::crash::write(folder.path());
    let variables = variables(&endpoint);
    // The server keeps what earlier tests put there.
    let own = folder.path().file_name().unwrap().to_str().unwrap();
    let own = own.trim_start_matches('.');
    let place = format!("s3://listed/{own}");
    let at = ["--state", place.as_str()];
    let state = |arguments: &[&str]| {
        let arguments = [arguments, &at[..]].concat();
        tidemark(folder.path(), &arguments, &variables)
    };
    let run = ["run", "crash.sql", "--quiet", "--set", SNAPSHOTS];
    let ran = state(&run);
    assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);

    let verified = state(&["snapshots", "crash.sql", "--verify"]);
    assert_eq!(verified.how, Exit::Code(0), "{}", verified.stderr);
    assert!(verified.stdout.contains("whole"), "{}", verified.stdout);
    let listed = ask(
        &endpoint,
        "GET",
        &format!("/listed?list-type=2&prefix={own}"),
        "",
    );
    let keys = listed.split("<Key>").skip(1);
    let keys = keys.filter_map(|rest| rest.split_once("</Key>"));
    let part = keys
        .map(|(key, _)| key)
        .filter(|key| key.ends_with(".arrow"))
        .last();
    let part = part.expect("the newest snapshot has a part");
    assert!(part.starts_with(&format!("{own}/crash/")), "{part}");
    ask(&endpoint, "PUT", &format!("/listed/{part}"), "altered");

    let verified = state(&["snapshots", "crash.sql", "--verify"]);
    assert_eq!(verified.how, Exit::Code(1));
    assert!(verified.stdout.contains("altered"), "{}", verified.stdout);
}

#[test]
fn a_part_that_goes_to_a_bucket_in_pieces_is_whole_and_is_begun_with() {
    let Some(endpoint) = services::s3("this test") else {
        return;
    };
    ask(&endpoint, "PUT", "/pieces", "");
    let folder = tempfile::tempdir().unwrap();
    // Keys of 8 KiB: 24 MiB of state.
    let pipeline = "
CREATE TABLE pages (page TEXT NOT NULL) WITH (connector = 'generator', rows = '3000',
  'fields.page.kind' = 'random_text', 'fields.page.length' = '8192');
CREATE TABLE counts (page TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite', path = 'one.db');
INSERT INTO counts SELECT page, count(*) FROM pages GROUP BY page;
";
    std::fs::write(folder.path().join("large.sql"), pipeline).unwrap();
    let variables = variables(&endpoint);
    let own = folder.path().file_name().unwrap().to_str().unwrap();
    let own = own.trim_start_matches('.');
    let place = format!("s3://pieces/{own}");
    let state = |arguments: &[&str]| {
        let ended = tidemark(
            folder.path(),
            &[arguments, &["--state", &place]].concat(),
            &variables,
        );
        assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
        ended
    };
    let run = ["run", "large.sql", "--threads", "1", "--set", SNAPSHOTS];

    state(&run);

    let listed = ask(
        &endpoint,
        "GET",
        &format!("/pieces?list-type=2&prefix={own}"),
        "",
    );
    let sizes = listed.split("<Size>").skip(1);
    let sizes = sizes.filter_map(|rest| rest.split_once("</Size>")?.0.parse().ok());
    let largest = sizes.max().unwrap_or(0_usize);
    assert!(largest > 17 << 20, "the largest has {largest} bytes");
    let verified = state(&["snapshots", "large.sql", "--verify"]).stdout;
    assert!(verified.contains("whole"), "{verified}");
    let again = state(&run).stderr;
    assert!(again.contains("begins with a snapshot"), "{again}");
}

#[test]
fn a_bucket_that_is_not_reached_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    crate::crash::write(folder.path());
    // Nothing listens there.
    let variables = variables("http://127.0.0.1:1");
    let at = ["crash.sql", "--state", "s3://nowhere/p"];

    for (command, code) in [("check", 2), ("run", 1)] {
        let arguments = [&[command][..], &at[..]].concat();
        let ended = tidemark(folder.path(), &arguments, &variables);
        assert_eq!(ended.how, Exit::Code(code), "{}", ended.stderr);
        for said in ["cannot list `.` in `s3://nowhere/p/crash`", "AWS_ENDPOINT"] {
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
    }
    assert!(!Path::new(&folder.path().join("one.db")).exists());
    let refused = tidemark(
        folder.path(),
        &["run", "crash.sql", "--state", "gs://b"],
        &[],
    );
    assert_eq!(refused.how, Exit::Code(2));
    assert!(
        refused.stderr.contains("`gs` is no store"),
        "{}",
        refused.stderr
    );
}
