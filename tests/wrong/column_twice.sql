-- A column declared twice.
CREATE TABLE t (id BIGINT, ID TEXT) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
