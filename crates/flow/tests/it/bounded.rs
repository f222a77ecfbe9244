//! Joins in which one time bounds the other equal nested loops over the rows that were in time, though rows go from
//! the trees as soon as they are released, or not.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use yeoul_batch::{Expr, ExprError, ExprRef, Updates};
use yeoul_flow::{
    CacheBudget, Graph, GraphBuilder, JoinKind, JoinSpec, JoinTimes, Limits, SourceIndex, StepTime,
    Workers,
};

use crate::cells::{self, Cell, Row};
use crate::joins::{KINDS, nested_loops};
use crate::laws::assert_same;
use crate::random::{self, Random, TIME};
use crate::trees::{Trees, apply};
use crate::twin::Bag;

pub(crate) const SECOND: i64 = 1_000_000;

/// `least <= left - right <= most`, of the times of both sides.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    least: Option<i64>,
    most: Option<i64>,
}

impl Bounds {
    fn hold(self, left: i64, right: i64) -> bool {
        let apart = left - right;
        self.least.is_none_or(|least| least <= apart) && self.most.is_none_or(|most| apart <= most)
    }

    /// How long rows are needed, from what may still come and from whose matches are counted.
    fn kept(self, kind: JoinKind, lags: [i64; 2]) -> [Option<i64>; 2] {
        let width = self.least.zip(self.most).map(|(least, most)| most - least);
        let [left, right] =
            [self.least.map(|least| lags[1] - least), self.most.map(|most| lags[0] + most)];
        let counted = |own: Option<i64>, at: usize, is: bool| {
            let own = own.map(|own| own.max(lags[at]));
            if is { own.zip(width).map(|(own, width)| own.max(width + lags[at])) } else { own }
        };
        let of_left = matches!(kind, JoinKind::Right | JoinKind::Full);
        let of_right = !matches!(kind, JoinKind::Inner | JoinKind::Right);
        [counted(left, 0, of_left), counted(right, 1, of_right)]
    }
}

/// The same as a condition over the columns of both.
#[derive(Debug)]
struct Within(Bounds);

impl Expr for Within {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let times = |at: usize| rows.column(at).as_primitive::<TimestampMicrosecondType>();
        let both = times(TIME).iter().zip(times(random::ALL.len() + TIME));
        let within: BooleanArray =
            both.map(|(l, r)| l.zip(r).map(|(l, r)| self.0.hold(l, r))).collect();
        Ok(Arc::new(within))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

#[derive(Debug)]
struct Case {
    kind: JoinKind,
    bounds: Bounds,
    /// Times are compared as keys.
    equal: bool,
    by_small: bool,
    lags: [i64; 2],
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let equal = random.one_in(4);
        let least = (random.int(30) - 20) * SECOND;
        let most = least + random.int(15) * SECOND;
        let bounds = match random.below(6) {
            _ if equal => Bounds { least: Some(0), most: Some(0) },
            0 => Bounds { least: Some(least), most: None },
            1 => Bounds { least: None, most: Some(most) },
            _ => Bounds { least: Some(least), most: Some(most) },
        };
        let lags = [1 + random.int(3) * SECOND, 1 + random.int(3) * SECOND];
        Self { kind: *random.pick(&KINDS), bounds, equal, by_small: random.one_in(2), lags }
    }

    fn spec(&self) -> JoinSpec {
        let on = |column| (random::column(column), random::column(column));
        let mut keys = Vec::new();
        keys.extend(self.by_small.then(|| on(random::SMALL)));
        keys.extend(self.equal.then(|| on(TIME)));
        JoinSpec {
            kind: self.kind,
            on: keys,
            nulls_equal: false,
            residual: (!self.equal).then(|| Arc::new(Within(self.bounds)) as ExprRef),
            times: Some(JoinTimes {
                columns: [TIME, TIME],
                lags_us: self.lags,
                kept_us: self.bounds.kept(self.kind, self.lags),
            }),
            mark: None,
        }
    }

    fn matches(&self, left: &Row, right: &Row) -> bool {
        let (Cell::Int(l), Cell::Int(r)) = (&left[TIME], &right[TIME]) else { return false };
        let us = |time: &i128| i64::try_from(*time).expect("it was one");
        let small = |row: &Row| row[random::SMALL].clone();
        let same =
            !self.by_small || (!small(left).is_null() && small(left).order(&small(right)).is_eq());
        same && self.bounds.hold(us(l), us(r))
    }
}

/// Rows of one side: those that its sender has sent and not taken back, and those that the join has taken.
pub(crate) struct Side {
    sent: Vec<RecordBatch>,
    pub(crate) taken: Bag,
    pub(crate) append_only: bool,
}

impl Side {
    pub(crate) fn new(append_only: bool) -> Self {
        Self { sent: Vec::new(), taken: Bag::default(), append_only }
    }

