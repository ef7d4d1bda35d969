-- What is summed up is a number.
CREATE TABLE t (k INT NOT NULL, a TIMESTAMP, b TIMESTAMP) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (k INT, mean INTERVAL, PRIMARY KEY (k)) WITH (connector = 'sqlite', path = 'o.db');
INSERT INTO o SELECT k, avg(b - a) FROM t GROUP BY k;
