-- A bracket that is never closed.
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
CREATE TABLE t (id BIGINT WITH (connector = 'file');
INSERT INTO out SELECT id, id FROM t;
