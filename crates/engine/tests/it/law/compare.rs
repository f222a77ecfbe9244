//! Answers as multisets of rows.
//!
//! Two rows are the same when their floats are within 1e-9 of each other and everything else is
//! equal as text.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::ArrayFormatter;
use futures::TryStreamExt as _;
use yeoul_engine::{Answer, Engine, EngineError};

use crate::support::runtime;

/// The rows of a query.
pub(super) fn query(engine: &Engine, sql: &str) -> Result<Vec<RecordBatch>, EngineError> {
    runtime().block_on(async {
        let mut all = Vec::new();
        for answer in engine.session().execute(sql).await {
            if let Answer::Rows { rows, .. } = answer? {
                all = rows.try_collect().await?;
            }
        }
        Ok(all)
    })
}

/// A multiset of rows: what is exact, and the floats of each row that has it.
#[derive(Default)]
pub(super) struct Bag(BTreeMap<String, Vec<Vec<f64>>>);

impl Bag {
    pub(super) fn of(batches: &[RecordBatch]) -> Self {
        let mut bag = Self::default();
        for batch in batches {
            bag.add(batch, 0, |_| true);
        }
        bag
    }

    /// Two bags of one answer, by its first column.
    pub(super) fn sides(batches: &[RecordBatch]) -> [Self; 2] {
        let mut sides = [Self::default(), Self::default()];
        for batch in batches {
            let side = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            for (number, bag) in (0..).zip(&mut sides) {
                bag.add(batch, 1, |row| side.value(row) == number);
            }
        }
        sides
    }

    /// How many rows.
    pub(super) fn rows(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn add(&mut self, batch: &RecordBatch, skip: usize, wanted: impl Fn(usize) -> bool) {
        let columns = &batch.columns()[skip..];
        let floats: Vec<_> = columns
            .iter()
            .map(|c| match c.data_type() {
                DataType::Float32 | DataType::Float64 => {
                    Some(cast(c, &DataType::Float64).expect("floats"))
                }
                _ => None,
            })
            .collect();
        let shown: Vec<_> = columns
            .iter()
            .map(|c| ArrayFormatter::try_new(c, &Default::default()).expect("a shown type"))
            .collect();
        for row in (0..batch.num_rows()).filter(|row| wanted(*row)) {
            let (mut exact, mut inexact) = (String::new(), Vec::new());
            for (column, array) in columns.iter().enumerate() {
                match &floats[column] {
                    _ if array.is_null(row) => exact.push('∅'),
                    Some(values) => {
                        exact.push('~');
                        inexact.push(values.as_primitive::<Float64Type>().value(row));
                    }
                    None => exact.push_str(&format!("{:?}", shown[column].value(row).to_string())),
                }
                exact.push('|');
            }
            self.0.entry(exact).or_default().push(inexact);
        }
    }

    /// The rows that only one of the two has; `None` when they are the same.
    pub(super) fn difference(mut self, mut other: Self) -> Option<String> {
        let mut lines = Vec::new();
        for (exact, left) in std::mem::take(&mut self.0) {
            let mut right = other.0.remove(&exact).unwrap_or_default();
            let mut left = left;
            for side in [&mut left, &mut right] {
                side.sort_by(|a, b| order(a, b));
            }
            let aligned =
                left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| near(a, b));
            if aligned {
                continue;
            }
            left.retain(|row| match right.iter().position(|r| near(r, row)) {
                Some(at) => {
                    right.remove(at);
                    false
                }
                None => true,
            });
            lines.extend(left.iter().map(|floats| format!("  only kept:  {exact} {floats:?}")));
            lines.extend(right.iter().map(|floats| format!("  only batch: {exact} {floats:?}")));
        }
        for (exact, rows) in &other.0 {
            lines.extend(rows.iter().map(|floats| format!("  only batch: {exact} {floats:?}")));
        }
        if lines.is_empty() {
            return None;
        }
        let more = lines.len().saturating_sub(30);
        lines.truncate(30);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        Some(lines.join("\n"))
    }
}

fn order(a: &[f64], b: &[f64]) -> std::cmp::Ordering {
    a.iter()
        .zip(b)
        .map(|(a, b)| a.total_cmp(b))
        .find(|o| o.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal)
}

fn near(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| {
        // Squares too: the root of a variance that is zero but for rounding is not that small.
        close(*a, *b) || (a.abs() < 1e-3 && b.abs() < 1e-3 && close(a * a, b * b))
    })
}

fn close(a: f64, b: f64) -> bool {
    let same = a == b || (a.is_nan() && b.is_nan());
    let size = a.abs().max(b.abs());
    // What rounding leaves of a sum is not as small as the smallest floats that are stored.
    same || (size > 1e-30 && (a - b).abs() <= 1e-9 * size.max(1.0))
}

#[test]
fn bags_differ_by_a_row_a_null_or_a_float() {
    use arrow::array::{Float64Array, Int64Array};
    use std::sync::Arc;
    let bag = |ints: Vec<Option<i64>>, floats: Vec<Option<f64>>| {
        let (ints, floats) = (Int64Array::from(ints), Float64Array::from(floats));
        let columns: [(_, arrow::array::ArrayRef); 2] =
            [("i", Arc::new(ints)), ("f", Arc::new(floats))];
        Bag::of(&[RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, c)| (n, c, true)),
        )
        .expect("two columns")])
    };
    let one = || bag(vec![Some(1), Some(1), None], vec![Some(0.1), Some(2.0), None]);
    let same = bag(vec![None, Some(1), Some(1)], vec![None, Some(2.0), Some(0.1 + 1e-13)]);
    assert!(one().difference(same).is_none());
    for other in [
        bag(vec![Some(1), None], vec![Some(2.0), None]),
        bag(vec![Some(1), Some(1), Some(0)], vec![Some(0.1), Some(2.0), None]),
        bag(vec![Some(1), Some(1), None], vec![Some(0.1), Some(2.000_001), None]),
        bag(vec![Some(1), Some(1), None], vec![Some(0.1), Some(2.0), Some(0.0)]),
        bag(vec![Some(1), Some(1), None, None], vec![Some(0.1), Some(2.0), None, None]),
    ] {
        assert!(other.difference(one()).is_some());
    }
}
