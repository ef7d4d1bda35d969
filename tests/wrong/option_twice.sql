-- An option given twice.
CREATE TABLE t (id BIGINT) WITH (connector = 'file', path = 'a', 'path' = 'b');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
