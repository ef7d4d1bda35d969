-- Trips and revenue per hour and borough. The boroughs are looked up in a table of zones.

CREATE TABLE trips (
  trip_id    BIGINT NOT NULL,
  zone_id    INT,
  fare       DECIMAL(10, 2) CHECK (fare >= 0),       -- a row that fails goes to the dead letters
  pickup_at  TIMESTAMP(3),
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (
  connector = 'file', path = 'dataflows/data/trips.json', format = 'json',
  'dead.letter' = 'trips_dead'
);

CREATE TABLE zones (zone_id INT PRIMARY KEY, borough TEXT, zone TEXT)
  WITH (connector = 'file', path = 'dataflows/data/zones.csv', format = 'csv');

CREATE VIEW busy AS
SELECT window_start, coalesce(z.borough, 'unknown') AS borough, count(*) AS trips, sum(fare) AS revenue
FROM TUMBLE(trips, pickup_at, INTERVAL '1' HOUR) t
LEFT JOIN zones z ON t.zone_id = z.zone_id
GROUP BY window_start, coalesce(z.borough, 'unknown');

-- With a PRIMARY KEY the table is kept current while the hour still runs.
CREATE TABLE trips_by_borough (
  window_start TIMESTAMP, borough TEXT, trips BIGINT, revenue DECIMAL(20, 2),
  PRIMARY KEY (window_start, borough)
) WITH (connector = 'sqlite', path = 'trips.db');

CREATE TABLE trips_dead (kind TEXT, reason TEXT, column_name TEXT, message TEXT, payload TEXT)
  WITH (connector = 'sqlite', path = 'trips.db');

INSERT INTO trips_by_borough SELECT window_start, borough, trips, revenue FROM busy;
