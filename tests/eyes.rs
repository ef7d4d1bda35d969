//! What a run says of itself: `/metrics`, the page, `/readyz`, `tidemark why`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidemark::dataflow::outcome::Shared;
use tidemark::engine::{RunOptions, run};
use tidemark::metrics::{Kind, METRICS};
use tidemark::plan::Pipeline;
use tidemark::sql::{Given, SourceText, plan};
use tidemark::web::Server;

use crate::support::{Exit, Summary, tidemark};

/// Clicks whose amounts are sometimes refused, filtered and late, per minute and page.
const PIPELINE: &str = "
CREATE TABLE clicks (
  id BIGINT, page TEXT NOT NULL, at TIMESTAMP, amount INT CHECK (amount < 95),
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (
  connector = 'generator', rows = '60000', rate = 'RATE', 'rows.per.second' = '100',
  lateness = '5s', partitions = '3', 'fields.id.kind' = 'sequence',
  'fields.amount.min' = '0', 'fields.amount.max' = '99', 'fields.page.max' = '9'
);
CREATE TABLE per_minute (minute TIMESTAMP, page TEXT, clicks BIGINT)
  WITH (connector = 'sqlite', path = 'DATABASE');
CREATE TABLE all_time (page TEXT, clicks BIGINT, PRIMARY KEY (page))
  WITH (connector = 'sqlite', path = 'DATABASE');
CREATE VIEW large AS SELECT page, at FROM clicks WHERE amount > 10;
CREATE VIEW minutes AS SELECT window_start, page, count(*) AS clicks
  FROM TUMBLE(large, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, page;
INSERT INTO per_minute SELECT window_start, page, clicks FROM minutes;
INSERT INTO all_time SELECT page, count(*) FROM clicks GROUP BY page;
";

fn pipeline(rate: &str, database: &Path) -> String {
    let database = database.display().to_string();
    PIPELINE
        .replace("RATE", rate)
        .replace("DATABASE", &database)
}

/// What a file of that name and text means.
pub fn planned(name: &str, text: &str) -> Arc<Pipeline> {
    let given = Given {
        pipeline_name: name.to_owned(),
        ..Given::default()
    };
    let path = &format!("{name}.sql");
    let planned = plan(&SourceText { path, text }, &given);
    Arc::new(planned.unwrap_or_else(|refused| panic!("{:?}", refused.problems)))
}

/// What stands at a path, and whether all was well.
pub fn fetch(address: SocketAddr, path: &str) -> (bool, String) {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let is_good = head.lines().next().unwrap().contains(" 200 ");
    (is_good, body.to_owned())
}

/// The values of `/metrics`, by name and labels.
fn values(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(value).collect()
}

#[test]
fn the_metrics_at_the_end_of_a_run_are_the_counts_of_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let text = pipeline("1000000", &folder.path().join("clicks.db"));
    let pipeline = planned("clicks", &text);
    let shared = Arc::new(Shared::default());
    let server = Server::start(([127, 0, 0, 1].into(), 0), &pipeline, &shared).unwrap();
    assert!(!fetch(server.address(), "/readyz").0, "nothing runs yet");
    let options = RunOptions {
        threads: Some(2),
        base: folder.path().to_owned(),
        ..RunOptions::default()
    };

    let summary = run(&pipeline, &options, &shared).unwrap();

    let (_, text) = fetch(server.address(), "/metrics");
    let (is_healthy, _) = fetch(server.address(), "/healthz");
    let (_, page) = fetch(server.address(), "/");
    server.end();
    let values = values(&text);
    for (&(insert, _), fates) in &summary.fates {
        let into = &pipeline.tables[pipeline.inserts[insert].table].name;
        let counts = [
            ("accepted", fates.accepted),
            ("filtered", fates.filtered),
            ("late", fates.late),
            ("rejected", fates.rejected),
        ];
        for (fate, count) in counts {
            let labels = format!("source=\"clicks\",insert_into=\"{into}\",fate=\"{fate}\"");
            let value = values[&format!("tidemark_records_total{{{labels}}}")];
            assert!(
                (value - count as f64).abs() < 0.5,
                "{labels}: {value}, not {count}"
            );
        }
    }
    let total: f64 = values["tidemark_read_records_total{source=\"clicks\"}"];
    assert!((total - 60_000.0).abs() < 0.5, "{total}");
    let of_destination = |name: &str| -> f64 {
        let of = values.iter().filter(|(key, _)| key.starts_with(name));
        of.map(|(_, value)| value).sum()
    };
    let commits = of_destination("tidemark_commits_total");
    assert!((commits - summary.commits as f64).abs() < 0.5, "{commits}");
    let timed = of_destination("tidemark_commit_duration_seconds_count");
    assert!((timed - commits).abs() < 0.5, "{timed}");
    let aged = of_destination("tidemark_latency_seconds_count");
    assert!(aged >= 60_000.0, "{aged}");
    assert!(is_healthy && page.contains("<title>Tidemark</title>"));
}

#[test]
fn what_metrics_prints_is_the_table_of_metrics() {
    let text = tidemark::metrics::Metrics::default().text();

    let printed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();

    let described = METRICS.iter().map(|metric| metric.full_name());
    let described: Vec<String> = described
        .map(|name| name.trim_end_matches("_total").to_owned())
        .collect();
    assert_eq!(printed, described);
}

#[test]
fn the_page_of_operating_lists_the_metrics_as_they_are() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/operating.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let row = |metric: &tidemark::metrics::Metric| {
        let (name, kind) = (metric.full_name(), metric.kind.name());
        let labels = metric.labels.join(", ");
        format!("| `{name}` | {kind} | {labels} | {} |\n", metric.help)
    };
    let rows: String = METRICS.iter().map(row).collect();

    let (before, rest) = page
        .split_once("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
        .unwrap();
    let end = rest.find("\n\n").unwrap() + 1;

    if std::env::var_os("UPDATE").is_some() {
        let head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n";
        std::fs::write(&path, format!("{before}{head}{rows}{}", &rest[end..])).unwrap();
    } else {
        assert_eq!(&rest[..end], rows);
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("deploy/watch/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known: Vec<String> = METRICS
        .iter()
        .flat_map(|metric| {
            let name = metric.full_name();
            match metric.kind {
                Kind::Counter | Kind::Gauge => vec![name],
                Kind::Histogram => ["bucket", "sum", "count"]
                    .map(|part| format!("{name}_{part}"))
                    .to_vec(),
            }
        })
        .collect();

    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let asked: Vec<&str> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .flat_map(|query| query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("tidemark_") || word.starts_with("process_"))
        .collect();

    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        assert!(known.iter().any(|known| known == name), "{name}");
    }
}

/// A process that is ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Numbers become N and runs of blanks one: what is left is the text.
fn normalised(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split_whitespace().map(without_digits).collect();
        let indent = if line.starts_with("  ") { "  " } else { "" };
        out += &format!("{indent}{}\n", words.join(" "));
    }
    out
}

fn without_digits(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c {
            '0'..='9' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            // Thousands and fractions belong to their number.
            ',' | '.' if out.ends_with('N') => out.push(c),
            c => out.push(c),
        }
        if out.ends_with("N,N") || out.ends_with("N.N") {
            out.truncate(out.len() - 2);
        }
    }
    out
}

