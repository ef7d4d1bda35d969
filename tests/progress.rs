//! What a replay says of how far it is: of the files of all processes, and of the topic behind them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::aligned::{PART, PIPELINE, TRIPS, scratch, time, topic};
use crate::services;
use crate::support::{Exit, tidemark};

/// What is said of the trips, line by line: what stands in the fields.
fn said(folder: &Path, options: &[&[&str]], variables: &[(&str, &str)]) -> Vec<Value> {
    fs::write(folder.join("pipeline.sql"), PIPELINE).unwrap();
    let command = ["replay", "pipeline.sql", "--log", "json"];
    let arguments = [&command[..], &TRIPS, &options.concat()].concat();
    let variables = [&[("TIDEMARK_LOG", "info")], variables].concat();
    let ended = tidemark(folder, &arguments, &variables);
    assert_eq!(ended.how, Exit::Code(0), "{}", ended.stderr);
    let lines = ended.stderr.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = lines.map(|line| line["fields"].clone());
    fields.filter(|line| line["source"] == "trips").collect()
}

/// Each of them reads half of the files.
#[test]
fn several_processes_say_how_much_of_all_files_is_read_and_how_long_the_rest_takes() {
    let folder = scratch();

    let paced = ["--processes", "2", "--threads", "1", "--speed", "1600x"];
    let said = said(folder.path(), &[&paced], &[]);

    let reading = said.iter().filter(|line| line["message"] == "reading");
    let reading = reading.filter(|line| line["left"].is_string());
    let percent = reading.filter_map(|line| line["percent"].as_u64()).max();
    assert!(
        percent.is_some_and(|it| (51..=100).contains(&it)),
        "{said:?}"
    );
}

/// Whoever waits for history to be in the tables waits for this.
#[test]
fn it_is_said_once_that_all_files_are_read_and_the_topic_follows() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    for processes in ["1", "2"] {
        let folder = scratch();
        let topic = topic(folder.path(), &kafka, &["trips/3.csv"]);
        let world = [("KAFKA", kafka.as_str()), ("TOPIC", &topic)];
        let from = time(3 * PART);
        let follow = ["--then-follow", "--from", &from, "--until-caught-up"];
        let who = ["--processes", processes, "--threads", "1"];

        let said = said(folder.path(), &[&follow, &who], &world);

        let message = "all files are read, and the topic from here on";
        let told = said.iter().filter(|line| line["message"] == message);
        let told: Vec<&Value> = told.map(|line| &line["from"]).collect();
        assert_eq!(told, [&from], "{said:?}");
    }
}

/// A file's end is so many bytes away, and a topic's so many records.
#[test]
fn of_files_before_a_topic_it_is_bytes_that_are_to_be_read() {
    let Some(kafka) = services::kafka("this test") else {
        return;
    };
    let folder = scratch();
    fs::write(folder.path().join("pipeline.sql"), PIPELINE).unwrap();
    let topic = topic(folder.path(), &kafka, &["trips/3.csv"]);
    let world = [("KAFKA", kafka.as_str()), ("TOPIC", &topic)];
    let from = time(3 * PART);
    let mut paced = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .current_dir(folder.path())
        .args(["replay", "pipeline.sql", "--log", "json", "--speed", "20x"])
        .args(["--then-follow", "--from", &from, "--metrics-port", "0"])
        .args(TRIPS)
        .envs(world)
        .env("TIDEMARK_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(paced.stderr.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()));
    let mut rows = lines.filter_map(|line| line.ok()?["fields"]["rows"].as_u64());
    let seen = rows.find(|&rows| rows > 0);

    let why = tidemark(folder.path(), &["why", "pipeline.sql", "--json"], &world);

    paced.kill().unwrap();
    paced.wait().unwrap();
    assert!(seen.is_some(), "it says how far it is");
    let status: Value = serde_json::from_str(&why.stdout).unwrap();
    let trips = &status["sources"][0];
    let partitions = trips["partitions"].as_array().unwrap();
    let units = partitions.iter().map(|it| it["unit"].as_str().unwrap());
    let units: Vec<&str> = units.collect();
    assert_eq!(units, ["bytes", "bytes", "bytes", "bytes", "records"]);
    let files = partitions.iter().filter(|it| it["unit"] == "bytes");
    let bytes: u64 = files.map(|it| it["lag"].as_u64().unwrap()).sum();
    assert_eq!(trips["unit"], "bytes");
    assert_eq!(trips["lag"], bytes, "{trips}");
    let waits_for = status["sinks"][0]["waits_for"].as_str().unwrap();
    assert!(waits_for.contains(" bytes "), "{waits_for}");
}
