-- Zones have names: PostgreSQL takes abbreviations and offsets for something that few people mean.
CREATE TABLE t (at TIMESTAMPTZ, took INTERVAL, day DATE) WITH (connector = 'file', path = 't.csv', format = 'csv');
CREATE TABLE o (v TEXT) WITH (connector = 'stdout');
INSERT INTO o SELECT CAST(at AT TIME ZONE 'CET' AS TEXT) FROM t;
INSERT INTO o SELECT CAST(at AT TIME ZONE '+02' AS TEXT) FROM t;
INSERT INTO o SELECT CAST(at AT TIME ZONE 'Europe/Berlim' AS TEXT) FROM t;
INSERT INTO o SELECT CAST(took AT TIME ZONE 'Europe/Berlin' AS TEXT) FROM t;
INSERT INTO o SELECT CAST(extract(week FROM took) AS TEXT) FROM t;
INSERT INTO o SELECT CAST(extract(weekday FROM day) AS TEXT) FROM t;
INSERT INTO o SELECT to_char(at, 'YYYY-MM-DDTHH24:MI:SS') FROM t;
INSERT INTO o SELECT to_char(took, 'HH24:MI') FROM t;
