-- An aggregate whose order nothing gives.
CREATE TABLE t (id BIGINT, v TEXT) WITH (connector = 'file');
CREATE TABLE o (k BIGINT PRIMARY KEY, v TEXT) WITH (connector = 'sqlite');
INSERT INTO o SELECT coalesce(id, 0), string_agg(v, ',') FROM t GROUP BY 1;
