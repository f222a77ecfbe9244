-- Queries that are kept: a line `-- name`, then the query. `select.rs` has the relations.

-- inner
SELECT e.id, a.campaign FROM events e JOIN ads a ON a.ad = e.ad

-- inner_filtered
SELECT e.id, a.campaign + 1 AS c FROM events e JOIN ads a ON a.ad = e.ad WHERE a.active AND e.kind <> 'view'

-- left
SELECT e.id, a.campaign, a.active FROM events e LEFT JOIN ads a ON a.ad = e.ad

-- right
SELECT e.id, a.ad, a.campaign FROM events e RIGHT JOIN ads a ON a.ad = e.ad

-- full
SELECT e.id, a.ad AS ad, u.who FROM events e FULL JOIN ads a ON a.ad = e.ad FULL JOIN users u ON u.who = e.who

-- left_residual
SELECT u.who, a.ad FROM users u LEFT JOIN ads a ON a.campaign = u.age % 5 AND a.cap > u.age - 30

-- full_residual
SELECT u.who, a.ad FROM users u FULL JOIN ads a ON a.campaign = u.age % 5 AND a.cap > u.age - 30

-- left_filter_in_on
SELECT u.who, a.ad FROM users u LEFT JOIN ads a ON a.ad = u.who AND a.active AND u.city = 'Seoul'

-- non_equi
SELECT u.who, a.ad FROM users u JOIN ads a ON a.cap < u.age

-- cross
SELECT u.who, t.total FROM users u CROSS JOIN (SELECT count(*) AS total FROM ads) t

-- null_safe
SELECT a.id, b.id AS other FROM clicks a JOIN events b ON a.who = b.who AND a.ad IS NOT DISTINCT FROM b.ad

-- multiway
SELECT e.id, u.city, a.campaign, c.id AS click FROM events e JOIN users u ON u.who = e.who JOIN ads a ON a.ad = e.ad
JOIN clicks c ON c.ad = a.ad AND c.who = u.who

-- self
SELECT a.id, b.id AS next FROM events a JOIN events b ON a.who = b.who AND a.ad = b.ad AND a.id < b.id

-- aggregate_of_join
SELECT a.campaign, count(*) AS n, sum(e.price) AS s, max(e.id) AS m FROM events e JOIN ads a ON a.ad = e.ad GROUP BY
a.campaign

-- join_of_aggregates
SELECT v.ad, v.n, c.n AS clicks FROM (SELECT ad, count(*) AS n FROM events GROUP BY ad) v LEFT JOIN (SELECT ad,
count(*) AS n FROM clicks GROUP BY ad) c ON c.ad = v.ad

-- window_join
SELECT v.window_start, v.ad, v.n, c.n AS clicks FROM (SELECT window_start, ad, count(*) AS n FROM TUMBLE(events, ts,
INTERVAL '1 minute') GROUP BY 1, 2) v JOIN (SELECT window_start, ad, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1
minute') GROUP BY 1, 2) c ON v.window_start = c.window_start AND v.ad = c.ad

-- in_list
SELECT id FROM events WHERE ad IN (SELECT ad FROM ads WHERE active)

-- not_in
SELECT id, ad FROM events WHERE ad NOT IN (SELECT campaign FROM ads WHERE active)

-- exists
SELECT who, city FROM users u WHERE EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who)

-- not_exists
SELECT who, city FROM users u WHERE NOT EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who AND c.id > u.age)

-- exists_or
SELECT who FROM users u WHERE u.age > 40 OR EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who)

-- scalar
SELECT id FROM events WHERE price > (SELECT avg(price) FROM events)

-- scalar_column
SELECT ad, (SELECT max(id) FROM events) AS m FROM ads

-- correlated
SELECT e.id, e.ad FROM events e WHERE e.price >= (SELECT max(price) FROM events x WHERE x.ad = e.ad)

-- correlated_count
SELECT u.who, (SELECT count(*) FROM clicks c WHERE c.who = u.who) AS n FROM users u

