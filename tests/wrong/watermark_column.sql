-- A watermark of a column that is not there.
CREATE TABLE t (id BIGINT, at TIMESTAMP, WATERMARK FOR ta AS ta) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
