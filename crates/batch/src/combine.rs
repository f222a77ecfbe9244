//! The merge rule of a `combine` tree, handed to the store by whoever knows the aggregates.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// How rows that share a key become one row.
///
/// The first [`Combine::key_len`] columns of [`Combine::schema`] are the key, the rest are
/// aggregate states.
///
/// What must hold, because batches are combined in any grouping and any order: the operation is
/// associative and commutative, and a row that it drops (a state that has become zero) is a
/// neutral element.
pub trait Combine: Send + Sync + std::fmt::Debug {
    /// The columns of every batch taken and given: key columns, then states.
    fn schema(&self) -> &SchemaRef;

    /// How many leading columns are the key.
    fn key_len(&self) -> usize;

    /// One row per key that occurs in `batches`, in no particular order.
    ///
    /// A key whose state has become zero is left out only if `complete` says that no other
    /// batch of the tree can hold the same key, or if such a state changes no other.
    fn combine(&self, batches: &[RecordBatch], complete: bool) -> Result<RecordBatch, ArrowError>;
}
