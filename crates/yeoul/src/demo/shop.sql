-- The living shop of `yeoul demo`: one stream, and the questions a shop asks of it all day.

CREATE STREAM shop_events (
  event_id   VARCHAR NOT NULL,
  ts         TIMESTAMPTZ NOT NULL,
  session_id VARCHAR,
  user_id    VARCHAR,
  product_id BIGINT,
  category   VARCHAR,
  type       VARCHAR,                          -- impression | click | cart | purchase
  price      DOUBLE PRECISION,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (
  unique_key = 'event_id', unique_within = '1 hour',
  order_by = 'product_id, ts', partition_by = 'day(ts)', retention = '7 days',
  lateness = '5 seconds'
);

-- What happened in each ten seconds. A late event corrects its window.
CREATE MATERIALIZED VIEW shop_10s AS
SELECT window_start,
       count(*)                                    AS events,
       count(*) FILTER (WHERE type = 'impression') AS impressions,
       count(*) FILTER (WHERE type = 'click')      AS clicks,
       count(*) FILTER (WHERE type = 'cart')       AS carts,
       count(*) FILTER (WHERE type = 'purchase')   AS purchases,
       sum(price) FILTER (WHERE type = 'purchase') AS revenue
FROM TUMBLE(shop_events, ts, INTERVAL '10 seconds')
GROUP BY window_start;

-- CTR by product. The lower Wilson bound ranks: two clicks on three impressions prove nothing yet.
CREATE MATERIALIZED VIEW shop_products AS
SELECT product_id, category,
       count(*) FILTER (WHERE type = 'impression') AS impressions,
       count(*) FILTER (WHERE type = 'click')      AS clicks,
       count(*) FILTER (WHERE type = 'purchase')   AS purchases,
       sum(price) FILTER (WHERE type = 'purchase') AS revenue
FROM shop_events
GROUP BY product_id, category;

-- CTR by category and minute.
CREATE MATERIALIZED VIEW shop_ctr_1m AS
SELECT window_start, category,
       count(*) FILTER (WHERE type = 'impression') AS impressions,
       count(*) FILTER (WHERE type = 'click')      AS clicks
FROM TUMBLE(shop_events, ts, INTERVAL '1 minute')
GROUP BY window_start, category;

-- How many people, and how far they get.
CREATE MATERIALIZED VIEW shop_funnel AS
SELECT type,
       count(*)                       AS events,
       approx_count_distinct(user_id) AS users
FROM shop_events
GROUP BY type;
