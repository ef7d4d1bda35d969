//! `tidemark bench scenario`: every scenario of the repository runs, on little, and what is written of it
//! holds together. How fast it is, no test says.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::services;
use crate::support::{Exit, tidemark};

/// A scenario on little, once.
const ONCE: [&str; 8] = [
    "bench",
    "scenario",
    "--rows",
    "3000",
    "--repeat",
    "1",
    "--warm-up",
    "0",
];

/// Where all of these tests keep loads: they make the same ones, at the same time.
const LOADS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/loads");

/// Measures scenarios of `folder` over 3000 records; the JSON that comes of it.
fn measure(folder: &Path, names: &[&str], variables: &[(&str, &str)]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = tempfile::tempdir().unwrap();
    let path = |name: &str| data.path().join(name).display().to_string();
    let (json, page, folder) = (
        path("all.json"),
        path("all.html"),
        folder.display().to_string(),
    );
    let few = ["--rows", "3000", "--repeat", "1", "--warm-up", "1"];
    let options = [
        "--seconds",
        "1",
        "--threads",
        "1",
        "--data",
        LOADS,
        "--folder",
        &folder,
    ];
    let files = ["--json", &json, "--report", &page];
    let arguments = [&["bench", "scenario"], names, &few, &options, &files].concat();

    let ended = tidemark(root, &arguments, variables);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let page = fs::read_to_string(page).unwrap();
    let all: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    // The first of them says when it was.
    let date = all[0]["origin"]["date"].as_str().unwrap();
    assert!(page.contains(date), "{date}");
    assert!(ended.stdout.contains(date), "{date}");
    for measured in &all {
        assert_eq!(measured["rows"].as_u64(), Some(3000));
        let origin = &measured["origin"];
        assert_eq!(origin["version"], env!("CARGO_PKG_VERSION"), "{origin}");
        assert!(origin["cores"].as_u64() > Some(0), "{origin}");
        assert!(origin["memory_bytes"].as_u64() > Some(1 << 20), "{origin}");
        let name = measured["scenario"].as_str().unwrap();
        assert!(ended.stdout.contains(name), "{}", ended.stdout);
        assert!(page.contains(name));
        let run = &measured["runs"][0];
        assert_eq!(run["records"].as_u64(), Some(3000), "{measured}");
        assert!(run["seconds"].as_f64() > Some(0.0), "{measured}");
        assert!(run["peak_bytes"].as_u64() > Some(1 << 20), "{measured}");
        assert!(measured["bytes"].as_u64() > Some(3000 * 50), "{measured}");
    }
    all
}

#[test]
fn scenarios_over_files_are_measured_beside_a_bare_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/scenarios");
    let names = ["files_join", "files_lookup", "files_csv_window_low"];

    let all = measure(&folder, &names, &[]);

    let found: Vec<&str> = all
        .iter()
        .map(|it| it["scenario"].as_str().unwrap())
        .collect();
    assert_eq!(
        found,
        ["files_csv_window_low", "files_join", "files_lookup"]
    );
    for measured in &all {
        assert_eq!(measured["limits"][0]["name"], "bare read");
        assert!(measured["runs"][0]["rows"].as_u64() > Some(0), "{measured}");
    }
}

#[test]
fn a_load_that_keeps_its_schedule_gives_latencies() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    let Some((_, url)) = services::postgres_with_url("this test") else {
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/scenarios");
    let folder = tempfile::tempdir().unwrap();
    for name in ["kafka_append_postgres", "kafka_stateless_kafka"] {
        let text = fs::read_to_string(root.join(format!("{name}.sql"))).unwrap();
        let (before, after) = text.split_once("rate=").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let text = format!("{before}rate=1000{after}");
        fs::write(folder.path().join(format!("{name}.sql")), text).unwrap();
    }

    let variables = [("KAFKA", kafka.as_str()), ("DATABASE_URL", &url)];
    let all = measure(folder.path(), &[], &variables);

    assert_eq!(all.len(), 2);
    for measured in &all {
        assert_eq!(measured["limits"][0]["name"], "bare librdkafka");
        let drained = &measured["limits"][0]["measured"];
        assert_eq!(drained["records"].as_u64(), Some(3000), "{measured}");
        let latency = &measured["latency"];
        assert_eq!(latency["rate"].as_u64(), Some(1000));
        assert_eq!(latency["measured"]["records"].as_u64(), Some(4000));
        let quantiles = latency["measured"]["latency_ms"].as_array().unwrap();
        let quantiles: Vec<f64> = quantiles.iter().map(|ms| ms.as_f64().unwrap()).collect();
        assert_eq!(quantiles.len(), 4, "{measured}");
        assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{measured}");
        // Records come evenly and are committed every tenth of a second: to wait for that alone takes
        // half of them longer than this.
        assert!(quantiles[0] > 40.0 && quantiles[2] > 90.0, "{measured}");
        let quarters = latency["measured"]["latency_by_quarter_ms"].as_array();
        assert_eq!(quarters.unwrap().len(), 4, "{measured}");
    }
    assert_eq!(all[0]["limits"][1]["name"], "bare COPY");
    assert_eq!(all[0]["runs"][0]["rows"].as_u64(), Some(3000));
}

