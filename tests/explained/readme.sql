-- Windows, a lookup and a key.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT)
  WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE VIEW busy AS
SELECT window_start, window_end, coalesce(z.borough, 'unknown') AS borough, count(*) AS trips, sum(fare) AS revenue
FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) t
LEFT JOIN zones z ON t.zone_id = z.zone_id
GROUP BY window_start, window_end, coalesce(z.borough, 'unknown');
CREATE TABLE trips_by_borough (
  window_start TIMESTAMP, borough TEXT, trips BIGINT, revenue DECIMAL(20,2),
  PRIMARY KEY (window_start, borough)
) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO trips_by_borough SELECT window_start, borough, trips, revenue FROM busy;
