-- An outer join makes rows up, which count(s.*) does not count; a column that is NOT NULL says which.
CREATE TABLE orders (id INT NOT NULL) WITH (connector = 'file', path = 'o.csv', format = 'csv');
CREATE TABLE shipments (id INT NOT NULL) WITH (connector = 'file', path = 's.csv', format = 'csv');
CREATE TABLE o (id INT, n BIGINT, PRIMARY KEY (id)) WITH (connector = 'sqlite', path = 'o.db');
INSERT INTO o SELECT o.id, count(s.*) FROM orders o LEFT JOIN shipments s ON s.id = o.id GROUP BY o.id;
