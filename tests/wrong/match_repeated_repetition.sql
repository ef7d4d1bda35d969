-- MATCH_RECOGNIZE that repeats a repetition.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT a, b FROM trips MATCH_RECOGNIZE (PARTITION BY zone_id ORDER BY pickup_at MEASURES FIRST(x.trip_id) AS a, LAST(y.fare) AS b PATTERN ((x+)+ y) DEFINE x AS x.fare > 1, y AS y.fare > 2);
INSERT INTO out SELECT a, b FROM trips MATCH_RECOGNIZE (PARTITION BY zone_id ORDER BY pickup_at MEASURES FIRST(x.trip_id) AS a, LAST(y.fare) AS b PATTERN ((x | y+)* y) DEFINE x AS x.fare > 1, y AS y.fare > 2);
INSERT INTO out SELECT a, b FROM trips MATCH_RECOGNIZE (PARTITION BY zone_id ORDER BY pickup_at MEASURES FIRST(x.trip_id) AS a, LAST(y.fare) AS b PATTERN ((x* y+)+) DEFINE x AS x.fare > 1, y AS y.fare > 2);
INSERT INTO out SELECT a, b FROM trips MATCH_RECOGNIZE (PARTITION BY zone_id ORDER BY pickup_at MEASURES FIRST(x.trip_id) AS a, LAST(y.fare) AS b PATTERN ((x* y*)+ x) DEFINE x AS x.fare > 1, y AS y.fare > 2);
