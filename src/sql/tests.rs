//! What a file plans to, read as `explain` shows it.

use super::*;

/// Sources, a reference table and a few sinks.
const TABLES: &str = "
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2) CHECK (fare >= 0), tags TEXT[],
  pickup_at TIMESTAMP(3), WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'kafka', topic = 'trips', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT) WITH (connector = 'file', path = 'z');
CREATE TABLE copies (trip_id BIGINT, fare DOUBLE PRECISION) WITH (connector = 'stdout');
CREATE TABLE hours (
  window_start TIMESTAMP, borough TEXT, trips BIGINT, revenue DECIMAL(38,2),
  PRIMARY KEY (window_start, borough)
) WITH (connector = 'sqlite', path = 'x.db');
CREATE TABLE totals (borough TEXT PRIMARY KEY, trips BIGINT) WITH (connector = 'sqlite');
CREATE TABLE closed (window_end TIMESTAMP, trips BIGINT) WITH (connector = 'stdout');
";

fn planned(sql: &str) -> Result<Pipeline, String> {
    let text = format!("{TABLES}{sql}");
    let file = SourceText {
        path: "test.sql",
        text: &text,
    };
    plan(&file, &Given::default()).map_err(|problems| {
        let problems: Vec<String> = problems
            .iter()
            .map(|problem| problem.render(&file))
            .collect();
        problems.concat()
    })
}

fn explained(sql: &str) -> String {
    match planned(sql) {
        Ok(pipeline) => crate::plan::explain(&pipeline, |_| String::new()),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn show() {
    for sql in [
        "INSERT INTO totals SELECT x.tag, count(*) FROM trips t CROSS JOIN UNNEST(t.tags) AS x(tag) WHERE x.tag IS NOT NULL GROUP BY x.tag;",
        "INSERT INTO totals SELECT x.tag, count(*) FROM trips t, UNNEST(t.tags) AS x(tag) WHERE x.tag IS NOT NULL AND t.fare > 1 GROUP BY x.tag;",
        "INSERT INTO closed SELECT window_end, first_value(trip_id) FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_end;",
        "INSERT INTO closed SELECT window_end, count(*) FROM HOP(trips, pickup_at, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) GROUP BY window_end; INSERT INTO totals SELECT borough, count(*) FROM trips t JOIN zones USING (zone_id) WHERE borough IS NOT NULL AND tags[1] = 'x' GROUP BY borough;",
        "INSERT INTO totals SELECT trip_id::text, max(zone_id) FROM trips;",
        "INSERT INTO closed SELECT window_end, max(n) FROM (SELECT window_end, zone_id, count(*) AS n FROM HOP(trips, pickup_at, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) GROUP BY window_start, window_end, zone_id) GROUP BY window_end",
        "INSERT INTO copies SELECT trip_id, fare FRM trips; INSERT INTO copies SELECT trip_i, sum(fare), nope(1) FROM trips;",
        "INSERT INTO copies SELECT trip_id, now() FROM trips LIMIT 3;",
        "INSERT INTO copies SELECT trip_id, fare FROM tripz;",
        "INSERT INTO copies SELECT trip_id, nope(fare) FROM trips;",
        "INSERT INTO copies SELECT trip_id, fare + 'x' FROM trips;",
        "INSERT INTO copies SELECT trip_id, tags + 1 FROM trips;",
        "INSERT INTO copies SELECT trip_id, substr(fare) FROM trips;",
        "INSERT INTO copies SELECT trip_id, sum(tags) FROM trips;",
        "INSERT INTO copies SELECT trip_id, sum(fare) FROM trips GROUP BY zone_id;",
        "INSERT INTO totals (borough) SELECT 'x' FROM trips WHERE false;",
        "INSERT INTO copies SELECT trip_id, fare FROM trips JOIN trips t2 USING (trip_id);",
        "INSERT INTO copies SELECT trip_id, (SELECT max(fare) FROM trips) FROM trips;",
        "INSERT INTO copies SELECT trip_id, fare, FROM trips;",
        "INSERT INTO copies SELECT a.trip_id, 1 FROM TUMBLE(trips, trip_id, INTERVAL '1' MINUTE) a;",
        "INSERT INTO copies SELECT a.trip_id, 1 FROM TUMBLE(trips, pickup_at, INTERVAL '1' MONTH) a;",
    ] {
        match planned(sql) {
            Ok(pipeline) => eprintln!(
                "{sql}\n{}",
                crate::plan::explain(&pipeline, |_| String::new())
            ),
            Err(problems) => eprintln!("{sql}\n{problems}"),
        }
    }
}
