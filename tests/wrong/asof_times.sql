-- ASOF JOIN that takes the next row, more than one time, another time, no time, several rows at a time.
CREATE TABLE trades (at TIMESTAMP, symbol TEXT, shares INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'trades.csv', format = 'csv');
CREATE TABLE quotes (at TIMESTAMP, seen TIMESTAMP, symbol TEXT, price INT, WATERMARK FOR at AS at)
  WITH (connector = 'file', path = 'quotes.csv', format = 'csv');
CREATE TABLE rates (since TIMESTAMP, symbol TEXT, rate INT, PRIMARY KEY (symbol), WATERMARK FOR since AS since)
  WITH (connector = 'file', path = 'rates.csv', format = 'csv');
CREATE TABLE zones (symbol TEXT PRIMARY KEY, zone TEXT) WITH (connector = 'file', path = 'zones.csv', format = 'csv');
CREATE TABLE out (at TIMESTAMP, n INT) WITH (connector = 'stdout');
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol AND t.at <= q.at;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol AND t.at >= q.at AND t.shares > q.price;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol AND t.at >= q.seen;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q ON t.symbol = q.symbol;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.at >= t.at) ON t.symbol = q.symbol;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN quotes q USING (symbol, at);
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN (SELECT q.at, q.symbol, r.rate AS price FROM quotes q ASOF JOIN rates r ON q.symbol = r.symbol AND q.at >= r.since) q ON t.symbol = q.symbol AND t.at >= q.at;
INSERT INTO out SELECT t.at, q.price FROM trades t ASOF JOIN (SELECT window_end, symbol, seen, max(price) AS price FROM TUMBLE(quotes, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, symbol, seen) q ON t.symbol = q.symbol AND t.at >= q.window_end;
