CREATE TABLE orders (k TEXT NOT NULL, at TIMESTAMP NOT NULL, a BIGINT, b BIGINT, t TEXT,
  WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
  WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE greatest_numbers (k TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'stdout');
INSERT INTO greatest_numbers SELECT k, CAST(max(t) AS BIGINT) + 1 FROM orders GROUP BY k;
