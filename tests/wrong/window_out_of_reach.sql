-- ORDER BY a window of a SELECT that is one of two.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT PRIMARY KEY, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id, fare FROM trips UNION ALL SELECT zone_id, fare FROM trips WINDOW w AS (ORDER BY fare) ORDER BY sum(fare) OVER (w ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) LIMIT 3;
INSERT INTO out SELECT trip_id, fare FROM trips WINDOW w AS (ORDER BY fare) ORDER BY sum(fare) OVER (v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) LIMIT 3;
