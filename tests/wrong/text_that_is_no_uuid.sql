CREATE TABLE lines (n BIGINT) WITH (connector = 'file', path = 'lines.csv', format = 'csv');
CREATE TABLE kept (x TEXT) WITH (connector = 'stdout');
INSERT INTO kept SELECT CAST('nobody' AS UUID) FROM lines;
