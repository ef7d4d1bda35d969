CREATE TABLE o (id BIGINT NOT NULL, at TIMESTAMP NOT NULL, qty INT, k TEXT, WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
  WITH (connector = 'file', path = 'o.json', format = 'json');
CREATE TABLE p (id BIGINT NOT NULL, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
  WITH (connector = 'file', path = 'p.json', format = 'json');
CREATE TABLE r (w TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO r SELECT window_start, count(*) FROM TUMBLE((SELECT p.at AS pat, o.at AS oat FROM o JOIN p ON p.id = o.id), pat, INTERVAL '30' MINUTE) GROUP BY window_start;
CREATE TABLE s (k TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'stdout');
INSERT INTO s SELECT coalesce(k, '-'), sum(CASE WHEN EXISTS (SELECT 1 FROM p WHERE p.id = o.id) THEN 1 ELSE 0 END) FROM o GROUP BY 1;
CREATE TABLE share (k TEXT PRIMARY KEY, n NUMERIC) WITH (connector = 'stdout');
INSERT INTO share SELECT coalesce(k, '-'), count(*) * 100.0 / sum(count(*)) OVER () FROM o GROUP BY 1;
INSERT INTO r SELECT window_start, count(*) FROM TUMBLE(o, at, INTERVAL '1' DAY, INTERVAL '8' HOUR) GROUP BY window_start;
