-- A text compared with a number, as PostgreSQL would refuse it.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone TEXT, at TIMESTAMP, fare DECIMAL(10,2),
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id FROM trips WHERE zone > 5 OR 7 = zone OR zone IN ('a', at);
INSERT INTO out SELECT trip_id FROM trips WHERE at > '2026-03-01' AND fare BETWEEN '1' AND 8;
