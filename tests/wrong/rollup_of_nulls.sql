-- A NULL of the source reads as one that ROLLUP made.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (level INT, zone_id INT, value DECIMAL(38,2), PRIMARY KEY (level, zone_id))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT grouping(zone_id), coalesce(zone_id, -1), sum(fare) FROM trips GROUP BY ROLLUP (zone_id);
