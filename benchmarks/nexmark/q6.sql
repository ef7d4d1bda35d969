-- Nexmark 6, average selling price by seller: of each closed auction's price with those of the ten
-- before it. The benchmark's own words, "the last ten of each seller", are a window of rows that slides with
-- what is sold; standard SQL says it with OVER, one row per auction. The winning bid of an auction
-- changes while it is open, so the result does: it is kept by the auction.

CREATE TABLE auction (
  id BIGINT NOT NULL,
  seller BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  expires TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'auction',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
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
CREATE TABLE q6 (
  id BIGINT PRIMARY KEY, seller BIGINT, average NUMERIC(38, 16)
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q6
SELECT id, seller, avg(final) OVER (
  PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW
)
FROM (
  SELECT a.id, a.seller, b.price AS final, b.date_time,
         row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
  FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
) bids
WHERE place <= 1;
