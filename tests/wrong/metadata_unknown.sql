-- Metadata that there is not.
CREATE TABLE t (id BIGINT, h TEXT METADATA FROM 'header') WITH (connector = 'file');
CREATE TABLE out (id BIGINT, value DECIMAL(38,2)) WITH (connector = 'stdout');
INSERT INTO out SELECT id, id FROM t;
