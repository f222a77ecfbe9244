-- The least of all is no bound for the least of some.
-- restart 1 0 65536 268435456 131072 32768
CREATE STREAM s1 (id BIGINT NOT NULL, ts TIMESTAMPTZ, k VARCHAR NOT NULL, g INT, n BIGINT, big BIGINT, f DOUBLE PRECISION, wild DOUBLE PRECISION, nan DOUBLE PRECISION, r REAL, d NUMERIC(12, 2), b BOOLEAN, s TEXT, day DATE, u UUID, j JSONB, i INTERVAL, li BIGINT[], WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (unique_key = 'id', unique_within = '1 hour', future_skew = 'unlimited');
CREATE TABLE t0 (id BIGINT NOT NULL, ts TIMESTAMPTZ, k VARCHAR, g INT, n BIGINT, big BIGINT, f DOUBLE PRECISION, wild DOUBLE PRECISION, nan DOUBLE PRECISION, r REAL, d NUMERIC(12, 2), b BOOLEAN, s TEXT, day DATE, u UUID, j JSONB, i INTERVAL, li BIGINT[], PRIMARY KEY (id));
CREATE MATERIALIZED VIEW v1 AS SELECT min(c1i_0) AS c1_1, min(c1i_0) FILTER (WHERE c1i_1 < CAST('2025-11-09' AS DATE)) AS c1_2 FROM (SELECT s AS c1i_0, day AS c1i_1 FROM s1 UNION ALL SELECT s AS c1i_0, day AS c1i_1 FROM t0) q;
INSERT INTO s1 (id, k, s, day) VALUES (6, 'a', 'a', CAST('2025-11-08' AS DATE));
-- checkpoint
INSERT INTO s1 (id, k, s) VALUES (42, 'a', 'a');
-- same v1 = SELECT min(c1i_0) AS c1_1, min(c1i_0) FILTER (WHERE c1i_1 < CAST('2025-11-09' AS DATE)) AS c1_2 FROM (SELECT s AS c1i_0, day AS c1i_1 FROM s1 UNION ALL SELECT s AS c1i_0, day AS c1i_1 FROM t0) q;
