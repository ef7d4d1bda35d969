-- What comes with a record has its own type.
CREATE TABLE t (id BIGINT, o TEXT METADATA FROM 'offset' VIRTUAL) WITH (connector = 'kafka', topic = 't', 'bootstrap.servers' = 'x:1', format = 'json');
CREATE TABLE out (id BIGINT, o TEXT) WITH (connector = 'stdout');
INSERT INTO out SELECT id, o FROM t;
