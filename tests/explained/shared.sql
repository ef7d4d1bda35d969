-- Two sinks of one view: what they share is computed once.
SET 'allowed.lateness' = '30s';
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE VIEW hourly AS SELECT window_end, zone_id, count(*) AS n, sum(fare) AS revenue
FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) GROUP BY window_end, zone_id;
CREATE TABLE many (at TIMESTAMP, zone INT, n BIGINT) WITH (connector = 'stdout');
CREATE TABLE rich (at TIMESTAMP, zone INT, revenue DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO many SELECT window_end, zone_id, n FROM hourly WHERE revenue > 100;
INSERT INTO rich SELECT window_end, zone_id, revenue FROM hourly WHERE n > 10;
