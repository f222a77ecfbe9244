"""The queries of W5 for the peers. The same questions as in crates/yeoul/src/bench/queries.rs, each in
the peer's own words.

Table events(event_id, ts, user_id, product_id, category, type, price, campaign_id), products, campaigns,
and ctr_1m(product_id, minute, imps, clicks, carts, wishes, purchases, revenue)."""

PRODUCT = 48271  # the second most popular one
RARE_PRODUCT = 77777


def queries(clickhouse):
    """Name and text, for ClickHouse or for DuckDB."""
    if clickhouse:
        def count_if(condition):
            return f"countIf({condition})"

        def sum_if(value, condition):
            return f"sumIf({value}, {condition})"

        def min_if(value, condition):
            return f"minOrNullIf({value}, {condition})"
        hour, day = "toStartOfHour(ts)", "toDate(ts)"
        exact, approximate = "uniqExact(user_id)", "uniq(user_id)"
        p95, p95_exact = "quantile(0.95)(price)", "quantileExact(0.95)(price)"
        quarter = "INTERVAL 15 MINUTE"
    else:
        def count_if(condition):
            return f"count(*) FILTER (WHERE {condition})"

        def sum_if(value, condition):
            return f"sum({value}) FILTER (WHERE {condition})"

        def min_if(value, condition):
            return f"min({value}) FILTER (WHERE {condition})"
        hour, day = "date_trunc('hour', ts)", "date_trunc('day', ts)"
        exact, approximate = "count(DISTINCT user_id)", "approx_count_distinct(user_id)"
        p95, p95_exact = "approx_quantile(price, 0.95)", "quantile_cont(price, 0.95)"
        quarter = "INTERVAL '15 minutes'"
    impression, click, purchase = "type = 'impression'", "type = 'click'", "type = 'purchase'"
    score = ("sum(CASE type WHEN 'impression' THEN 0.1 WHEN 'click' THEN 1.0 WHEN 'wish' THEN 2.0 "
             "WHEN 'cart' THEN 3.0 ELSE 5.0 END)")
    last = "SELECT ts, user_id, type, price FROM events WHERE product_id = {} ORDER BY ts DESC LIMIT 100"
    i, c = count_if(impression), count_if(click)
    revenue = sum_if("price", purchase)
    return {
        "count": "SELECT count(*) FROM events",
        "count_by_type": "SELECT type, count(*) FROM events GROUP BY type",
        "ctr_top20_products":
            f"SELECT product_id, i, c, c / i FROM (SELECT product_id, {i} AS i, {c} AS c FROM events "
            "GROUP BY product_id) x WHERE i >= 100 ORDER BY c / i DESC, product_id LIMIT 20",
        "ctr_category_hour":
            f"SELECT category, {hour} AS h, {i}, {c} FROM events GROUP BY category, h ORDER BY category, h",
        "last15m_by_campaign":
            f"SELECT campaign_id, count(*), {c} AS c, {revenue} FROM events "
            f"WHERE ts >= (SELECT max(ts) FROM events) - {quarter} "
            "GROUP BY campaign_id ORDER BY c DESC, campaign_id LIMIT 100",
        "uniq_users_day_exact": f"SELECT {day} AS d, {exact} FROM events GROUP BY d ORDER BY d",
        "uniq_users_day_approx": f"SELECT {day} AS d, {approximate} FROM events GROUP BY d ORDER BY d",
        "product_last100": last.format(PRODUCT),
        "rare_product_last100": last.format(RARE_PRODUCT),
        "product_minutes_view":
            f"SELECT minute, sum(imps), sum(clicks) FROM ctr_1m WHERE product_id = {PRODUCT} "
            "GROUP BY minute ORDER BY minute",
        "funnel_per_user":
            f"SELECT count(ti), {count_if('tc >= ti')}, {count_if('tc >= ti AND tp >= tc')} FROM "
            f"(SELECT user_id, {min_if('ts', impression)} AS ti, {min_if('ts', click)} AS tc, "
            f"{min_if('ts', purchase)} AS tp FROM events GROUP BY user_id) x",
        "p95_price_category": f"SELECT category, {p95} FROM events GROUP BY category ORDER BY category",
        "p95_price_category_exact":
            f"SELECT category, {p95_exact} FROM events GROUP BY category ORDER BY category",
        "join_products_brand":
            f"SELECT brand, {i}, {c}, {revenue} AS r FROM events "
            "JOIN products ON events.product_id = products.product_id GROUP BY brand ORDER BY r DESC LIMIT 20",
        "join_campaign_roas":
            f"SELECT c.campaign_id, c.channel, e.r / c.spend AS roas FROM (SELECT campaign_id, {revenue} AS r "
            "FROM events GROUP BY campaign_id) e JOIN campaigns c ON e.campaign_id = c.campaign_id "
            "ORDER BY roas DESC LIMIT 20",
        "top10_per_category":
            "SELECT category, product_id, s FROM (SELECT *, row_number() OVER (PARTITION BY category "
            f"ORDER BY s DESC) AS n FROM (SELECT category, product_id, {score} AS s FROM events "
            "GROUP BY category, product_id) x) y WHERE n <= 10",
    }
