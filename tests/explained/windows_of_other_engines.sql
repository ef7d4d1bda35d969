-- The same window as Flink, Spark and Arroyo write it.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE o (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO o SELECT window_end, count(*) FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
INSERT INTO o SELECT window.end, count(*) FROM trips GROUP BY window(pickup_at, '1 minute');
INSERT INTO o SELECT w.end, n FROM (SELECT tumble(interval '1 minute') AS w, count(*) AS n FROM trips GROUP BY w);
INSERT INTO o SELECT TUMBLE_END(pickup_at, INTERVAL '1' MINUTE), count(*) FROM trips GROUP BY TUMBLE(pickup_at, INTERVAL '1' MINUTE);
