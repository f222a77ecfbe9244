//! Rows that are there by the clock, and groups that are told when their window is closed, beside slow twins, with a
//! scripted clock and watermark.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use yeoul_batch::{ColumnExpr, Updates};
use yeoul_flow::{
    AggregateCall, AggregateSpec, ClockCondition, Function, Graph, GraphBuilder, NamedExpr,
    SourceIndex, StateTree, StepTime, Window, Workers,
};

use crate::cells::{self, Cell, Row};
use crate::laws::{assert_same, cut};
use crate::random::{self, Random, SMALL, TEXT, TIME, WIDE, column};
use crate::trees::{Source, Trees, apply};
use crate::twin::{self, Bag};

fn time_of(row: &Row) -> Option<i64> {
    match &row[TIME] {
        Cell::Int(time) => Some(i64::try_from(*time).unwrap()),
        _ => None,
    }
}

#[test]
fn rows_are_there_while_the_clock_says_so() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let conditions: Vec<(i64, bool)> = (0..1 + random.below(3))
            .map(|_| (random.int(40_000_000) - 20_000_000, random.one_in(2)))
            .collect();
        let specs: Vec<ClockCondition> = conditions
            .iter()
            .map(|&(shift_us, comes)| ClockCondition { time: column(TIME), shift_us, comes })
            .collect();
        let append_only = random.one_in(2);
        let mut source = Source::new(&mut random, append_only);
        let mut builder = GraphBuilder::new();
        let node = builder.source(random::schema(), append_only);
        let mut node = builder.expiring(node, &specs).unwrap();
        let counted = random.one_in(3);
        let calls = vec![AggregateCall::new("n", Function::Count, vec![])];
        if counted {
            let keys = vec![NamedExpr::new("small", column(SMALL))];
            let spec = AggregateSpec { keys, calls: calls.clone(), append_only };
            node = builder.aggregate(node, spec).unwrap();
        }
        let mut graph = builder.output(node, true).unwrap();
        let (pool, mut trees, mut seen) = (Workers::new(2), Trees::new(&graph), Bag::default());
        let mut now_us = -40_000_000;
        for step in 0..25 {
            now_us += random.int(8_000_000);
            let name = format!("seed {seed} step {step} at {now_us}: {conditions:?}");
            let time = StepTime { now_us, ..StepTime::default() };
            let mut inputs = Vec::new();
            if random.one_in(2) {
                let rows = 1 + random.below(30);
                let updates = source.step(&mut random, rows);
                let parts = cut(&mut random, &updates);
                inputs.extend(parts.into_iter().map(|part| (SourceIndex(0), part)));
            }
            let due = graph.is_due(now_us);
            graph.set_time(time);
            let output = graph.step(&inputs, &pool, &trees).unwrap();
            trees.publish(&output);
            apply(&mut seen, output.change.as_ref());
            assert!(due || !inputs.is_empty() || output.change.is_none(), "{name}: it was not due");
            let is_there = |row: &Row| {
                time_of(row).is_some_and(|time| {
                    conditions.iter().all(|&(shift, comes)| (now_us >= time + shift) == comes)
                })
            };
            let rows: Vec<Row> = source.bag.rows().into_iter().filter(is_there).collect();
            let rows = if counted { twin::aggregate(&rows, &[SMALL], &calls) } else { rows };
            assert_same(trees.rows(&graph), rows.clone(), &name);
            assert_same(seen.rows(), rows, &format!("{name}, followed"));
        }
        // Whatever was decided is not kept.
        graph.set_time(StepTime { now_us: 1 << 50, ..StepTime::default() });
        let output = graph.step(&[], &pool, &trees).unwrap();
        trees.publish(&output);
        for tree in 1..=2 {
            assert_eq!(trees.states(StateTree(tree)).num_rows(), 0, "seed {seed}: tree {tree}");
        }
        assert!(!graph.is_due(1 << 55));
    }
}

const SIZE: i64 = 3_000_000;

/// Rows with `window_start` and `window_end`, as plain as can be.
fn windowed(rows: &[Row], slide: i64) -> Vec<Row> {
    let mut out = Vec::new();
    for row in rows {
        let Some(time) = time_of(row) else { continue };
        let mut start = time.div_euclid(slide) * slide;
        while start > time - SIZE {
            let mut row = row.clone();
            row.extend([Cell::Int(start.into()), Cell::Int((start + SIZE).into())]);
            out.push(row);
            start -= slide;
        }
    }
    out
}

/// The updates whose time is in a window that ends behind `closed`: those that some window still takes.
fn on_time(updates: &Updates, closed: i64, last_end: impl Fn(i64) -> i64) -> RecordBatch {
    let times = updates.rows().column(TIME).as_primitive::<TimestampMicrosecondType>();
    let mask: BooleanArray =
        times.iter().map(|time| Some(time.is_some_and(|time| last_end(time) > closed))).collect();
    filter_record_batch(updates.rows(), &mask).unwrap()
}

/// A graph that tells each row once, and what it has told.
pub(crate) struct Telling {
    pub(crate) graph: Graph,
    pub(crate) trees: Trees,
    pub(crate) told: Vec<Row>,
    pub(crate) closed_us: Option<i64>,
    pool: Workers,
}

