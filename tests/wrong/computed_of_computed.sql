-- A computed column that reads another.
CREATE TABLE t (id BIGINT, a AS id + 1, b AS a + 1) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, b FROM t;