#[test]
fn why_says_what_a_running_pipeline_does_and_what_is_left_when_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    // It ends by itself after a minute, so that nothing can wait for it for ever.
    let text = pipeline("1000", Path::new("clicks.db"));
    std::fs::write(folder.path().join("clicks.sql"), text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .current_dir(folder.path())
        .args([
            "run",
            "clicks.sql",
            "--metrics-port",
            "0",
            "--summary",
            "summary",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let log = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = log.lines().map(Result::unwrap);
    let at = lines.find_map(|line| Some(line.split_once("http://")?.1.to_owned()));
    let address: SocketAddr = at.expect("it says where it serves").trim().parse().unwrap();
    // Twice a second apart: what the log knows, the board knows too by then.
    let is_going = |line: &String| line.contains("reading") && line.contains("watermark=\"20");
    let going = lines.by_ref().filter(is_going).take(2).count();
    assert_eq!(going, 2, "it ended before it was read from");

    let by_file = tidemark(folder.path(), &["why", "clicks.sql"], &[]);
    let by_address = tidemark(folder.path(), &["why", &address.to_string(), "--json"], &[]);
    let (is_ready, _) = fetch(address, "/readyz");
    let values = values(&fetch(address, "/metrics").1);

    let process = running.0.id().to_string();
    Command::new("kill")
        .args(["-INT", &process])
        .status()
        .unwrap();
    let _ = lines.count();
    assert!(running.0.wait().unwrap().success());
    let at_rest = tidemark(folder.path(), &["why", "clicks.sql"], &[]);
    assert!(is_ready);
    assert_eq!(by_file.how, Exit::Code(0), "{}", by_file.stderr);
    assert_eq!(
        normalised(&by_file.stdout),
        WHILE_IT_RUNS,
        "{}",
        by_file.stdout
    );
    assert!(
        by_address.stdout.contains("\"stage\": \"live\""),
        "{}",
        by_address.stdout
    );
    assert_eq!(normalised(&at_rest.stdout), AT_REST, "{}", at_rest.stdout);
    for fates in Summary::read(&folder.path().join("summary")).inserts {
        let labels = format!(
            "source=\"clicks\",insert_into=\"{}\",fate=\"accepted\"",
            fates.table
        );
        let scraped = values[&format!("tidemark_records_total{{{labels}}}")];
        assert!(
            scraped > 0.0 && scraped <= fates.accepted as f64,
            "{labels}: {scraped}"
        );
    }
    assert!(!folder.path().join(".tidemark/clicks/address.json").exists());
}

const WHILE_IT_RUNS: &str = "\
clicks: live, started N s ago; epoch N

source event time to read partitions
clicks N-N-N N:N:N N records N

into from read accepted filtered late rejected
per_minute clicks N N N N N
all_time clicks N N N N N

view into from rows in filtered late
large per_minute clicks N N N
minutes per_minute clicks N N N

per_minute in clicks.db: N rows committed, N groups in N window not closed, \
visible after N s (pN N s)
  the window that ends N-N-N N:N:N closes next, when event time has passed it: \
event time is N-N-N N:N:N, N s before that; \
partition `N` of `clicks` is the furthest back, with N records still to read

all_time in clicks.db: N rows committed, visible after N s (pN N s)
  reading `clicks`: N records to go, N of them in partition `N`
";

const AT_REST: &str = "\
clicks: no process with --metrics-port was found; this is what its destinations hold; epoch N

source event time to read partitions
clicks N-N-N N:N:N unknown N

per_minute in clicks.db
  holds everything up to epoch N, by start N of the pipeline; the next one goes on from there

all_time in clicks.db
  holds everything up to epoch N, by start N of the pipeline; the next one goes on from there

a run that was started without --metrics-port cannot be asked: if the epochs above grow, one is there
";

#[test]
fn why_says_what_is_wrong_with_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();

    let nobody = tidemark(folder.path(), &["why", "127.0.0.1:1"], &[]);
    let nothing = tidemark(folder.path(), &["why", "nonsense"], &[]);

    assert_eq!(nobody.how, Exit::Code(1));
    assert!(
        nobody
            .stderr
            .starts_with("error: could not ask the process at 127.0.0.1:1\n"),
        "{}",
        nobody.stderr
    );
    assert_eq!(nothing.how, Exit::Code(2));
    assert!(
        nothing
            .stderr
            .starts_with("error: `nonsense` is neither a file nor an address\n"),
        "{}",
        nothing.stderr
    );
}
