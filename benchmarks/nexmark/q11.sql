-- Nexmark 11, sessions: how many bids a user makes until a pause of 10 seconds.

CREATE TABLE bid (
  bidder BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q11 (
  bidder BIGINT, bid_count BIGINT, starttime TIMESTAMP, endtime TIMESTAMP
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q11
SELECT bidder, count(*), window_start, window_end
FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end;
