-- A UNIQUE constraint.
CREATE TABLE t (id BIGINT, UNIQUE (id)) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
