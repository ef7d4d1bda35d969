-- Literals in a key, and in what is not grouped by, read as in SQL.
CREATE TABLE t (k TEXT, n INT NOT NULL) WITH (connector = 'file');
CREATE TABLE r (k TEXT PRIMARY KEY) WITH (connector = 'file');
CREATE TABLE counts (k TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite');
CREATE TABLE others (k TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'sqlite');
INSERT INTO counts SELECT coalesce(k, '-') AS k, count(*) FROM t GROUP BY coalesce(k, '-'), k || 'x', n + 1;
INSERT INTO others SELECT coalesce(k, '-') AS k, count(*) FROM t GROUP BY n;
