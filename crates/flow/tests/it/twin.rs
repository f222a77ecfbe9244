//! The slow obvious aggregate: a map from key to rows, every answer from its rows.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use yeoul_batch::ExprRef;
use yeoul_flow::{AggregateCall, Function};

use crate::cells::{Cell, Row};

fn index(expr: &ExprRef) -> usize {
    expr.as_column().expect("the twin knows columns only")
}

/// Rows with how often they are there.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bag(BTreeMap<String, (Row, i64)>);

impl Bag {
    pub(crate) fn add(&mut self, row: &Row, diff: i64) {
        let name = format!("{row:?}");
        let entry = self.0.entry(name.clone()).or_insert_with(|| (row.clone(), 0));
        entry.1 += diff;
        if entry.1 == 0 {
            self.0.remove(&name);
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (row, count) in self.0.values() {
            assert!(*count > 0, "{row:?} is there {count} times");
            for _ in 0..*count {
                rows.push(row.clone());
            }
        }
        rows
    }
}

/// One row of keys and answers per group.
pub(crate) fn aggregate(rows: &[Row], keys: &[usize], calls: &[AggregateCall]) -> Vec<Row> {
    let mut groups: BTreeMap<String, (Row, Vec<Row>)> = BTreeMap::new();
    if keys.is_empty() {
        groups.insert("[]".to_owned(), (Vec::new(), Vec::new()));
    }
    for row in rows {
        let key: Row = keys.iter().map(|&k| row[k].clone()).collect();
        let group = groups.entry(format!("{key:?}")).or_insert_with(|| (key, Vec::new()));
        group.1.push(row.clone());
    }
    groups
        .into_values()
        .map(|(mut key, rows)| {
            key.extend(calls.iter().map(|call| answer(call, &rows)));
            key
        })
        .collect()
}

pub(crate) fn answer(call: &AggregateCall, rows: &[Row]) -> Cell {
    let mut rows: Vec<&Row> = rows.iter().collect();
    if let Some(filter) = &call.filter {
        rows.retain(|row| matches!(row[index(filter)], Cell::Bool(true)));
    }
    let int = |n: usize| Cell::Int(i128::try_from(n).unwrap());
    let Some(argument) = call.arguments.first().map(index) else { return int(rows.len()) };
    let ordered =
        matches!(call.function, Function::FirstValue | Function::LastValue | Function::ArrayAgg);
    if ordered {
        return ordered_answer(call, argument, rows);
    }
    let mut values: Vec<Cell> =
        rows.iter().map(|row| row[argument].clone()).filter(|v| !v.is_null()).collect();
    values.sort_by(Cell::order);
    if call.distinct || call.function == Function::ApproxCountDistinct {
        values.dedup_by(|a, b| a.order(b).is_eq());
    }
    if matches!(call.function, Function::Count | Function::ApproxCountDistinct) {
        return int(values.len());
    }
    let decimal = argument == crate::random::DECIMAL;
    number_answer(call.function, &values, decimal)
}

#[expect(clippy::cast_precision_loss, reason = "small")]
fn number_answer(function: Function, values: &[Cell], decimal: bool) -> Cell {
    if values.is_empty() {
        return Cell::Null;
    }
    let n = values.len() as f64;
    let ints = || {
        values.iter().map(|v| match v {
            Cell::Int(v) => *v,
            other => panic!("{other:?}"),
        })
    };
    let is_int = matches!(values[0], Cell::Int(_));
    let bools = || values.iter().map(|v| matches!(v, Cell::Bool(true)));
    let moment = |less: f64| {
        let scale = if decimal { 0.01 } else { 1.0 };
        let mean = values.iter().map(|v| v.float() * scale).sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v.float() * scale - mean).powi(2)).sum();
        squares / (n - less)
    };
    match function {
        Function::Sum if is_int => Cell::Int(ints().sum()),
        Function::Sum => Cell::Float(values.iter().map(Cell::float).sum()),
        Function::Avg if decimal => {
            Cell::Int(ints().sum::<i128>() * 10_000 / i128::try_from(values.len()).unwrap())
        }
        Function::Avg if is_int => Cell::Float(ints().sum::<i128>() as f64 / n),
        Function::Avg => Cell::Float(values.iter().map(Cell::float).sum::<f64>() / n),
        Function::Min => values[0].clone(),
        Function::Max => values[values.len() - 1].clone(),
        Function::BoolAnd => Cell::Bool(bools().all(|v| v)),
        Function::BoolOr => Cell::Bool(bools().any(|v| v)),
        Function::Variance | Function::Stddev if values.len() < 2 => Cell::Null,
        Function::Variance => Cell::Float(moment(1.0)),
        Function::VariancePop => Cell::Float(moment(0.0)),
        Function::Stddev => Cell::Float(moment(1.0).sqrt()),
        Function::StddevPop => Cell::Float(moment(0.0).sqrt()),
        other => panic!("no twin of {other:?}"),
    }
}

fn ordered_answer(call: &AggregateCall, argument: usize, mut rows: Vec<&Row>) -> Cell {
    let directed = |a: &Cell, b: &Cell, descending: bool, nulls_first: bool| match (
        a.is_null(),
        b.is_null(),
    ) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        _ if descending => b.order(a),
        _ => a.order(b),
    };
    rows.sort_by(|a, b| {
        let terms = call.order_by.iter().map(|order| {
            let at = index(&order.expr);
            directed(&a[at], &b[at], order.descending, order.nulls_first)
        });
        let mut orders = terms.chain(std::iter::once(a[argument].order(&b[argument])));
        orders.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    let mut values: Vec<Cell> = rows.iter().map(|row| row[argument].clone()).collect();
    match call.function {
        Function::FirstValue => values.first().cloned().unwrap_or(Cell::Null),
        Function::LastValue => values.last().cloned().unwrap_or(Cell::Null),
        _ if values.is_empty() => Cell::Null,
        _ => {
            if call.distinct {
                values.dedup_by(|a, b| a.order(b).is_eq());
            }
            Cell::List(values)
        }
    }
}
