-- An aggregate over closed windows.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE o (at TIMESTAMP, n BIGINT, zones BIGINT[]) WITH (connector = 'stdout');
INSERT INTO o SELECT window_end, max(n), array_agg(n ORDER BY n DESC) FROM (
  SELECT window_start, window_end, zone_id, count(*) AS n FROM HOP(trips, pickup_at, INTERVAL '5' MINUTE, INTERVAL '1' HOUR)
  GROUP BY window_start, window_end, zone_id) GROUP BY window_start, window_end;
