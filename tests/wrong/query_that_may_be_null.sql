-- A query without a row is NULL, whatever its column is.
CREATE TABLE a (n INT NOT NULL) WITH (connector = 'file', path = 'a.csv', format = 'csv');
CREATE TABLE t (x INT NOT NULL, at TIMESTAMP) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (n INT PRIMARY KEY, x INT NOT NULL) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO o SELECT n, (SELECT x FROM t ORDER BY at LIMIT 1) FROM a GROUP BY n;
