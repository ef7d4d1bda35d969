-- A key that may be NULL.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT)
  WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE totals (borough TEXT PRIMARY KEY, trips BIGINT)
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO totals SELECT borough, count(*) FROM trips LEFT JOIN zones USING (zone_id) GROUP BY borough;
