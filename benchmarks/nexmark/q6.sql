-- Nexmark 6, average selling price by seller: of each auction's price with those of the ten that the
-- seller sold before it. Standard SQL says it as avg(..) OVER (.. ROWS BETWEEN 10 PRECEDING AND CURRENT
-- ROW), which is not there: it is written out. The winning bid of an auction changes while it is open, so
-- the result does: it is kept by the auction.

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
SELECT id, seller, CAST(total AS NUMERIC(38, 0)) / nullif(least(place, 11), 0)
FROM (
  SELECT id, seller, row_number() OVER w AS place,
         final
         + coalesce(lag(final, 1) OVER w, 0) + coalesce(lag(final, 2) OVER w, 0) + coalesce(lag(final, 3) OVER w, 0)
         + coalesce(lag(final, 4) OVER w, 0) + coalesce(lag(final, 5) OVER w, 0) + coalesce(lag(final, 6) OVER w, 0)
         + coalesce(lag(final, 7) OVER w, 0) + coalesce(lag(final, 8) OVER w, 0) + coalesce(lag(final, 9) OVER w, 0)
         + coalesce(lag(final, 10) OVER w, 0) AS total
  FROM (
    SELECT a.id, a.seller, b.price AS final, b.date_time,
           row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
    FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
  ) bids
  WHERE place <= 1
  WINDOW w AS (PARTITION BY seller ORDER BY date_time, id)
) sold;
