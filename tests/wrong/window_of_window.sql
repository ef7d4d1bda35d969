-- A window over windows.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE VIEW hourly AS SELECT window_start AS at, count(*) AS n FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_start;
CREATE TABLE counts (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO counts SELECT window_end, max(n) FROM TUMBLE(hourly, at, INTERVAL '1' DAY) GROUP BY window_end;
