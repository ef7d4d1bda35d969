-- More sets than anybody reads.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (level INT PRIMARY KEY, value DECIMAL(38,2))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT grouping(zone_id), sum(fare) FROM trips
  GROUP BY CUBE (zone_id, trip_id, fare, pickup_at, trip_id % 2, trip_id % 3, trip_id % 5);
