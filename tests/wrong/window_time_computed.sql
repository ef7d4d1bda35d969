-- A window over a computed time.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE counts (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO counts SELECT window_start, count(*) FROM TUMBLE((SELECT pickup_at + INTERVAL '1 hour' AS later FROM trips), later, INTERVAL '1' MINUTE) GROUP BY window_start;
