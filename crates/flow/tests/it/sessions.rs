//! Sessions equal sorting everything and cutting at the gaps, at every commit.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;
use std::error::Error;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use yeoul_batch::{KeyRange, RangeRows, Updates};
use yeoul_flow::{
    AggregateCall, CacheBudget, Function, GraphBuilder, Limits, NamedExpr, SessionsSpec,
    SourceIndex, StateReader, StateTree, Workers,
};

use crate::cells::{self, Cell, Row};
use crate::random::{self, Random};
use crate::trees::Trees;
use crate::trial::Trial;
use crate::twin;

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

/// Counts the rows that are read.
struct Counting<'a> {
    trees: &'a Trees,
    rows: Counter<usize>,
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
