-- A NOT NULL column from a nullable one.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE strict (id BIGINT NOT NULL, value DECIMAL(10,2) NOT NULL) WITH (connector = 'stdout');
INSERT INTO strict SELECT trip_id, fare FROM trips;
