-- Nexmark 20, expanded bids: each bid on an auction of category 10 with that auction.

CREATE TABLE bid (
  auction BIGINT NOT NULL,
  bidder BIGINT NOT NULL,
  price BIGINT NOT NULL,
  channel TEXT NOT NULL,
  url TEXT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  extra TEXT NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'bid',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE auction (
  id BIGINT NOT NULL,
  item_name TEXT NOT NULL,
  description TEXT NOT NULL,
  initial_bid BIGINT NOT NULL,
  reserve BIGINT NOT NULL,
  date_time TIMESTAMP NOT NULL,
  expires TIMESTAMP NOT NULL,
  seller BIGINT NOT NULL,
  category BIGINT NOT NULL,
  extra TEXT NOT NULL,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (
  connector = 'nexmark', "table" = 'auction',
  events = '${NEXMARK_EVENTS:-1000000}', 'events.per.second' = '${NEXMARK_RATE:-10000}',
  partitions = '${NEXMARK_PARTITIONS:-2}', seed = '${NEXMARK_SEED:-0}'
);
CREATE TABLE q20 (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, bid_date_time TIMESTAMP,
  bid_extra TEXT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
  auction_date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, auction_extra TEXT
) WITH (connector = 'sqlite', path = '${NEXMARK_DB:-nexmark.db}');

INSERT INTO q20
SELECT auction, bidder, price, channel, url, b.date_time, b.extra,
       item_name, description, initial_bid, reserve, a.date_time, expires, seller, category, a.extra
FROM bid b JOIN auction a ON b.auction = a.id
WHERE a.category = 10;
