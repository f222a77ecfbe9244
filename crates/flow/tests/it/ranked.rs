//! Ranked rows equal sorting everything at every commit.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use yeoul_batch::ColumnExpr;
use yeoul_flow::{NamedExpr, Order, RankFunction, RankedSpec};

use crate::cells::{Cell, Row};
use crate::random::{self, Random};
use crate::trial::Trial;

#[derive(Debug)]
struct Case {
    partition: Vec<usize>,
    order: Vec<(usize, bool, bool)>,
    function: RankFunction,
    first: u64,
    last: u64,
    shown: bool,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let partition = match random.below(4) {
            0 => vec![],
            1 => vec![random::TEXT, random::FLAG],
            _ => vec![random::SMALL],
        };
        let columns = [random::WIDE, random::TIME, random::FLOAT, random::TEXT, random::DECIMAL];
        let order = (0..random.below(3))
            .map(|_| (*random.pick(&columns), random.one_in(2), random.one_in(2)))
            .collect();
        let functions = [RankFunction::RowNumber, RankFunction::Rank, RankFunction::DenseRank];
        let first = 1 + u64::try_from(random.below(3)).unwrap();
        let last = first - 1 + u64::try_from(random.below(5)).unwrap();
        let last = if random.one_in(10) { u64::MAX } else { last };
        let function = *random.pick(&functions);
        Self { partition, order, function, first, last, shown: random.one_in(2) }
    }

    fn spec(&self) -> RankedSpec {
        let order = |&(column, descending, nulls_first): &(usize, bool, bool)| Order {
            expr: random::column(column),
            descending,
            nulls_first,
        };
        RankedSpec {
            partition: self.partition.iter().map(|&column| random::column(column)).collect(),
            order: self.order.iter().map(order).collect(),
            function: self.function,
            first: self.first,
            last: self.last,
            rank: self.shown.then(|| Arc::new(Field::new("rank", DataType::Int64, false))),
        }
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let orders = self.order.iter().map(|&(column, descending, nulls_first)| {
            match (a[column].is_null(), b[column].is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ if descending => b[column].order(&a[column]),
                _ => a[column].order(&b[column]),
            }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }

    /// The tree of an operator has what tells partitions apart first, then the rest, nulls last.
    fn twin(&self, rows: &[Row]) -> Vec<Row> {
        let mut partitions: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let key: Row = self.partition.iter().map(|&k| row[k].clone()).collect();
            partitions.entry(format!("{key:?}")).or_default().push(row.clone());
        }
        let mut out = Vec::new();
        for mut rows in partitions.into_values() {
            rows.sort_by(|a, b| {
                let rest = (0..a.len()).filter(|c| !self.partition.contains(c));
                let tie = rest.map(|c| a[c].order(&b[c])).fold(Ordering::Equal, Ordering::then);
                self.compare(a, b).then(tie)
            });
            let (mut rank, mut dense) = (0u64, 0u64);
            for (number, row) in (1u64..).zip(&rows) {
                let before = usize::try_from(number).unwrap().checked_sub(2).map(|at| &rows[at]);
                if before.is_none_or(|before| self.compare(before, row).is_ne()) {
                    (rank, dense) = (number, dense + 1);
                }
                let number = match self.function {
                    RankFunction::RowNumber => number,
                    RankFunction::Rank => rank,
                    RankFunction::DenseRank => dense,
                };
                if (self.first..=self.last).contains(&number) {
                    let mut row = row.clone();
                    row.extend(self.shown.then(|| Cell::Int(number.into())));
                    out.push(row);
                }
            }
        }
        out
    }
}

/// What is above a ranking sees its rows, whether a view reads them from the ranking's tree or keeps its own.
#[test]
fn what_is_above_a_ranking_sees_its_rows() {
    for seed in 0..200 {
        let mut trial = Trial::new(1_000 + seed, 1, if seed % 10 == 0 { 300 } else { 30 });
        let case = Case::new(&mut trial.random);
        let node = trial.builder.ranked(trial.nodes[0], case.spec()).unwrap();
        let node = trial.builder.filter(node, random::column(random::FLAG)).unwrap();
        let schema = Arc::clone(trial.builder.schema(node));
        let mut kept: Vec<usize> =
            (0..schema.fields().len()).filter(|_| trial.random.one_in(2)).collect();
        kept.push(schema.fields().len() - 1);
        kept.rotate_right(1);
        let column = |&index: &usize| {
            let field = schema.field(index).clone().with_name(format!("c{index}"));
            let column = ColumnExpr::new(index, field.data_type().clone());
            NamedExpr::with_field(Arc::new(field), Arc::new(column))
        };
        kept.dedup();
        let node = trial.builder.project(node, kept.iter().map(column).collect()).unwrap();
        let what = format!("{case:?} {kept:?}");
        trial.check(node, &what, move |rows| {
            let rows = case.twin(&rows[0]);
            let rows = rows.iter().filter(|row| matches!(row[random::FLAG], Cell::Bool(true)));
            rows.map(|row| kept.iter().map(|&at| row[at].clone()).collect()).collect()
        });
    }
}

#[test]
fn ranked_rows_are_sorted_ones() {
    for seed in 0..300 {
        let mut trial = Trial::new(seed, 1, if seed % 10 == 0 { 300 } else { 30 });
        let case = Case::new(&mut trial.random);
        let node = trial.builder.ranked(trial.nodes[0], case.spec()).unwrap();
        let what = format!("{case:?}");
        trial.check(node, &what, move |rows| case.twin(&rows[0]));
    }
}
