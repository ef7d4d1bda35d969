CREATE TABLE lines (n BIGINT) WITH (connector = 'file', path = 'lines.csv', format = 'csv');
CREATE TABLE kept (x TEXT) WITH (connector = 'stdout');
INSERT INTO kept SELECT 9223372036854775807 + 1 FROM lines;
