//! Sessions equal sorting everything and cutting at the gaps, at every commit.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;
use std::error::Error;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use yeoul_batch::{KeyRange, RangeRows, Updates};
use yeoul_flow::{
    AggregateCall, CacheBudget, Function, GraphBuilder, Limits, NamedExpr, SessionsSpec,
    SourceIndex, StateReader, StateTree, StepTime, Workers,
};

use crate::cells::{self, Cell, Row};
use crate::random::{self, Random};
use crate::time::Telling;
use crate::trees::{Source, Trees, apply};
use crate::trial::Trial;
use crate::twin::{self, Bag};

#[derive(Debug)]
struct Case {
    keys: Vec<usize>,
    gap_us: i64,
    calls: Vec<AggregateCall>,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let keys = match random.below(4) {
            0 => vec![],
            1 => vec![random::TEXT, random::FLAG],
            _ => vec![random::SMALL],
        };
        // Times are multiples of half a second: gaps that are just met, just not, and wide ones.
        let gap_us = *random.pick(&[1, 499_999, 500_000, 1_000_000, 3_000_000, 20_000_000]);
        let of = |function, column| AggregateCall::new("", function, vec![random::column(column)]);
        let all = [
            AggregateCall::new("", Function::Count, vec![]),
            of(Function::Sum, random::DECIMAL),
            of(Function::Max, random::TIME),
            of(Function::Min, random::FLOAT),
            of(Function::Count, random::WIDE).distinct(),
            of(Function::Count, random::TEXT).filter(random::column(random::FLAG)),
            of(Function::LastValue, random::TEXT).order_by(random::column(random::TIME), false),
        ];
        let calls = (0..random.below(4)).map(|number| {
            let mut call = random.pick(&all).clone();
            call.name = format!("a{number}");
            call
        });
        Self { keys, gap_us, calls: calls.collect() }
    }

    fn spec(&self) -> SessionsSpec {
        let key = |&key: &usize| NamedExpr::new(format!("k{key}"), random::column(key));
        SessionsSpec {
            keys: self.keys.iter().map(key).collect(),
            time: random::column(random::TIME),
            gap_us: self.gap_us,
            calls: self.calls.clone(),
            lag_us: None,
        }
    }

    fn twin(&self, rows: &[Row]) -> Vec<Row> {
        let mut by_key: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row[random::TIME].is_null()) {
            let key: Row = self.keys.iter().map(|&k| row[k].clone()).collect();
            by_key.entry(format!("{key:?}")).or_default().push(row.clone());
        }
        let time = |row: &Row| match row[random::TIME] {
            Cell::Int(time) => time,
            ref other => panic!("{other:?} is no time"),
        };
        let mut out = Vec::new();
        for mut rows in by_key.into_values() {
            rows.sort_by_key(time);
            let apart = |a: &Row, b: &Row| time(b) - time(a) <= i128::from(self.gap_us);
            for session in rows.chunk_by(apart) {
                let last = time(&session[session.len() - 1]);
                let mut row: Row = self.keys.iter().map(|&k| session[0][k].clone()).collect();
                row.push(Cell::Int(time(&session[0])));
                row.push(Cell::Int(last + i128::from(self.gap_us)));
                row.extend(self.calls.iter().map(|call| twin::answer(call, session)));
                out.push(row);
            }
        }
        out
    }
}

#[test]
fn sessions_are_cut_at_gaps() {
    for seed in 0..400 {
        let mut trial = Trial::new(seed, 1, if seed % 10 == 0 { 300 } else { 12 });
        let case = Case::new(&mut trial.random);
        let node = trial.builder.sessions(trial.nodes[0], case.spec()).unwrap();
        let what = format!("{case:?}");
        trial.check(node, &what, move |rows| case.twin(&rows[0]));
    }
}

/// The updates that come in time: those that are not as far behind as the lag.
fn in_time(updates: &Updates, closed_us: Option<i64>, lag_us: i64) -> Updates {
    let times = updates.rows().column(random::TIME).as_primitive::<TimestampMicrosecondType>();
    let is = |time: Option<i64>| {
        Some(time.is_some_and(|time| closed_us.is_none_or(|closed| time + lag_us > closed)))
    };
    let mask: BooleanArray = times.iter().map(is).collect();
    let rows = filter_record_batch(updates.rows(), &mask).unwrap();
    match updates.diffs() {
        None => Updates::inserts(rows),
        Some(diffs) => {
            Updates::new(rows, filter(diffs, &mask).unwrap().as_primitive::<Int64Type>().clone())
        }
    }
}

