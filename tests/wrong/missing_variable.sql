-- An environment variable that is not set.
CREATE TABLE t (id BIGINT) WITH (connector = 'file', path = '${DATA}/t.json');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
