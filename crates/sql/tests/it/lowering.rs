//! Views lowered: what they become, and that this gives the batch query's answer.
//!
//! The twin that runs a `ViewPlan` here is as slow and plain as it can be: windows by scanning,
//! aggregates by giving DataFusion the evaluated keys and arguments as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{
    concat_batches, filter_record_batch, is_not_null, take_record_batch,
};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use yeoul_batch::{ExprRef, PartitionFunction};
use yeoul_sql::{
    AggregateCall, AggregateFunction, Statement, ViewNode, ViewPlan, WindowKind, parse,
};

use crate::shop::{Shop, sorted};

const VIEWS: &[&str] = &[
    "SELECT * FROM events",
    "SELECT kind, event_id AS id FROM events WHERE kind = 'click' OR kind = 'cart'",
    "SELECT price * 2 AS twice, upper(kind) AS k, attrs ->> 'page' AS page FROM events WHERE product_id > 0 AND NOT (kind = 'purchase')",
    "SELECT kind, 'a long constant text' AS c, 1 + 2 AS three FROM events WHERE kind IN ('click', 'cart', 'view', 'wish', 'visit', 'search')",
    "SELECT window_start, product_id, count(*) FILTER (WHERE kind = 'impression') AS impressions, count(*) FILTER (WHERE kind = 'click') AS clicks, ctr(clicks, impressions) AS ctr FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start, product_id",
    "SELECT window_start, window_end, user_id, count(*) AS n, sum(price) AS total FROM HOP(events, ts, INTERVAL '20 seconds', INTERVAL '1 minute') WHERE kind <> 'cart' GROUP BY window_start, window_end, user_id HAVING count(*) >= 1",
    "SELECT window_end, count(DISTINCT user_id) AS users FROM CUMULATE(events, ts, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY window_end",
    "SELECT window_start, avg(price) AS a, min(price) AS lo, max(price) AS hi, stddev(price) AS s, var_pop(price) AS v, bool_or(price > 20) AS big FROM TUMBLE((SELECT ts, price FROM events WHERE price IS NOT NULL), ts, INTERVAL '2 minutes') GROUP BY window_start",
    "SELECT user_id, first_value(kind) AS f, last_value(price) AS l, count(price) AS n, count(kind) AS k FROM events GROUP BY user_id",
    "SELECT CASE WHEN price > 10 THEN 'dear' ELSE 'cheap' END AS class, count(*) AS n, max(CASE WHEN price > 10 THEN 'x' ELSE kind END) AS m FROM events GROUP BY 1",
    "SELECT DISTINCT kind, product_id FROM events",
    "SELECT count(*) AS n, sum(product_id) AS s FROM events",
    "SELECT kind, product_id AS p FROM events UNION ALL SELECT category, product_id FROM products",
    "SELECT kind FROM events UNION SELECT category FROM products",
    "SELECT category, count(*) AS n, sum(price) AS total FROM products GROUP BY category",
    "WITH per_user AS (SELECT user_id, count(*) AS n FROM events GROUP BY user_id) SELECT n, count(*) AS users FROM per_user GROUP BY n",
    "SELECT date_trunc('minute', ts) AS m, kind, approx_count_distinct(user_id) AS users FROM events GROUP BY 1, 2",
    "SELECT visit, count(*) AS n FROM events WHERE visit <> '01010101-0101-0101-0101-010101010101' GROUP BY visit",
    "SELECT event_id, lag(price) OVER (PARTITION BY user_id ORDER BY ts, event_id) AS before, sum(price) OVER (PARTITION BY user_id ORDER BY ts, event_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM events",
    "SELECT user_id, ts, ts - lag(ts) OVER w AS pause, sum(price) OVER w AS spent, avg(price) OVER (w ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS usual FROM events WINDOW u AS (PARTITION BY user_id), w AS (u ORDER BY ts, event_id)",
    "SELECT product_id, category, count(*) OVER (PARTITION BY category) AS n, rank() OVER (ORDER BY price DESC) AS place, count(*) OVER () AS total FROM products",
    "SELECT window_start, kind FROM TUMBLE(events, ts, INTERVAL '1 minute') WHERE window_start >= '2026-01-01 00:02:00Z'",
    "SELECT w.window_start, w.user_id, max(w.price) AS top FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) w WHERE w.user_id LIKE 'u%' AND w.product_id BETWEEN 0 AND 1 GROUP BY w.window_start, w.user_id",
    "SELECT user_id, window_start, window_end, count(*) AS n, max(price) AS top FROM SESSION(events PARTITION BY user_id, ts, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end",
    "SELECT s.window_end - s.window_start AS lasted, count(DISTINCT kind) AS kinds FROM SESSION((SELECT * FROM events WHERE price > 0), ts, INTERVAL '6 seconds') s WHERE s.kind <> 'cart' AND s.window_start < '2026-01-02 00:00:00Z' GROUP BY s.window_start, s.window_end HAVING count(*) > 1",
];

