-- Lists and JSON.
CREATE TABLE trips (
  trip_id BIGINT NOT NULL, zone_id INT, fare DECIMAL(10,2), tags TEXT[], body JSON,
  pickup_at TIMESTAMP,
  WATERMARK FOR pickup_at AS pickup_at - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE tags (tag TEXT PRIMARY KEY, n BIGINT, cards BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO tags SELECT tag, count(*), count(*) FILTER (WHERE body->'payment'->>'kind' = 'card')
FROM trips CROSS JOIN UNNEST(tags) AS u(tag) WHERE tag IS NOT NULL GROUP BY tag;
