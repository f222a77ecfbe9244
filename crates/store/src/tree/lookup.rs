//! Reading the rows of given keys, or of keys that begin so, of a tree that has a key.
//!
//! ```text
//!   keys ─┬─▶ memory batches ─┐
//!         └─▶ parts ──────────┴─▶ found rows, oldest first ─▶ rule ─▶ answer
//! ```
//!
//! What must hold: the answer is that of a scan filtered by the keys.
//!
//! Limits: all rows of the keys are held at once; who may ask for too many asks for fewer keys.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave;
use yeoul_batch::KeyCodec;

use super::gather::gather;
use super::merge::Marks;
use super::scan::{ScanOptions, scan};
use super::snapshot::TreeSnapshot;
use super::wanted::Wanted;
use crate::{Rule, StoreError, TreeSpec};

/// Rows of a part that are read at once, and about how much they take at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: u64 = 32 << 20;

/// The merged rows of those of `keys` that the tree holds, in no particular order: one per key, of a
/// [`Rule::Keep`] tree all. `keys` are the key columns, or only the leading ones: then all keys that begin
/// so are meant. They are all of one length; a key may be asked for twice.
///
/// # Errors
/// When a part cannot be read, or the tree has fewer columns in its key or, being [`Rule::Keep`], none.
pub fn get_many(tree: &TreeSnapshot, keys: &[ArrayRef]) -> Result<RecordBatch, StoreError> {
    let spec = &tree.spec;
    let Some(wanted) = Wanted::new(spec, keys)? else {
        // A tree without key columns has one row at most.
        let batches = scan(tree, ScanOptions::default())?.collect::<Result<Vec<_>, _>>()?;
        return Ok(arrow::compute::concat_batches(&spec.schema, &batches)?);
    };
    let mut found = Found::default();
    for part in &tree.parts {
        let rows = part.rows_at_once(None, BATCH_ROWS, BATCH_BYTES)?;
        for batch in wanted.in_part(part, rows)?.into_iter().flatten() {
            let batch = batch?;
            let rows = batch.num_rows();
            found.push(batch, 0..rows);
        }
    }
    for batch in &tree.memory {
        let rows = wanted.in_memory(batch)?;
        if !rows.is_empty() {
            found.push(batch.rows().clone(), rows.into_iter().map(|row| row as usize));
        }
    }
    found.answer(spec)
}

/// Rows found, oldest first.
#[derive(Default)]
struct Found {
    batches: Vec<RecordBatch>,
    rows: Vec<(usize, usize)>,
}

impl Found {
    fn push(&mut self, batch: RecordBatch, rows: impl Iterator<Item = usize>) {
        let number = self.batches.len();
        self.batches.push(batch);
        self.rows.extend(rows.map(|row| (number, row)));
    }

    fn answer(self, spec: &TreeSpec) -> Result<RecordBatch, StoreError> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        match &spec.rule {
            Rule::Latest => gather(&spec.schema, &batches, &self.latest(spec)?),
            Rule::Combine(combine) if !self.rows.is_empty() => {
                let rows = gather(&spec.schema, &batches, &self.rows)?;
                Ok(combine.combine(&[rows], true)?)
            }
            Rule::Keep | Rule::Combine(_) => gather(&spec.schema, &batches, &self.rows),
        }
    }

    /// Of each key the row with the highest version, of equal ones the last, unless it is a tombstone.
    fn latest(&self, spec: &TreeSpec) -> Result<Vec<(usize, usize)>, StoreError> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut key: Vec<ArrayRef> = Vec::with_capacity(spec.key.len());
        for &column in &spec.key {
            let columns: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            key.push(interleave(&columns, &self.rows)?);
        }
        let encoded = KeyCodec::new(&spec.schema, &spec.key)?.encode_columns(&key)?;
        let marks: Vec<Marks<'_>> = self.batches.iter().map(Marks::of).collect();
        let version = |row: (usize, usize)| marks[row.0].versions[row.1];
        let mut best: HashMap<&[u8], (usize, usize)> = HashMap::new();
        for (at, &row) in self.rows.iter().enumerate() {
            let best = best.entry(encoded.row(at).data()).or_insert(row);
            if version(row) >= version(*best) {
                *best = row;
            }
        }
        let mut rows: Vec<(usize, usize)> = best.into_values().collect();
        rows.retain(|&(batch, row)| !marks[batch].deleted.value(row));
        rows.sort_unstable();
        Ok(rows)
    }
}