impl Telling {
    pub(crate) fn new(graph: Graph, workers: usize) -> Self {
        assert!(graph.append_only() && graph.needs_watermark());
        let (trees, pool) = (Trees::new(&graph), Workers::new(workers));
        Self { graph, trees, told: Vec::new(), closed_us: None, pool }
    }

    /// Where windows are closed next.
    pub(crate) fn later(&self, random: &mut Random) -> Option<i64> {
        match self.closed_us {
            None if random.one_in(3) => None,
            None => Some(random.int(10_000_000) - 10_000_000),
            Some(closed) => Some(closed + random.int(3_000_000)),
        }
    }

    /// A step that closes what ends until `closing_us`; what it tells has never been told.
    pub(crate) fn step(
        &mut self,
        inputs: &[(SourceIndex, Updates)],
        closing_us: Option<i64>,
        name: &str,
    ) {
        let time = StepTime { now_us: 0, closed_us: self.closed_us, closing_us };
        let due = self.graph.is_closing(time);
        self.graph.set_time(time);
        let output = self.graph.step(inputs, &self.pool, &self.trees).unwrap();
        self.trees.publish(&output);
        assert!(due || !inputs.is_empty() || output.change.is_none(), "{name}: it was not due");
        assert!(output.change.as_ref().is_none_or(|change| change.diffs().is_none()), "{name}");
        self.told.extend(output.change.iter().flat_map(|change| cells::rows(change.rows())));
        self.closed_us = closing_us;
    }

    /// What was told until now, and what the tree says, is this.
    pub(crate) fn assert_told(&self, expected: Vec<Row>, name: &str) {
        assert_same(self.trees.rows(&self.graph), expected.clone(), name);
        assert_same(self.told.clone(), expected, &format!("{name}, followed"));
    }
}

#[test]
fn groups_are_told_once_their_window_is_closed() {
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let slide = *random.pick(&[SIZE, 1_000_000]);
        let mut source = Source::new(&mut random, true);
        let mut builder = GraphBuilder::new();
        let node = builder.source(random::schema(), true);
        let window = if slide == SIZE {
            Window::tumble(column(TIME), SIZE)
        } else {
            Window::hop(column(TIME), slide, SIZE)
        };
        let node = builder.window(node, window).unwrap();
        let by_end = random.one_in(2);
        let edge = if by_end { 9 } else { 8 };
        let edge_type = random::schema().field(TIME).data_type().clone();
        let mut keys = vec![NamedExpr::new("text", column(TEXT))];
        let at = random.below(2);
        keys.insert(at, NamedExpr::new("w", Arc::new(ColumnExpr::new(edge, edge_type))));
        let calls = vec![
            AggregateCall::new("n", Function::Count, vec![]),
            AggregateCall::new("m", Function::Max, vec![column(WIDE)]),
            AggregateCall::new("d", Function::Count, vec![column(SMALL)]).distinct(),
        ];
        let spec = AggregateSpec { keys, calls: calls.clone(), append_only: true };
        let lag_us = if by_end { 0 } else { SIZE };
        let node = builder.closing(node, spec, at, lag_us).unwrap();
        let mut telling = Telling::new(builder.output(node, true).unwrap(), 3);
        // Of each window what came while it was open.
        let mut taken: Vec<Row> = Vec::new();
        for step in 0..20 {
            let name = format!("seed {seed} step {step}");
            let closing_us = telling.later(&mut random);
            let closed = telling.closed_us.unwrap_or(i64::MIN);
            let mut inputs = Vec::new();
            if random.one_in(2) {
                let updates = source.step(&mut random, 20);
                let rows = on_time(&updates, closed, |time| time.div_euclid(slide) * slide + SIZE);
                let rows = windowed(&cells::rows(&rows), slide);
                let end = |row: &Row| matches!(row[9], Cell::Int(end) if end > closed.into());
                taken.extend(rows.into_iter().filter(end));
                inputs.push((SourceIndex(0), updates));
            }
            telling.step(&inputs, closing_us, &name);
            let until = i128::from(closing_us.unwrap_or(i64::MIN));
            let is_closed = |row: &&Row| matches!(row[9], Cell::Int(end) if end <= until);
            let rows: Vec<Row> = taken.iter().filter(is_closed).cloned().collect();
            let keys = if at == 0 { [edge, TEXT] } else { [TEXT, edge] };
            telling.assert_told(twin::aggregate(&rows, &keys, &calls), &name);
            // Closed windows are not kept.
            let open: Vec<Row> = taken.iter().filter(|row| !is_closed(row)).cloned().collect();
            let open = twin::aggregate(&open, &[edge, TEXT], &[]).len();
            let kept = telling.trees.states(StateTree(1)).num_rows();
            assert_eq!(kept, open, "{name}: groups that are kept");
        }
    }
}

#[test]
fn what_is_no_time_is_refused() {
    let mut builder = GraphBuilder::new();
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let node = builder.source(schema, true);
    let number = || Arc::new(ColumnExpr::new(0, DataType::Int64));
    let condition = ClockCondition { time: number(), shift_us: 0, comes: true };
    assert!(builder.expiring(node, &[condition]).is_err());
    let keys = vec![NamedExpr::new("n", number())];
    let spec = AggregateSpec { keys, calls: Vec::new(), append_only: true };
    assert!(builder.closing(node, spec, 0, 0).is_err());
}
