-- A date pattern that there is not.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE o (v TEXT) WITH (connector = 'stdout');
INSERT INTO o SELECT to_char(pickup_at, 'YYYY-NN') FROM trips;
