-- Functions OVER a stream that would keep all of its rows.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT trip_id, nth_value(fare, 2) OVER (PARTITION BY zone_id ORDER BY pickup_at) FROM trips;
INSERT INTO out SELECT trip_id, median(fare) OVER (PARTITION BY zone_id ORDER BY pickup_at) FROM trips;
INSERT INTO out SELECT cardinality(array_agg(fare) OVER w), length(string_agg(tags[1], ',') OVER w) FROM trips WINDOW w AS (PARTITION BY zone_id ORDER BY pickup_at);
INSERT INTO out SELECT trip_id, length(string_agg(tags[1], ',') OVER (PARTITION BY zone_id ORDER BY pickup_at)) FROM trips;
