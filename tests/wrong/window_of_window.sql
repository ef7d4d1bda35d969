-- Windows of sessions by their start: how long a session is, nobody knows.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE VIEW visits AS SELECT window_start AS at, count(*) AS n FROM SESSION(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_start;
CREATE TABLE counts (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO counts SELECT window_end, max(n) FROM TUMBLE(visits, at, INTERVAL '1' DAY) GROUP BY window_end;
