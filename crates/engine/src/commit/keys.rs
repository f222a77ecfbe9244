//! The unique keys of some rows, as hashes.
//!
//! A row without a value in one of its key columns has no key: it is nobody's duplicate, as a NULL is
//! unique in SQL. Dropping such rows would lose events of a client that forgot the key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::filter;
use yeoul_batch::hash128;

use crate::error::EngineError;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// One per row that has a key.
    pub hashes: Vec<u128>,
    /// Which rows those are, ascending; `None` when it is all of them.
    rows: Option<Vec<u32>>,
}

impl Keys {
    /// The keys of `rows` in `columns`.
    pub(crate) fn of(rows: &RecordBatch, columns: &[usize]) -> Result<Self, EngineError> {
        let mut keys: Vec<ArrayRef> =
            columns.iter().map(|&column| Arc::clone(rows.column(column))).collect();
        let present =
            keys.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.nulls()));
        let present = present.filter(|present| present.null_count() > 0);
        let Some(present) = present else {
            let hashes = if rows.num_rows() == 0 { Vec::new() } else { hash128(&keys)? };
            return Ok(Self { hashes, rows: None });
        };
        let mask = BooleanArray::new(present.inner().clone(), None);
        for key in &mut keys {
            *key = filter(key, &mask)?;
        }
        let numbers = (0u32..).zip(present.iter()).filter_map(|(row, has)| has.then_some(row));
        let numbers: UInt32Array = numbers.map(Some).collect();
        let hashes = if numbers.is_empty() { Vec::new() } else { hash128(&keys)? };
        Ok(Self { hashes, rows: Some(numbers.values().to_vec()) })
    }

    /// The numbers of the rows whose answer is true; one answer per hash.
    pub(crate) fn rows_where(&self, answers: &[bool]) -> Vec<u32> {
        let numbers = (0u32..).zip(answers).filter(|(_, answer)| **answer).map(|(at, _)| at);
        match &self.rows {
            None => numbers.collect(),
            Some(rows) => numbers.filter_map(|at| rows.get(at as usize).copied()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};

    #[test]
    fn a_row_without_a_value_has_no_key() {
        let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1), Some(2)]));
        let name: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("a"), Some("a"), None, Some("b")]));
        let rows = RecordBatch::try_from_iter([("id", id), ("name", name)]).expect("two columns");
        let one = Keys::of(&rows, &[0]).expect("hashes");
        assert_eq!(one.hashes.len(), 3);
        assert_eq!(one.hashes[0], one.hashes[1]);
        assert_eq!(one.rows_where(&[false, true, true]), [2, 3]);
        let two = Keys::of(&rows, &[0, 1]).expect("hashes");
        assert_eq!((two.hashes.len(), two.rows_where(&[true, true])), (2, vec![0, 3]));
        let nothing = Keys::of(&rows.slice(1, 1), &[0]).expect("hashes");
        assert!(nothing.hashes.is_empty() && nothing.rows_where(&[]).is_empty());
        let whole = Keys::of(&rows.slice(2, 2), &[0]).expect("hashes");
        assert_eq!((whole.rows.clone(), whole.rows_where(&[false, true])), (None, vec![1]));
        assert_eq!(whole.hashes[0], one.hashes[0]);
    }
}
