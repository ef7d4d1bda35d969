-- Two sets of this CUBE leave `shop` out.
CREATE TABLE sales (shop TEXT NOT NULL, kind TEXT NOT NULL, cents BIGINT)
  WITH (connector = 'file', path = 'sales.json', format = 'json');
CREATE TABLE out (level INT, shop TEXT, kind TEXT, n BIGINT, PRIMARY KEY (level, shop, kind))
  WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT grouping(shop), coalesce(shop, '-'), coalesce(kind, '-'), count(*)
  FROM sales GROUP BY CUBE (shop, kind);
