CREATE TABLE t (id INT NOT NULL, xs INT[]) WITH (connector = 'file', path = 't.json', format = 'json');
CREATE TABLE o (id INT, has INT, x INT) WITH (connector = 'stdout');
INSERT INTO o SELECT id, u.has, u.x FROM t
  LEFT JOIN LATERAL (SELECT 1 AS has, coalesce(e, 0) AS x FROM unnest(t.xs) AS z(e)) AS u ON true;
CREATE TABLE likes (id INT) WITH (connector = 'stdout');
CREATE TABLE names (id INT NOT NULL, name TEXT, patterns TEXT[]) WITH (connector = 'file', path = 'n.json', format = 'json');
INSERT INTO likes SELECT id FROM names WHERE name LIKE ANY (patterns) ESCAPE '!';
