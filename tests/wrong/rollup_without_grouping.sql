-- The rows of ROLLUP have a key with grouping() alone.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, zone_id INT, value DECIMAL(38,2), PRIMARY KEY (id, zone_id))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT trip_id % 10, coalesce(zone_id, -1), sum(fare) FROM trips WHERE zone_id IS NOT NULL
  GROUP BY trip_id % 10, ROLLUP (zone_id);
