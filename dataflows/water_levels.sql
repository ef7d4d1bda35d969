-- Overlapping windows: the highest water of the last hour, every 20 minutes (HOP), and the mean
-- since six o'clock, hour by hour (CUMULATE).

CREATE TABLE levels (
  at TIMESTAMP, gauge TEXT NOT NULL, metres DECIMAL(6, 2),
  WATERMARK FOR at AS at - INTERVAL '0' SECOND
) WITH (connector = 'file', path = 'dataflows/data/levels.csv', format = 'csv');

CREATE TABLE highest (until TIMESTAMP, gauge TEXT, metres DECIMAL(6, 2))
  WITH (connector = 'sqlite', path = 'levels.db');

CREATE TABLE mean_so_far (until TIMESTAMP, gauge TEXT, readings BIGINT, mean DECIMAL(6, 3),
                          PRIMARY KEY (until, gauge))
  WITH (connector = 'sqlite', path = 'levels.db');

INSERT INTO highest
SELECT window_end, gauge, max(metres)
FROM HOP(levels, at, INTERVAL '20' MINUTE, INTERVAL '1' HOUR)
GROUP BY window_start, window_end, gauge;

INSERT INTO mean_so_far
SELECT window_end, gauge, count(metres), CAST(avg(metres) AS DECIMAL(6, 3))
FROM CUMULATE(levels, at, INTERVAL '1' HOUR, INTERVAL '3' HOUR)
GROUP BY window_start, window_end, gauge;
