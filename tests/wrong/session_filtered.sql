-- Rows of a SESSION that are filtered after it was made.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT zone_id, sum(fare) FROM SESSION(trips PARTITION BY zone_id, pickup_at, INTERVAL '10' MINUTE)
WHERE fare > 10 GROUP BY zone_id, window_start;
