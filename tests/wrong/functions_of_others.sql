CREATE TABLE orders (k TEXT NOT NULL, tags TEXT[], body JSON, a BIGINT, at TIMESTAMP)
  WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE a (x TEXT) WITH (connector = 'stdout');
INSERT INTO a SELECT if(a > 1, 'x', 'y') FROM orders;
INSERT INTO a SELECT jsonb_extract_path_text(body, 'user', 'name') FROM orders;
INSERT INTO a SELECT e FROM orders, jsonb_array_elements(body -> 'items') AS e;
INSERT INTO a SELECT k FROM orders WHERE tags && ARRAY['x'];
INSERT INTO a SELECT k COLLATE "C" FROM orders;
INSERT INTO a SELECT substring(k FROM '^[a-z]+') FROM orders;
INSERT INTO a SELECT to_char(a, '999') FROM orders;
INSERT INTO a SELECT date_format(at, 'yyyy-MM-dd HH:mm') FROM orders;
INSERT INTO a SELECT hour(at) FROM orders;
