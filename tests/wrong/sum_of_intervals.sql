-- Intervals are added up, and not told apart.
CREATE TABLE t (k INT NOT NULL, took INTERVAL) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (k INT, total INTERVAL, PRIMARY KEY (k)) WITH (connector = 'sqlite', path = 'o.db');
CREATE TABLE p (k INT, total DOUBLE PRECISION, PRIMARY KEY (k)) WITH (connector = 'sqlite', path = 'o.db');
INSERT INTO o SELECT k, sum(DISTINCT took) FROM t GROUP BY k;
INSERT INTO p SELECT k, stddev(took) FROM t GROUP BY k;