-- lateral
SELECT u.who, l.n FROM users u, LATERAL (SELECT count(*) AS n FROM clicks c WHERE c.who = u.who) l

-- intersect
SELECT ad FROM events INTERSECT SELECT ad FROM clicks

-- except
SELECT ad, who FROM events EXCEPT SELECT ad, who FROM clicks

-- cte
WITH hot AS (SELECT ad, count(*) AS n FROM clicks GROUP BY ad HAVING count(*) > 2) SELECT e.id, h.n FROM events e JOIN
hot h USING (ad)

-- having_subquery
SELECT ad, count(*) AS n FROM events GROUP BY ad HAVING count(*) > (SELECT count(*) / 20 FROM events)

-- nexmark_like_9
SELECT a.ad, max(e.price) AS best FROM ads a JOIN events e ON a.ad = e.ad AND e.id >= a.cap GROUP BY a.ad

-- values
SELECT e.id, v.word FROM events e JOIN (VALUES (1, 'one'), (2, NULL), (NULL, 'none')) AS v (n, word) ON v.n = e.ad

-- constant
SELECT 1 AS one, 'x' AS x

-- empty
SELECT id FROM events WHERE 1 = 2 UNION ALL SELECT ad FROM ads

-- top_of_each
SELECT ad, id, price, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY ad ORDER BY price DESC, id) AS rn FROM
events) t WHERE rn <= 3

-- top_hidden
SELECT ad, id, price FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY ad ORDER BY price DESC, id) AS rn FROM events) t
WHERE rn BETWEEN 2 AND 4 AND kind <> 'view'

-- first_row
SELECT who, id, kind FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY who ORDER BY ts, id) AS rn FROM events) t WHERE
rn = 1

-- rank
SELECT city, who, age, r FROM (SELECT *, RANK() OVER (PARTITION BY city ORDER BY age DESC NULLS LAST) AS r FROM users)
t WHERE r < 4

-- dense_rank
SELECT campaign, ad, r FROM (SELECT *, DENSE_RANK() OVER (PARTITION BY campaign ORDER BY cap) AS r FROM ads) t WHERE 2
>= r AND r % 2 = 1

-- top_of_groups
SELECT kind, ad, n, r FROM (SELECT kind, ad, count(*) AS n, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY count(*)
DESC, ad) AS r FROM events GROUP BY kind, ad) t WHERE r <= 2

-- limit
SELECT id, price FROM events ORDER BY price DESC, id LIMIT 7 OFFSET 2

-- limit_of_groups
SELECT ad, count(*) AS n FROM clicks GROUP BY ad ORDER BY count(*) DESC, ad NULLS FIRST LIMIT 3

-- limit_unseen
SELECT who FROM users ORDER BY age, who LIMIT 4

-- ordered
SELECT who, age FROM users ORDER BY age

-- distinct_on
SELECT DISTINCT ON (ad) ad, id, price FROM events ORDER BY ad, price DESC, id

-- join_of_top
SELECT a.ad, t.id FROM ads a JOIN (SELECT *, ROW_NUMBER() OVER (PARTITION BY ad ORDER BY id DESC) AS rn FROM clicks) t
ON t.ad = a.ad AND t.rn <= 2

-- intersect_all
SELECT ad FROM events INTERSECT ALL SELECT ad FROM clicks

-- except_all
SELECT ad FROM events EXCEPT ALL SELECT ad FROM clicks

-- session
SELECT who, window_start, window_end, count(*) AS n, sum(price) AS s FROM SESSION(events PARTITION BY who, ts,
INTERVAL '7 seconds') GROUP BY who, window_start, window_end

-- session_of_all
SELECT window_start, count(*) AS n, max(id) AS m FROM SESSION(clicks, ts, INTERVAL '2 seconds') GROUP BY window_start

