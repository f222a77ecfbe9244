//! The SQL of the workloads.

use std::path::Path;

/// The shop's events, kept sorted and divided by day.
pub(super) fn events(connector: &str) -> String {
    shop(&format!("{connector}order_by = 'product_id, ts', partition_by = 'day(ts)'"))
}

/// The shop's events, carried into views and not kept.
pub(super) fn passing_events(connector: &str) -> String {
    shop(&format!("{connector}retention = '0 seconds'"))
}

fn shop(options: &str) -> String {
    format!(
        "CREATE STREAM events (
           event_id UUID NOT NULL, ts TIMESTAMPTZ NOT NULL, user_id VARCHAR NOT NULL,
           product_id INT NOT NULL, category VARCHAR NOT NULL, type VARCHAR NOT NULL,
           price DOUBLE PRECISION NOT NULL, campaign_id INT NOT NULL,
           WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
         ) WITH ({options});"
    )
}

/// The options of a stream that reads a file of JSON lines.
pub(super) fn json_file(path: &Path) -> String {
    let path = path.display().to_string().replace('\'', "''");
    format!("connector = 'file', path = '{path}', format = 'json', ")
}

/// W2: impressions, clicks and CTR per product and minute.
pub(super) const CTR: &str = "CREATE MATERIALIZED VIEW ctr AS
  SELECT window_start, product_id,
         count(*) FILTER (WHERE type = 'impression') AS impressions,
         count(*) FILTER (WHERE type = 'click')      AS clicks,
         ctr(clicks, impressions)                    AS ctr
  FROM TUMBLE(events, ts, INTERVAL '1 minute')
  GROUP BY window_start, product_id;";

/// W4: the roll-up kept beside the rows.
pub(super) const ROLLUP: &str = "CREATE MATERIALIZED VIEW ctr_1m AS
  SELECT product_id, window_start AS minute,
         count(*) FILTER (WHERE type = 'impression') AS imps,
         count(*) FILTER (WHERE type = 'click')      AS clicks,
         count(*) FILTER (WHERE type = 'cart')       AS carts,
         count(*) FILTER (WHERE type = 'wish')       AS wishes,
         count(*) FILTER (WHERE type = 'purchase')   AS purchases,
         sum(price) FILTER (WHERE type = 'purchase') AS revenue
  FROM TUMBLE(events, ts, INTERVAL '1 minute')
  GROUP BY product_id, window_start;";

/// W8: all views of `examples/ads` over the shop's events, as many items, positions, campaigns and
/// policies as the example has.
pub(super) fn example_views() -> String {
    let views = include_str!("../../../../examples/ads/20_views.sql");
    // The first view puts the example's four streams together.
    let (_, views) = views.split_once(';').unwrap_or_default();
    format!(
        "CREATE MATERIALIZED VIEW impressions AS
         SELECT CASE WHEN campaign_id % 2 = 0 THEN 'all' ELSE 'men' END AS campaign,
                CASE WHEN campaign_id % 4 < 2 THEN 'random' ELSE 'bts' END AS policy,
                ts, product_id % 80 AS item_id, 1 + product_id % 3 AS position,
                CASE WHEN type = 'click' THEN 1 ELSE 0 END AS click
         FROM events;
         {}",
        views.replace(" ctr_1m ", " ads_ctr_1m ")
    )
}

/// Products and campaigns for the joins of W5.
pub(super) fn dimensions(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string().replace('\'', "''");
    format!(
        "CREATE TABLE products (product_id INT PRIMARY KEY, name VARCHAR, brand VARCHAR, category VARCHAR, list_price DOUBLE PRECISION)
           WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE TABLE campaigns (campaign_id INT PRIMARY KEY, name VARCHAR, channel VARCHAR, spend DOUBLE PRECISION)
           WITH (connector = 'file', path = '{}', format = 'csv');",
        path("products.csv"),
        path("campaigns.csv")
    )
}

/// W1: views of ads per campaign and ten seconds; the campaign of an ad is looked up as it comes.
pub(super) fn ads(events: &Path, lookup: &Path) -> String {
    let lookup = lookup.display().to_string().replace('\'', "''");
    format!(
        "CREATE TABLE ads (ad_id UUID PRIMARY KEY, campaign_id UUID NOT NULL)
           WITH (connector = 'file', path = '{lookup}', format = 'csv');
         CREATE STREAM ad_events (
           user_id UUID, page_id UUID, ad_id UUID NOT NULL, ad_type VARCHAR,
           event_type VARCHAR NOT NULL, event_time TIMESTAMPTZ NOT NULL, ip_address VARCHAR,
           WATERMARK FOR event_time AS event_time - INTERVAL '1 second'
         ) WITH ({}retention = '0 seconds');
         CREATE MATERIALIZED VIEW campaign_views AS
         SELECT a.campaign_id, window_start, count(*) AS views
         FROM TUMBLE(ad_events, event_time, INTERVAL '10 seconds') e
         JOIN ads FOR SYSTEM_TIME AS OF PROCTIME() a ON a.ad_id = e.ad_id
         WHERE e.event_type = 'view'
         GROUP BY a.campaign_id, window_start;",
        json_file(events)
    )
}

/// W1's answer: how many (campaign, window) there are, and the sum of their views.
pub(super) const CAMPAIGN_VIEWS: &str =
    "SELECT count(*), CAST(sum(views) AS BIGINT) FROM campaign_views";

/// W9: a state of a row for nearly every event.
pub(super) const PAIRS: &str = "CREATE MATERIALIZED VIEW pairs AS
  SELECT user_id, product_id, count(*) AS events, sum(price) AS spent, max(ts) AS newest
  FROM events GROUP BY user_id, product_id;";

/// W7: small rows whose way to an answer is timed.
pub(super) const PROBES: &str = "CREATE STREAM probes (n BIGINT NOT NULL);
  CREATE MATERIALIZED VIEW probe AS SELECT count(*) AS probes, max(n) AS newest FROM probes;";

/// W10: a group for every key.
pub(super) const GROUPS: &str = "CREATE MATERIALIZED VIEW by_key AS
  SELECT k, count(*) AS rows, sum(v) AS total FROM numbers GROUP BY k;";

/// W10: all rows of both sides kept, few groups behind them.
pub(super) const SIDES: &str = "CREATE MATERIALIZED VIEW joined AS
  SELECT l.v % 100 AS part, count(*) AS pairs, sum(l.v) AS left_total, sum(r.v) AS right_total
  FROM l JOIN r ON l.k = r.k GROUP BY 1;";
