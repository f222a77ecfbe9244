-- W2: impressions, clicks and CTR per product and minute.
CREATE TABLE events (
  event_id STRING, ts BIGINT, user_id STRING, product_id INT, category STRING, `type` STRING,
  price DOUBLE, campaign_id INT,
  moment AS TO_TIMESTAMP_LTZ(ts, 3),
  WATERMARK FOR moment AS moment - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '{events}', 'format' = 'json');

CREATE VIEW answer AS
  SELECT window_start, product_id, impressions, clicks,
         CASE WHEN impressions > 0 THEN CAST(clicks AS DOUBLE) / impressions END AS ctr
  FROM (
    SELECT window_start, product_id,
           count(*) FILTER (WHERE `type` = 'impression') AS impressions,
           count(*) FILTER (WHERE `type` = 'click')      AS clicks
    FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(moment), INTERVAL '1' MINUTE))
    GROUP BY product_id, window_start, window_end);

CREATE TABLE nowhere (window_start TIMESTAMP(3), product_id INT, impressions BIGINT, clicks BIGINT, ctr DOUBLE)
  WITH ('connector' = 'blackhole');
