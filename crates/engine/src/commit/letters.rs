//! Dead letters on their way into their tree: new ones get their key, those put back their new state.
//!
//! ```text
//!   logged letters ──commit, ordinal──▶ rows of the tree, state "dead"
//!   letters put back ─────────────────▶ the same rows once more, state "replayed", a later version
//! ```
//!
//! What must hold: the rows of a letter put back and its new state are in one commit, and nobody has
//! put it back since it was read; so a letter is stored at most once.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt64Array};
use bytes::Bytes;
use yeoul_batch::CommitId;

use crate::catalog::{Body, DEAD, REPLAYED, Relation, letter_column};
use crate::error::{EngineError, ErrorKind};

/// Letters of one delivery, as they are in the log.
pub(crate) struct Arrived {
    pub rows: RecordBatch,
    /// How their bytes are written.
    pub format: Option<Arc<str>>,
}

/// Letters to be put back, in the columns of the table.
#[derive(Debug)]
pub(crate) struct Returned {
    pub letters: RecordBatch,
    pub encoded: Bytes,
    /// The commit at which they were read.
    pub read_at: CommitId,
}

/// SQLSTATE of a put-back whose letters have to be read again.
const OUTDATED: &str = "40001";

impl Returned {
    /// About how many bytes it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.letters.get_array_memory_size() + self.encoded.len()
    }

    /// Refuses when letters were put back since these were read.
    pub(crate) fn check(&self, last_replay: CommitId) -> Result<(), EngineError> {
        if self.read_at >= last_replay {
            return Ok(());
        }
        Err(EngineError::new(ErrorKind::Conflict, "dead letters were replayed at the same time")
            .with_sqlstate(OUTDATED)
            .with_hint("send them again: what was replayed is not stored twice"))
    }
}

/// Whether the letters have to be read again.
pub(crate) fn is_outdated(error: &EngineError) -> bool {
    error.sqlstate == OUTDATED
}

/// The rows for the tree of what a commit brings.
pub(crate) fn stored(
    relation: &Relation,
    commit: CommitId,
    arrived: Vec<Arrived>,
    returned: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>, EngineError> {
    if let Body::Stream(_) = relation.body {
        // A folder whose letters have no keys yet.
        return Ok(arrived.into_iter().map(|letters| letters.rows).collect());
    }
    let mut batches = Vec::with_capacity(arrived.len() + returned.len());
    let mut first = 0;
    for letters in arrived {
        let rows = letters.rows.num_rows();
        batches.push(keyed(relation, commit, &letters, first)?);
        first += i64::try_from(rows).unwrap_or(i64::MAX);
    }
    for letters in returned {
        let mut columns = letters.columns().to_vec();
        let rows = letters.num_rows();
        columns[letter_column::STATE] = same(REPLAYED, rows);
        columns[letter_column::REPLAYED_COMMIT] = number(commit, rows);
        batches.push(versioned(relation, commit, columns, rows)?);
    }
    Ok(batches)
}

/// New letters, numbered from `first` on.
fn keyed(
    relation: &Relation,
    commit: CommitId,
    letters: &Arrived,
    first: i64,
) -> Result<RecordBatch, EngineError> {
    let rows = letters.rows.num_rows();
    let ordinals = Int64Array::from_iter_values((first..).take(rows));
    let ids = ordinals.values().iter().map(|ordinal| format!("{commit}-{ordinal}"));
    let ids: ArrayRef = Arc::new(StringViewArray::from_iter_values(ids));
    let format = std::iter::repeat_n(letters.format.as_deref(), rows);
    let mut columns = vec![ids];
    columns.extend(letters.rows.columns().iter().cloned());
    columns.extend([
        Arc::new(StringViewArray::from_iter(format)) as ArrayRef,
        same(DEAD, rows),
        number(commit, rows),
        Arc::new(ordinals),
        Arc::new(Int64Array::new_null(rows)),
    ]);
    versioned(relation, commit, columns, rows)
}

fn versioned(
    relation: &Relation,
    commit: CommitId,
    mut columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, EngineError> {
    columns.push(Arc::new(UInt64Array::from(vec![commit.0; rows])));
    columns.push(Arc::new(BooleanArray::from(vec![false; rows])));
    Ok(RecordBatch::try_new(Arc::clone(&relation.trees[0].schema), columns)?)
}

fn same(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

fn number(commit: CommitId, rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from(vec![i64::try_from(commit.0).unwrap_or(i64::MAX); rows]))
}
