-- A CHECK that is no condition.
CREATE TABLE t (id BIGINT CHECK (id + 1)) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
