-- -0 is 0 also where rows are joined, and every NaN is the same.
CREATE TABLE a (id BIGINT PRIMARY KEY, x DOUBLE PRECISION, li BIGINT[]);
CREATE TABLE b (id BIGINT PRIMARY KEY, x DOUBLE PRECISION);
CREATE MATERIALIZED VIEW joined AS SELECT a.id, b.id AS other FROM a JOIN b ON a.x = b.x;
CREATE MATERIALIZED VIEW met AS SELECT id FROM a WHERE x IN (SELECT x FROM b);
CREATE MATERIALIZED VIEW listed AS SELECT a.id, l.v FROM a LEFT JOIN LATERAL unnest(CASE WHEN a.x > -77.5 THEN a.li END) AS l (v) ON true;
INSERT INTO a VALUES (1, CAST('-0.0' AS DOUBLE PRECISION), ARRAY[3, 6]), (2, 'NaN', ARRAY[7]);
INSERT INTO b VALUES (1, 0.0), (2, 'NaN');
-- same joined = VALUES (1, 1), (2, 2);
-- same met = VALUES (1), (2);
-- same listed = VALUES (1, 3), (1, 6), (2, 7);
CREATE MATERIALIZED VIEW most AS SELECT id FROM b WHERE id + 5 >= (SELECT max(a.id) FROM a WHERE a.x = b.x);
INSERT INTO a VALUES (6, 0.0, ARRAY[3]);
-- same most = VALUES (1), (2);
