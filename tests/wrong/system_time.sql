-- FOR SYSTEM_TIME AS OF, where there are no versions, or not of that; of a name in WITH, too.
CREATE TABLE trades (at TIMESTAMP, symbol TEXT, shares INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'trades.csv', format = 'csv');
CREATE TABLE quotes (at TIMESTAMP, seen TIMESTAMP, symbol TEXT, price INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'quotes.csv', format = 'csv');
CREATE TABLE rates (since TIMESTAMP, symbol TEXT, rate INT, PRIMARY KEY (symbol), WATERMARK FOR since AS since)
  WITH (connector = 'file', path = 'rates.csv', format = 'csv');
CREATE TABLE zones (symbol TEXT PRIMARY KEY, zone TEXT) WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE out (at TIMESTAMP, n INT) WITH (connector = 'stdout');
CREATE VIEW latest AS SELECT symbol, price, at FROM quotes;
INSERT INTO out SELECT t.at, 1 FROM trades t JOIN zones FOR SYSTEM_TIME AS OF t.at AS z ON t.symbol = z.symbol;
INSERT INTO out SELECT t.at, q.price FROM trades t JOIN quotes FOR SYSTEM_TIME AS OF t.at AS q ON t.symbol = q.symbol;
INSERT INTO out SELECT t.at, q.price FROM trades t JOIN latest FOR SYSTEM_TIME AS OF t.at AS q ON t.symbol = q.symbol;
INSERT INTO out SELECT t.at, r.rate FROM trades t FULL JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol;
INSERT INTO out SELECT t.at, r.rate FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol AND t.shares = r.rate;
INSERT INTO out SELECT t.at, r.rate FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.shares = r.rate;
INSERT INTO out SELECT r.since, r.rate FROM rates FOR SYSTEM_TIME AS OF TIMESTAMP '2024-05-01 00:00:00' AS r;
INSERT INTO out WITH r AS (SELECT * FROM rates) SELECT t.at, r.rate FROM trades t JOIN r FOR SYSTEM_TIME AS OF t.at ON t.symbol = r.symbol;
INSERT INTO out SELECT t.at, r.rate FROM trades t JOIN public.rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol;
INSERT INTO out WITH rates AS (SELECT * FROM rates WHERE rate > 0) SELECT t.at, r.rate FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol;
INSERT INTO out WITH rates AS (SELECT * FROM rates UNION ALL SELECT * FROM rates) SELECT t.at, r.rate FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol;
INSERT INTO out WITH rates AS (SELECT * FROM rates) SELECT * FROM (SELECT t.at, r.rate FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol) q;
INSERT INTO out SELECT t.at, r.rate FROM trades t JOIN ratse FOR SYSTEM_TIME AS OF t.at AS r ON t.symbol = r.symbol;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes FOR SYSTEM_TIME AS OF t.at AS q ON t.symbol = q.symbol AND t.at >= q.at;
