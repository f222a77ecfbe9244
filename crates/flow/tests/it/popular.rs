//! A key of which both sides have many rows: what is grouped is not held, and of what is not the limit is said.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use yeoul_batch::{ColumnExpr, ExprRef, Updates};
use yeoul_flow::{
    AggregateCall, AggregateSpec, Function, Graph, GraphBuilder, JoinKind, JoinSpec, Limits,
    NamedExpr, SourceIndex, StateTree, Workers,
};

use crate::trees::Trees;

const ROWS: i64 = 3000;

fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("k"), field("v")]))
}

fn column(index: usize) -> ExprRef {
    Arc::new(ColumnExpr::new(index, DataType::Int64))
}

/// Rows of one key, and one of another.
fn rows() -> Updates {
    let keys: ArrayRef = Arc::new((0..=ROWS).map(|row| Some(row / ROWS)).collect::<Int64Array>());
    let values: ArrayRef = Arc::new((0..=ROWS).map(Some).collect::<Int64Array>());
    Updates::inserts(RecordBatch::try_new(schema(), vec![keys, values]).expect("a batch"))
}

/// The join by key, counted by these of its columns, if any.
fn graph(counted_by: &[usize]) -> Graph {
    let limits = Limits { change_bytes_max: 1 << 20, rows_at_once: 1000, ..Limits::default() };
    let mut builder = GraphBuilder::new().limits(limits);
    let sides = [0, 1].map(|_| builder.source(schema(), true));
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        on: vec![(column(0), column(0))],
        nulls_equal: false,
        residual: None,
        times: None,
        mark: None,
    };
    let mut node = builder.join(sides[0], sides[1], spec).expect("a join");
    if !counted_by.is_empty() {
        let key = |&at: &usize| NamedExpr::new(format!("k{at}"), column(at));
        let keys = counted_by.iter().map(key).collect();
        let calls = vec![AggregateCall::new("n", Function::Count, vec![])];
        node = builder
            .aggregate(node, AggregateSpec { keys, calls, append_only: true })
            .expect("groups");
    }
    builder.output(node, false).expect("a graph")
}

#[test]
fn nine_million_pairs_are_counted_within_a_mebibyte() {
    let (mut graph, pool) = (graph(&[0]), Workers::new(2));
    let mut trees = Trees::new(&graph);
    for at in 0..2 {
        let output = graph.step(&[(SourceIndex(at), rows())], &pool, &trees).unwrap();
        let told: usize = output.deltas.iter().map(RecordBatch::num_rows).sum();
        assert!(told <= 1100, "{told} states of two keys");
        trees.publish(&output);
    }
    let states = graph.finish(&trees.states(StateTree::VIEW)).unwrap();
    let mut counts: Vec<i64> = states.column(1).as_primitive::<Int64Type>().values().to_vec();
    counts.sort_unstable();
    assert_eq!(counts, [1, ROWS * ROWS]);
}

#[test]
fn nine_million_pairs_that_are_kept_are_too_many() {
    for (counted_by, what) in [(&[][..], "joined rows;"), (&[1, 3], "groups of joined rows;")] {
        let (mut graph, pool) = (graph(counted_by), Workers::new(2));
        let mut trees = Trees::new(&graph);
        let output = graph.step(&[(SourceIndex(0), rows())], &pool, &trees).unwrap();
        trees.publish(&output);
        let error = graph.step(&[(SourceIndex(1), rows())], &pool, &trees).unwrap_err();
        let wanted = format!("one commit changes more than 1 MiB of {what}");
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }
}
