-- Intervals are added up, and not told apart.
CREATE TABLE t (k INT NOT NULL, took INTERVAL) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (k INT, total INTERVAL, PRIMARY KEY (k)) WITH (connector = 'sqlite', path = 'o.db');
INSERT INTO o SELECT k, sum(DISTINCT took) FROM t GROUP BY k;
