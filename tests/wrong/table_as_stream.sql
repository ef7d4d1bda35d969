-- Rows of a database's table have no order: it is no stream.
CREATE TABLE zones (zone INT PRIMARY KEY, name TEXT) WITH (connector = 'postgres', url = 'postgres://h/d');
CREATE TABLE out (zone INT, name TEXT) WITH (connector = 'stdout');
INSERT INTO out SELECT zone, name FROM zones;
