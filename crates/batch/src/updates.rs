//! Rows that come and go.

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::error::ArrowError;

/// A batch of updates: rows, and for each how many times it is added (negative: removed).
///
/// `diffs == None` says that every row is added once. Operators use that: over append-only
/// input nothing ever has to be undone.
#[derive(Clone, Debug)]
pub struct Updates {
    rows: RecordBatch,
    diffs: Option<Int64Array>,
}

impl Updates {
    /// Every row of `rows` is added once.
    #[must_use]
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, diffs: None }
    }

    /// Each row of `rows` with its own `diff`.
    ///
    /// # Panics
    /// When the two differ in length or a diff is null: a caller's mistake, never data.
    #[must_use]
    pub fn new(rows: RecordBatch, diffs: Int64Array) -> Self {
        assert_eq!(rows.num_rows(), diffs.len(), "updates: one diff per row");
        assert_eq!(diffs.null_count(), 0, "updates: a diff is never null");
        Self { rows, diffs: Some(diffs) }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The diffs, or `None` when all are +1.
    #[must_use]
    pub fn diffs(&self) -> Option<&Int64Array> {
        self.diffs.as_ref()
    }

    /// Takes the two apart.
    #[must_use]
    pub fn into_parts(self) -> (RecordBatch, Option<Int64Array>) {
        (self.rows, self.diffs)
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// The same diffs over other columns of the same rows.
    ///
    /// # Panics
    /// When `rows` has another length.
    #[must_use]
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        assert_eq!(rows.num_rows(), self.rows.num_rows(), "updates: one row per row");
        Self { rows, diffs: self.diffs.clone() }
    }

    /// The updates at `offset .. offset + len`, without copying.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            rows: self.rows.slice(offset, len),
            diffs: self.diffs.as_ref().map(|d| d.slice(offset, len)),
        }
    }

    /// All of `several` as one batch; `None` when there is none.
    pub fn concat(several: &[Self]) -> Result<Option<Self>, ArrowError> {
        let Some(first) = several.first() else { return Ok(None) };
        if several.len() == 1 {
            return Ok(Some(first.clone()));
        }
        let schema = first.rows.schema();
        let rows = arrow::compute::concat_batches(&schema, several.iter().map(|u| &u.rows))?;
        if several.iter().all(|u| u.diffs.is_none()) {
            return Ok(Some(Self::inserts(rows)));
        }
        let diffs: Int64Array = several
            .iter()
            .flat_map(|u| match &u.diffs {
                Some(d) => d.values().to_vec(),
                None => vec![1; u.len()],
            })
            .collect();
        Ok(Some(Self::new(rows, diffs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::ArrayRef;
    use std::sync::Arc;

    fn batch(values: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("v", column)]).expect("one column")
    }

    #[test]
    fn concat_fills_in_missing_diffs() {
        let a = Updates::inserts(batch(&[1, 2]));
        let b = Updates::new(batch(&[2]), Int64Array::from(vec![-1]));
        let both = Updates::concat(&[a, b]).expect("same schema").expect("not empty");
        assert_eq!(both.diffs().map(|d| d.values().to_vec()), Some(vec![1, 1, -1]));
        assert_eq!(both.slice(1, 2).len(), 2);
    }
}