#[test]
fn a_scenario_that_there_is_none_of_is_said() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));

    let ended = tidemark(root, &["bench", "scenario", "files_windows_low"], &[]);

    assert_eq!(ended.how, Exit::Code(2));
    assert!(
        ended.stderr.contains("did you mean `files_window_low`?"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_search_that_can_find_nothing_is_refused_before_anything_is_measured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let search = ["bench", "scenario", "--search"];

    let without = tidemark(root, &[&search[..], &["files_join"]].concat(), &[]);
    let no_time = tidemark(root, &[&search[..], &["--seconds", "0"]].concat(), &[]);

    assert_eq!((without.how, no_time.how), (Exit::Code(2), Exit::Code(2)));
    let why = "`files_join` has no `rate=`: there is nothing to search for";
    assert!(without.stderr.contains(why), "{}", without.stderr);
    let why = "--search sends records for --seconds";
    assert!(no_time.stderr.contains(why), "{}", no_time.stderr);
}

#[test]
fn a_scenario_that_fails_does_not_end_the_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = fs::read_to_string(root.join("benchmarks/scenarios/files_join.sql")).unwrap();
    fs::write(path("b.sql"), &text).unwrap();
    fs::write(
        path("a.sql"),
        text.replace("INSERT INTO found", "INSERT INTO nowhere"),
    )
    .unwrap();
    let (json, scenarios) = (path("all.json"), path(""));
    let paths = ["--json", &json, "--data", LOADS, "--folder", &scenarios];

    let ended = tidemark(root, &[&ONCE[..], &paths].concat(), &[]);

    assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("nowhere"), "{}", ended.stderr);
    let all: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((all.len(), &all[0]["scenario"]), (1, &Value::from("b")));
}

#[test]
fn a_load_that_cannot_keep_its_schedule_ends_and_leaves_what_was_measured() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = root.join("benchmarks/scenarios/kafka_stateless_kafka.sql");
    let text = fs::read_to_string(text).unwrap();
    // No broker takes a hundredth of it.
    let text = text.replace("rate=50000", "rate=100000000000");
    fs::write(path("fast.sql"), text).unwrap();
    let (json, scenarios) = (path("all.json"), path(""));
    let search = ["--search", "--bound", "100", "--seconds", "1"];
    let paths = ["--json", &json, "--data", LOADS, "--folder", &scenarios];

    let variables = [("KAFKA", kafka.as_str())];
    let ended = tidemark(root, &[&ONCE[..], &search, &paths].concat(), &variables);

    assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("are not held"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("behind its schedule"),
        "{}",
        ended.stderr
    );
    let all: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(all[0]["runs"][0]["records"].as_u64(), Some(3000));
    assert_eq!(all[0]["search"], Value::Null);
}

#[test]
fn a_database_that_is_away_is_said_at_once_and_the_others_are_measured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = root.join("benchmarks/scenarios/files_csv_window_low.sql");
    let text = fs::read_to_string(text).unwrap();
    fs::write(path("there.sql"), &text).unwrap();
    let away = text.replacen("output=sqlite", "output=postgres", 1);
    assert_ne!(away, text);
    fs::write(path("away.sql"), away).unwrap();
    let (json, scenarios) = (path("all.json"), path(""));
    let database = ["--database", "postgres://me@127.0.0.1:1/none"];
    let paths = ["--json", &json, "--data", LOADS, "--folder", &scenarios];

    let ended = tidemark(root, &[&ONCE[..], &database, &paths].concat(), &[]);

    assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
    let said = [
        "could not measure `away`",
        "could not connect",
        "start the server",
    ];
    let says = said.iter().all(|text| ended.stderr.contains(text));
    assert!(says, "{}", ended.stderr);
    let all: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((all.len(), &all[0]["scenario"]), (1, &Value::from("there")));
}

#[test]
fn what_cannot_be_read_or_written_is_said_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/scenarios");
    let scenarios = root.display().to_string();

    let ended = tidemark(folder.path(), &ONCE, &[]);
    assert_eq!(ended.how, Exit::Code(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint:  --folder"), "{}", ended.stderr);

    for option in ["--json", "--report"] {
        let paths = ["files_join", "--folder", &scenarios, option, "no/such/file"];
        let ended = tidemark(folder.path(), &[&ONCE[..], &paths].concat(), &[]);

        assert_eq!(ended.how, Exit::Code(1), "{}", ended.stderr);
        assert!(!ended.stderr.contains("makes its load"), "{}", ended.stderr);
        let said = ended.stderr.matches("could not write `no/such/file`");
        assert_eq!(said.count(), 1, "{}", ended.stderr);
    }
}
