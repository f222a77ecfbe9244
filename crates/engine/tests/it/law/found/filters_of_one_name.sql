-- Both sides have an f, and the filter of one was taken for one of the other. Only parts that are stored are asked that way.
CREATE STREAM s (id BIGINT NOT NULL, f DOUBLE PRECISION, w DOUBLE PRECISION);
CREATE TABLE t (id BIGINT NOT NULL, g INT, f DOUBLE PRECISION, PRIMARY KEY (id));
CREATE MATERIALIZED VIEW v AS SELECT r.f FROM t l RIGHT JOIN s r ON l.g = r.id WHERE l.f < -116.5 OR r.w <= -273.5;
INSERT INTO s (id, f) VALUES (5, -820.75);
-- checkpoint
INSERT INTO t (id) VALUES (3);
-- same v = SELECT r.f FROM t l RIGHT JOIN s r ON l.g = r.id WHERE l.f < -116.5 OR r.w <= -273.5;
-- same v = SELECT -820.75 AS f WHERE false;
