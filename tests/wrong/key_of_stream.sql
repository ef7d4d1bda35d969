-- Rows of a stream into a keyed sink.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE totals (borough BIGINT PRIMARY KEY, trips BIGINT)
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO totals SELECT trip_id, zone_id FROM trips;
