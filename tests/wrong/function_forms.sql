-- A function with too few arguments: its forms.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone TEXT, at TIMESTAMP, fare DECIMAL(10,2),
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT) WITH (connector = 'stdout');
INSERT INTO out SELECT length(left(zone)) FROM trips;
