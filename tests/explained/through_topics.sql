-- A topic between two INSERTs is no circle, and one whose records come back until they are done ends.
CREATE TABLE raw (id BIGINT, tries BIGINT)
  WITH (connector = 'kafka', topic = 'raw', 'bootstrap.servers' = 'a:9092', format = 'json');
CREATE TABLE raw_again (id BIGINT, tries BIGINT)
  WITH (connector = 'kafka', topic = 'raw', 'bootstrap.servers' = 'a:9092', format = 'json');
CREATE TABLE middle (id BIGINT)
  WITH (connector = 'kafka', topic = 'middle', 'bootstrap.servers' = 'a:9092', format = 'json');
CREATE TABLE middle_read (id BIGINT)
  WITH (connector = 'kafka', topic = 'middle', 'bootstrap.servers' = 'a:9092', format = 'json');
CREATE TABLE done (id BIGINT) WITH (connector = 'stdout');
INSERT INTO raw_again SELECT id, tries + 1 FROM raw WHERE tries < 3;
INSERT INTO middle SELECT id FROM raw WHERE tries >= 3;
INSERT INTO done SELECT id FROM middle_read;
