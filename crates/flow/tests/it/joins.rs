//! Joins stepped commit by commit equal nested loops over all rows, whatever the kind, the order in which
//! rows come and go, and how much is kept in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::DataType;
use yeoul_batch::{Expr, ExprError, ExprRef};
use yeoul_flow::{
    AggregateCall, AggregateSpec, Function, GraphBuilder, JoinKind, JoinSpec, NamedExpr,
};

use crate::cells::{self, Cell, Row};
use crate::random::{self, Random};
use crate::trial::Trial;

pub(crate) const KINDS: [JoinKind; 7] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::Semi,
    JoinKind::Anti,
    JoinKind::Mark,
];

/// `left < right`, with SQL's nulls.
#[derive(Debug)]
struct Less {
    left: usize,
    right: usize,
}

impl Less {
    fn of(&self, row: &[Cell]) -> Option<bool> {
        let (left, right) = (&row[self.left], &row[self.right]);
        (!left.is_null() && !right.is_null()).then(|| left.order(right).is_lt())
    }
}

impl Expr for Less {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let less: BooleanArray = cells::rows(rows).iter().map(|row| self.of(row)).collect();
        Ok(Arc::new(less))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

/// One more than a whole number: a key that is not a column.
#[derive(Debug)]
struct Next(ExprRef);

impl Expr for Next {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let one = arrow::array::Int64Array::new_scalar(1);
        arrow::compute::kernels::numeric::add_wrapping(&self.0.evaluate(rows)?, &one)
            .map_err(|e| ExprError { message: e.to_string() })
    }

    fn data_type(&self) -> &DataType {
        self.0.data_type()
    }
}

/// A join both ways.
#[derive(Debug)]
struct Case {
    kind: JoinKind,
    /// Key columns of both sides; those that are said to be next are compared one higher.
    keys: Vec<(usize, usize, bool)>,
    nulls_equal: bool,
    residual: Option<(usize, usize)>,
}

impl Case {
    fn new(random: &mut Random, width: usize) -> Self {
        let keys = match random.below(6) {
            0 => vec![],
            1 => vec![(random::TEXT, random::TEXT, false), (random::FLAG, random::FLAG, false)],
            2 => vec![(random::WIDE, random::WIDE, true)],
            3 => vec![(random::SMALL, random::SMALL, false), (random::SMALL, random::SMALL, false)],
            _ => vec![(random::SMALL, random::SMALL, false)],
        };
        let residual = random.one_in(2).then(|| {
            let column = *random.pick(&[random::TIME, random::FLOAT, random::TEXT]);
            (column, width + column)
        });
        Self { kind: *random.pick(&KINDS), keys, nulls_equal: random.one_in(3), residual }
    }

    fn spec(&self) -> JoinSpec {
        let key = |&(left, right, next): &(usize, usize, bool)| {
            let sides = (random::column(left), random::column(right));
            if next { (sides.0, Arc::new(Next(sides.1)) as ExprRef) } else { sides }
        };
        JoinSpec {
            kind: self.kind,
            on: self.keys.iter().map(key).collect(),
            nulls_equal: self.nulls_equal,
            residual: self.residual.map(|(left, right)| Arc::new(Less { left, right }) as ExprRef),
            times: None,
            mark: None,
        }
    }

    fn matches(&self, left: &Row, right: &Row) -> bool {
        let equal = |&(l, r, next): &(usize, usize, bool)| match (&left[l], &right[r]) {
            (Cell::Null, Cell::Null) => self.nulls_equal,
            (Cell::Null, _) | (_, Cell::Null) => false,
            (Cell::Int(l), Cell::Int(r)) if next => *l == r + 1,
            (l, r) => l.order(r).is_eq(),
        };
        self.keys.iter().all(equal)
            && self.residual.is_none_or(|(l, r)| {
                Less { left: l, right: r }.of(&[left.clone(), right.clone()].concat()) == Some(true)
            })
    }

    fn twin(&self, left: &[Row], right: &[Row]) -> Vec<Row> {
        nested_loops(self.kind, left, right, |l, r| self.matches(l, r))
    }
}

/// The rows of a join over relations of random rows.
pub(crate) fn nested_loops(
    kind: JoinKind,
    left: &[Row],
    right: &[Row],
    matches: impl Fn(&Row, &Row) -> bool,
) -> Vec<Row> {
    let nulls = vec![Cell::Null; random::ALL.len()];
    let mut out = Vec::new();
    let mut matched = vec![false; right.len()];
    for l in left {
        let mut any = false;
        for (r, matched) in right.iter().zip(&mut matched) {
            if matches(l, r) {
                (any, *matched) = (true, true);
                if !matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark) {
                    out.push([l.clone(), r.clone()].concat());
                }
            }
        }
        match kind {
            JoinKind::Left | JoinKind::Full if !any => {
                out.push([l.clone(), nulls.clone()].concat());
            }
            JoinKind::Semi if any => out.push(l.clone()),
            JoinKind::Anti if !any => out.push(l.clone()),
            JoinKind::Mark => out.push([l.clone(), vec![Cell::Bool(any)]].concat()),
            _ => {}
        }
    }
    if matches!(kind, JoinKind::Right | JoinKind::Full) {
        let lone = right.iter().zip(&matched).filter(|(_, matched)| !**matched);
        out.extend(lone.map(|(r, _)| [nulls.clone(), r.clone()].concat()));
    }
    out
}

