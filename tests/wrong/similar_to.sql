CREATE TABLE lines (text TEXT) WITH (connector = 'file', path = 'lines.csv', format = 'csv');
CREATE TABLE kept (text TEXT) WITH (connector = 'stdout');
INSERT INTO kept SELECT text FROM lines WHERE text SIMILAR TO 'h%';
