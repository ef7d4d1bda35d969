-- A lookup in a table without a key.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
CREATE TABLE z (zone_id INT, borough TEXT) WITH (connector = 'file');
INSERT INTO out SELECT t.trip_id, t.fare FROM trips t JOIN z ON t.zone_id = z.zone_id WHERE z.borough = 'x';
