-- A word that PostgreSQL reads as a function.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone TEXT, at TIMESTAMP, fare DECIMAL(10,2),
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id FROM trips WHERE user = 'me';
