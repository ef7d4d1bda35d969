-- state.ttl without event time.
SET 'state.ttl' = '30 days';
CREATE TABLE orders (buyer TEXT NOT NULL, cents INT) WITH (connector = 'file', path = 'orders.csv', format = 'csv');
CREATE TABLE per_buyer (buyer TEXT PRIMARY KEY, cents BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO per_buyer SELECT buyer, sum(cents) FROM orders GROUP BY buyer;
