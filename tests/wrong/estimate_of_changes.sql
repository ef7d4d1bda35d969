-- An estimate over a running total.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT)
  WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE totals (kind TEXT PRIMARY KEY, sizes BIGINT)
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO totals SELECT 'sizes', approx_distinct(n) FROM (SELECT zone_id, count(*) AS n FROM trips GROUP BY zone_id);
