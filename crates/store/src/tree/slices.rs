//! Cutting a keyed tree into ranges of keys, so that a reader can merge one range after the other, or
//! several side by side, without holding the whole tree.
//!
//! What must hold: every key is in exactly one range, and [`Slices::rows_of`] leaves out no row of it.
//!
//! Limits: ranges are about as long as asked for, not exactly: the cuts are chosen from the first key
//! of every block of a part and from a sample of the rows in memory.

use std::ops::Range;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use yeoul_batch::KeyCodec;

use super::part::Part;
use super::snapshot::TreeSnapshot;
use super::sparse::BLOCK_ROWS;
use crate::StoreError;

/// Consecutive ranges of a tree's keys, which together are all keys.
#[derive(Debug)]
pub struct Slices {
    /// Where a range ends and the next begins: the first key of the next, in ordered bytes, shortened.
    bounds: Vec<Vec<u8>>,
}

impl Slices {
    /// Cuts the keys of `tree` into ranges of about `rows_each` rows. Rows that share the first `together` columns
    /// of the key are in one range; where these are not of a fixed length there is only one.
    ///
    /// # Errors
    /// When the index of a part cannot be read.
    pub fn new(
        tree: &TreeSnapshot,
        rows_each: usize,
        together: Option<usize>,
    ) -> Result<Self, StoreError> {
        let total = usize::try_from(tree.rows()).unwrap_or(usize::MAX);
        let bytes_max = match together {
            Some(columns) => bytes_of(tree, columns)?,
            None => usize::MAX,
        };
        if tree.spec.key.is_empty() || total <= rows_each || bytes_max == 0 {
            return Ok(Self { bounds: Vec::new() });
        }
        let samples = samples(tree)?;
        let mut bounds: Vec<Vec<u8>> = Vec::new();
        let mut rows = 0;
        for (mut key, weight) in samples {
            // What begins with less than all of these columns has all rows of them on one side.
            key.truncate(bytes_max);
            if rows >= rows_each && bounds.last().is_none_or(|last| *last < key) {
                bounds.push(key);
                rows = 0;
            }
            rows += weight;
        }
        Ok(Self { bounds })
    }

    /// How many ranges there are: one at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The range that `key`, in ordered bytes (`KeyCodec` over the tree's key), is in.
    #[must_use]
    pub fn number(&self, key: &[u8]) -> usize {
        self.bounds.partition_point(|bound| bound.as_slice() <= key)
    }

    /// Among which rows of `part` those of the range `number` are. Rows of other keys may be at both
    /// ends.
    ///
    /// # Errors
    /// When the index of the part cannot be read.
    pub fn rows_of(&self, part: &Part, number: usize) -> Result<Range<usize>, StoreError> {
        let total = usize::try_from(part.meta().rows).unwrap_or(usize::MAX);
        let from = number.checked_sub(1).and_then(|before| self.bounds.get(before));
        let to = self.bounds.get(number);
        let (first, last) = (&part.meta().first_key, &part.meta().last_key);
        if to.is_some_and(|to| first >= to) || from.is_some_and(|from| last < from) {
            return Ok(0..0);
        }
        let rows = part.sparse_keys()?.rows_from_to(from.map(Vec::as_slice), to.map(Vec::as_slice));
        Ok(rows.start.min(total)..rows.end.min(total))
    }
}

/// How many bytes of an encoded key its first columns are; 0 when that differs from key to key.
fn bytes_of(tree: &TreeSnapshot, columns: usize) -> Result<usize, StoreError> {
    let columns = &tree.spec.key[..columns];
    let types: Vec<_> =
        columns.iter().map(|&c| tree.spec.schema.field(c).data_type().clone()).collect();
    let is_fixed = |of: &DataType| {
        of.primitive_width().is_some()
            || matches!(of, DataType::Boolean | DataType::FixedSizeBinary(_))
    };
    if !types.iter().all(is_fixed) {
        return Ok(0);
    }
    let null: Vec<ArrayRef> = types.iter().map(|of| new_null_array(of, 1)).collect();
    let key = KeyCodec::new(&tree.spec.schema, columns)?.encode_columns(&null)?;
    Ok(key.row(0).data().len())
}

/// Some keys of the tree in order, each with how many rows it stands for.
fn samples(tree: &TreeSnapshot) -> Result<Vec<(Vec<u8>, usize)>, StoreError> {
    let mut samples = Vec::new();
    for part in &tree.parts {
        let sparse = part.sparse_keys()?;
        let rows = usize::try_from(part.meta().rows).unwrap_or(usize::MAX);
        samples.extend(sparse.keys().map(|key| (key.to_vec(), rows.min(BLOCK_ROWS))));
    }
    let codec = KeyCodec::new(&tree.spec.schema, &tree.spec.key)?;
    for batch in &tree.memory {
        let rows = batch.rows().num_rows();
        let end = u32::try_from(rows).expect("fewer than 2^32 rows in a batch");
        let at: UInt32Array = (0..end).step_by(BLOCK_ROWS).collect::<Vec<_>>().into();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(tree.spec.key.len());
        for &column in &tree.spec.key {
            columns.push(take(batch.rows().column(column), &at, None)?);
        }
        let keys = codec.encode_columns(&columns)?;
        samples.extend(keys.iter().map(|key| (key.data().to_vec(), rows.min(BLOCK_ROWS))));
    }
    samples.sort_unstable();
    Ok(samples)
}
