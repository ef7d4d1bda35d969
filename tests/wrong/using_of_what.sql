-- Which columns a FULL JOIN puts together, and a key that it does not have.
CREATE TABLE a (k TEXT NOT NULL, v INT) WITH (connector = 'file', path = 'a.csv', format = 'csv');
CREATE TABLE b (k TEXT NOT NULL, v INT) WITH (connector = 'file', path = 'b.csv', format = 'csv');
CREATE TABLE one (k TEXT PRIMARY KEY, v BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE two (k TEXT PRIMARY KEY, v BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE three (k TEXT PRIMARY KEY, v BIGINT) WITH (connector = 'sqlite', path = 'out.db');
CREATE TABLE four (k TEXT PRIMARY KEY, v BIGINT) WITH (connector = 'sqlite', path = 'out.db');
INSERT INTO one SELECT k, v FROM (SELECT k FROM a) FULL JOIN b USING (k);
INSERT INTO two SELECT coalesce(a.k, b.k), a.v FROM a FULL JOIN b ON a.k = b.k;
INSERT INTO three SELECT x.k, x.n FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x FULL JOIN (SELECT k, count(*) AS n FROM b GROUP BY k) AS y USING (k);
INSERT INTO four SELECT k, max(v) OVER (PARTITION BY k) FROM a;