#[test]
fn sessions_are_told_once_when_nothing_can_join_them() {
    let (mut told_in_all, mut late) = (0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let case = Case::new(&mut random);
        let append_only = random.one_in(2);
        let lag_us = *random.pick(&[0, 1, 500_000]);
        let mut source = Source::new(&mut random, append_only);
        let cache_bytes = *random.pick(&[0, 3_000, 1 << 26]);
        let mut builder = GraphBuilder::new()
            .limits(Limits { caches: CacheBudget::new(cache_bytes), ..Limits::default() });
        let node = builder.source(random::schema(), append_only);
        let spec = SessionsSpec { lag_us: Some(lag_us), ..case.spec() };
        let node = builder.sessions(node, spec).unwrap();
        let mut telling = Telling::new(builder.output(node, true).unwrap(), 2);
        let mut taken = Bag::default();
        let end = |row: &Row| match row[case.keys.len() + 1] {
            Cell::Int(end) => end,
            ref other => panic!("{other:?} is no time"),
        };
        for step in 0..20 {
            let name = format!("seed {seed} step {step}, {append_only}, lag {lag_us}: {case:?}");
            let closing_us = telling.later(&mut random);
            let mut inputs = Vec::new();
            if random.one_in(2) {
                let updates = source.step(&mut random, 20);
                let some = in_time(&updates, telling.closed_us, lag_us);
                late += updates.len() - some.len();
                apply(&mut taken, Some(&some));
                let parts = crate::laws::cut(&mut random, &updates);
                inputs.extend(parts.into_iter().map(|part| (SourceIndex(0), part)));
            }
            telling.step(&inputs, closing_us, &name);
            let sessions = case.twin(&taken.rows());
            let until = i128::from(closing_us.unwrap_or(i64::MIN));
            let (expected, open): (Vec<Row>, Vec<Row>) =
                sessions.into_iter().partition(|row| end(row) + i128::from(lag_us) <= until);
            telling.assert_told(expected, &name);
            // What was told is not kept.
            let kept = telling.trees.states(StateTree(1)).num_rows();
            if append_only {
                assert_eq!(kept, open.len(), "{name}: sessions that are kept");
            } else {
                assert_eq!(kept == 0, open.is_empty(), "{name}: instants that are kept");
            }
        }
        told_in_all += telling.told.len();
        let end_us = Some(1 << 55);
        let name = format!("seed {seed}, the end");
        telling.step(&[], end_us, &name);
        telling.assert_told(case.twin(&taken.rows()), &name);
        for tree in 1..=2 {
            assert_eq!(telling.trees.states(StateTree(tree)).num_rows(), 0, "{name}: tree {tree}");
        }
        let after = StepTime { now_us: 0, closed_us: end_us, closing_us: end_us };
        assert!(!telling.graph.is_closing(after), "{name}");
    }
    assert!(told_in_all > 1_000 && late > 1_000, "{told_in_all} told, {late} late");
}

/// Counts the rows that are read.
pub(crate) struct Counting<'a> {
    pub(crate) trees: &'a Trees,
    pub(crate) rows: Counter<usize>,
}

impl StateReader for Counting<'_> {
    fn get_many(
        &self,
        tree: StateTree,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn Error + Send + Sync>> {
        let read = self.trees.get_many(tree, keys)?;
        self.rows.set(self.rows.get() + read.num_rows());
        Ok(read)
    }

    fn read_ranges(
        &self,
        tree: StateTree,
        ranges: &[KeyRange],
        rows_max: usize,
        reverse: bool,
    ) -> Result<RangeRows, Box<dyn Error + Send + Sync>> {
        let read = self.trees.read_ranges(tree, ranges, rows_max, reverse)?;
        self.rows.set(self.rows.get() + read.rows.num_rows());
        Ok(read)
    }
}

/// Rows of one key at some seconds.
fn at(seconds: &[i64]) -> Updates {
    let times: ArrayRef = std::sync::Arc::new(
        TimestampMicrosecondArray::from_iter_values(seconds.iter().map(|s| s * 1_000_000))
            .with_timezone("UTC"),
    );
    let rest = random::schema();
    let rest = rest.fields().iter().skip(1).map(|f| new_null_array(f.data_type(), seconds.len()));
    let columns = std::iter::once(times).chain(rest).collect();
    Updates::inserts(RecordBatch::try_new(random::schema(), columns).unwrap())
}

#[test]
fn a_long_session_costs_what_comes() {
    for cache_bytes in [0, 1 << 20] {
        let mut builder = GraphBuilder::new()
            .limits(Limits { caches: CacheBudget::new(cache_bytes), ..Limits::default() });
        let source = builder.source(random::schema(), true);
        let spec = SessionsSpec {
            keys: vec![NamedExpr::new("text", random::column(random::TEXT))],
            time: random::column(random::TIME),
            gap_us: 10_000_000,
            calls: vec![AggregateCall::new("n", Function::Count, vec![])],
            lag_us: None,
        };
        let node = builder.sessions(source, spec).unwrap();
        let mut graph = builder.output(node, false).unwrap();
        let pool = Workers::new(2);
        let mut trees = Trees::new(&graph);
        let mut step = |seconds: &[i64]| {
            let counting = Counting { trees: &trees, rows: Counter::new(0) };
            let output = graph.step(&[(SourceIndex(0), at(seconds))], &pool, &counting).unwrap();
            let (read, put) = (counting.rows.get(), output.inner.iter().map(|(_, d)| d.num_rows()));
            let costs = (read, put.sum::<usize>());
            trees.publish(&output);
            (costs, cells::sorted(trees.rows(&graph)))
        };
        // Sessions that are over, then one that goes on, with rows a little late.
        for second in 0..20 {
            step(&[second * 100]);
        }
        for second in (3_000..3_200).step_by(5) {
            let ((read, put), _) = step(&[second, second - 2, second + 1]);
            assert!(read <= usize::from(cache_bytes == 0), "{read} rows were read for one session");
            assert_eq!(put, 1, "a session that goes on is one delta");
        }
        // Late behind a session that was over, and before the one that goes on.
        let ((read, put), _) = step(&[2_991, 1_909]);
        assert!(read <= 4, "{read} rows were read around two late ones");
        assert_eq!(put, 3, "one goes, one begins earlier, one goes on");
        let (_, rows) = step(&[1_991]);
        assert_eq!(rows.len(), 22);
        // One that reaches over many at once.
        let (_, rows) = step(&(0..=190).map(|tens| tens * 10).collect::<Vec<_>>());
        assert_eq!(rows.len(), 3);
    }
}
