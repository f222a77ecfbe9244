SELECT amout FROM events
SELECT e.prise FROM events e
SELECT x.price FROM events e
SELECT * FROM event
SELECT * FROM other.thing
SELEC 1
SELECT 1 +
SELECT (1
SELECT 'open
SELECT cuont(*) FROM events
SELECT nothing_like_it(1)
SELECT upper(1, 2) FROM events
SELECT price FROM events GROUP BY kind
SELECT kind, price, count(*) FROM events GROUP BY kind
SELECT product_id FROM events e JOIN products p ON e.product_id = p.product_id
SELECT price + interval '1 day' FROM events
SELECT * FROM events WHERE visit = 'not-a-uuid'
SELECT CAST(price AS varchr) FROM events
SELECT * FROM TUMBLE(events, kind, INTERVAL '1 minute')
SELECT * FROM TUMBLE(events, tss, INTERVAL '1 minute')
SELECT * FROM TUMBLE(events, ts)
SELECT * FROM TUMBLE(events, ts, INTERVAL '1 month')
SELECT * FROM TUMBLE(evnts, ts, INTERVAL '1 minute')
SELECT * FROM HOP(events, ts, INTERVAL '1 hour', INTERVAL '1 minute')
SELECT * FROM CUMULATE(events, ts, INTERVAL '7 minutes', INTERVAL '1 hour')
SELECT * FROM SESSION(events, ts)
SELECT * FROM SESSION(events PARTITION BY upper(kind), ts, INTERVAL '7 minutes')
SELECT * FROM SESSION(events PARTITION BY kind, price, INTERVAL '7 minutes')
SELECT tumble(ts, INTERVAL '1 minute') FROM events
SELECT approx_percentile(price) FROM events
SELECT * FROM events ORDER BY prce
SELECT DISTINCT kind FROM events WHERE knd = 'x'
CREATE STREAM s (a INT, a INT)
CREATE STREAM s (a INTT)
CREATE STREAM s (a INT PRIMARY KEY)
CREATE STREAM s (a INT, WATERMARK FOR a AS a)
CREATE STREAM s (ts TIMESTAMPTZ, WATERMARK FOR ts AS ts + INTERVAL '1 second')
CREATE STREAM s (ts TIMESTAMPTZ, WATERMARK FOR tz AS tz)
CREATE STREAM s (a INT) WITH (unique_kye = 'a')
CREATE STREAM s (a INT) WITH (unique_kye = 'a', retention = 'long', lateness = '1 day', latenes = '2 days')
CREATE STREAM s (a INT) WITH (unique_key = 'b')
CREATE STREAM s (a INT) WITH (unique_within = '1 hour')
CREATE STREAM s (a INT) WITH (retention = '1 day')
CREATE STREAM s (ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) WITH (retention = '1 month')
CREATE STREAM s (a INT) WITH (on_error = 'deadletter')
CREATE STREAM s (a INT) WITH (connector = 'kafka')
CREATE STREAM s (a INT) WITH (connector = 'file')
CREATE STREAM s (a INT) WITH (path = 'x.csv')
CREATE STREAM s (a INT) WITH (connector = 'file', path = '${MISSING}/x.csv')
CREATE STREAM s (a INT) WITH (partition_by = 'month(a)')
CREATE STREAM s (a INT) WITH (format = 'jsn')
CREATE STREAM s (a INT) WITH (format = 'parquet')
CREATE STREAM s (a INT) WITH (connector = 'file', path = 'x.json', null = 'NA')
CREATE STREAM s (a INT) WITH (connector = 'file', path = 'x.parquet', timestamp_unit = 'ms')
CREATE STREAM s (a INT) WITH (mapping = 'b: x.y')
CREATE STREAM s (a INT) WITH (mapping = 'a')
CREATE STREAM s (a INT) WITH (mapping = 'a: x..y')
CREATE STREAM s (a INT) WITH (mapping = 'a: x, a: y')
CREATE STREAM s (a INT) WITH (columns = 'b, c')
CREATE STREAM s (a INT) WITH (delimiter = ';;')
CREATE STREAM s (a INT) WITH (delimiter = '"')
CREATE STREAM s (a INT) WITH (timestamp_unit = 'days')
CREATE STREAM s (a INT) WITH (row_bytes_max = '1 GiB')
CREATE STREAM s (a INT) WITH (future_skew = '1 hour')
CREATE STREAM s (ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) WITH (future_skew = 'never')
CREATE STREAM s (a INT
CREATE STREAM s (a INT DEFAULT 1)
CREATE STREAM s (a NUMERIC(40, 2))
SELECT to_char(now(), 'YYYY Q')
CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)
CREATE TABLE t (a INT, PRIMARY KEY (b))
CREATE TABLE t (a INT PRIMARY KEY) WITH (retention = '1 day')
CREATE TABLE t AS SELECT 1
CREATE VIEW v AS SELECT 1
CREATE OR REPLACE STREAM s (a INT)
CREATE OR REPLACE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1
CREATE OR REPLACE MATERIALIZED VIEWS v AS SELECT 1
CREATE OR REPLACE MATERIALIZED VIEWS $$CREATE MATERIALIZED VIEW v AS SELECT 1$$
CREATE OR REPLACE MATERIALIZED VIEWS $$$$
CREATE OR REPLACE MATERIALIZED VIEWS $a$CREATE OR REPLACE MATERIALIZED VIEWS $b$ $b$ $a$
CREATE OR REPLACE MATERIALIZED VIEWS $$CREATE OR REPLACE MATERIALIZED VIEW v AS SELEC 1$$
ALTER MATERIALIZED VIEW v
ALTER INDEX i RENAME TO j
CREATE INDEX i ON t (a)
CREATE MATERIALIZED VIEW v AS SELECT * FROM events EMIT ON WINDOW CLOSE
CREATE MATERIALIZED VIEW v WITH (retention = '1 day') AS SELECT * FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind FROM events WHERE product_id > (SELECT price FROM products)
CREATE MATERIALIZED VIEW v AS SELECT * FROM events LIMIT 10
CREATE MATERIALIZED VIEW v AS SELECT kind FROM events ORDER BY ts LIMIT (SELECT 10)
CREATE MATERIALIZED VIEW v AS SELECT kind, row_number() OVER (PARTITION BY kind) AS n FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind, lag(price) OVER () AS n FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind, sum(price) OVER (PARTITION BY kind ROWS 2 PRECEDING) AS n FROM events
SELECT sum(price) OVER (w ROWS 1 PRECEDING) FROM events
SELECT sum(price) OVER (v ROWS 1 PRECEDING) FROM events WINDOW w AS (ORDER BY ts)
SELECT sum(price) OVER (w ORDER BY price) FROM events WINDOW w AS (ORDER BY ts)
SELECT sum(price) OVER (w PARTITION BY kind) FROM events WINDOW w AS (ORDER BY ts)
SELECT sum(price) OVER (w ORDER BY ts) FROM events WINDOW w AS (PARTITION BY kind ROWS 1 PRECEDING)
CREATE MATERIALIZED VIEW v AS SELECT kind, count(*) OVER (PARTITION BY kind, now() > ts) AS n FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind, sum(random()) OVER (PARTITION BY kind) AS n FROM events
CREATE MATERIALIZED VIEW v AS SELECT * FROM events WHERE ts > now() - INTERVAL '1 month'
CREATE MATERIALIZED VIEW v AS SELECT event_id, now() AS seen FROM events
CREATE MATERIALIZED VIEW v AS SELECT * FROM events WHERE kind = 'click' OR ts > now()
CREATE MATERIALIZED VIEW v AS SELECT kind, count(*) AS n FROM events GROUP BY kind EMIT ON WINDOW CLOSE
CREATE MATERIALIZED VIEW v AS SELECT kind, price, window_end FROM SESSION(events PARTITION BY kind, ts, INTERVAL '1 hour') EMIT ON WINDOW CLOSE
CREATE MATERIALIZED VIEW v AS SELECT kind, max(n) AS n FROM (SELECT kind, window_start, count(*) AS n FROM SESSION(events PARTITION BY kind, ts, INTERVAL '1 hour') GROUP BY kind, window_start) s GROUP BY kind EMIT ON WINDOW CLOSE
SELECT * FROM events EMIT ON WINDOW CLOSE
CREATE MATERIALIZED VIEW v AS SELECT random() AS r, kind FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind FROM events e WHERE price > (SELECT p.price FROM products p WHERE p.product_id > e.product_id)
CREATE MATERIALIZED VIEW v AS SELECT kind, count(*) FROM events GROUP BY CUBE (event_id, ts, user_id, product_id, kind, price, attrs, visit, price + 1)
CREATE MATERIALIZED VIEW v AS SELECT corr(price, product_id) FROM events
CREATE MATERIALIZED VIEW v AS SELECT first_value(price) FROM products
CREATE MATERIALIZED VIEW v AS SELECT price * 2 FROM events
CREATE MATERIALIZED VIEW v AS SELECT kind, user_id AS kind FROM events
CREATE MATERIALIZED VIEW v (a, b, c) AS SELECT kind FROM events
CREATE MATERIALIZED VIEW v AS SELECT * FROM events WHERE product_id = $1
DROP SINC s
CREATE SINK s FROM events
CREATE SINK s
CREATE SINK s FROM events WITH (connector = 'http')
CREATE SINK s FROM events WITH (connector = 'file', path = 'x')
CREATE OR REPLACE SINK s FROM events
ALTER SINK s RENAME TO r
ALTER SINK s REWIND TO COMMIT x
ALTER SINK s REWIND
INSERT INTO events (evnt_id) VALUES ('a')
INSERT INTO events (event_id) VALUES ('a', 'b')
INSERT INTO products (category) VALUES ('a')
INSERT INTO popular VALUES (1)
INSERT INTO nothing VALUES (1)
INSERT INTO products VALUES (1, 'a', 2.0) ON CONFLICT (product_id) DO UPDATE SET price = 3
UPDATE events SET price = 1
UPDATE products SET product_id = 1
UPDATE products SET prise = 1
DELETE FROM events
DELETE FROM products WHERE categroy = 'x'
DELETE FROM products RETURNING *
COPY events FROM '/etc/passwd'
COPY events FROM STDIN WITH (FORMAT parquet)
COPY events FROM STDIN WITH (HEADR true)
EXPLAIN DELETE FROM products
ALTER TABLE products
ALTER TABLE products ADD COLUMN x INT DEFAULT random()
ALTER TABLE products ADD COLUMN x INT PRIMARY KEY
ALTER TABLE products RENAME x y
ALTER VIEW v RENAME COLUMN a TO b
ALTER VIEW v ADD COLUMN a INT
SHOW CREATE
SELECT * FROM events WHERE kind = 1 AND
CREATE TABLE "" (a INT PRIMARY KEY)
SELECT kind AS "" FROM events
SELECT "kind FROM events
CREATE STREAM t (a INT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) WITH (retention = 5)
CREATE STREAM t (a INT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) WITH (retention = '2000000000 days')
CREATE TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx (a INT PRIMARY KEY)
CREATE MATERIALIZED VIEW v AS SELECT unnest(unnest(make_array(make_array(price)))) AS p FROM events
SELECT * FROM events e ASOF JOIN products p ON e.product_id = p.product_id
SELECT * FROM events e ASOF JOIN products p USING (product_id)
SELECT * FROM events e ASOF LEFT JOIN products p ON e.product_id = p.product_id AND price >= e.price
SELECT * FROM events e ASOF JOIN products p ON e.price >= p.price AND e.price < p.price
SELECT * FROM events e ASOF JOIN products p ON e.price >= p.price OR e.kind = 'x'
SELECT g.n FROM products p, generate_series(p.product_id, p.category) AS g (n)
SELECT (kind, price) IN (SELECT kind FROM events) FROM events
CREATE FUNCTION f(x int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN x; END'
CREATE FUNCTION f(x int) RETURNS int LANGUAGE SQL AS 'SELECT y + 1'
CREATE FUNCTION f(x int) RETURNS int LANGUAGE SQL AS 'SELECT price FROM products'
CREATE FUNCTION f(x int) RETURNS int LANGUAGE SQL AS 'SELECT (SELECT max(product_id) FROM products)'
CREATE FUNCTION f(x int) RETURNS int LANGUAGE SQL AS 'SELEC x'
CREATE FUNCTION f(x int) RETURNS int AS 'SELECT x'
CREATE FUNCTION f(x int) RETURNS bigint RETURN count(x)
CREATE FUNCTION f(x int) RETURNS int RETURN f(x - 1)
CREATE FUNCTION f(x int) RETURNS int RETURN g(x)
CREATE FUNCTION f(x int) RETURNS int RETURN x + interval '1 day'
CREATE FUNCTION upper(x varchar) RETURNS varchar RETURN x
CREATE FUNCTION f(x int) RETURNS TABLE (a int) LANGUAGE SQL AS 'SELECT 1'
CREATE FUNCTION f(x int DEFAULT 1) RETURNS int RETURN x
CREATE FUNCTION f(x int, x int) RETURNS int RETURN x
CREATE FUNCTION f(x int) RETURNS int
DROP FUNCTION f CASCADE
SELECT unnest(price) FROM events
SELECT e.kind, x.p FROM events e, unnest(make_array(1)) AS a (q), unnest(e.kind) AS x (p)
CREATE MATERIALIZED VIEW v AS SELECT unnest(product_id + 1) AS p FROM events
SELECT price * interval '1 day' * interval '1 day' FROM events
SELECT age(ts) FROM events
SELECT make_interval(dayz => 1)
SELECT make_interval(1.5)
CREATE MATERIALIZED VIEW v AS SELECT sum(price) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '-1 hour' PRECEDING AND CURRENT ROW) AS s FROM events
SELECT sum(price) OVER (ORDER BY product_id RANGE BETWEEN CURRENT ROW AND -5 FOLLOWING) AS s FROM events
SELECT count(*) FROM TUMBLE(events, ts, INTERVAL '100000000 days')
SELECT date_trunc('fortnight', ts) FROM events
SELECT date_bin(INTERVAL '0 seconds', ts, TIMESTAMPTZ '2001-01-01 00:00:00Z') FROM events
SELECT date_bin(INTERVAL '1 month 1 day', ts, TIMESTAMPTZ '2001-01-01 00:00:00Z') FROM events
SELECT ts AT TIME ZONE 'Asia/Nowhere' FROM events
SELECT ts AT TIME ZONE '+09:00' FROM events
SELECT make_timestamp(2024, 1, 1, 0, 0) FROM events
SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1 FROM events WHERE EXISTS (SELECT 1)))))))))))))
CREATE FUNCTION f(x nothing) RETURNS int LANGUAGE SQL AS 'SELECT 1'
CREATE FUNCTION f(x int) RETURNS nothing LANGUAGE SQL AS 'SELECT 1'
CREATE MATERIALIZED VIEW "yeoul.views" AS SELECT 1 AS x
CREATE STREAM s (a BIGINT METADATA FROM 'offst') WITH (connector = 'file', path = 'x');
CREATE STREAM s (a BIGINT METADATA) WITH (connector = 'file', path = 'x');
CREATE STREAM s (a BIGINT METADATA FROM 'key') WITH (connector = 'file', path = 'x');
CREATE STREAM s (a BIGINT METADATA FROM 'offset');
