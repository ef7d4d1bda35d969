-- Nexmark 12, bids of each user in 10 seconds. The benchmark counts in processing time, which would make
-- the result depend on the machine: here it is event time.

CREATE TABLE bid (
  bidder BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q12 (
  bidder BIGINT, bid_count BIGINT, starttime TIMESTAMP, endtime TIMESTAMP
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q12
SELECT bidder, count(*), window_start, window_end
FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end;
