//! Rewritten queries, run by DataFusion.

use datafusion::arrow::datatypes::DataType;
use yeoul_sql::{Statement, datatype, parse};

use crate::shop::{Shop, sorted};

async fn same(shop: &Shop, one: &str, other: &str) {
    let (a, b) = (shop.answer(one).await, shop.answer(other).await);
    assert_eq!(a, b, "\n{one}\n{other}");
    assert!(a.lines().count() > 4, "no rows: {one}\n{a}");
}

#[tokio::test]
async fn both_spellings_of_a_window_are_the_same() {
    let shop = Shop::new();
    let counts = "SELECT window_start, window_end, kind, count(*) FROM";
    let by = "GROUP BY window_start, window_end, kind";
    for (ours, theirs) in [
        (
            "TUMBLE(events, ts, INTERVAL '1 minute')",
            "TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        ),
        (
            "HOP(events, ts, INTERVAL '20 seconds', INTERVAL '1 minute')",
            "TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '60' SECOND))",
        ),
        (
            "CUMULATE(events, ts, INTERVAL '20 seconds', INTERVAL '2 minutes')",
            "TABLE(CUMULATE(TABLE events, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '2' MINUTES))",
        ),
        (
            "TUMBLE((SELECT ts, kind FROM events), ts, INTERVAL '1 minute') AS w",
            "TABLE(TUMBLE(DATA => TABLE events, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE))",
        ),
    ] {
        same(&shop, &format!("{counts} {ours} {by}"), &format!("{counts} {theirs} {by}")).await;
    }
}

#[tokio::test]
async fn windows_are_what_plain_sql_says() {
    let shop = Shop::new();
    same(
        &shop,
        "SELECT window_start, count(*) AS n FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY 1",
        "SELECT date_trunc('minute', ts) AS window_start, count(*) AS n FROM events GROUP BY 1",
    )
    .await;
    same(
        &shop,
        "SELECT window_start, count(*) AS n FROM TUMBLE(events, ts, INTERVAL '1 minute', INTERVAL '15 seconds') GROUP BY 1",
        "SELECT date_trunc('minute', ts - INTERVAL '15 seconds') + INTERVAL '15 seconds' AS window_start, count(*) AS n FROM events GROUP BY 1",
    )
    .await;
    // Every row that has a time is in three windows of a minute that begin every 20 seconds.
    same(
        &shop,
        "SELECT event_id, count(*) AS n FROM HOP(events, ts, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY 1",
        "SELECT event_id, 3 * count(ts) AS n FROM events WHERE ts IS NOT NULL GROUP BY 1",
    )
    .await;
    same(
        &shop,
        "SELECT max(window_end) - min(window_start) AS w FROM CUMULATE(events, ts, INTERVAL '1 minute', INTERVAL '5 minutes') WHERE window_start <= ts AND ts < window_end GROUP BY event_id",
        "SELECT INTERVAL '5 minutes' AS w FROM events WHERE ts IS NOT NULL",
    )
    .await;
}

#[tokio::test]
async fn aliases_may_be_used_by_later_items() {
    let shop = Shop::new();
    same(
        &shop,
        "SELECT product_id, count(*) FILTER (WHERE kind = 'impression') AS impressions,
                count(*) FILTER (WHERE kind = 'click') AS clicks, ctr(clicks, impressions) AS ctr
         FROM events GROUP BY product_id HAVING impressions > 0 AND ctr > 0.1",
        "SELECT product_id, count(CASE WHEN kind = 'impression' THEN 1 END) AS impressions,
                count(CASE WHEN kind = 'click' THEN 1 END) AS clicks,
                CAST(count(CASE WHEN kind = 'click' THEN 1 END) AS DOUBLE PRECISION) /
                nullif(count(CASE WHEN kind = 'impression' THEN 1 END), 0) AS ctr
         FROM events GROUP BY product_id
         HAVING count(CASE WHEN kind = 'click' THEN 1 END) > 0",
    )
    .await;
    // A column of the input wins; a name inside a subquery is its own; a chain of aliases works,
    // also inside common table expressions.
    same(
        &shop,
        "SELECT product_id, price * 2 AS price, price + 1 AS more FROM products",
        "SELECT product_id, price * 2 AS price, p.price + 1 AS more FROM products p",
    )
    .await;
    same(
        &shop,
        "WITH x AS (SELECT product_id AS a, a + 1 AS b FROM products), y AS (SELECT b AS c, c * c AS d, d + c AS e FROM x) SELECT * FROM y",
        "SELECT product_id + 1 AS c, (product_id + 1) * (product_id + 1) AS d, (product_id + 1) * (product_id + 2) AS e FROM products",
    )
    .await;
}

#[tokio::test]
async fn names_are_those_of_postgres() {
    let shop = Shop::new();
    let check = |sql: &str, names: &str| {
        let plan = shop.plan(sql);
        let found: Vec<&str> = plan.schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(found.join(" "), names, "{sql}");
    };
    check("SELECT count(*), max(price), max(ts) FROM events", "count max max");
    check("SELECT kind, kind, e.kind, price AS kind FROM events e", "kind kind kind kind");
    let columns = shop.rows("products").schema();
    let columns: Vec<&str> = columns.fields().iter().map(|f| f.name().as_str()).collect();
    check("SELECT *, product_id FROM products", &format!("{} product_id", columns.join(" ")));
    check("SELECT 1, 2 UNION SELECT 3, 3", "?column? ?column?");
    check("WITH x AS (SELECT kind FROM events) SELECT kind, kind FROM x", "kind kind");
    check(
        "SELECT price::int, 1, upper(kind), CASE WHEN true THEN 1 END FROM events",
        "price ?column? upper case",
    );
    check("SELECT Kind, \"kind\" AS \"Kind\" FROM events", "kind Kind");
    check(
        "SELECT * FROM TUMBLE(products_at, ts, INTERVAL '1 day') x"
            .replace("products_at", "events")
            .as_str(),
        "event_id ts user_id product_id kind price attrs visit window_start window_end",
    );
    check("TABLE products", "product_id category price");
    check("SELECT count(*) FROM events GROUP BY kind ORDER BY count(*) DESC, max(price)", "count");
}

#[tokio::test]
async fn types_are_ours() {
    let shop = Shop::new();
    let check = |sql: &str, expected: &str| {
        let plan = shop.plan(&format!("SELECT {sql} AS x FROM events"));
        assert_eq!(datatype::sql_name(plan.schema.field(0)), expected, "{sql}");
        let stored = datatype::stored(plan.schema.field(0).data_type());
        assert_eq!(stored.as_ref(), Some(plan.schema.field(0).data_type()), "{sql}");
    };
    check("'text'", "varchar");
    check("CAST('2026-01-01' AS timestamp)", "timestamp");
    check("'2026-01-01'::timestamptz", "timestamptz");
    check("TIMESTAMP '2026-01-01 00:00:00'", "timestamp");
    check("now()", "timestamptz");
    check("1.5::numeric", "numeric(38,9)");
    check("approx_count_distinct(kind)", "bigint");
    check("'550e8400-e29b-41d4-a716-446655440000'::uuid", "uuid");
    check("visit", "uuid");
    check("visit::text", "varchar");
    check("attrs", "jsonb");
    check("attrs -> 'tags'", "jsonb");
    check("attrs ->> 'page'", "varchar");
    check("date_trunc('hour', ts)", "timestamptz");
    check("max(ts) - min(ts)", "interval");
    check("array_agg(kind)", "varchar[]");
    check("CASE kind WHEN 'a' THEN 'b' ELSE 'c' END", "varchar");
    check("row_number() OVER (ORDER BY ts)", "bigint");
}

#[tokio::test]
async fn uuids_meet_text_and_json_is_looked_into() {
    let shop = Shop::new();
    let text = "01010101-0101-0101-0101-010101010101";
    for condition in [
        format!("visit = '{text}'"),
        format!("'{text}' = visit"),
        format!("visit IN ('{text}')"),
        format!("visit BETWEEN '{text}' AND '{text}'"),
        format!("visit = lower(upper('{text}'))"),
        format!("visit::text = '{text}'"),
        format!("visit = '{text}'::uuid"),
    ] {
        let sql = format!("SELECT count(*) AS n FROM events WHERE {condition}");
        assert!(shop.answer(&sql).await.contains("| 15 |"), "{condition}");
    }
    same(
        &shop,
        "SELECT attrs ->> 'page' AS page, attrs -> 'tags' ->> 0 AS a, attrs -> 'tags' ->> -1 AS b, attrs ->> 'none' AS n FROM events WHERE event_id = 'event-number-4'",
        "SELECT 'p1' AS page, 'a' AS a, '4' AS b, CAST(NULL AS varchar) AS n FROM products WHERE product_id = 0",
    )
    .await;
}

#[tokio::test]
async fn first_and_last_go_by_event_time() {
    let shop = Shop::new();
    same(
        &shop,
        "SELECT user_id, first_value(price) AS f, last_value(price) AS l FROM events GROUP BY user_id",
        "SELECT user_id, first_value(price ORDER BY ts, price) AS f, last_value(price ORDER BY ts NULLS FIRST, price NULLS FIRST) AS l FROM events GROUP BY user_id",
    )
    .await;
    same(
        &shop,
        "SELECT w.window_start, last_value(kind) AS l FROM HOP(events, ts, INTERVAL '1 minute', INTERVAL '2 minutes') w GROUP BY 1",
        "SELECT window_start, last_value(kind ORDER BY ts, kind) AS l FROM HOP(events, ts, INTERVAL '1 minute', INTERVAL '2 minutes') w GROUP BY 1",
    )
    .await;
}

#[tokio::test]
async fn parameters_get_types() {
    let shop = Shop::new();
    let check = |sql: &str, expected: &str| {
        let statement = parse(sql).unwrap().remove(0).node;
        let plan = match &statement {
            Statement::Query(q) => shop.planner.query(q, &shop, &[]).unwrap(),
            Statement::Insert(i) => shop.planner.insert(i, &shop, &[]).unwrap().rows,
            Statement::Update(u) => shop.planner.update(u, &shop, &[]).unwrap().rows,
            Statement::Delete(d) => shop.planner.delete(d, &shop, &[]).unwrap().rows,
            other => panic!("{other:?}"),
        };
        let types: Vec<String> = plan.parameters.iter().map(|p| datatype::sql_name(p)).collect();
        assert_eq!(types.join(" "), expected, "{sql}");
    };
    check("SELECT * FROM events WHERE price > $2 AND kind = $1", "varchar double precision");
    check("SELECT * FROM events WHERE visit = $1", "uuid");
    check("SELECT $1 AS x, $2::int AS y", "varchar integer");
    check("SELECT * FROM events LIMIT $1", "bigint");
    check(
        "SELECT $1 * INTERVAL '1 second' AS x, INTERVAL '1 day' / $2 AS y",
        "double precision double precision",
    );
    check("INSERT INTO products VALUES ($1, $2, $3)", "bigint varchar double precision");
    check("UPDATE products SET price = $1 WHERE product_id = $2", "double precision bigint");
    check("DELETE FROM products WHERE category = $1", "varchar");
    let query = shop.query("SELECT $1 AS x");
    let plan = shop.planner.query(&query, &shop, &[Some(DataType::Int64)]).unwrap();
    assert_eq!(plan.schema.field(0).data_type(), &DataType::Int64);
}

#[tokio::test]
async fn changes_are_rows_of_the_relation() {
    let shop = Shop::new();
    let rows = async |sql: &str| {
        let plan = match &parse(sql).unwrap()[0].node {
            Statement::Insert(i) => shop.planner.insert(i, &shop, &[]),
            Statement::Update(u) => shop.planner.update(u, &shop, &[]),
            Statement::Delete(d) => shop.planner.delete(d, &shop, &[]),
            other => panic!("{other:?}"),
        };
        let plan = plan.unwrap_or_else(|e| panic!("{}", e.render("test", sql)));
        assert_eq!(
            plan.rows.plan.schema().as_arrow().fields().len(),
            plan.relation.schema.fields().len()
        );
        sorted(&shop.run(plan.rows.plan).await)
    };
    let check = |found: String, expected: &[&str]| {
        let lines: Vec<&str> = found.lines().skip(3).filter(|l| !l.starts_with('+')).collect();
        assert_eq!(lines, expected, "{found}");
    };
    check(
        rows("INSERT INTO products (price, product_id) VALUES (1, 7), ('2.5', 8)").await,
        &["| 7          |          | 1.0   |", "| 8          |          | 2.5   |"],
    );
    check(
        rows("INSERT INTO products SELECT product_id + 10, category FROM products WHERE category = 'hats'").await,
        &["| 11         | hats     |       |"],
    );
    check(
        rows("UPDATE products p SET price = price + 1, category = 'x' WHERE p.category = 'shoes'")
            .await,
        &["| 0          | x        | 11.0  |", "| 2          | x        | 31.0  |"],
    );
    check(
        rows("DELETE FROM products WHERE price > (SELECT avg(price) FROM products)").await,
        &["| 2          | shoes    | 30.0  |"],
    );
    let uuid = rows("INSERT INTO events (event_id, ts, visit) VALUES ('a', '2026-01-01 00:00:00Z', '550e8400-e29b-41d4-a716-446655440000')").await;
    assert!(uuid.contains("550e8400e29b41d4a716446655440000"), "{uuid}");
}
