//! Rows with what a table says of their key at this commit: a join `FOR SYSTEM_TIME AS OF PROCTIME()`.
//!
//! A row is looked up once, when it comes. A later change of the table does not change what was said
//! of it, so nothing of the rows is remembered, and the operator is linear over rows that only come.
//!
//! ```text
//!   rows ─ keys ─ distinct keys ─▶ held places ─ missing ─▶ TableReader
//!                                       ▲
//!                  changes of the table ┘ (those of the commit first, then its rows)
//! ```
//!
//! What must hold: what is held of a key is the table's row as of this step. The reader shows the
//! table before this step, so places are forgotten only between steps, when it has caught up.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter, filter_record_batch, interleave_record_batch, take_arrays};
use arrow::datatypes::{Field, Schema, SchemaRef};
use hashbrown::HashMap;
use parking_lot::Mutex;
use yeoul_batch::{ExprRef, KeyCodec, Updates};

use super::truth;
use crate::error::FlowError;
use crate::graph::{CacheBudget, Share};
use crate::group::Groups;

/// Reads a table as it was after the step before.
pub trait TableReader: Debug + Send + Sync {
    /// The table's rows of `keys` (the columns of its primary key, one row per key, distinct), at
    /// most one per key, in any order, with the columns the lookup was declared with.
    fn get_many(
        &self,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>>;
}

/// A join with a table on its primary key.
#[derive(Debug, Clone)]
pub struct LookupSpec {
    /// The columns of the table.
    pub table: SchemaRef,
    /// Its primary key, by position in `table`.
    pub primary_key: Vec<usize>,
    /// What the key is compared with, in the same order.
    pub keys: Vec<ExprRef>,
    /// Table rows for which this is not true are as good as absent.
    pub condition: Option<ExprRef>,
    /// Whether a row without a table row stays, with nulls.
    pub outer: bool,
}

/// Where the row of a key is held: chunk and row; `None`: the table has no such row.
type Place = Option<(usize, usize)>;

/// Chunks of held rows are made one when there are more.
const CHUNKS_MAX: usize = 64;

/// What is held of the table.
#[derive(Debug, Default)]
struct Held {
    reader: Option<Arc<dyn TableReader>>,
    chunks: Vec<RecordBatch>,
    places: HashMap<Box<[u8]>, Place>,
    bytes: usize,
    share: Option<Share>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lookup {
    spec: LookupSpec,
    codec: KeyCodec,
    schema: SchemaRef,
    held: Mutex<Held>,
}

impl Lookup {
    /// The lookup for rows of `input`; of the table as much is held as `caches` gives.
    pub(crate) fn new(
        spec: LookupSpec,
        input: &SchemaRef,
        caches: &CacheBudget,
    ) -> Result<Self, FlowError> {
        for (&column, key) in spec.primary_key.iter().zip(&spec.keys) {
            let field = spec.table.field(column);
            if *field.data_type() != *key.data_type() {
                return Err(FlowError::Unsupported(format!(
                    "column \"{}\" is {}, and it is looked up by {}",
                    field.name(),
                    field.data_type(),
                    key.data_type()
                )));
            }
        }
        let outer = |field: &Field| field.clone().with_nullable(field.is_nullable() || spec.outer);
        let own = input.fields().iter().map(|field| field.as_ref().clone());
        let fields: Vec<Field> = own.chain(spec.table.fields().iter().map(|f| outer(f))).collect();
        let codec = KeyCodec::new(&spec.table, &spec.primary_key)?;
        let schema = Arc::new(Schema::new(fields));
        let held = Held { share: Some(caches.share()), ..Held::default() };
        Ok(Self { spec, codec, schema, held: Mutex::new(held) })
    }

    /// The columns of the input, then those of the table.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of the table.
    pub(crate) fn table(&self) -> &SchemaRef {
        &self.spec.table
    }

    /// Begins a step: `reader` shows the table before it, `changes` are those of this step.
    pub(crate) fn begin<'a>(
        &self,
        reader: Option<Arc<dyn TableReader>>,
        changes: impl Iterator<Item = &'a Updates>,
    ) -> Result<(), FlowError> {
        let mut held = self.held.lock();
        held.reader = reader;
        let bytes = held.bytes;
        let bytes_max = held.share.as_mut().map_or(0, |share| {
            share.hold(bytes);
            share.bytes_max()
        });
        if held.bytes > bytes_max {
            (held.chunks, held.places, held.bytes) = (Vec::new(), HashMap::new(), 0);
        } else if held.chunks.len() > CHUNKS_MAX {
            held.compact()?;
        }
        for change in changes {
            self.hold(&mut held, change.rows(), change.diffs().map(|d| d.values().as_ref()))?;
        }
        Ok(())
    }