fn lowered(shop: &Shop, query: &str) -> ViewPlan {
    let sql = format!("CREATE MATERIALIZED VIEW v AS {query}");
    let Statement::CreateView(view) = parse(&sql).unwrap().remove(0).node else { panic!("a view") };
    shop.planner.create_view(&view, shop).unwrap_or_else(|e| panic!("{}", e.render("test", &sql)))
}

#[test]
fn what_views_become() {
    let shop = Shop::new();
    let mut out = String::new();
    for query in VIEWS {
        writeln!(out, "{query}\n{}", lowered(&shop, query)).unwrap();
    }
    insta::assert_snapshot!("views", out);
}

#[tokio::test]
async fn a_view_is_its_batch_query() {
    let shop = Shop::new();
    for query in VIEWS {
        let view = lowered(&shop, query);
        let batch = shop.plan(query);
        assert_eq!(view.schema.as_ref(), batch.schema.as_ref(), "{query}");
        let kept = run(&shop, &view.root).await;
        for (found, wanted) in kept.schema().fields().iter().zip(view.schema.fields()) {
            assert_eq!(found.data_type(), wanted.data_type(), "{query}");
        }
        let kept = RecordBatch::try_new(Arc::clone(&view.schema), kept.columns().to_vec())
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(sorted(&[kept]), sorted(&shop.run(batch.plan).await), "{query}\n{view}");
    }
}

#[test]
fn keys_of_views() {
    let shop = Shop::new();
    let check = |query: &str, key: Option<&[usize]>, append_only: bool| {
        let view = lowered(&shop, query);
        assert_eq!((view.key.as_deref(), view.append_only), (key, append_only), "{query}");
    };
    check("SELECT kind FROM events", None, true);
    check("SELECT price, product_id FROM products WHERE price > 1", Some(&[1]), false);
    check(
        "SELECT count(*) AS n, kind, product_id AS p FROM events GROUP BY kind, product_id",
        Some(&[1, 2]),
        false,
    );
    check("SELECT count(*) AS n, kind FROM events GROUP BY kind, product_id", None, false);
    check("SELECT DISTINCT kind FROM events", Some(&[0]), false);
    check(
        "SELECT count(*) AS n, window_start, kind FROM SESSION(events PARTITION BY kind, ts, INTERVAL '1 hour') GROUP BY kind, window_start",
        Some(&[2, 1]),
        false,
    );
    check("SELECT kind FROM events UNION ALL SELECT category FROM products", None, false);
}

