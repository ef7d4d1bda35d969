-- ASOF JOIN with conditions that are no equality, of rows that change, or of a table without event time.
CREATE TABLE trades (at TIMESTAMP, symbol TEXT, shares INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'trades.csv', format = 'csv');
CREATE TABLE quotes (at TIMESTAMP, seen TIMESTAMP, symbol TEXT, price INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'quotes.csv', format = 'csv');
CREATE TABLE rates (since TIMESTAMP, symbol TEXT, rate INT, PRIMARY KEY (symbol), WATERMARK FOR since AS since)
  WITH (connector = 'file', path = 'rates.csv', format = 'csv');
CREATE TABLE zones (symbol TEXT PRIMARY KEY, zone TEXT) WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE out (at TIMESTAMP, n INT) WITH (connector = 'stdout');
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.at >= q.at) ON t.symbol = q.symbol AND q.price <> 5;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.at >= q.at) ON t.symbol = q.symbol AND q.price = 5;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN
  (SELECT symbol, max(at) AS at, max(price) AS price FROM quotes GROUP BY symbol) q ON t.symbol = q.symbol AND t.at >= q.at;
INSERT INTO out SELECT t.at, 1 FROM trades t ASOF RIGHT JOIN quotes q ON t.symbol = q.symbol AND t.at >= q.at;
