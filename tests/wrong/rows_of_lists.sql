-- Functions that yield rows, where they cannot.
CREATE TABLE orders (id INT NOT NULL, text TEXT, tags TEXT[]) WITH (connector = 'file', path = 'orders.json', format = 'json');
CREATE TABLE a (id INT, tag TEXT) WITH (connector = 'stdout');
INSERT INTO a SELECT id, tag FROM orders LEFT JOIN LATERAL unnest(tags) AS u(tag) ON u.tag <> 'a';
INSERT INTO a SELECT count(*), (regexp_matches(text, 'a', 'g'))[1] FROM orders GROUP BY 2;
INSERT INTO a SELECT id, text FROM orders WHERE regexp_matches(text, 'a') IS NOT NULL;
INSERT INTO a SELECT x.id, x.text FROM orders x NATURAL FULL JOIN (SELECT text AS word FROM orders) y;
