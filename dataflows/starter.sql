-- A pipeline: read records, compute, keep tables up to date. Run it with `tidemark run FILE`;
-- `tidemark check FILE` says what is wrong with it, `tidemark explain FILE` shows the plan.

-- A source is a table with a connector that is read from. This one makes rows up, so that the
-- file runs as it stands. For your own data: `tidemark infer FILE.csv` prints such a statement.
CREATE TABLE clicks (
  at      TIMESTAMP NOT NULL,
  page    TEXT NOT NULL,
  user_id BIGINT,
  ms      DOUBLE PRECISION CHECK (ms >= 0),  -- a row that fails goes to the dead letters
  -- Event time: rows may come up to 10 seconds out of order. What comes later is late.
  WATERMARK FOR at AS at - INTERVAL '10' SECOND
) WITH (
  connector = 'generator', rows = 100000,
  'fields.page.kind' = 'choice', 'fields.page.values' = '/,/docs,/pricing,/login',
  'dead.letter' = 'clicks_dead'
);

-- A sink is a table that is inserted into. With a PRIMARY KEY it is kept current: each commit
-- upserts what changed. Without one it is appended to.
CREATE TABLE clicks_per_minute (
  minute TIMESTAMP, page TEXT, clicks BIGINT, users BIGINT, slowest DOUBLE PRECISION,
  PRIMARY KEY (minute, page)
) WITH (connector = 'sqlite', path = 'clicks.db');

-- Records that were rejected or late, with the reason.
CREATE TABLE clicks_dead (kind TEXT, reason TEXT, message TEXT, payload TEXT)
  WITH (connector = 'sqlite', path = 'clicks.db');

INSERT INTO clicks_per_minute
SELECT window_start, page, count(*), count(DISTINCT user_id), max(ms)
FROM TUMBLE(clicks, at, INTERVAL '1' MINUTE)
GROUP BY window_start, window_end, page;
