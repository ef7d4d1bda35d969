-- Overlapping windows go by panes; a query that reads the window itself cannot.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE o (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO o SELECT window_end, count(DISTINCT zone_id) FROM HOP(trips, pickup_at, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) GROUP BY window_start, window_end HAVING count(*) > 3;
INSERT INTO o SELECT window_end, count(*) FILTER (WHERE fare > 5) FROM CUMULATE(trips, pickup_at, INTERVAL '1' HOUR, INTERVAL '1' DAY) GROUP BY window_end;
INSERT INTO o SELECT window_end, count(*) FROM HOP(trips, pickup_at, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) WHERE window_end - pickup_at < INTERVAL '5 minutes' GROUP BY window_end;
