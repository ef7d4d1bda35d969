-- Running totals that are forgotten; what reads them is taken back, and a total of all is kept.
SET 'state.ttl' = '30 days';
CREATE TABLE orders (at TIMESTAMP, buyer TEXT NOT NULL, cents INT, WATERMARK FOR at AS at - INTERVAL '10' SECOND)
  WITH (connector = 'file', path = 'orders.csv', format = 'csv');
CREATE TABLE per_buyer (buyer TEXT PRIMARY KEY, n BIGINT, cents BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE buyers_with (n BIGINT PRIMARY KEY, buyers BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE total (id INT PRIMARY KEY, cents BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE VIEW totals AS SELECT buyer, count(*) AS n, sum(cents) AS cents FROM orders GROUP BY buyer;
INSERT INTO per_buyer SELECT * FROM totals;
INSERT INTO buyers_with SELECT n, count(*) FROM totals GROUP BY n;
INSERT INTO total SELECT 1, sum(cents) FROM orders;
