-- Nexmark 10, log: every bid with its day and its minute as texts.

CREATE TABLE bid (
  auction BIGINT NOT NULL,
  bidder BIGINT NOT NULL,
  price BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  extra TEXT NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q10 (
  auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, extra TEXT, dt TEXT, hm TEXT
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q10
SELECT auction, bidder, price, date_time, extra,
       to_char(date_time, 'YYYY-MM-DD'), to_char(date_time, 'HH24:MI')
FROM bid;
