-- Nexmark 13, bounded side input: each bid with what a table says of its auction. The table is read
-- whole before the first bid.

CREATE TABLE bid (
  auction BIGINT NOT NULL,
  bidder BIGINT NOT NULL,
  price BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE side_input (key BIGINT PRIMARY KEY, value TEXT) WITH (
  connector = 'generator', rows = '10000',
  'fields.key.kind' = 'sequence', 'fields.value.kind' = 'sequence', 'fields.value.prefix' = 'value-'
);
CREATE TABLE q13 (
  auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, value TEXT
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q13
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid b JOIN side_input s ON mod(b.auction, 10000) = s.key;
