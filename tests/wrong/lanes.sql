-- Lanes where rows cannot be written side by side.
CREATE TABLE trips (trip_id BIGINT NOT NULL, fare DECIMAL(10,2))
  WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE totals (trip_id BIGINT PRIMARY KEY, trips BIGINT)
  WITH (connector = 'postgres', url = 'postgres://u@h/d', 'sink.lanes' = '3');
CREATE TABLE many (trip_id BIGINT)
  WITH (connector = 'postgres', url = 'postgres://u@h/d', 'sink.lanes' = '300');
CREATE TABLE none (trip_id BIGINT)
  WITH (connector = 'postgres', url = 'postgres://u@h/d', 'sink.lanes' = '0');
CREATE TABLE light (trip_id BIGINT)
  WITH (connector = 'sqlite', path = 'out.db', 'sink.lanes' = '3');
INSERT INTO totals SELECT trip_id, count(*) FROM trips GROUP BY trip_id;
INSERT INTO many SELECT trip_id FROM trips;
INSERT INTO none SELECT trip_id FROM trips;
INSERT INTO light SELECT trip_id FROM trips;
