-- A query inside an expression: in a SELECT list, and after OR.
CREATE TABLE t (k TEXT, n INT NOT NULL) WITH (connector = 'file');
CREATE TABLE r (k TEXT PRIMARY KEY) WITH (connector = 'file');
CREATE TABLE out (known BOOLEAN) WITH (connector = 'stdout');
INSERT INTO out SELECT k IN (SELECT k FROM r) FROM t;
INSERT INTO out SELECT EXISTS (SELECT 1 FROM r WHERE r.k = t.k) AND n > 1 FROM t;
INSERT INTO out SELECT n > 1 FROM t WHERE n > 1 OR k IN (SELECT k FROM r);
