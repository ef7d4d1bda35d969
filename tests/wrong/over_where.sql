-- Functions OVER (..) where they cannot stand, and frames that mean nothing.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare INT, pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE one (id BIGINT, value BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE two (id BIGINT, value BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE three (id BIGINT, value BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE four (id BIGINT, value BIGINT, more BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO one SELECT trip_id, fare FROM trips WHERE row_number() OVER (PARTITION BY zone_id ORDER BY pickup_at) = 1;
INSERT INTO two SELECT trip_id, sum(fare) OVER (PARTITION BY zone_id ORDER BY pickup_at RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) FROM trips;
INSERT INTO three SELECT trip_id, sum(fare) OVER (PARTITION BY zone_id ORDER BY pickup_at ROWS BETWEEN CURRENT ROW AND 2 PRECEDING) FROM trips;
INSERT INTO four SELECT trip_id, lead(fare) OVER (PARTITION BY zone_id ORDER BY pickup_at),
  sum(fare) OVER (PARTITION BY fare ORDER BY pickup_at ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING) FROM trips;
