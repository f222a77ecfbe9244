-- A row without a time has a window without bounds; the value is the time that it is ordered by; the planner finds a
-- common part, and takes it for one that may be null; NaN is greater than every number.
CREATE STREAM e (id BIGINT, ts TIMESTAMPTZ, x DOUBLE PRECISION, b BOOLEAN, WATERMARK FOR ts AS ts);
CREATE MATERIALIZED VIEW w AS SELECT window_start AS w, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY 1;
CREATE MATERIALIZED VIEW v AS SELECT b, first_value(ts) AS first, last_value(ts) AS last FROM e GROUP BY b;
CREATE MATERIALIZED VIEW c AS SELECT (b IS NOT TRUE OR b IS NOT TRUE) AS c,
count(*) FILTER (WHERE (NOT (b IS NOT TRUE) OR b IS NOT TRUE)) AS n FROM e GROUP BY (b IS NOT TRUE OR b IS NOT TRUE);
CREATE MATERIALIZED VIEW n AS SELECT id FROM e WHERE x > 1;
INSERT INTO e VALUES (1, TIMESTAMPTZ '2026-01-01 00:00:07Z', 0.5, true), (2, NULL, 'NaN', false),
(3, TIMESTAMPTZ '2026-01-01 00:00:01Z', 0.25, NULL);
-- same w = SELECT window_start AS w, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY 1;
-- same v = SELECT b, first_value(ts) AS first, last_value(ts) AS last FROM e GROUP BY b;
-- same c = SELECT (b IS NOT TRUE OR b IS NOT TRUE) AS c,
count(*) FILTER (WHERE (NOT (b IS NOT TRUE) OR b IS NOT TRUE)) AS n FROM e GROUP BY (b IS NOT TRUE OR b IS NOT TRUE);
-- checkpoint
-- same n = SELECT 2 AS id;
