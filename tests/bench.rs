//! `tidemark bench scenario`: every scenario of the repository runs, on little, and what is written of it
//! holds together. How fast it is, no test says.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::services;
use crate::support::{Exit, tidemark};

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
    let (loads, few) = (
        path("loads"),
        ["--rows", "3000", "--repeat", "1", "--warm-up", "1"],
    );
    let options = [
        "--seconds",
        "1",
        "--threads",
        "1",
        "--data",
        &loads,
        "--folder",
        &folder,
    ];
    let files = ["--json", &json, "--report", &page];
    let arguments = [&["bench", "scenario"], names, &few, &options, &files].concat();

    let ended = tidemark(root, &arguments, variables);

    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let page = fs::read_to_string(page).unwrap();
    let all: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    for measured in &all {
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
