//! A small shop: what the tests query.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::prelude::SessionContext;
use yeoul_sql::{
    Catalog, Planner, Query, Relation, RelationKind, SqlError, Statement, datatype, parse,
};

pub(crate) struct Shop {
    pub(crate) context: SessionContext,
    pub(crate) planner: Planner,
    relations: Vec<(&'static str, Relation, RecordBatch)>,
}

const SECOND: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600 * SECOND;

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn column(name: &str, sql: datafusion::arrow::datatypes::DataType) -> Field {
    Field::new(name, sql, true)
}

fn events() -> RecordBatch {
    use datafusion::arrow::datatypes::DataType as T;
    let schema = schema(vec![
        column("event_id", T::Utf8View),
        column("ts", datatype::timestamptz()),
        column("user_id", T::Utf8View),
        column("product_id", T::Int64),
        column("kind", T::Utf8View),
        column("price", T::Float64),
        datatype::jsonb().with_name("attrs"),
        datatype::uuid().with_name("visit"),
    ]);
    let kinds = ["impression", "click", "impression", "purchase", "cart"];
    let n: usize = 60;
    let ids: Vec<String> = (0..n).map(|i| format!("event-number-{i}")).collect();
    let int = |i: usize| i64::try_from(i).unwrap();
    let times = TimestampMicrosecondArray::from_iter(
        (0..n).map(|i| (i != 59).then(|| START + int(i * 37 % 300) * SECOND + int(i))),
    )
    .with_timezone("UTC");
    let visits: Vec<Vec<u8>> = (0..n).map(|i| vec![u8::try_from(i % 4).unwrap(); 16]).collect();
    let attrs: Vec<String> =
        (0..n).map(|i| format!(r#"{{"page":"p{}","tags":["a",{}]}}"#, i % 3, i % 5)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(&ids)),
        Arc::new(times),
        Arc::new(StringViewArray::from_iter_values((0..n).map(|i| format!("u{}", i % 7)))),
        Arc::new(Int64Array::from_iter((0..n).map(|i| (i % 11 != 10).then(|| int(i % 3))))),
        Arc::new(StringViewArray::from_iter((0..n).map(|i| (i % 13 != 12).then(|| kinds[i % 5])))),
        Arc::new(Float64Array::from_iter(
            (0..n).map(|i| (i % 4 != 0).then(|| f64::from(u32::try_from(i).unwrap()) * 0.5)),
        )),
        Arc::new(StringViewArray::from_iter_values(&attrs)),
        Arc::new(FixedSizeBinaryArray::try_from_iter(visits.into_iter()).unwrap()),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn products() -> RecordBatch {
    use datafusion::arrow::datatypes::DataType as T;
    let schema = schema(vec![
        Field::new("product_id", T::Int64, false),
        column("category", T::Utf8View),
        column("price", T::Float64),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..3)),
        Arc::new(StringViewArray::from_iter_values(["shoes", "hats", "shoes"])),
        Arc::new(Float64Array::from_iter_values([10.0, 20.0, 30.0])),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

impl Shop {
    pub(crate) fn new() -> Self {
        let state = SessionStateBuilder::new_with_default_features().build();
        let planner = Planner::new(state).unwrap();
        let context = SessionContext::new_with_state(planner.state().clone());
        let relation = |kind, rows: &RecordBatch, key: Vec<usize>, time| Relation {
            kind,
            schema: rows.schema(),
            primary_key: key,
            event_time: time,
            of_table: None,
            lags: time.map(|time: usize| (time, 1)).into_iter().collect(),
            append_only: kind == RelationKind::Stream,
        };
        let (e, p) = (events(), products());
        let relations = vec![
            ("events", relation(RelationKind::Stream, &e, vec![], Some(1)), e),
            ("products", relation(RelationKind::Table, &p, vec![0], None), p.clone()),
            ("popular", relation(RelationKind::View, &p, vec![0], None), p),
        ];
        Self { context, planner, relations }
    }

    pub(crate) fn rows(&self, name: &str) -> &RecordBatch {
        &self.relations.iter().find(|r| r.0 == name).unwrap().2
    }

    pub(crate) fn query(&self, sql: &str) -> Query {
        match parse(sql).unwrap_or_else(|e| panic!("{}", e.render("test", sql))).remove(0).node {
            Statement::Query(query) => query,
            other => panic!("not a query: {other:?}"),
        }
    }

    pub(crate) fn plan(&self, sql: &str) -> yeoul_sql::QueryPlan {
        self.planner
            .query(&self.query(sql), self, &[])
            .unwrap_or_else(|e| panic!("{}", e.render("test", sql)))
    }

    pub(crate) async fn run(&self, plan: LogicalPlan) -> Vec<RecordBatch> {
        let frame = self.context.execute_logical_plan(plan).await.unwrap();
        frame.collect().await.unwrap()
    }

    /// The answer to a query, its rows sorted.
    pub(crate) async fn answer(&self, sql: &str) -> String {
        let plan = self.plan(sql);
        sorted(&self.run(plan.plan).await)
    }
}

/// A table of rows as text, sorted.
pub(crate) fn sorted(batches: &[RecordBatch]) -> String {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(1);
    if last > 3 {
        lines[3..last].sort_unstable();
    }
    lines.join("\n")
}

impl Catalog for Shop {
    fn relation(&self, name: &str) -> Option<Relation> {
        self.relations.iter().find(|r| r.0 == name).map(|r| r.1.clone())
    }

    fn names(&self) -> Vec<String> {
        self.relations.iter().map(|r| r.0.to_owned()).collect()
    }

    fn source(&self, name: &TableReference) -> Option<Arc<dyn TableSource>> {
        let rows = &self.relations.iter().find(|r| r.0 == name.table())?.2;
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).unwrap();
        Some(provider_as_source(Arc::new(table)))
    }
}

/// What planning any statement says is wrong, if anything.
pub(crate) fn plan_error(shop: &Shop, statement: &Statement) -> Option<SqlError> {
    use yeoul_sql::ExplainTarget;
    let planner = &shop.planner;
    match statement {
        Statement::Query(q) => planner.query(q, shop, &[]).err(),
        Statement::CreateView(v) => planner.create_view(v, shop).err(),
        Statement::Insert(i) => planner.insert(i, shop, &[]).err(),
        Statement::Update(u) => planner.update(u, shop, &[]).err(),
        Statement::Delete(d) => planner.delete(d, shop, &[]).err(),
        Statement::CopyTo(c) => planner.query(&c.query, shop, &[]).err(),
        Statement::Explain(e) => match &e.target {
            ExplainTarget::Query(q) => planner.query(q, shop, &[]).err(),
            ExplainTarget::View(v) => planner.create_view(v, shop).err(),
        },
        Statement::CreateFunction(c) => planner.check_function(c, shop).err(),
        _ => None,
    }
}
