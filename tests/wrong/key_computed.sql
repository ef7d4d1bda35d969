CREATE TABLE orders (country TEXT, at TIMESTAMP NOT NULL, qty INT)
  WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE r (country TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'stdout');
INSERT INTO r SELECT coalesce(country, '-'), count(*) FROM orders GROUP BY country;
CREATE TABLE m (n BIGINT PRIMARY KEY, country TEXT) WITH (connector = 'stdout');
INSERT INTO m SELECT count(*) + 1, coalesce(country, '-') FROM orders GROUP BY country;
