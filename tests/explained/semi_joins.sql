-- IN and NOT EXISTS of a table with a key.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT)
  WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id, fare FROM trips WHERE zone_id IN (SELECT zone_id FROM zones WHERE borough = 'Bronx');
INSERT INTO out SELECT trip_id, fare FROM trips WHERE NOT EXISTS (SELECT 1 FROM zones z WHERE z.zone_id = trips.zone_id);
