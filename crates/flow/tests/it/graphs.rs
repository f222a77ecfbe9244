//! Graphs stepped commit by commit equal the query over all rows, whatever the workers and the cache.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use yeoul_batch::{ColumnExpr, Combine, Expr, ExprError, ExprRef, Updates};
use yeoul_flow::{
    AggregateCall, AggregateSpec, CacheBudget, Function, GraphBuilder, Limits, NamedExpr, NodeId,
    SourceIndex, TreeShape, Window, WindowKind, Workers,
};

use crate::cells::{self, Cell, Row};
use crate::laws::{assert_same, random_call};
use crate::random::{self, Random};
use crate::trees::{Source, Trees, apply};
use crate::twin::{self, Bag};

/// `column > value`, with SQL's nulls.
#[derive(Debug)]
struct Above {
    column: usize,
    value: i64,
}

impl Expr for Above {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let values = rows.column(self.column).as_primitive::<Int64Type>();
        let above: BooleanArray = values.iter().map(|v| v.map(|v| v > self.value)).collect();
        Ok(Arc::new(above))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

/// A query both ways: as a node of the graph and as rows of the twin.
struct Query {
    builder: GraphBuilder,
    node: NodeId,
    twin: Box<dyn Fn(Vec<Row>) -> Vec<Row>>,
}

fn column_of(schema: &SchemaRef, index: usize) -> ExprRef {
    Arc::new(ColumnExpr::new(index, schema.field(index).data_type().clone()))
}

fn named(schema: &SchemaRef, index: usize, name: &str) -> NamedExpr {
    NamedExpr::new(name, column_of(schema, index))
}

impl Query {
    fn new(random: &mut Random, append_only: bool, cache_bytes: usize) -> Self {
        let mut builder = GraphBuilder::new()
            .limits(Limits { caches: CacheBudget::new(cache_bytes), ..Limits::default() });
        let node = builder.source(random::schema(), append_only);
        let mut query = Self { builder, node, twin: Box::new(|rows| rows) };
        if random.one_in(3) {
            query.filter_flag();
        }
        if random.one_in(4) {
            query.double();
        }
        query
    }

    fn then(&mut self, node: NodeId, step: impl Fn(Vec<Row>) -> Vec<Row> + 'static) {
        let before = std::mem::replace(&mut self.twin, Box::new(|rows| rows));
        self.twin = Box::new(move |rows| step(before(rows)));
        self.node = node;
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.builder.schema(self.node))
    }

    fn filter_flag(&mut self) {
        let node = self.builder.filter(self.node, random::column(random::FLAG)).unwrap();
        self.then(node, |mut rows| {
            rows.retain(|row| matches!(row[random::FLAG], Cell::Bool(true)));
            rows
        });
    }

    /// All rows twice, once by another way.
    fn double(&mut self) {
        let other = self.builder.filter(self.node, random::column(random::FLAG)).unwrap();
        let schema = self.schema();
        let columns = (0..schema.fields().len()).map(|i| named(&schema, i, &format!("c{i}")));
        let other = self.builder.project(other, columns.collect()).unwrap();
        let node = self.builder.union(&[self.node, other]).unwrap();
        self.then(node, |mut rows| {
            let again: Vec<Row> = rows
                .iter()
                .filter(|row| matches!(row[random::FLAG], Cell::Bool(true)))
                .cloned()
                .collect();
            rows.extend(again);
            rows
        });
    }

    fn window(&mut self, random: &mut Random) -> bool {
        let time = random::column(random::TIME);
        let window = match random.below(4) {
            0 => Window::tumble(time, 3_000_000),
            1 => Window::hop(time, 1_000_000, 3_000_000),
            2 => Window::hop(time, 2_000_000, 5_000_000).with_offset(700_000),
            _ => Window::cumulate(time, 1_000_000, 4_000_000).with_offset(-300_000),
        };
        let node = self.builder.window(self.node, window.clone()).unwrap();
        let shared = window.kind != WindowKind::Tumble;
        self.then(node, move |rows| rows.iter().flat_map(|row| windows(&window, row)).collect());
        shared
    }