    /// Remembers `rows` of the table; those with a negative diff are gone.
    fn hold(
        &self,
        held: &mut Held,
        rows: &RecordBatch,
        diffs: Option<&[i64]>,
    ) -> Result<(), FlowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let there = match &self.spec.condition {
            Some(condition) => Some(truth(condition, rows)?),
            None => None,
        };
        let chunk = held.chunks.len();
        for (row, key) in self.codec.encode(rows)?.iter().enumerate() {
            let gone = diffs.is_some_and(|diffs| diffs[row] < 0);
            let fits = there.as_ref().is_none_or(|there| there.value(row));
            let place = (!gone && fits).then_some((chunk, row));
            held.bytes += 64 + key.data().len();
            held.places.insert(key.data().into(), place);
        }
        held.bytes += rows.get_array_memory_size();
        held.chunks.push(rows.clone());
        Ok(())
    }

    /// The rows with the columns of the table appended.
    pub(crate) fn apply(&self, updates: &Updates) -> Result<Updates, FlowError> {
        let rows = updates.rows();
        let keys =
            self.spec.keys.iter().map(|k| k.evaluate(rows)).collect::<Result<Vec<_>, _>>()?;
        let groups = Groups::of(&keys, rows.num_rows())?;
        let distinct = groups.take(&keys)?;
        // A comparison with NULL is not true.
        let nulls =
            distinct.iter().fold(None, |all, key| NullBuffer::union(all.as_ref(), key.nulls()));
        let (chunks, mut places) = self.places(&distinct, groups.count())?;
        if let Some(nulls) = nulls {
            (0..places.len()).filter(|&g| nulls.is_null(g)).for_each(|g| places[g] = None);
        }
        // The table's row of each group, then of each row.
        let found: Vec<(usize, usize)> = places.iter().copied().flatten().collect();
        let mut next = 0u32..;
        let numbers: Vec<Option<u32>> =
            places.iter().map(|place| place.and_then(|_| next.next())).collect();
        let of_row: UInt32Array = groups.ids().iter().map(|&g| numbers[g as usize]).collect();
        let chunks: Vec<&RecordBatch> = chunks.iter().collect();
        let found = if found.is_empty() {
            RecordBatch::new_empty(Arc::clone(&self.spec.table))
        } else {
            interleave_record_batch(&chunks, &found)?
        };
        let matched = of_row.null_count() == 0;
        let (rows, of_row) = if matched || self.spec.outer {
            (rows.clone(), of_row)
        } else {
            let mask = BooleanArray::new(
                of_row.nulls().map_or_else(
                    || arrow::buffer::BooleanBuffer::new_set(of_row.len()),
                    |nulls| nulls.inner().clone(),
                ),
                None,
            );
            let kept = filter(&of_row, &mask)?;
            let values = arrow::array::AsArray::as_primitive(&kept).clone();
            (filter_record_batch(rows, &mask)?, values)
        };
        let mut columns = rows.columns().to_vec();
        columns.extend(take_arrays(found.columns(), &of_row, None)?);
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Updates::inserts(rows))
    }

    /// Where the rows of distinct keys are held; those that are not are read.
    fn places(
        &self,
        keys: &[ArrayRef],
        count: usize,
    ) -> Result<(Vec<RecordBatch>, Vec<Place>), FlowError> {
        let encoded = self.codec.encode_columns(keys)?;
        let mut held = self.held.lock();
        let missing: Vec<u32> = (0u32..)
            .zip(encoded.iter())
            .filter(|(_, key)| !held.places.contains_key(key.data()))
            .map(|(row, _)| row)
            .collect();
        if !missing.is_empty() {
            let numbers = UInt32Array::from(missing.clone());
            let wanted = take_arrays(keys, &numbers, None)?;
            let rows = match &held.reader {
                Some(reader) => reader.get_many(&wanted).map_err(FlowError::State)?,
                None => RecordBatch::new_empty(Arc::clone(&self.spec.table)),
            };
            for row in missing {
                let key = encoded.row(row as usize);
                held.bytes += 64 + key.data().len();
                held.places.insert(key.data().into(), None);
            }
            self.hold(&mut held, &rows, None)?;
        }
        let place = |key: arrow::row::Row<'_>| held.places.get(key.data()).copied().flatten();
        let places: Vec<Place> = encoded.iter().map(place).collect();
        debug_assert_eq!(places.len(), count, "a place per group");
        Ok((held.chunks.clone(), places))
    }
}

impl Held {
    /// Makes one chunk of all, without rows that nothing points to.
    fn compact(&mut self) -> Result<(), FlowError> {
        let mut live = Vec::new();
        for place in self.places.values_mut().flatten() {
            live.push(*place);
            *place = (0, live.len() - 1);
        }
        let chunks: Vec<&RecordBatch> = self.chunks.iter().collect();
        let chunk = interleave_record_batch(&chunks, &live)?;
        self.bytes = chunk.get_array_memory_size()
            + self.places.keys().map(|key| 64 + key.len()).sum::<usize>();
        self.chunks = vec![chunk];
        Ok(())
    }
}
