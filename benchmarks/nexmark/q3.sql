-- Nexmark 3, local items: who sells in category 10 in three states. A join of two streams without an
-- end in time: both are kept.

CREATE TABLE auction (
  id BIGINT NOT NULL,
  seller BIGINT NOT NULL,
  category BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'auction',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE person (
  id BIGINT NOT NULL,
  name TEXT NOT NULL,
  city TEXT NOT NULL,
  state TEXT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'person',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q3 (
  name TEXT, city TEXT, state TEXT, id BIGINT
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q3
SELECT p.name, p.city, p.state, a.id
FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA');
