-- Of several calls, the one that is wrong is shown.
CREATE TABLE trips (zone TEXT NOT NULL, fare DECIMAL(10,2), passengers INT)
  WITH (connector = 'file', path = 'trips.json', format = 'json');
CREATE TABLE out (zone TEXT, fares DECIMAL(38,2), zones BIGINT, passengers BIGINT, PRIMARY KEY (zone))
  WITH (connector = 'discard');
INSERT INTO out
  SELECT zone,
         sum(fare),
         sum(zone),
         sum(passengers)
  FROM trips GROUP BY zone;
