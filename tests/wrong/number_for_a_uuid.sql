-- A number is no UUID, nor is a truth value.
CREATE TABLE t (n INT) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (id UUID) WITH (connector = 'stdout');
INSERT INTO o SELECT n FROM t;
INSERT INTO o SELECT n > 1 FROM t;
INSERT INTO o SELECT CAST(n AS UUID) FROM t;
