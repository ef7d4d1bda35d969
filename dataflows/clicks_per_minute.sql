-- Clicks per minute and page. What comes too late, or cannot be read, is kept with its reason.

CREATE TABLE clicks (
  at TIMESTAMP NOT NULL,
  page TEXT,
  visitor TEXT,
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH (
  connector = 'file', path = 'dataflows/data/clicks.csv', format = 'csv',
  'dead.letter' = 'missed'
);

CREATE TABLE per_minute (minute TIMESTAMP, page TEXT, clicks BIGINT, visitors BIGINT)
  WITH (connector = 'file', path = 'per_minute.csv', format = 'csv');

CREATE TABLE missed (kind TEXT, message TEXT, payload TEXT)
  WITH (connector = 'file', path = 'missed.csv', format = 'csv');

INSERT INTO per_minute
SELECT window_start, page, count(*), count(DISTINCT visitor)
FROM TUMBLE(clicks, at, INTERVAL '1' MINUTE)
GROUP BY window_start, page;
