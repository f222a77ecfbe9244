//! W5: the questions of dashboards, on what W4 left.

use std::time::Instant;

use tokio::runtime::Runtime;

use super::meter::Meter;
use super::{Figures, Place, batch, round};
use crate::demo::load::percentile;
use crate::failure::Failure;
use crate::shell::Backend;

/// How often each query is asked after a first time that warms things up.
const TIMES: usize = 10;

/// Name and text. The peers answer the same, in `bench/queries.py`.
pub(super) const QUERIES: [(&str, &str); 16] = [
    ("count", "SELECT count(*) FROM events"),
    ("count_by_type", "SELECT type, count(*) FROM events GROUP BY type"),
    (
        "ctr_top20_products",
        "SELECT product_id, i, c, ctr(c, i) FROM (SELECT product_id, count(*) FILTER (WHERE type = 'impression') AS i, count(*) FILTER (WHERE type = 'click') AS c FROM events GROUP BY product_id) x WHERE i >= 100 ORDER BY ctr(c, i) DESC, product_id LIMIT 20",
    ),
    (
        "ctr_category_hour",
        "SELECT category, date_trunc('hour', ts) AS h, count(*) FILTER (WHERE type = 'impression') AS i, count(*) FILTER (WHERE type = 'click') AS c FROM events GROUP BY category, h ORDER BY category, h",
    ),
    (
        "last15m_by_campaign",
        "SELECT campaign_id, count(*), count(*) FILTER (WHERE type = 'click') AS c, sum(price) FILTER (WHERE type = 'purchase') AS r FROM events WHERE ts >= (SELECT max(ts) FROM events) - INTERVAL '15 minutes' GROUP BY campaign_id ORDER BY c DESC, campaign_id LIMIT 100",
    ),
    (
        "uniq_users_day_exact",
        "SELECT date_trunc('day', ts) AS d, count(DISTINCT user_id) FROM events GROUP BY d ORDER BY d",
    ),
    (
        "uniq_users_day_approx",
        "SELECT date_trunc('day', ts) AS d, approx_count_distinct(user_id) FROM events GROUP BY d ORDER BY d",
    ),
    (
        "product_last100",
        "SELECT ts, user_id, type, price FROM events WHERE product_id = 48271 ORDER BY ts DESC LIMIT 100",
    ),
    (
        "rare_product_last100",
        "SELECT ts, user_id, type, price FROM events WHERE product_id = 77777 ORDER BY ts DESC LIMIT 100",
    ),
    (
        "product_minutes_view",
        "SELECT minute, imps, clicks FROM ctr_1m WHERE product_id = 48271 ORDER BY minute",
    ),
    (
        "funnel_per_user",
        "SELECT count(ti), count(*) FILTER (WHERE tc >= ti), count(*) FILTER (WHERE tc >= ti AND tp >= tc) FROM (SELECT user_id, min(ts) FILTER (WHERE type = 'impression') AS ti, min(ts) FILTER (WHERE type = 'click') AS tc, min(ts) FILTER (WHERE type = 'purchase') AS tp FROM events GROUP BY user_id) x",
    ),
    (
        "p95_price_category",
        "SELECT category, approx_percentile_cont(price, 0.95) FROM events GROUP BY category ORDER BY category",
    ),
    (
        "p95_price_category_exact",
        "SELECT category, percentile_cont(price, 0.95) FROM events GROUP BY category ORDER BY category",
    ),
    (
        "join_products_brand",
        "SELECT brand, count(*) FILTER (WHERE type = 'impression') AS i, count(*) FILTER (WHERE type = 'click') AS c, sum(price) FILTER (WHERE type = 'purchase') AS r FROM events JOIN products ON events.product_id = products.product_id GROUP BY brand ORDER BY r DESC LIMIT 20",
    ),
    (
        "join_campaign_roas",
        "SELECT c.campaign_id, c.channel, e.r / c.spend AS roas FROM (SELECT campaign_id, sum(price) FILTER (WHERE type = 'purchase') AS r FROM events GROUP BY campaign_id) e JOIN campaigns c ON e.campaign_id = c.campaign_id ORDER BY roas DESC LIMIT 20",
    ),
    (
        "top10_per_category",
        "SELECT category, product_id, s FROM (SELECT *, row_number() OVER (PARTITION BY category ORDER BY s DESC) AS n FROM (SELECT category, product_id, sum(CASE type WHEN 'impression' THEN 0.1 WHEN 'click' THEN 1.0 WHEN 'wish' THEN 2.0 WHEN 'cart' THEN 3.0 ELSE 5.0 END) AS s FROM events GROUP BY category, product_id) x) y WHERE n <= 10",
    ),
];

/// Asks each query, warm, and gives the median. A query that fails is noted, and the others go on.
pub(super) fn w5(place: &Place) -> Result<Figures, Failure> {
    let data = place.dir.join(batch::data_name("W4", place));
    if !data.exists() {
        batch::w4(place)?;
    }
    let runtime = Runtime::new()?;
    let mut backend = Backend::open(&data)?;
    let mut figures = Figures::new("W5", place.events);
    let meter = Meter::own();
    let cpu = meter.cpu_s();
    let mut logs = Vec::new();
    let mut failed = Vec::new();
    for (name, sql) in QUERIES {
        match runtime.block_on(median_ms(&mut backend, sql)) {
            Ok(ms) => {
                figures.ms(name, ms);
                logs.push(ms.ln());
            }
            Err(failure) => {
                let first = failure.message.lines().next().unwrap_or_default();
                failed.push(format!("{name}: {first}"));
            }
        }
    }
    let mean = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
    figures.ms("geometric_mean", mean);
    figures.cpu_s = Some(round(meter.cpu_s() - cpu, 2));
    figures.peak_mib = Some(meter.peak_mib());
    figures.note = failed.join("; ");
    Ok(figures)
}

async fn median_ms(backend: &mut Backend, sql: &str) -> Result<f64, Failure> {
    backend.ask(sql).await?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begun = Instant::now();
        backend.ask(sql).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(percentile(&times, 0.5))
}
