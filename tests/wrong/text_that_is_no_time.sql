-- A time that is written out is one.
CREATE TABLE t (at TIMESTAMP) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (at TIMESTAMP) WITH (connector = 'stdout');
INSERT INTO o SELECT at FROM t WHERE at > '2026-01-01 24:30';
