//! `state.ttl` from the outside: a key that is over leaves the table, and what was computed of it.

use crate::services::kafka;
use crate::support::{Exit, tidemark};
use crate::versions::{send, told, write};

const PIPELINE: &str = "
SET 'state.ttl' = '1 day';
CREATE TABLE orders (
  at TIMESTAMP(3) METADATA FROM 'timestamp', buyer TEXT METADATA FROM 'key', cents INT,
  WATERMARK FOR at AS at
) WITH (connector = 'kafka', topic = '${TOPIC}', 'bootstrap.servers' = '${KAFKA}', format = 'json');
CREATE TABLE per_buyer (buyer TEXT PRIMARY KEY, n BIGINT, cents BIGINT)
  WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE buyers (n BIGINT PRIMARY KEY, buyers BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE VIEW totals AS SELECT coalesce(buyer, '') AS buyer, count(*) AS n, sum(cents) AS cents
FROM orders GROUP BY coalesce(buyer, '');
INSERT INTO per_buyer SELECT * FROM totals;
INSERT INTO buyers SELECT n, count(*) FROM totals GROUP BY n;
";

#[test]
fn a_key_that_is_over_leaves_also_after_a_restart_with_other_threads() {
    let Some(servers) = kafka("this test") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unique = folder.path().file_name().unwrap().to_str().unwrap();
    let topic = format!("forgetting-{}", unique.trim_start_matches('.'));
    std::fs::write(folder.path().join("forget.sql"), PIPELINE).unwrap();
    let run = |threads: &str| {
        let arguments = [
            "run",
            "forget.sql",
            "--until-caught-up",
            "--threads",
            threads,
        ];
        let variables = [("TOPIC", topic.as_str()), ("KAFKA", servers.as_str())];
        let ran = tidemark(folder.path(), &arguments, &variables);
        assert_eq!(ran.how, Exit::Code(0), "{}", ran.stderr);
        told(folder.path())
    };
    const HOUR: i64 = 3_600_000;
    let cents = |cents: i64| format!("{{\"cents\": {cents}}}");
    let (five, one, seven) = (cents(5), cents(1), cents(7));

    write(
        &servers,
        &topic,
        &[(HOUR, "ann", Some(&five)), (HOUR, "bob", Some(&one))],
    );
    let expected = ["buyers: 1 2", "per_buyer: ann 1 5", "per_buyer: bob 1 1"];
    assert_eq!(run("2"), expected);
    send(&servers, &topic, &[(20 * HOUR, "bob", Some(&seven))]);
    let expected = [
        "buyers: 1 1",
        "buyers: 2 1",
        "per_buyer: ann 1 5",
        "per_buyer: bob 2 8",
    ];
    assert_eq!(run("3"), expected);
    send(&servers, &topic, &[(30 * HOUR, "cid", Some(&one))]);
    let expected = [
        "buyers: 1 1",
        "buyers: 2 1",
        "per_buyer: bob 2 8",
        "per_buyer: cid 1 1",
    ];
    assert_eq!(run("1"), expected);
    send(&servers, &topic, &[(31 * HOUR, "ann", Some(&seven))]);
    let expected = [
        "buyers: 1 2",
        "buyers: 2 1",
        "per_buyer: ann 1 7",
        "per_buyer: bob 2 8",
        "per_buyer: cid 1 1",
    ];
    assert_eq!(run("2"), expected);
}
