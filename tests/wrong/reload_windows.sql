-- Windows go below the join with a table that is read again.
CREATE TABLE sales (at TIMESTAMP NOT NULL, city INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'sales.json', format = 'json');
CREATE TABLE cities (city INT PRIMARY KEY, name TEXT)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '30s');
CREATE TABLE out (name TEXT, window_end TIMESTAMP, n BIGINT, PRIMARY KEY (name, window_end)) WITH (connector = 'stdout');
INSERT INTO out
  SELECT name, window_end, count(*)
  FROM TUMBLE((SELECT s.at, c.name FROM sales s JOIN cities c ON s.city = c.city), at, INTERVAL '1' MINUTE)
  GROUP BY name, window_start, window_end;