    fn aggregate(&mut self, keys: Vec<usize>, calls: Vec<AggregateCall>) {
        let schema = self.schema();
        let named = |k: &usize| named(&schema, *k, schema.field(*k).name());
        let spec = AggregateSpec {
            keys: keys.iter().map(named).collect(),
            calls: calls.clone(),
            append_only: false,
        };
        let node = self.builder.aggregate(self.node, spec).unwrap();
        self.then(node, move |rows| twin::aggregate(&rows, &keys, &calls));
    }

    /// Keeps the rows whose `column` is above `value`.
    fn having(&mut self, column: usize, value: i64) {
        let node = self.builder.filter(self.node, Arc::new(Above { column, value })).unwrap();
        self.then(node, move |mut rows| {
            rows.retain(|row| matches!(&row[column], Cell::Int(v) if *v > i128::from(value)));
            rows
        });
    }

    fn project(&mut self, columns: Vec<usize>) {
        let schema = self.schema();
        let named = columns.iter().map(|&c| named(&schema, c, &format!("p{c}"))).collect();
        let node = self.builder.project(self.node, named).unwrap();
        self.then(node, move |rows| {
            rows.iter().map(|row| columns.iter().map(|&c| row[c].clone()).collect()).collect()
        });
    }
}

/// The row with every window that holds its time, found by trying.
fn windows(window: &Window, row: &Row) -> Vec<Row> {
    let Cell::Int(time) = row[random::TIME] else {
        if window.kind != WindowKind::Tumble {
            return Vec::new();
        }
        // As the batch query has it: the bounds of no time are unknown.
        let mut row = row.clone();
        row.extend([Cell::Null, Cell::Null]);
        return vec![row];
    };
    let (size, slide) = (i128::from(window.size_us), i128::from(window.slide_us));
    let offset = i128::from(window.offset_us);
    let mut all = Vec::new();
    let every = if window.kind == WindowKind::Cumulate { size } else { slide };
    let near = (time - offset) / every;
    for n in near - 5..=near + 5 {
        let edges: Vec<(i128, i128)> = match window.kind {
            WindowKind::Tumble | WindowKind::Hop => {
                vec![(n * slide + offset, n * slide + offset + size)]
            }
            WindowKind::Cumulate => (1..=size / slide)
                .map(|steps| (n * size + offset, n * size + offset + steps * slide))
                .collect(),
        };
        for (start, end) in edges.into_iter().filter(|(s, e)| *s <= time && time < *e) {
            let mut row = row.clone();
            row.extend([Cell::Int(start), Cell::Int(end)]);
            all.push(row);
        }
    }
    all
}

/// Steps the query and compares rows and changes with the twin at every commit.
fn check(seed: u64, random: &mut Random, query: Query, source: &mut Source, step_rows: usize) {
    let what = format!("seed {seed}");
    let followed = random.one_in(2);
    let mut graph = query.builder.output(query.node, followed).unwrap();
    let pool = Workers::new(*random.pick(&[1, 2, 3, 7]));
    let mut trees = Trees::new(&graph);
    let mut seen = Bag::default();
    let output = graph.initial(&pool, &trees).unwrap();
    trees.publish(&output);
    apply(&mut seen, output.change.as_ref());
    assert_same(trees.rows(&graph), (query.twin)(Vec::new()), &what);
    for step in 0..5 {
        if step == 3 {
            // A follower comes late: it starts from the rows that are there.
            graph.follow(true);
            seen = Bag::default();
            trees.rows(&graph).iter().for_each(|row| seen.add(row, 1));
        }
        let updates = source.step(random, step_rows);
        let inputs: Vec<(SourceIndex, Updates)> = crate::laws::cut(random, &updates)
            .into_iter()
            .map(|part| (SourceIndex(0), part))
            .collect();
        let output = graph.step(&inputs, &pool, &trees).unwrap();
        trees.publish(&output);
        let expected = (query.twin)(source.bag.rows());
        let rows = trees.rows(&graph);
        assert_same(rows.clone(), expected, &format!("{what} step {step}"));
        assert!(graph.followed() || output.change.is_none());
        if graph.followed() {
            apply(&mut seen, output.change.as_ref());
            assert_same(seen.rows(), rows, &format!("{what} step {step}, followed"));
        }
    }
    let output = graph.step(&[], &pool, &trees).unwrap();
    assert!(output.deltas.is_empty() && output.change.is_none() && output.inner.is_empty());
}