#[test]
fn joins_are_nested_loops() {
    for seed in 0..200 {
        let mut trial = Trial::new(seed, 2, if seed % 10 == 0 { 200 } else { 25 });
        let case = Case::new(&mut trial.random, random::ALL.len());
        let node = trial.builder.join(trial.nodes[0], trial.nodes[1], case.spec()).unwrap();
        let what = format!("{case:?}");
        trial.check(node, &what, move |rows| case.twin(&rows[0], &rows[1]));
    }
}

#[test]
fn a_relation_is_joined_with_itself_and_others() {
    for seed in 0..40 {
        let mut trial = Trial::new(seed, 2, 12);
        let own = Case::new(&mut trial.random, random::ALL.len());
        let own = Case { kind: JoinKind::Inner, ..own };
        let other = Case::new(&mut trial.random, 2 * random::ALL.len());
        let first = trial.builder.join(trial.nodes[0], trial.nodes[0], own.spec()).unwrap();
        let semi = Case { kind: JoinKind::Semi, residual: None, ..other };
        let node = trial.builder.join(first, trial.nodes[1], semi.spec()).unwrap();
        let what = format!("{own:?} then {semi:?}");
        trial.check(node, &what, move |rows| semi.twin(&own.twin(&rows[0], &rows[0]), &rows[1]));
    }
}

/// A join over aggregates, and an aggregate over it: changes of answers meet changes of answers.
#[test]
fn joins_of_aggregates_are_aggregated() {
    let count = || AggregateCall::new("n", Function::Count, vec![]);
    for seed in 0..40 {
        let mut trial = Trial::new(seed, 2, 25);
        let mut nodes = Vec::new();
        for at in 0..2 {
            let keys = vec![NamedExpr::new("k", random::column(random::SMALL))];
            let spec = AggregateSpec { keys, calls: vec![count()], append_only: false };
            nodes.push(trial.builder.aggregate(trial.nodes[at], spec).unwrap());
        }
        let kind = *trial.random.pick(&KINDS[..4]);
        let key = |index, data_type: &DataType| -> ExprRef {
            Arc::new(yeoul_batch::ColumnExpr::new(index, data_type.clone()))
        };
        let small = &DataType::Int32;
        let spec = JoinSpec {
            kind,
            on: vec![(key(0, small), key(0, small))],
            nulls_equal: false,
            residual: None,
            times: None,
            mark: None,
        };
        let joined = trial.builder.join(nodes[0], nodes[1], spec).unwrap();
        let keys = vec![NamedExpr::new("l", key(1, &DataType::Int64))];
        let spec = AggregateSpec { keys, calls: vec![count()], append_only: false };
        let node = trial.builder.aggregate(joined, spec).unwrap();
        trial.check(node, &format!("{kind:?}"), move |rows| {
            let counted = |rows: &[Row]| crate::twin::aggregate(rows, &[random::SMALL], &[count()]);
            let (left, right) = (counted(&rows[0]), counted(&rows[1]));
            let pads = vec![Cell::Null; 2];
            let same =
                |l: &Row, r: &Row| !l[0].is_null() && !r[0].is_null() && l[0].order(&r[0]).is_eq();
            let mut pairs: Vec<Row> = Vec::new();
            for l in &left {
                let found: Vec<&Row> = right.iter().filter(|r| same(l, r)).collect();
                pairs.extend(found.iter().map(|r| [l.clone(), (*r).clone()].concat()));
                if found.is_empty() && matches!(kind, JoinKind::Left | JoinKind::Full) {
                    pairs.push([l.clone(), pads.clone()].concat());
                }
            }
            if matches!(kind, JoinKind::Right | JoinKind::Full) {
                let lone = right.iter().filter(|r| !left.iter().any(|l| same(l, r)));
                pairs.extend(lone.map(|r| [pads.clone(), r.clone()].concat()));
            }
            crate::twin::aggregate(&pairs, &[1], &[count()])
        });
    }
}

/// What a join cannot be is said.
#[test]
fn sides_of_two_types_do_not_join() {
    let mut builder = GraphBuilder::new();
    let node = builder.source(random::schema(), true);
    let spec = JoinSpec {
        kind: JoinKind::Inner,
        on: vec![(random::column(random::TEXT), random::column(random::WIDE))],
        nulls_equal: false,
        residual: None,
        times: None,
        mark: None,
    };
    let error = builder.join(node, node, spec).unwrap_err().to_string();
    assert_eq!(error, "Utf8View is compared with Int64 in a join");
}