async fn run(shop: &Shop, node: &ViewNode) -> RecordBatch {
    match node {
        ViewNode::Source { relation, columns, schema, .. } => {
            let rows = shop.rows(relation).project(columns).unwrap();
            assert_eq!(&rows.schema(), schema);
            rows
        }
        ViewNode::Values { rows, .. } => rows.clone(),
        ViewNode::Filter { input, predicate } => {
            let rows = Box::pin(run(shop, input)).await;
            let keep = predicate.evaluate(&rows).unwrap();
            filter_record_batch(&rows, keep.as_boolean()).unwrap()
        }
        ViewNode::Project { input, exprs, schema } => {
            let rows = Box::pin(run(shop, input)).await;
            let columns = exprs
                .iter()
                .zip(schema.fields())
                .map(|(e, f)| {
                    let column = e.evaluate(&rows).unwrap();
                    assert_eq!((column.data_type(), e.data_type()), (f.data_type(), f.data_type()));
                    column
                })
                .collect();
            with_columns(schema, columns)
        }
        ViewNode::Window { input, time, kind, schema } => {
            let rows = Box::pin(run(shop, input)).await;
            let time = time.evaluate(&rows).unwrap();
            windows(&rows, time.as_primitive::<TimestampMicrosecondType>(), *kind, schema)
        }
        ViewNode::Lookup { .. }
        | ViewNode::Join { .. }
        | ViewNode::AsOf { .. }
        | ViewNode::Ranked { .. }
        | ViewNode::Expand { .. }
        | ViewNode::Expiring { .. }
        | ViewNode::Closing { .. }
        | ViewNode::Unnest { .. } => {
            panic!("the engine tests what is made of several rows, or becomes several")
        }
        ViewNode::Sessions { input, keys, time, gap_us, calls, schema, .. } => {
            let rows = Box::pin(run(shop, input)).await;
            let timed = is_not_null(&time.evaluate(&rows).unwrap()).unwrap();
            let rows = filter_record_batch(&rows, &timed).unwrap();
            let mut keys: Vec<ArrayRef> = keys.iter().map(|k| k.evaluate(&rows).unwrap()).collect();
            let bounds = sessions(&keys, &time.evaluate(&rows).unwrap(), *gap_us);
            keys.extend(bounds);
            aggregate(&rows, keys, calls, schema).await
        }
        ViewNode::Over { input, partition, function, schema, .. } => {
            let rows = Box::pin(run(shop, input)).await;
            over(&rows, partition, &**function, schema)
        }
        ViewNode::Union { inputs, schema } => {
            let mut all = Vec::new();
            for input in inputs {
                let rows = Box::pin(run(shop, input)).await;
                all.push(with_columns(schema, rows.columns().to_vec()));
            }
            concat_batches(schema, &all).unwrap()
        }
        ViewNode::Aggregate { input, keys, calls, schema, .. } => {
            let rows = Box::pin(run(shop, input)).await;
            let keys: Vec<ArrayRef> = keys.iter().map(|k| k.evaluate(&rows).unwrap()).collect();
            aggregate(&rows, keys, calls, schema).await
        }
    }
}

fn with_columns(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

/// Each partition by itself.
fn over(
    rows: &RecordBatch,
    partition: &[ExprRef],
    function: &dyn PartitionFunction,
    schema: &SchemaRef,
) -> RecordBatch {
    let keys: Vec<ArrayRef> = partition.iter().map(|k| k.evaluate(rows).unwrap()).collect();
    let mut partitions: BTreeMap<Vec<String>, Vec<u32>> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let key = keys.iter().map(|k| array_value_to_string(k, row).unwrap()).collect();
        partitions.entry(key).or_default().push(u32::try_from(row).unwrap());
    }
    let each = partitions.into_values().map(|of| {
        let rows = take_record_batch(rows, &UInt32Array::from(of)).unwrap();
        #[expect(clippy::single_range_in_vec_init, reason = "there is one partition")]
        let answers = function.evaluate(&rows, &[0..rows.num_rows()]).unwrap();
        with_columns(schema, rows.columns().iter().cloned().chain(answers).collect())
    });
    concat_batches(schema, &each.collect::<Vec<_>>()).unwrap()
}

/// Every window that could hold the time, tried one after another.
fn windows(
    rows: &RecordBatch,
    times: &TimestampMicrosecondArray,
    kind: WindowKind,
    schema: &SchemaRef,
) -> RecordBatch {
    let mut taken = Vec::new();
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for row in 0..rows.num_rows() {
        let index = u32::try_from(row).unwrap();
        if times.is_null(row) {
            if matches!(kind, WindowKind::Tumble { .. }) {
                taken.push(index);
                starts.push(None);
                ends.push(None);
            }
            continue;
        }
        let t = times.value(row);
        for (start, end) in around(t, kind) {
            if start <= t && t < end {
                taken.push(index);
                starts.push(Some(start));
                ends.push(Some(end));
            }
        }
    }
    let rows = take_record_batch(rows, &UInt32Array::from(taken)).unwrap();
    let bound = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_data_type(times.data_type().clone()))
    };
    let mut columns = rows.columns().to_vec();
    columns.extend([bound(starts), bound(ends)]);
    with_columns(schema, columns)
}

fn around(t: i64, kind: WindowKind) -> Vec<(i64, i64)> {
    match kind {
        WindowKind::Tumble { size_us, offset_us } => {
            let first = (t - offset_us).div_euclid(size_us) * size_us + offset_us;
            vec![(first, first + size_us)]
        }
        WindowKind::Hop { slide_us, size_us, offset_us } => {
            let near = (t - offset_us).div_euclid(slide_us);
            (-100..=1)
                .map(|k| (near + k) * slide_us + offset_us)
                .map(|start| (start, start + size_us))
                .collect()
        }
        WindowKind::Cumulate { step_us, size_us, offset_us } => {
            let first = (t - offset_us).div_euclid(size_us) * size_us + offset_us;
            (1..=size_us / step_us).map(|j| (first, first + j * step_us)).collect()
        }
    }
}

