-- A view that holds a row over nothing, and one that reads it, are replaced in one commit.
-- restart 1 0 65536 268435456 131072 32768
CREATE TABLE t0 (id BIGINT NOT NULL, b BOOLEAN, n BIGINT, PRIMARY KEY (id));
CREATE MATERIALIZED VIEW v1 AS SELECT b, sum(n) AS s FROM t0 GROUP BY b;
CREATE MATERIALIZED VIEW v4 AS SELECT count(*) AS c4_2 FROM v1 GROUP BY ROLLUP (b);
CREATE MATERIALIZED VIEW v7 AS SELECT count(*) AS c7_2 FROM v4;
CREATE OR REPLACE MATERIALIZED VIEW v1 AS SELECT * FROM (SELECT b, sum(n) AS s FROM t0 GROUP BY b) q WHERE s < 5;
-- same v4 = SELECT count(*) AS c4_2 FROM v1 GROUP BY ROLLUP (b);
-- same v7 = SELECT count(*) AS c7_2 FROM v4;
