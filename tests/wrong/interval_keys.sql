-- Intervals are no keys and have no order of bytes: a month is thirty days.
CREATE TABLE t (k TEXT, took INTERVAL, at TIMESTAMP) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE a (k TEXT PRIMARY KEY, longest INTERVAL) WITH (connector = 'sqlite', path = 'out.db', table = 'a');
CREATE TABLE b (took INTERVAL, n BIGINT) WITH (connector = 'stdout');
CREATE TABLE c (took INTERVAL) WITH (connector = 'stdout');
CREATE TABLE d (k TEXT, took INTERVAL) WITH (connector = 'stdout');
CREATE TABLE e (took INTERVAL PRIMARY KEY, k TEXT) WITH (connector = 'sqlite', path = 'out.db', table = 'e');
INSERT INTO a SELECT k, max(took) FROM t GROUP BY k;
INSERT INTO b SELECT took, count(*) FROM t GROUP BY took;
INSERT INTO c SELECT DISTINCT took FROM t;
INSERT INTO d SELECT t.k, u.took FROM t JOIN t AS u ON t.took = u.took;
INSERT INTO d SELECT k, greatest(took, INTERVAL '1 day') FROM t;
