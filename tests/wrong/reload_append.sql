-- A table that is read again changes what was said, and a sink without a key cannot take it back.
CREATE TABLE sales (id BIGINT NOT NULL, city INT) WITH (connector = 'file', path = 'sales.json', format = 'json');
CREATE TABLE cities (city INT PRIMARY KEY, name TEXT)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '30s');
CREATE TABLE out (id BIGINT, name TEXT) WITH (connector = 'stdout');
INSERT INTO out SELECT s.id, c.name FROM sales s JOIN cities c ON s.city = c.city;
