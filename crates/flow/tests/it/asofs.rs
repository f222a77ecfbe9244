//! ASOF joins stepped commit by commit equal a search of the nearest row among all, whatever comes and goes, and
//! whatever is let go of.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use yeoul_batch::{ColumnExpr, ExprRef, Updates};
use yeoul_flow::{
    AsOfSpec, CacheBudget, GraphBuilder, JoinTimes, Limits, Nearest, SourceIndex, StateTree,
    StepTime, Workers,
};

use crate::bounded::{SECOND, Side, play};
use crate::cells::{Cell, Row};
use crate::random::{self, Random, SMALL, TEXT, TIME, WIDE};
use crate::trees::Trees;
use crate::trial::Trial;

#[derive(Debug)]
struct Case {
    keys: Vec<usize>,
    near: usize,
    nearest: Nearest,
    outer: bool,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let keys = match random.below(4) {
            0 => vec![],
            1 => vec![TEXT, SMALL],
            _ => vec![*random.pick(&[SMALL, TEXT])],
        };
        let all = [Nearest::NotAfter, Nearest::Before, Nearest::NotBefore, Nearest::After];
        let near = *random.pick(&[TIME, WIDE, SMALL]);
        Self { keys, near, nearest: *random.pick(&all), outer: random.one_in(2) }
    }

    fn spec(&self, times: Option<JoinTimes>) -> AsOfSpec {
        let both = |&column: &usize| (random::column(column), random::column(column));
        let (nearest, outer) = (self.nearest, self.outer);
        AsOfSpec {
            on: self.keys.iter().map(both).collect(),
            near: both(&self.near),
            nearest,
            outer,
            times,
        }
    }

    /// The nearest row of each, looked for among all.
    fn twin(&self, left: &[Row], right: &[Row]) -> Vec<Row> {
        let mut out = Vec::new();
        for l in left {
            let matches = |r: &&Row| {
                let same = |&key: &usize| {
                    !l[key].is_null() && !r[key].is_null() && l[key].order(&r[key]).is_eq()
                };
                if l[self.near].is_null() || r[self.near].is_null() || !self.keys.iter().all(same) {
                    return false;
                }
                let order = r[self.near].order(&l[self.near]);
                match self.nearest {
                    Nearest::NotAfter => order.is_le(),
                    Nearest::Before => order.is_lt(),
                    Nearest::NotBefore => order.is_ge(),
                    Nearest::After => order.is_gt(),
                }
            };
            let last = matches!(self.nearest, Nearest::NotAfter | Nearest::Before);
            let nearest = right.iter().filter(matches).min_by(|a, b| {
                let near = a[self.near].order(&b[self.near]);
                let rest = a.iter().zip(b.iter()).map(|(a, b)| a.order(b));
                let near = if last { near.reverse() } else { near };
                near.then_with(|| rest.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then))
            });
            match nearest {
                Some(r) => out.push([l.clone(), r.clone()].concat()),
                None if self.outer => {
                    out.push([l.clone(), vec![Cell::Null; random::ALL.len()]].concat());
                }
                None => {}
            }
        }
        out
    }
}

#[test]
fn the_nearest_is_found_among_all() {
    for seed in 0..300 {
        let mut trial = Trial::new(seed, 2, if seed % 10 == 0 { 200 } else { 25 });
        let case = Case::new(&mut trial.random);
        let node = trial.builder.as_of(trial.nodes[0], trial.nodes[1], &case.spec(None)).unwrap();
        let what = format!("{case:?}");
        trial.check(node, &what, move |rows| case.twin(&rows[0], &rows[1]));
    }
}

