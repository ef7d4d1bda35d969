-- 'upsert.by' without a key.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE latest (id BIGINT, at TIMESTAMP) WITH (connector = 'sqlite', 'upsert.by' = 'at');
INSERT INTO latest SELECT trip_id, pickup_at FROM trips;
