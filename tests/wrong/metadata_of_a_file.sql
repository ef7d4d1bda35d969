-- Lines of a file come without a key; and a position is a number.
CREATE TABLE t (id BIGINT, k TEXT METADATA FROM 'key') WITH (connector = 'file', path = 'x', format = 'json');
CREATE TABLE out (id BIGINT, k TEXT) WITH (connector = 'stdout');
INSERT INTO out SELECT id, k FROM t;
