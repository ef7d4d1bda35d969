-- What stands in for NULL is no constant: two rows of one set may become equal.
CREATE TABLE sales (shop TEXT NOT NULL, kind TEXT NOT NULL, cents BIGINT)
  WITH (connector = 'file', path = 'sales.json', format = 'json');
CREATE TABLE out (level INT, shop TEXT, kind TEXT, n BIGINT, PRIMARY KEY (level, shop, kind))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT grouping(shop, kind), coalesce(shop, kind), coalesce(kind, '-'), count(*)
  FROM sales GROUP BY GROUPING SETS ((shop, kind), (kind));
