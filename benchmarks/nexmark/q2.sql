-- Nexmark 2, selection: the bids on some auctions.

CREATE TABLE bid (
  auction BIGINT NOT NULL,
  price BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q2 (
  auction BIGINT, price BIGINT
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q2
SELECT auction, price FROM bid WHERE mod(auction, 123) = 0;
