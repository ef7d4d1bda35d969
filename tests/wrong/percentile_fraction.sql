-- A percentile of more than one.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE p (at TIMESTAMP, v DOUBLE PRECISION) WITH (connector = 'stdout');
INSERT INTO p SELECT window_end, percentile_cont(95) WITHIN GROUP (ORDER BY fare) FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_end;
