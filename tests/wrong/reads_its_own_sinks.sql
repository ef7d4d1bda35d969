-- What this pipeline writes is what it reads, each in its own way.
CREATE TABLE clicks (page TEXT, n BIGINT)
  WITH (connector = 'kafka', topic = 'clicks', 'bootstrap.servers' = 'a:9092, b:9092', format = 'json');
CREATE TABLE back (page TEXT, n BIGINT)
  WITH (connector = 'kafka', topic = 'clicks', 'bootstrap.servers' = 'B:9092', format = 'json');
INSERT INTO back SELECT page, n + 1 FROM clicks;

CREATE TABLE orders (id BIGINT) WITH (
  connector = 'kafka', topic = 'orders', 'bootstrap.servers' = 'a:9092', format = 'json',
  'dead.letter' = 'bad_orders');
CREATE TABLE bad_orders (payload TEXT)
  WITH (connector = 'kafka', topic = 'orders', 'bootstrap.servers' = 'a:9092', format = 'raw');
CREATE TABLE seen_orders (id BIGINT) WITH (connector = 'stdout');
INSERT INTO seen_orders SELECT id FROM orders;

CREATE TABLE totals_read (k BIGINT PRIMARY KEY, n BIGINT) WITH (
  connector = 'postgres', url = 'postgres://reader@db:5432/shop', table = 'public.totals',
  'reload.interval' = '10s');
CREATE TABLE totals (k BIGINT PRIMARY KEY, n BIGINT)
  WITH (connector = 'postgres', url = 'postgres://writer@db:5432/shop');
INSERT INTO totals SELECT k, sum(n) FROM totals_read WHERE n < 10 GROUP BY k;

CREATE TABLE pages_read (page TEXT PRIMARY KEY, title TEXT)
  WITH (connector = 'postgres', url = 'postgres://reader@db:5432/shop', table = 'pages');
CREATE TABLE pages (page TEXT PRIMARY KEY, title TEXT)
  WITH (connector = 'postgres', url = 'postgres://writer@db:5432/shop');
CREATE TABLE views (page TEXT NOT NULL) WITH (connector = 'file', path = 'views', format = 'csv', watch = 'true');
INSERT INTO pages SELECT v.page, max(p.title) FROM views v JOIN pages_read p ON v.page = p.page GROUP BY v.page;

CREATE TABLE found (id BIGINT) WITH (connector = 'file', path = 'data/*.json', format = 'json');
CREATE TABLE written (id BIGINT) WITH (connector = 'file', path = './data/all.json', format = 'json');
INSERT INTO written SELECT id FROM found;
