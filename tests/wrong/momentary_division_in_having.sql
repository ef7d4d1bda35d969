CREATE TABLE orders (k TEXT NOT NULL, at TIMESTAMP NOT NULL, a BIGINT, b BIGINT, t TEXT,
  WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
  WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE shares (k TEXT, hour TIMESTAMP, n BIGINT, PRIMARY KEY (k, hour)) WITH (connector = 'stdout');
INSERT INTO shares SELECT k, window_end, count(*) FROM TUMBLE(orders, at, INTERVAL '1' HOUR)
GROUP BY k, window_end HAVING sum(a) % count(b) = 0 OR count(*) > 7;
