-- Five statements with a problem each.
SET 'commit.intervall' = '1s';
CREATE TABLE t (id BIGINTT, at TIMESTAMP(9)) WITH (connector = 'file');
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_idd, fare FROM trips;
INSERT INTO out SELECT trip_id, fare FROM t;
INSERT INTO outt SELECT trip_id, fare FROM trips;
DELETE FROM out;
