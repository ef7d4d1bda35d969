-- What a table that is read again needs, and has no use for.
CREATE TABLE sales (id BIGINT NOT NULL, city INT) WITH (connector = 'file', path = 'sales.json', format = 'json');
CREATE TABLE keyless (city INT, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '30s');
CREATE TABLE hasty (city INT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '10ms');
CREATE TABLE wordy (city INT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = 'often');
CREATE TABLE timed (city INT PRIMARY KEY, name TEXT NOT NULL, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '30s');
CREATE TABLE watched (city INT PRIMARY KEY, name TEXT NOT NULL)
  WITH (connector = 'file', path = 'cities.csv', format = 'csv', 'reload.interval' = '30s', watch = 'true');
CREATE TABLE out (name TEXT, n BIGINT, PRIMARY KEY (name)) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO out SELECT k.name, count(*) FROM sales s JOIN keyless k ON s.city = k.city
  JOIN hasty h ON s.city = h.city JOIN wordy w ON s.city = w.city JOIN timed t ON s.city = t.city
  JOIN watched x ON s.city = x.city GROUP BY k.name;
