//! What a join of streams holds when ten hours were read is what it holds after two, with a
//! `state.ttl` of one.

use std::sync::Arc;

use tidemark::dataflow::outcome::Shared;
use tidemark::dataflow::pace::Pace;
use tidemark::engine::{RunOptions, run};
use tidemark::web::Server;

use crate::eyes::{fetch, planned};

/// A record a second of each stream.
const PIPELINE: &str = "
SET 'state.ttl' = 'TTL';
CREATE TABLE orders (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) WITH (
  connector = 'generator', rows = 'ROWS', 'rows.per.second' = '1', partitions = '2',
  'fields.id.kind' = 'sequence'
);
CREATE TABLE payments (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) WITH (
  connector = 'generator', rows = 'ROWS', 'rows.per.second' = '1', partitions = '2',
  'fields.id.kind' = 'sequence'
);
CREATE TABLE paid (id BIGINT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite', path = 'FOLDER/paid.db');
INSERT INTO paid SELECT coalesce(o.id, 0), count(*) FROM orders o LEFT JOIN payments p ON o.id = p.id
GROUP BY coalesce(o.id, 0);
";

/// An operator, its rows and their bytes.
type Held = (String, usize, usize);

/// What is held at the end, by operator: rows and bytes.
fn held(ttl: &str, hours: usize) -> Vec<Held> {
    let folder = tempfile::tempdir().unwrap();
    let text = PIPELINE
        .replace("TTL", ttl)
        .replace("ROWS", &(hours * 3600).to_string())
        .replace("FOLDER", &folder.path().display().to_string());
    let (pipeline, shared) = (planned("paid", &text), Arc::new(Shared::default()));
    let server = Server::start(([127, 0, 0, 1].into(), 0), &pipeline, &shared).unwrap();
    let options = RunOptions {
        threads: Some(2),
        base: folder.path().to_owned(),
        pace: Some(Pace::Arrivals { seed: 1 }),
        ..RunOptions::default()
    };
    run(&pipeline, &options, &shared).unwrap();
    let (_, text) = fetch(server.address(), "/metrics");
    server.end();
    let of = |name: &str| -> Vec<(String, usize)> {
        let start = format!("{name}{{operator=");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&start));
        let value = |line: &str| {
            let (operator, value) = line.rsplit_once(' ').unwrap();
            (operator.to_owned(), value.parse().unwrap())
        };
        lines.map(value).collect()
    };
    let bytes = of("tidemark_state_bytes")
        .into_iter()
        .map(|(_, bytes)| bytes);
    let rows = of("tidemark_state_rows").into_iter();
    let held = rows.zip(bytes);
    held.map(|((operator, rows), bytes)| (operator, rows, bytes))
        .collect()
}

#[test]
fn a_join_of_ten_hours_with_a_ttl_of_one_holds_no_more_than_of_two() {
    let total = |held: &[Held]| held.iter().map(|(_, rows, _)| rows).sum::<usize>();

    let (two, ten) = (held("1 hour", 2), held("1 hour", 10));
    let all = held("1000 hours", 10);

    assert!(total(&ten) <= total(&two) * 5 / 4, "{ten:?}, and {two:?}");
    assert!(total(&all) >= 4 * total(&ten), "{all:?}, and {ten:?}");
    let kept = ten
        .iter()
        .filter(|(operator, ..)| operator.contains("keep"));
    for (operator, rows, bytes) in kept {
        // An hour, and how far the partitions are apart.
        assert!((3600..=3700).contains(rows), "{operator} holds {rows}");
        assert!(
            bytes / rows < 30,
            "{operator} holds {rows} in {bytes} bytes"
        );
    }
}
