-- All impressions under one name, with what the path of their file said.
CREATE MATERIALIZED VIEW impressions AS
SELECT 'all' AS campaign, 'random' AS policy, ts, item_id, position, click FROM bandit_random_all
UNION ALL
SELECT 'men' AS campaign, 'random' AS policy, ts, item_id, position, click FROM bandit_random_men
UNION ALL
SELECT 'all' AS campaign, 'bts' AS policy, ts, item_id, position, click FROM bandit_bts_all
UNION ALL
SELECT 'men' AS campaign, 'bts' AS policy, ts, item_id, position, click FROM bandit_bts_men;

-- CTR by the minute. Live: a late row corrects its minute.
CREATE MATERIALIZED VIEW ctr_1m AS
SELECT window_start, campaign, policy,
       count(*)                          AS impressions,
       count(*) FILTER (WHERE click = 1) AS clicks,
       ctr(clicks, impressions)          AS ctr,
       wilson_lower(clicks, impressions) AS ctr_lower,
       wilson_upper(clicks, impressions) AS ctr_upper
FROM TUMBLE(impressions, ts, INTERVAL '1 minute')
GROUP BY window_start, campaign, policy;

-- The same for each item and position.
CREATE MATERIALIZED VIEW ctr_item_1m AS
SELECT window_start, campaign, policy, item_id, position,
       count(*)                          AS impressions,
       count(*) FILTER (WHERE click = 1) AS clicks,
       ctr(clicks, impressions)          AS ctr,
       wilson_lower(clicks, impressions) AS ctr_lower,
       wilson_upper(clicks, impressions) AS ctr_upper
FROM TUMBLE(impressions, ts, INTERVAL '1 minute')
GROUP BY window_start, campaign, policy, item_id, position;

-- In total: which policy is better? Their intervals say how sure that is.
CREATE MATERIALIZED VIEW ads_totals AS
SELECT campaign, policy,
       count(*)                          AS impressions,
       count(*) FILTER (WHERE click = 1) AS clicks,
       ctr(clicks, impressions)          AS ctr,
       wilson_lower(clicks, impressions) AS ctr_lower,
       wilson_upper(clicks, impressions) AS ctr_upper
FROM impressions
GROUP BY campaign, policy;

-- Which position is looked at?
CREATE MATERIALIZED VIEW ads_positions AS
SELECT campaign, policy, position,
       count(*)                          AS impressions,
       count(*) FILTER (WHERE click = 1) AS clicks,
       ctr(clicks, impressions)          AS ctr,
       wilson_lower(clicks, impressions) AS ctr_lower,
       wilson_upper(clicks, impressions) AS ctr_upper
FROM impressions
GROUP BY campaign, policy, position;

-- The latest of each item: what a ranking reads. `ctr_lower` ranks, because two clicks on three
-- impressions prove nothing yet.
CREATE MATERIALIZED VIEW ads_items AS
SELECT campaign, item_id,
       count(*)                          AS impressions,
       count(*) FILTER (WHERE click = 1) AS clicks,
       ctr(clicks, impressions)          AS ctr,
       wilson_lower(clicks, impressions) AS ctr_lower,
       wilson_upper(clicks, impressions) AS ctr_upper,
       max(ts)                           AS seen_last
FROM impressions
GROUP BY campaign, item_id;
