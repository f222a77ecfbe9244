//! Writes to a table: from written rows to stored versions and to updates for the views on it.
//!
//! ```text
//!   written rows + _deleted ──▶ newest per key ──▶ tree rows with _version
//!                                     └── old rows from the tree ──▶ −old, +new
//! ```
//!
//! A table without a primary key has a hidden one, the row id: rows come without it, and get it here.
//!
//! What must hold: the version is the commit number, so within a tree the later commit wins, and a
//! replayed commit writes the same versions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, UInt64Array,
    new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use hashbrown::HashMap;
use yeoul_batch::{CommitId, KeyCodec, Updates};
use yeoul_store::{TreeSnapshot, get_many};

use crate::catalog::{Relation, TableBody, numbered};
use crate::error::EngineError;

/// What a commit's writes to one table become.
pub(crate) struct TableChange {
    /// For the table's tree.
    pub stored: RecordBatch,
    /// For the views on it, when there are any.
    pub updates: Option<Updates>,
}

/// The change that the `written` rows (the table's columns and `_deleted`, later ones winning) make.
/// The old rows are read only when `followed`.
pub(crate) fn change(
    relation: &Relation,
    body: &TableBody,
    written: &[RecordBatch],
    before: &TreeSnapshot,
    commit: CommitId,
    followed: bool,
) -> Result<TableChange, EngineError> {
    let mut all = concat_batches(&written[0].schema(), written)?;
    if body.with_row_id.is_some() {
        all = numbered(&all, body.key[0], commit)?;
    }
    let newest = newest_per_key(&all, &body.key)?;
    let width = width(relation);
    let rows = newest.num_rows();
    let mut columns: Vec<ArrayRef> = newest.columns()[..width].to_vec();
    columns.push(Arc::new(UInt64Array::from(vec![commit.0; rows])));
    columns.push(Arc::clone(newest.column(width)));
    let stored = RecordBatch::try_new(Arc::clone(&relation.trees[0].schema), columns)?;
    let updates = if followed { updates(relation, body, &stored, before)? } else { None };
    Ok(TableChange { stored, updates })
}

/// The last row of each key, in order.
fn newest_per_key(rows: &RecordBatch, key: &[usize]) -> Result<RecordBatch, EngineError> {
    let codec = KeyCodec::new(&rows.schema(), key)?;
    let keys = codec.encode(rows)?;
    let mut last: HashMap<&[u8], u32> = HashMap::with_capacity(rows.num_rows());
    for (row, index) in keys.iter().zip(0u32..) {
        last.insert(row.data(), index);
    }
    if last.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    let mut chosen: Vec<u32> = last.into_values().collect();
    chosen.sort_unstable();
    Ok(take_record_batch(rows, &UInt32Array::from(chosen))?)
}

/// −old for every key that was there, +new for every key that is there now. A row that stays as it
/// was is in neither.
fn updates(
    relation: &Relation,
    body: &TableBody,
    stored: &RecordBatch,
    before: &TreeSnapshot,
) -> Result<Option<Updates>, EngineError> {
    let width = width(relation);
    let written: Vec<usize> = (0..width).collect();
    let keys: Vec<ArrayRef> = body.key.iter().map(|&c| Arc::clone(stored.column(c))).collect();
    let old = get_many(before, &keys)?.project(&written)?;
    let deleted: &BooleanArray = stored.column(width + 1).as_boolean();
    let new = filter_record_batch(&stored.project(&written)?, &arrow::compute::not(deleted)?)?;
    let (old, new) = unlike(&old, &new)?;
    // Without the row id, which nobody who reads the table sees.
    let shown = relation.schema.fields().len();
    let new = RecordBatch::try_new(Arc::clone(&relation.schema), new.columns()[..shown].to_vec())?;
    let old = RecordBatch::try_new(Arc::clone(&relation.schema), old.columns()[..shown].to_vec())?;
    if old.num_rows() + new.num_rows() == 0 {
        return Ok(None);
    }
    let diffs: Int64Array = std::iter::repeat_n(-1, old.num_rows())
        .chain(std::iter::repeat_n(1, new.num_rows()))
        .collect();
    let rows = concat_batches(&relation.schema, [&old, &new])?;
    Ok(Some(Updates::new(rows, diffs)))
}

/// Both without the rows they share.
fn unlike(old: &RecordBatch, new: &RecordBatch) -> Result<(RecordBatch, RecordBatch), EngineError> {
    if old.num_rows() == 0 {
        return Ok((old.clone(), new.clone()));
    }
    let all: Vec<usize> = (0..old.num_columns()).collect();
    let codec = KeyCodec::new(&old.schema(), &all)?;
    let (old_rows, new_rows) = (codec.encode(old)?, codec.encode(new)?);
    let held: hashbrown::HashSet<&[u8]> = old_rows.iter().map(|row| row.data()).collect();
    let stays: Vec<bool> = new_rows.iter().map(|row| held.contains(row.data())).collect();
    let same: hashbrown::HashSet<&[u8]> = new_rows
        .iter()
        .zip(&stays)
        .filter(|(_, stays)| **stays)
        .map(|(row, _)| row.data())
        .collect();
    let old_kept: BooleanArray =
        old_rows.iter().map(|row| Some(!same.contains(row.data()))).collect();
    let new_kept: BooleanArray = stays.iter().map(|stays| Some(!stays)).collect();
    Ok((filter_record_batch(old, &old_kept)?, filter_record_batch(new, &new_kept)?))
}

/// `rows` of a table as written rows: none of them deletes.
pub(crate) fn as_written(
    rows: &RecordBatch,
    relation: &Relation,
) -> Result<RecordBatch, EngineError> {
    let deleted = BooleanArray::from(vec![false; rows.num_rows()]);
    with_deleted(rows, deleted, relation)
}

/// How many columns are written: the table's and, where its key is hidden, the row id.
fn width(relation: &Relation) -> usize {
    relation.trees[0].schema.fields().len() - 2
}

/// `rows` of a table with which of them delete their key. Rows without a row id are new ones.
pub(crate) fn with_deleted(
    rows: &RecordBatch,
    deleted: BooleanArray,
    relation: &Relation,
) -> Result<RecordBatch, EngineError> {
    let schema = written_schema(relation);
    let mut columns = rows.columns().to_vec();
    if columns.len() < width(relation) {
        columns.push(new_null_array(schema.field(columns.len()).data_type(), rows.num_rows()));
    }
    columns.push(Arc::new(deleted));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The columns of written rows.
pub(crate) fn written_schema(relation: &Relation) -> arrow::datatypes::SchemaRef {
    let stored = &relation.trees[0].schema;
    let width = width(relation);
    let mut fields: Vec<_> = stored.fields().iter().take(width).cloned().collect();
    fields.push(Arc::clone(&stored.fields()[width + 1]));
    Arc::new(arrow::datatypes::Schema::new(fields))
}