fn random_source(random: &mut Random) -> (Source, usize) {
    let append_only = random.one_in(2);
    let cache_bytes = *random.pick(&[0, 20_000, 1 << 26]);
    (Source::new(random, append_only), cache_bytes)
}

#[test]
fn linear_views() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let (mut source, cache_bytes) = random_source(&mut random);
        let mut query = Query::new(&mut random, source.append_only, cache_bytes);
        if random.one_in(2) {
            query.window(&mut random);
        }
        query.project(vec![random::TEXT, random::TIME, random::SMALL]);
        check(seed, &mut random, query, &mut source, 50);
    }
}

#[test]
fn aggregates_under_linear_operators() {
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let (mut source, cache_bytes) = random_source(&mut random);
        let mut query = Query::new(&mut random, source.append_only, cache_bytes);
        let mut keys: Vec<usize> = random::ALL.to_vec();
        keys.retain(|_| random.one_in(4));
        if random.one_in(2) {
            query.window(&mut random);
            keys.extend([8, 9].iter().filter(|_| random.one_in(2)));
        }
        let mut calls = vec![AggregateCall::new("n", Function::Count, vec![])];
        calls.extend((0..random.below(3)).map(|number| random_call(&mut random, number)));
        let count = keys.len();
        query.aggregate(keys, calls);
        if random.one_in(2) {
            query.having(count, 1);
        }
        if random.one_in(2) {
            query.project((0..=count).rev().collect());
        }
        let rows = if seed % 20 == 0 { 3000 } else { 60 };
        check(seed, &mut random, query, &mut source, rows);
    }
}

#[test]
fn aggregates_over_aggregates() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (mut source, cache_bytes) = random_source(&mut random);
        let mut query = Query::new(&mut random, source.append_only, cache_bytes);
        let n = AggregateCall::new("n", Function::Count, vec![]);
        let inner = if random.one_in(4) { vec![] } else { vec![random::SMALL, random::TEXT] };
        let width = inner.len();
        query.aggregate(inner, vec![n]);
        if random.one_in(2) {
            query.having(width, 2);
        }
        let value = |function| {
            let expr: ExprRef = Arc::new(ColumnExpr::new(width, DataType::Int64));
            AggregateCall::new("v", function, vec![expr])
        };
        let functions = [Function::Count, Function::Sum, Function::Max, Function::Stddev];
        let calls = functions.iter().map(|f| value(*f)).collect();
        let outer = if width > 0 && random.one_in(2) { vec![0] } else { vec![] };
        let keys = outer.len();
        query.aggregate(outer, calls);
        if random.one_in(3) {
            // Not the last operator is an aggregate, but a union of two: everything is tracked.
            let node = query.builder.union(&[query.node, query.node]).unwrap();
            query.then(node, |rows| [rows.clone(), rows].concat());
            query.project(vec![keys, keys + 1]);
        }
        check(seed, &mut random, query, &mut source, 40);
    }
}

/// The same input gives the same states for every number of workers.
#[test]
fn workers_do_not_show() {
    let mut results = Vec::new();
    for count in [1, 2, 3, 7] {
        let mut random = Random::new(5);
        let mut source = Source::new(&mut random, true);
        let mut query = Query::new(&mut random, true, 0);
        query.aggregate(vec![random::TEXT], vec![AggregateCall::new("n", Function::Count, vec![])]);
        let mut graph = query.builder.output(query.node, false).unwrap();
        let trees = Trees::new(&graph);
        let updates = source.step(&mut random, 20_000);
        let output =
            graph.step(&[(SourceIndex(0), updates)], &Workers::new(count), &trees).unwrap();
        let TreeShape::Combine(aggregate) = graph.tree() else { panic!("an aggregate") };
        let states = aggregate.combine(&output.deltas, true).unwrap();
        results.push(cells::sorted(cells::rows(&states)));
    }
    for other in &results[1..] {
        assert_same(other.clone(), results[0].clone(), "workers");
    }
}
