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
        "INSERT INTO copies SELECT trip_id, fare * 2 FROM trips WHERE fare > 10;",
        "INSERT INTO hours SELECT window_start, coalesce(z.borough, 'unknown') AS borough, count(*) AS trips, sum(fare) AS revenue
FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) t
LEFT JOIN zones z ON t.zone_id = z.zone_id
GROUP BY window_start, window_end, coalesce(z.borough, 'unknown');",
        "INSERT INTO closed SELECT window_end, count(*) FROM TABLE(HOP(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)) GROUP BY window_start, window_end HAVING count(*) > 3;",
        "INSERT INTO closed SELECT window_end, count(*) FROM HOP(trips, pickup_at, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) GROUP BY window_end; INSERT INTO totals SELECT borough, count(*) FROM trips t JOIN zones USING (zone_id) WHERE borough IS NOT NULL AND tags[1] = 'x' GROUP BY borough;",
        "INSERT INTO copies SELECT trip_id, 1 FROM trips UNION ALL SELECT trip_id, fare FROM trips;",
        "INSERT INTO totals SELECT x.tag, count(*) FROM trips t CROSS JOIN UNNEST(t.tags) AS x(tag) WHERE x.tag IS NOT NULL GROUP BY x.tag;",
        "INSERT INTO totals SELECT coalesce(tag, ''), count(*) FROM (SELECT unnest(tags) AS tag FROM trips) GROUP BY 1;",
        "INSERT INTO totals SELECT 'all', count(*) FROM trips;",
        "INSERT INTO copies SELECT trip_id, fare FROM trips WHERE zone_id IN (SELECT zone_id FROM zones WHERE borough = 'Bronx');",
        "INSERT INTO copies SELECT trip_id, fare FROM trips WHERE NOT EXISTS (SELECT 1 FROM zones z WHERE z.zone_id = trips.zone_id);",
        "INSERT INTO closed SELECT window_end, first_value(trip_id) FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_end;",
    ] {
        match planned(sql) {
            Ok(pipeline) => eprintln!("{sql}\n{}", crate::plan::explain(&pipeline, |_| String::new())),
            Err(problems) => eprintln!("{sql}\n{problems}"),
        }
    }
}
