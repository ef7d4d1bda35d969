-- MATCH_RECOGNIZE by something that is no event time.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT a, b FROM trips MATCH_RECOGNIZE (PARTITION BY zone_id ORDER BY fare MEASURES FIRST(x.trip_id) AS a, LAST(x.fare) AS b PATTERN (x+) DEFINE x AS x.fare > 1);