-- session_flink
SELECT window_end, ad, kind, min(price) AS low, max(ts) - window_start AS lasted FROM TABLE(SESSION(TABLE events PARTITION
BY (ad, kind), DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY ad, window_start, window_end, kind

-- session_having
SELECT s.ad, count(DISTINCT s.who) AS people, s.window_start + INTERVAL '1 second' AS later, first_value(s.id ORDER BY s.id)
AS first FROM SESSION(events PARTITION BY ad, ts, INTERVAL '15 seconds') s GROUP BY s.ad, s.window_start, s.window_end
HAVING count(*) > 2 AND s.window_end - s.window_start > INTERVAL '20 seconds'

-- session_filtered
SELECT who, window_start, window_end, count(*) AS n, count(*) FILTER (WHERE kind = 'cart') AS carts,
approx_percentile(price, 0.5) AS p FROM SESSION(events PARTITION BY who, ts, INTERVAL '9 seconds') WHERE price > 5 AND
who <> 3 AND window_end > TIMESTAMPTZ '2026-01-01 00:01:00Z' GROUP BY window_start, who, window_end

-- session_of_changes
SELECT who, window_start, window_end, count(*) AS n, max(city) AS city, min(age) AS age FROM SESSION((SELECT e.ts, e.who,
u.city, u.age FROM events e JOIN users u ON u.who = e.who AND u.age % 4 <> 0) PARTITION BY who, ts, INTERVAL '12 seconds')
GROUP BY who, window_start, window_end

-- session_of_moved
SELECT city, window_start, window_end, count(*) AS n, count(DISTINCT who % 3) AS d FROM SESSION((SELECT city, who,
TIMESTAMPTZ '2026-01-01 00:00:00Z' + CAST(age || ' seconds' AS INTERVAL) AS ts FROM users) PARTITION BY city, ts, INTERVAL '3
seconds') WHERE who <> 5 GROUP BY city, window_start, window_end

-- session_rows
SELECT id, window_start, window_end FROM SESSION(events PARTITION BY who, ts, INTERVAL '7 seconds')

-- session_rows_of_changes
SELECT window_start, count(*) AS n FROM SESSION((SELECT e.ts, e.who FROM events e JOIN users u ON u.who = e.who AND u.age % 4
<> 0) PARTITION BY who, ts, INTERVAL '5 seconds') GROUP BY window_start

-- session_join
SELECT u.city, s.who, s.window_start, s.n FROM (SELECT who, window_start, window_end, count(*) AS n FROM SESSION(clicks
PARTITION BY who, ts, INTERVAL '10 seconds') GROUP BY who, window_start, window_end) s JOIN users u ON u.who = s.who

-- session_of_sessions
SELECT n, count(*) AS sessions, max(window_end) AS m FROM (SELECT who, window_start, window_end, count(*) AS n FROM
SESSION(events PARTITION BY who, ts, INTERVAL '7 seconds') GROUP BY who, window_start, window_end) s GROUP BY n

-- over_lag
SELECT id, lag(id) OVER (PARTITION BY ad ORDER BY ts, id) AS before, price - lag(price, 2, 0.0) OVER (PARTITION BY ad
ORDER BY ts, id) AS more FROM events

-- over_lead
SELECT id, lead(id, 1, -1) OVER (PARTITION BY who ORDER BY ts, id) AS next FROM events

-- over_ignore_nulls
SELECT id, lag(ad) IGNORE NULLS OVER (PARTITION BY who ORDER BY id) AS known FROM events

-- over_running
SELECT id, sum(price) OVER w AS s, avg(price) OVER w AS a, min(price) OVER w AS low, count(*) OVER w AS n FROM events
WINDOW w AS (PARTITION BY ad ORDER BY id)

-- over_running_ties
SELECT id, sum(price) OVER (PARTITION BY ad ORDER BY ts) AS s, rank() OVER (PARTITION BY ad ORDER BY ts) AS r FROM
events

-- over_rows
SELECT id, sum(price) OVER (PARTITION BY ad ORDER BY ts, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS s, count(who)
OVER (PARTITION BY ad ORDER BY ts, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS n FROM events

-- over_rows_whole
SELECT id, sum(who) OVER (PARTITION BY ad ORDER BY ts, id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS s, max(who)
OVER (PARTITION BY ad ORDER BY ts, id ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS m FROM events

-- over_rows_inexact
SELECT id, sum(price / 3) OVER (PARTITION BY ad ORDER BY ts, id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM
events

-- over_range
SELECT id, sum(price) OVER (PARTITION BY ad ORDER BY ts RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW)
AS s FROM events

-- over_range_both
SELECT id, count(*) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '30 seconds' PRECEDING AND INTERVAL '30 seconds'
FOLLOWING) AS n FROM clicks

-- over_range_behind
SELECT id, count(*) OVER (PARTITION BY ad ORDER BY ts RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS n FROM
clicks

-- over_groups
SELECT id, sum(price) OVER (PARTITION BY ad ORDER BY who GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s FROM events

-- over_values
SELECT id, first_value(id) OVER (PARTITION BY who ORDER BY ts, id) AS f, last_value(id) OVER (PARTITION BY who ORDER
BY ts, id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS l, nth_value(id, 2) OVER (PARTITION BY who
ORDER BY ts, id) AS second FROM events

-- over_places
SELECT id, row_number() OVER (PARTITION BY ad ORDER BY id) AS n, ntile(3) OVER (PARTITION BY ad ORDER BY id) AS t,
percent_rank() OVER (PARTITION BY ad ORDER BY who) AS p, cume_dist() OVER (PARTITION BY ad ORDER BY who) AS c,
dense_rank() OVER (PARTITION BY ad ORDER BY who) AS d FROM events

-- over_several
SELECT id, sum(price) OVER (PARTITION BY ad) AS of_ad, count(*) OVER (PARTITION BY who) AS of_who, row_number() OVER
(ORDER BY id DESC) AS n, sum(price) OVER (PARTITION BY ad ORDER BY id DESC) AS rest FROM events

-- over_all
SELECT ad, cap, cap * 100 / sum(cap) OVER () AS share, count(*) OVER () AS n FROM ads

-- over_table
SELECT who, city, age - avg(age) OVER (PARTITION BY city) AS older, row_number() OVER (PARTITION BY city ORDER BY age
DESC, who) AS n FROM users

-- over_expression
SELECT id, count(*) OVER (PARTITION BY ad % 3, kind = 'view' ORDER BY id) AS n FROM events

-- over_filter
SELECT id, count(*) FILTER (WHERE kind = 'click') OVER (PARTITION BY ad ORDER BY id) AS clicks FROM events

-- over_duplicates
SELECT ad, kind, row_number() OVER (PARTITION BY ad ORDER BY kind) AS n, count(*) OVER (PARTITION BY ad, kind) AS same
FROM events

-- over_aggregate
SELECT ad, sum(price) AS s, sum(sum(price)) OVER (ORDER BY ad) AS running, rank() OVER (ORDER BY count(*) DESC, ad) AS
place FROM events GROUP BY ad

-- over_windows
SELECT window_start, ad, n, n - lag(n) OVER (PARTITION BY ad ORDER BY window_start) AS more FROM (SELECT window_start,
ad, count(*) AS n FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY 1, 2) v

-- over_join
SELECT e.id, a.campaign, sum(e.price) OVER (PARTITION BY a.campaign ORDER BY e.id) AS s FROM events e JOIN ads a ON
a.ad = e.ad

-- over_over
SELECT id, n, sum(n) OVER (PARTITION BY who ORDER BY id) AS s FROM (SELECT id, who, row_number() OVER (PARTITION BY ad
ORDER BY id) AS n FROM events) v

-- over_joined
SELECT e.id, e.n, c.id AS click FROM (SELECT id, ad, row_number() OVER (PARTITION BY ad ORDER BY id) AS n FROM events)
e JOIN (SELECT id, ad, row_number() OVER (PARTITION BY ad ORDER BY id) AS n FROM clicks) c ON c.ad = e.ad AND c.n =
e.n

-- over_grouped
SELECT ad, max(gap) AS longest FROM (SELECT ad, ts - lag(ts) OVER (PARTITION BY ad ORDER BY ts, id) AS gap FROM
events) v GROUP BY ad

-- over_last_known
SELECT id, ad, n FROM (SELECT id, ad, count(*) OVER (PARTITION BY ad) AS n FROM events) v WHERE n > 5 AND ad > 2

-- nexmark_like_6
SELECT seller, avg(final) OVER (PARTITION BY seller ORDER BY at, ad ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS a
FROM (SELECT a.ad, a.campaign AS seller, max(e.price) AS final, max(e.ts) AS at FROM ads a JOIN events e ON a.ad =
e.ad GROUP BY a.ad, a.campaign) q

-- distinct_from
SELECT e.id, u.who FROM events e JOIN users u ON u.who = e.who AND e.ad IS DISTINCT FROM u.age AND u.city IS NOT
DISTINCT FROM 'Seoul' WHERE e.ad IS DISTINCT FROM 3 AND e.kind <> 'cart' OR NOT e.kind IS DISTINCT FROM 'cart'

-- grouping_sets
SELECT ad, kind, grouping(ad, kind) AS g, count(*) AS n, sum(price) AS s, count(DISTINCT who) AS w FROM events GROUP BY
GROUPING SETS ((ad), (kind, ad), (), (), (ad))

-- rollup
SELECT city, age % 3 AS third, grouping(age % 3) AS g, max(age) AS m, count(*) FILTER (WHERE who > 4) AS n FROM users
GROUP BY ROLLUP (city, age % 3) HAVING count(*) < 9

-- cube
SELECT campaign, active, min(cap) AS low, count(cap) AS n FROM ads WHERE cap > 3 GROUP BY CUBE (campaign, active)

-- rolled_with_key
SELECT kind, ad, who, count(*) AS n FROM events GROUP BY kind, ROLLUP (ad, who)

-- rolled_join
SELECT a.campaign, u.city, count(*) AS n, grouping(u.city) AS g FROM events e JOIN ads a ON a.ad = e.ad JOIN users u ON
u.who = e.who GROUP BY ROLLUP (a.campaign, u.city)

-- unnest
SELECT id, unnest(CASE WHEN ad < 3 THEN NULL WHEN ad = 3 THEN make_array(CAST(NULL AS BIGINT)) ELSE make_array(ad, who)
END) AS x FROM events

-- unnest_two
SELECT who, unnest(make_array(age, who)) AS a, unnest(CASE WHEN age > 20 THEN make_array(city, 'x', NULL) END) AS b FROM
users

-- unnest_grouped
SELECT x, count(*) AS n FROM (SELECT unnest(make_array(ad, who, ad)) AS x FROM clicks) t GROUP BY x

-- unnest_beside
SELECT l, unnest(l) AS x FROM (SELECT campaign, array_agg(ad ORDER BY ad) AS l FROM ads GROUP BY campaign) t

-- unnest_lateral
SELECT t.who, x.v FROM users t, unnest(make_array(t.age, t.who)) AS x (v) WHERE x.v > 3

-- unnest_left
SELECT t.campaign, t.l, x.v FROM (SELECT campaign, array_agg(ad ORDER BY ad) FILTER (WHERE active) AS l FROM ads GROUP BY
campaign) t LEFT JOIN LATERAL unnest(t.l) AS x (v) ON true

-- unnest_numbered
SELECT u.who, x.v, x.n FROM users u CROSS JOIN LATERAL unnest(make_array(u.age, u.who)) WITH ORDINALITY AS x (v, n)

-- series
SELECT u.who, g.n FROM users u, LATERAL generate_series(u.who, u.age, 7) AS g (n)

-- series_constant
SELECT g.n, count(u.who) AS c FROM generate_series(0, 60, 10) AS g (n) LEFT JOIN users u ON u.age >= g.n AND u.age < g.n +
10 GROUP BY g.n

-- gap_filling
SELECT d.ad, g.at, coalesce(c.n, 0) AS n FROM (SELECT ad, min(window_start) AS low, max(window_start) AS high FROM
TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ad) d CROSS JOIN LATERAL generate_series(d.low, d.high, INTERVAL '1 minute')
AS g (at) LEFT JOIN (SELECT ad, window_start, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ad,
window_start) c ON c.ad = d.ad AND c.window_start = g.at

-- lateral_expression
SELECT u.who, x.s FROM users u CROSS JOIN LATERAL (SELECT u.who + u.age AS s) x WHERE x.s <> 20

-- lateral_chain
SELECT u.who, y.t FROM users u, LATERAL (SELECT u.who * 2 AS s) x, LATERAL (SELECT x.s + u.age AS t WHERE x.s > 4) y

-- lateral_top
SELECT u.who, t.id, t.price FROM users u, LATERAL (SELECT e.id, e.price FROM events e WHERE e.who = u.who ORDER BY e.price
DESC, e.id LIMIT 2) t

-- lateral_top_left
SELECT u.who, t.id FROM users u LEFT JOIN LATERAL (SELECT e.id FROM events e WHERE e.who = u.who AND e.id % 7 > u.age % 7
ORDER BY e.id DESC LIMIT 1 OFFSET 1) t ON true

-- lateral_top_of_groups
SELECT u.who, t.kind, t.n FROM users u, LATERAL (SELECT e.kind, count(*) AS n FROM events e WHERE e.who = u.who GROUP BY
e.kind ORDER BY n DESC, e.kind LIMIT 1) t

-- scalar_limit
SELECT u.who, (SELECT e.kind FROM events e WHERE e.who = u.who ORDER BY e.ts DESC, e.id DESC LIMIT 1) AS last FROM users u

-- scalar_limit_filter
SELECT u.who FROM users u WHERE u.age > (SELECT a.cap FROM ads a WHERE a.ad >= u.who ORDER BY a.ad LIMIT 1)

-- pairs_in
SELECT id FROM events WHERE (who, ad) IN (SELECT who, ad FROM clicks) AND kind <> 'cart'

-- pairs_not_in
SELECT ad, campaign FROM ads WHERE (ad, campaign) NOT IN (SELECT who, age % 5 FROM users)

-- marks
SELECT who, who IN (SELECT ad FROM ads WHERE active) AS a, age NOT IN (SELECT cap FROM ads) AS b, EXISTS (SELECT 1 FROM
clicks c WHERE c.who = users.who) AS c FROM users

-- asof
SELECT e.id, c.id AS click FROM events e ASOF JOIN clicks c ON e.who = c.who AND e.ts >= c.ts

-- asof_left
SELECT a.ad, u.who FROM ads a ASOF LEFT JOIN users u ON a.active = (u.city = 'Seoul') AND a.cap < u.age

-- pairs_marked
SELECT ad, (ad, campaign) IN (SELECT who, age % 5 FROM users) AS p, (campaign, cap) NOT IN (SELECT age % 5, age FROM users) AS q FROM ads

-- scalar_unequal
SELECT u.who, (SELECT count(*) FROM ads a WHERE a.cap < u.age AND a.active) AS n, (SELECT max(a.campaign) FROM ads a WHERE
a.ad <> u.who) AS m FROM users u

-- lateral_unequal
SELECT u.who, t.n, t.m FROM users u, LATERAL (SELECT count(*) AS n, min(a.cap) AS m FROM ads a WHERE a.cap > u.age) t

-- cube_of_expressions
SELECT ad % 3 AS third, -who AS minus, CAST(grouping(-who) AS BIGINT) AS g, count(*) AS n FROM events GROUP BY CUBE (ad % 3,
-who, ad)

-- cube_of_zeros
SELECT z, kind, count(*) AS n FROM (SELECT kind, CASE WHEN ad < 3 THEN -0.0e0 ELSE 0.0e0 * price END AS z FROM events) t GROUP BY
CUBE (z, kind)

-- rollup_of_conditions
SELECT kind LIKE '%i%' OR who IS NULL AS c, grouping(kind LIKE '%i%' OR who IS NULL) AS g, count(*) AS n FROM events GROUP BY ROLLUP
(kind LIKE '%i%' OR who IS NULL, ad + 1.5)

-- bounded
SELECT e.id, c.id AS click FROM events e JOIN clicks c ON c.ad = e.ad AND c.ts BETWEEN e.ts AND e.ts + INTERVAL '30 seconds'

-- bounded_left
SELECT e.id, c.id AS click FROM events e LEFT JOIN clicks c ON c.who = e.who AND c.ts >= e.ts - INTERVAL '20 seconds'
AND c.ts < e.ts + INTERVAL '20 seconds' AND c.ad > e.ad

-- bounded_full
SELECT e.id, c.id AS click FROM events e FULL JOIN clicks c ON c.ad = e.ad AND e.ts - c.ts <= INTERVAL '15 seconds' AND
c.ts <= e.ts

-- bounded_semi
SELECT id FROM events e WHERE EXISTS (SELECT 1 FROM clicks c WHERE c.who = e.who AND c.ts > e.ts AND c.ts <= e.ts + INTERVAL
'1 minute')

-- bounded_anti
SELECT id FROM events e WHERE NOT EXISTS (SELECT 1 FROM clicks c WHERE c.who = e.who AND c.ts > e.ts AND c.ts <= e.ts +
INTERVAL '1 minute')

-- bounded_one_side
SELECT e.id, c.id AS click FROM events e JOIN clicks c ON c.ad = e.ad AND c.ts >= e.ts + INTERVAL '4 minutes'

-- bounded_over_a_table
SELECT x.id, c.id AS click FROM (SELECT e.id, e.ts, a.campaign FROM events e JOIN ads a ON a.ad = e.ad) x JOIN clicks c ON
c.ad = x.campaign AND c.ts BETWEEN x.ts AND x.ts + INTERVAL '1 minute'

-- windows_of_rows
SELECT e.id, c.id AS click, e.window_start FROM HOP(events, ts, INTERVAL '30 seconds', INTERVAL '1 minute') e JOIN
CUMULATE(clicks, ts, INTERVAL '30 seconds', INTERVAL '1 minute') c ON c.window_end = e.window_end AND c.window_start =
e.window_start AND c.ad = e.ad

-- windows_outer
SELECT v.w, v.ad, v.n, c.w AS cw, c.n AS clicks FROM (SELECT window_end AS w, ad, count(*) AS n FROM TUMBLE(events, ts,
INTERVAL '1 minute') GROUP BY 1, 2) v FULL JOIN (SELECT window_end AS w, ad, max(id) AS n FROM TUMBLE(clicks, ts,
INTERVAL '1 minute') GROUP BY 1, 2) c ON v.w = c.w AND v.ad = c.ad

-- version_of_a_table
SELECT e.id, p.cents, p.since FROM events e JOIN prices FOR SYSTEM_TIME AS OF e.ts p ON p.ad = e.ad

-- version_or_nulls
SELECT c.id, p.cents FROM clicks c LEFT JOIN prices FOR SYSTEM_TIME AS OF c.ts AS p ON c.ad = p.ad

-- version_of_a_stream
SELECT e.kind, count(*) AS n, max(clicks.id) AS last FROM events e JOIN clicks FOR SYSTEM_TIME AS OF e.ts ON clicks.who =
e.who WHERE clicks.ad > 3 GROUP BY e.kind
