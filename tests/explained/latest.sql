-- The last row per key of a stream.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE latest (trip_id BIGINT PRIMARY KEY, fare DECIMAL(10,2), at TIMESTAMP)
  WITH (connector = 'sqlite', path = 'out.db', 'upsert.by' = 'at');
INSERT INTO latest SELECT trip_id, fare, pickup_at FROM trips;
