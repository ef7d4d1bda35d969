-- Nested JSON: `->` steps in and stays JSON, `->>` takes out the text. A list is unnested to rows.

CREATE TABLE events (id UUID NOT NULL, tags TEXT[], body JSON NOT NULL)
  WITH (connector = 'file', path = 'dataflows/data/events.json', format = 'json');

CREATE TABLE orders (id UUID, name TEXT, plan TEXT, first_sku TEXT, first_price DECIMAL(10, 2))
  WITH (connector = 'file', path = 'orders.json', format = 'json');

CREATE TABLE tags (tag TEXT PRIMARY KEY, events BIGINT, signups BIGINT)
  WITH (connector = 'sqlite', path = 'events.db');

INSERT INTO orders
SELECT id, body->'user'->>'name', body->'user'->>'plan',
       body->'items'->0->>'sku', CAST(body->'items'->0->>'price' AS DECIMAL(10, 2))
FROM events
WHERE body->>'kind' = 'order';

INSERT INTO tags
SELECT tag, count(*), count(*) FILTER (WHERE body->>'kind' = 'signup')
FROM events CROSS JOIN UNNEST(tags) AS t(tag)
WHERE tag IS NOT NULL
GROUP BY tag;