    /// Some rows of about `around`, and some that go.
    pub(crate) fn step(&mut self, random: &mut Random, around: i64) -> Updates {
        let count = random.below(12);
        let rows = random::rows(random, count, true);
        let times = (0..count).map(|_| {
            let time = around + (random.int(60) - 40) * SECOND / 2;
            (!random.one_in(9)).then_some(time)
        });
        let times = TimestampMicrosecondArray::from_iter(times).with_timezone("UTC");
        let mut columns = rows.columns().to_vec();
        columns[TIME] = Arc::new(times);
        let rows = RecordBatch::try_new(random::schema(), columns).unwrap();
        let mut diffs = vec![1; count];
        let mut all = vec![rows.clone()];
        if !self.append_only {
            for _ in 0..random.below(6).min(self.sent.len()) {
                all.push(self.sent.swap_remove(random.below(self.sent.len())));
                diffs.push(-1);
            }
        }
        self.sent.extend((0..count).map(|row| rows.slice(row, 1)));
        let rows = concat_batches(&random::schema(), &all).unwrap();
        if self.append_only { Updates::inserts(rows) } else { Updates::new(rows, diffs.into()) }
    }

    pub(crate) fn take(&mut self, updates: &Updates, lag: i64, closed: Option<i64>) {
        let times = updates.rows().column(TIME).as_primitive::<TimestampMicrosecondType>();
        for (at, row) in cells::rows(updates.rows()).iter().enumerate() {
            let late = times.is_valid(at) && closed.is_some_and(|us| times.value(at) + lag <= us);
            if !late {
                self.taken.add(row, updates.diffs().map_or(1, |diffs| diffs.value(at)));
            }
        }
    }
}

/// Steps a join with watermarks, compares it with `twin` over what was in time, and lets go of all that may go: what is
/// left in the trees.
pub(crate) fn play(
    random: &mut Random,
    graph: &mut Graph,
    sides: &mut [Side; 2],
    lags: [i64; 2],
    what: &str,
    twin: impl Fn(&[Row], &[Row]) -> Vec<Row>,
) -> Trees {
    assert!(graph.needs_watermark(), "{what}");
    let pool = Workers::new(1 + random.below(3));
    let (mut trees, mut seen) = (Trees::new(graph), Bag::default());
    let (mut around, mut closed_us) = (0, None);
    for step in 0..14 {
        around += random.int(9) * SECOND;
        let closing_us = closed_us.max(random.one_in(2).then(|| around - random.int(20) * SECOND));
        graph.set_time(StepTime { now_us: 0, closed_us, closing_us });
        let updates = [0, 1].map(|at| sides[at].step(random, around));
        let mut inputs = Vec::new();
        for (at, updates) in updates.iter().enumerate() {
            sides[at].take(updates, lags[at], closed_us);
            let parts = crate::laws::cut(random, updates);
            inputs.extend(parts.into_iter().map(|part| (SourceIndex(at), part)));
        }
        let output = graph.step(&inputs, &pool, &trees).unwrap();
        trees.publish(&output);
        if let Some(us) = closing_us.filter(|_| random.one_in(2)) {
            trees.release(graph, us);
        }
        apply(&mut seen, output.change.as_ref());
        let [left, right] = [0, 1].map(|at| sides[at].taken.rows());
        let expected = twin(&left, &right);
        assert_same(seen.rows(), expected.clone(), &format!("{what}, step {step}, followed"));
        assert_same(trees.rows(graph), expected, &format!("{what}, step {step}"));
        closed_us = closing_us;
    }
    trees.release(graph, around + 1000 * SECOND);
    trees
}

fn check(seed: u64) {
    let mut random = Random::new(seed);
    let case = Case::new(&mut random);
    let what = format!("seed {seed}: {case:?}");
    let mut sides = [0, 1].map(|_| Side::new(random.one_in(2)));
    let cache = *random.pick(&[0, 3_000, 1 << 26]);
    let rows_at_once = *random.pick(&[1, 40, 1 << 18]);
    let limits = Limits { caches: CacheBudget::new(cache), rows_at_once, ..Limits::default() };
    let mut builder = GraphBuilder::new().limits(limits);
    let nodes = [0, 1].map(|at| builder.source(random::schema(), sides[at].append_only));
    let node = builder.join(nodes[0], nodes[1], case.spec()).unwrap();
    let mut graph = builder.output(node, true).unwrap();
    let kept = case.bounds.kept(case.kind, case.lags);
    if kept == [None, None] {
        // Nothing is released, and such a join is made without times.
        return;
    }
    let twin = |left: &[Row], right: &[Row]| {
        nested_loops(case.kind, left, right, |l, r| case.matches(l, r))
    };
    let trees = play(&mut random, &mut graph, &mut sides, case.lags, &what, twin);
    let left =
        graph.state_trees().iter().map(|(tree, _)| trees.states(*tree).num_rows()).sum::<usize>();
    if kept.iter().all(Option::is_some) {
        assert_eq!(left, 0, "{what}: nothing is needed in the end");
    }
}

#[test]
fn bounded_joins_are_nested_loops_over_what_is_in_time() {
    (0..400).for_each(check);
}