/// Steps with watermarks: what comes too late is left out, and what is released changes nothing.
fn check(seed: u64) {
    let mut random = Random::new(seed);
    let nearest = *random.pick(&[Nearest::NotAfter, Nearest::Before]);
    let case = Case { near: TIME, nearest, ..Case::new(&mut random) };
    let what = format!("seed {seed}: {case:?}");
    let lags = [1 + random.int(3) * SECOND, 1 + random.int(3) * SECOND];
    let kept_us = lags[0].max(lags[1]);
    let times = JoinTimes { columns: [TIME, TIME], lags_us: lags, kept_us: [Some(kept_us), None] };
    let mut sides = [Side::new(random.one_in(2)), Side::new(true)];
    let rows_at_once = *random.pick(&[1, 40, 1 << 18]);
    let limits = Limits { caches: CacheBudget::new(0), rows_at_once, ..Limits::default() };
    let mut builder = GraphBuilder::new().limits(limits);
    let nodes = [0, 1].map(|at| builder.source(random::schema(), sides[at].append_only));
    let node = builder.as_of(nodes[0], nodes[1], &case.spec(Some(times))).unwrap();
    let mut graph = builder.output(node, true).unwrap();
    let twin = |left: &[Row], right: &[Row]| case.twin(left, right);
    let trees = play(&mut random, &mut graph, &mut sides, lags, &what, twin);
    let kept = trees.states(graph.state_trees()[0].0).num_rows();
    assert_eq!(kept, 0, "{what}: no left row is needed in the end");
}

#[test]
fn what_is_in_time_meets_the_nearest_of_what_is_in_time() {
    (0..300).for_each(check);
}

fn times(rows: usize, from: i64) -> (SchemaRef, RecordBatch) {
    let us = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("at", us, true),
    ]));
    let count = i64::try_from(rows).unwrap();
    let at = TimestampMicrosecondArray::from_iter_values((from..from + count).map(|s| s * SECOND));
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![7; rows]));
    let rows =
        RecordBatch::try_new(Arc::clone(&schema), vec![keys, Arc::new(at.with_timezone("UTC"))]);
    (schema, rows.unwrap())
}

/// A version goes when those that come are too late for it; the last one before them stays.
#[test]
fn versions_are_kept_as_long_as_what_is_late_needs_them() {
    let (schema, _) = times(0, 0);
    let column = |at: usize| -> ExprRef {
        Arc::new(ColumnExpr::new(at, schema.field(at).data_type().clone()))
    };
    let spec = AsOfSpec {
        on: vec![(column(0), column(0))],
        near: (column(1), column(1)),
        nearest: Nearest::NotAfter,
        outer: false,
        times: Some(JoinTimes { columns: [1, 1], lags_us: [1, 1], kept_us: [Some(1), None] }),
    };
    let mut builder = GraphBuilder::new();
    let nodes = [0, 1].map(|_| builder.source(Arc::clone(&schema), true));
    let node = builder.as_of(nodes[0], nodes[1], &spec).unwrap();
    let mut graph = builder.output(node, false).unwrap();
    let (pool, mut trees) = (Workers::new(1), Trees::new(&graph));
    let mut closed_us = None;
    for step in 0..40 {
        // Ten versions a step, of which ten seconds may still be asked for.
        let closing_us = Some((step * 10 - 10) * SECOND);
        graph.set_time(StepTime { now_us: 0, closed_us, closing_us });
        let inputs = [(SourceIndex(1), Updates::inserts(times(10, step * 10).1))];
        let output = graph.step(&inputs, &pool, &trees).unwrap();
        trees.publish(&output);
        closed_us = closing_us;
    }
    let right: StateTree = graph.state_trees()[1].0;
    let kept = trees.states(right);
    let at = kept.column(2).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let least = arrow::compute::min(at).unwrap() / SECOND;
    // Closed up to second 370 before the last step, which therefore left the version of that second.
    assert_eq!((least, kept.num_rows()), (370, 30));
    let counts = kept.column(3).as_primitive::<Int64Type>();
    assert!(counts.values().iter().all(|&count| count == 1));
}

#[test]
fn what_has_no_order_is_not_near() {
    let mut builder = GraphBuilder::new();
    let node = builder.source(random::schema(), true);
    let near = (random::column(TEXT), random::column(TEXT));
    let spec =
        AsOfSpec { on: Vec::new(), near, nearest: Nearest::NotAfter, outer: false, times: None };
    let error = builder.as_of(node, node, &spec).unwrap_err().to_string();
    assert_eq!(error, "what is near cannot be told of Utf8View and Utf8View");
}
