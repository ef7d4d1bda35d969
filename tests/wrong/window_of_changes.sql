-- Windows of a running total.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT)
  WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE totals (window_start TIMESTAMP, most BIGINT, PRIMARY KEY (window_start))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO totals SELECT window_start, max(n)
  FROM TUMBLE((SELECT zone_id, max(pickup_at) AS at, count(*) AS n FROM trips GROUP BY zone_id), at, INTERVAL '1' MINUTE)
  GROUP BY window_start;
