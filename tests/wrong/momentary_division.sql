CREATE TABLE orders (k TEXT NOT NULL, at TIMESTAMP NOT NULL, a BIGINT, b BIGINT, t TEXT,
  WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
  WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE shares (k TEXT PRIMARY KEY, share BIGINT) WITH (connector = 'stdout');
INSERT INTO shares SELECT k, 10 / (count(*) - 1) FROM orders GROUP BY k;
