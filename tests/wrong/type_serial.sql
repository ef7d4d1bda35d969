-- Nothing counts up by itself.
CREATE TABLE trips (trip_id BIGINT NOT NULL, zone TEXT)
  WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGSERIAL, zone TEXT) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id, zone FROM trips;
