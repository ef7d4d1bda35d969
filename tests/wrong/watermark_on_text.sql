-- Event time that is text.
CREATE TABLE t (id BIGINT, at TEXT, WATERMARK FOR at AS at - INTERVAL '5' SECOND) WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