/// The bounds of each row's session, which grows until no row of its key is near.
fn sessions(keys: &[ArrayRef], times: &ArrayRef, gap_us: i64) -> [ArrayRef; 2] {
    let typed = times.as_primitive::<TimestampMicrosecondType>();
    let key = |row: usize| -> Vec<ScalarValue> {
        keys.iter().map(|column| ScalarValue::try_from_array(column, row).unwrap()).collect()
    };
    let bounds = (0..typed.len()).map(|row| {
        let (mut first, mut last) = (typed.value(row), typed.value(row));
        for _ in 0..typed.len() {
            for other in (0..typed.len()).filter(|other| key(*other) == key(row)) {
                let t = typed.value(other);
                if first - gap_us <= t && t <= last + gap_us {
                    (first, last) = (first.min(t), last.max(t));
                }
            }
        }
        (first, last + gap_us)
    });
    let (starts, ends): (Vec<i64>, Vec<i64>) = bounds.unzip();
    [starts, ends].map(|bounds| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(bounds).with_data_type(times.data_type().clone()))
    })
}

/// The evaluated columns as a table, and the calls as SQL over it.
async fn aggregate(
    rows: &RecordBatch,
    keys: Vec<ArrayRef>,
    calls: &[AggregateCall],
    schema: &SchemaRef,
) -> RecordBatch {
    let mut fields = vec![Field::new("one", datafusion::arrow::datatypes::DataType::Int64, true)];
    let ones = datafusion::arrow::array::Int64Array::from(vec![1; rows.num_rows()]);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ones)];
    let mut add = |column: ArrayRef| {
        let name = format!("c{}", columns.len());
        fields.push(Field::new(&name, column.data_type().clone(), true));
        columns.push(column);
        name
    };
    let keys: Vec<String> = keys.into_iter().map(&mut add).collect();
    let mut items = keys.clone();
    for (i, call) in calls.iter().enumerate() {
        let args: Vec<String> = call.args.iter().map(|a| add(a.evaluate(rows).unwrap())).collect();
        let order: Vec<String> = call
            .order_by
            .iter()
            .map(|o| {
                let name = add(o.expr.evaluate(rows).unwrap());
                let way = if o.descending { "DESC" } else { "ASC" };
                let nulls = if o.nulls_first { "FIRST" } else { "LAST" };
                format!("{name} {way} NULLS {nulls}")
            })
            .collect();
        let order = if order.is_empty() {
            order.join("")
        } else {
            format!("ORDER BY {}", order.join(", "))
        };
        let filter = call.filter.as_ref().map(|f| add(f.evaluate(rows).unwrap()));
        let filter = filter.map(|f| format!("FILTER (WHERE {f})")).unwrap_or_default();
        let distinct = if call.distinct { "DISTINCT" } else { "" };
        let args = if args.is_empty() { "*".to_owned() } else { args.join(", ") };
        items.push(format!(
            "{}({distinct} {args} {order}) {filter} AS a{i}",
            name_of(call.function)
        ));
    }
    let table = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let table = MemTable::try_new(table.schema(), vec![vec![table]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let by = if keys.is_empty() { String::new() } else { format!("GROUP BY {}", keys.join(", ")) };
    let sql = format!("SELECT {} FROM t {by}", items.join(", "));
    let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    let columns = all
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(c, f)| datafusion::arrow::compute::cast(c, f.data_type()).unwrap())
        .collect();
    with_columns(schema, columns)
}

fn name_of(function: AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Avg => "avg",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::ApproxDistinct => "approx_distinct",
        AggregateFunction::FirstValue => "first_value",
        AggregateFunction::LastValue => "last_value",
        AggregateFunction::ArrayAgg => "array_agg",
        AggregateFunction::BoolAnd => "bool_and",
        AggregateFunction::BoolOr => "bool_or",
        AggregateFunction::StddevSamp => "stddev",
        AggregateFunction::StddevPop => "stddev_pop",
        AggregateFunction::VarSamp => "var_samp",
        AggregateFunction::VarPop => "var_pop",
        AggregateFunction::ApproxPercentile(_) => panic!("not among these views"),
    }
}
