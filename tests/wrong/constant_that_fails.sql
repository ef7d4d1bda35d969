CREATE TABLE lines (n INT) WITH (connector = 'file', path = 'lines.csv', format = 'csv');
CREATE TABLE kept (n DECIMAL(10,2)) WITH (connector = 'stdout');
INSERT INTO kept SELECT n + 1.5 / 0 FROM lines;
