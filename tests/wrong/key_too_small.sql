-- A key with a column too few.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE hours (at TIMESTAMP PRIMARY KEY, zone INT, n BIGINT) WITH (connector = 'sqlite');
INSERT INTO hours SELECT window_start, zone_id, count(*) FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_start, zone_id;
