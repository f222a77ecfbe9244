//! What becomes of the stored rows that share a key: the reading side of the merge rules `latest` and
//! `combine`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, not, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::common::{DataFusionError, Result};
use hashbrown::HashTable;
use yeoul_batch::{KeyCodec, hash64};

/// What becomes of the rows of one key.
pub(crate) trait MergeRule: fmt::Debug + Send + Sync {
    /// The rule's name in a plan.
    fn name(&self) -> &'static str;

    /// How many leading columns of the input are the key.
    fn key(&self) -> &[usize];

    /// Of a tree that is sorted by the key: rows that share so many leading columns of it are merged in one
    /// call. `None`: those that share all of it.
    fn together(&self) -> Option<usize> {
        None
    }

    /// The columns of the result.
    fn schema(&self) -> SchemaRef;

    /// What is enough of the input for the columns `projection` of the result; `None` when it is all.
    fn narrowed(&self, projection: &[usize]) -> Option<Narrowed> {
        let _ = projection;
        None
    }

    /// The result for the rows of a set of whole keys. `global` says that the input is everything,
    /// which matters to an aggregate without groups: it has a row even over nothing.
    fn merge(&self, batches: Vec<RecordBatch>, global: bool) -> Result<RecordBatch>;

    /// The result for rows of which no two have the same key.
    fn pass(&self, batch: RecordBatch) -> Result<RecordBatch> {
        self.merge(vec![batch], false)
    }
}

/// A rule over some of the columns of its input.
pub(crate) struct Narrowed {
    /// Those columns.
    pub input: Vec<usize>,
    /// The rule over them.
    pub rule: Arc<dyn MergeRule>,
    /// The wanted columns of its result.
    pub projection: Vec<usize>,
}

/// Keeps the row with the highest `_version` of each key, unless it is `_deleted`. The input's last
/// two columns are `_version` and `_deleted`; they are not passed on, nor is a key behind the columns
/// of the result.
#[derive(Debug)]
pub(crate) struct NewestRow {
    key: Vec<usize>,
    /// The columns that are passed on.
    visible: Vec<usize>,
    input: SchemaRef,
    output: SchemaRef,
}

impl NewestRow {
    pub(crate) fn new(input: SchemaRef, output: SchemaRef, key: Vec<usize>) -> Self {
        let visible = (0..output.fields().len()).collect();
        Self { key, visible, input, output }
    }
}

impl MergeRule for NewestRow {
    fn name(&self) -> &'static str {
        "newest"
    }

    fn key(&self) -> &[usize] {
        &self.key
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    fn narrowed(&self, projection: &[usize]) -> Option<Narrowed> {
        // The columns of the result are the first of the input; a hidden key and the two that are always
        // hidden follow. Rows are counted by their first column where none is asked for.
        let shown = self.output.fields().len();
        let width = self.input.fields().len() - 2;
        let first = if projection.is_empty() { &[0] } else { projection };
        let wanted: Vec<usize> = (0..width)
            .filter(|column| first.contains(column) || self.key.contains(column))
            .collect();
        if wanted.len() == width {
            return None;
        }
        let place = |column: &usize| wanted.binary_search(column).ok();
        let key: Option<Vec<usize>> = self.key.iter().map(place).collect();
        let projection: Option<Vec<usize>> = projection.iter().map(place).collect();
        let visible: Vec<usize> = wanted.iter().copied().filter(|&column| column < shown).collect();
        let output = self.output.project(&visible).ok()?;
        let input: Vec<usize> = wanted.into_iter().chain([width, width + 1]).collect();
        let schema = self.input.project(&input).ok()?;
        let rule = Arc::new(Self::new(Arc::new(schema), Arc::new(output), key?));
        Some(Narrowed { input, rule, projection: projection? })
    }

    fn merge(&self, batches: Vec<RecordBatch>, _global: bool) -> Result<RecordBatch> {
        let all = arrow::compute::concat_batches(&self.input, &batches)?;
        drop(batches);
        let rows = all.num_rows();
        let keys: Vec<_> = self.key.iter().map(|&c| Arc::clone(all.column(c))).collect();
        let hashes = hash64(&keys, rows)?;
        let codec = KeyCodec::new(&self.input, &self.key)?;
        let encoded = codec.encode_columns(&keys)?;
        let width = self.input.fields().len();
        let versions = all.column(width - 2).as_primitive::<UInt64Type>().values();
        let deleted = all.column(width - 1).as_boolean();
        let mut newest: HashTable<u32> = HashTable::with_capacity(rows);
        for row in 0..rows {
            let index = u32::try_from(row)
                .map_err(|_| DataFusionError::ResourcesExhausted("table too large".into()))?;
            let entry = newest.entry(
                hashes[row],
                |&other| encoded.row(other as usize) == encoded.row(row),
                |&other| hashes[other as usize],
            );
            match entry {
                hashbrown::hash_table::Entry::Vacant(slot) => {
                    slot.insert(index);
                }
                hashbrown::hash_table::Entry::Occupied(mut slot) => {
                    if versions[*slot.get() as usize] <= versions[row] {
                        *slot.get_mut() = index;
                    }
                }
            }
        }
        let mut chosen: Vec<u32> =
            newest.into_iter().filter(|&row| !deleted.value(row as usize)).collect();
        chosen.sort_unstable();
        Ok(take_record_batch(&all.project(&self.visible)?, &UInt32Array::from(chosen))?)
    }

    fn pass(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let deleted = batch.column(batch.num_columns() - 1).as_boolean();
        let shown = batch.project(&self.visible)?;
        if deleted.true_count() > 0 {
            return Ok(filter_record_batch(&shown, &not(deleted)?)?);
        }
        Ok(shown)
    }
}
