-- A lookup by a part of the key.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
CREATE TABLE rates (zone_id INT, kind TEXT, rate INT, PRIMARY KEY (zone_id, kind)) WITH (connector = 'file');
INSERT INTO out SELECT t.trip_id, r.rate FROM trips t JOIN rates r ON t.zone_id = r.zone_id;
