-- A window over a time that is not event time.
CREATE TABLE t (id BIGINT, at TIMESTAMP) WITH (connector = 'file');
CREATE TABLE counts (at TIMESTAMP, n BIGINT) WITH (connector = 'stdout');
INSERT INTO counts SELECT window_start, count(*) FROM TUMBLE(t, at, INTERVAL '1' MINUTE) GROUP BY window_start;
