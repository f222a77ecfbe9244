//! Rows kept by the values they are looked for by.
//!
//! ```text
//!   input row (a, b, c), kept by (b, a + c)  ─▶  tree: b, a + c │ a, c │ _multiplicity
//! ```
//!
//! Rows that only come are kept in a `keep` tree, others in a bag: a `combine` tree whose key is all
//! columns. A column that is a key by itself is stored once.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter, filter_record_batch, take_arrays};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use yeoul_batch::{Combine, ExprRef, Updates};

use super::Step;
use super::known::Known;
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::TreeShape;
use crate::group::{Groups, compact_batch};

/// One input of an operator, arranged.
#[derive(Debug)]
pub(crate) struct Arrangement {
    /// Its number among the operator's trees.
    tree: usize,
    keys: Vec<ExprRef>,
    /// The columns that are stored behind the keys, by position in the input.
    rest: Vec<usize>,
    /// Where each column of the input is in a stored row; `None`: it is not stored.
    places: Vec<Option<usize>>,
    /// Keys, then the rest.
    schema: SchemaRef,
    /// How rows that come and go are counted; `None` when they only come.
    bag: Option<Arc<Aggregate>>,
    known: Known,
}

/// What an arrangement stores of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// All of it.
    Rows,
    /// Its keys: then it is a count by key.
    Keys,
}

impl Arrangement {
    /// Rows of `input` by `keys`, as the tree at position `tree` of its operator.
    pub(crate) fn new(
        tree: usize,
        keys: &[ExprRef],
        input: &SchemaRef,
        stored: Stored,
        append_only: bool,
        caches: &CacheBudget,
    ) -> Result<Self, FlowError> {
        let width = input.fields().len();
        let mut places = vec![None; width];
        let mut names = HashSet::new();
        let mut fields = Vec::new();
        let mut push = |name: &str, field: Field| {
            // Two sides of a join that is beneath may have columns of one name; a file may not.
            let mut unique = name.to_owned();
            while !names.insert(unique.clone()) {
                unique.push('_');
            }
            fields.push(field.with_name(unique));
        };
        for (at, key) in keys.iter().enumerate() {
            match key.as_column() {
                Some(column) => {
                    places[column] = Some(at);
                    let field = input.field(column);
                    push(field.name(), field.clone().with_nullable(true));
                }
                None => push(&format!("_key_{at}"), Field::new("", key.data_type().clone(), true)),
            }
        }
        let mut rest = Vec::new();
        if stored == Stored::Rows {
            for column in (0..width).filter(|&c| places[c].is_none()).collect::<Vec<_>>() {
                places[column] = Some(keys.len() + rest.len());
                rest.push(column);
                push(input.field(column).name(), input.field(column).clone());
            }
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let counted = !append_only || stored == Stored::Keys;
        let bag = if counted { Some(Arc::new(Aggregate::bag(&schema)?)) } else { None };
        let in_tree = bag.as_ref().map_or(&schema, |bag| Combine::schema(&**bag));
        let known = Known::new(Arc::clone(in_tree), keys.len(), caches);
        Ok(Self { tree, keys: keys.to_vec(), rest, places, schema, bag, known })
    }

    /// Its number among the operator's trees.
    pub(crate) fn tree(&self) -> usize {
        self.tree
    }

    /// What its tree is.
    pub(crate) fn shape(&self) -> TreeShape {
        match &self.bag {
            Some(bag) => TreeShape::Bag(Arc::clone(bag)),
            None => TreeShape::Keep { schema: Arc::clone(&self.schema), key_len: self.keys.len() },
        }
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self) {
        self.known.begin();
    }

    /// Forgets what is in memory, because rows of the tree were released.
    pub(crate) fn forget(&mut self) {
        self.known.forget();
    }

    /// Updates of the input as updates of stored rows, one for one.
    pub(crate) fn arrange(&self, updates: &Updates) -> Result<Updates, FlowError> {
        let rows = updates.rows();
        let mut columns =
            self.keys.iter().map(|key| key.evaluate(rows)).collect::<Result<Vec<_>, _>>()?;
        columns.extend(self.rest.iter().map(|&column| Arc::clone(rows.column(column))));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let stored =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(updates.with_rows(stored))
    }

    /// Where a column of the input is in a stored row.
    pub(crate) fn place(&self, column: usize) -> Option<usize> {
        self.places[column]
    }

    /// Where each column of the input is in a stored row.
    pub(crate) fn places(&self) -> Vec<usize> {
        self.places.iter().flatten().copied().collect()
    }

    /// The rows of the distinct `keys` before this step, with how often each is there.
    pub(crate) fn read(
        &mut self,
        keys: &[ArrayRef],
        step: &Step<'_>,
    ) -> Result<Updates, FlowError> {
        let tree = self.tree;
        let get_many = |keys: &[ArrayRef]| step.get_many(tree, keys);
        let mut rows = self.known.rows(keys, get_many)?;
        let Some(bag) = &self.bag else { return Ok(Updates::inserts(rows)) };
        let counts = |rows: &RecordBatch| {
            rows.column(self.schema.fields().len()).as_primitive::<Int64Type>().clone()
        };
        if counts(&rows).values().iter().any(|&count| count < 0) {
            rows = bag.combine(&[rows], true)?;
            self.known.replace(keys, &rows)?;
        }
        let diffs = counts(&rows);
        let columns = rows.columns()[..self.schema.fields().len()].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(Updates::new(rows, diffs))
    }

    /// Adds updates of stored rows: to its tree, and to what is known of it.
    pub(crate) fn write(
        &mut self,
        updates: &Updates,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        if updates.is_empty() {
            return Ok(());
        }
        let delta = match &self.bag {
            Some(bag) => bag.partial(updates)?,
            // A filter keeps the bytes of the strings it drops alive.
            None => compact_batch(updates.rows())?,
        };
        self.known.add(&delta)?;
        step.put(self.tree, delta);
        Ok(())
    }

    /// The columns of stored rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

/// Each key of the rows once.
pub(crate) fn keys_of(rows: &Updates, key_len: usize) -> Result<Vec<ArrayRef>, FlowError> {
    let keys = &rows.rows().columns()[..key_len];
    Ok(Groups::of(keys, rows.len())?.take(keys)?)
}

/// The rows of which no key is null, and the others.
pub(crate) fn apart(
    updates: Updates,
    keys: usize,
) -> Result<(Updates, Option<Updates>), FlowError> {
    let nulls = updates.rows().columns()[..keys]
        .iter()
        .fold(None, |all, key| NullBuffer::union(all.as_ref(), key.logical_nulls().as_ref()));
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
        return Ok((updates, None));
    };
    let whole = BooleanArray::new(nulls.inner().clone(), None);
    let lacking = BooleanArray::new(!nulls.inner(), None);
    Ok((chosen(&updates, &whole)?, Some(chosen(&updates, &lacking)?)))
}

/// The updates for which `mask` is true.
pub(crate) fn chosen(updates: &Updates, mask: &BooleanArray) -> Result<Updates, FlowError> {
    let rows = filter_record_batch(updates.rows(), mask)?;
    Ok(match updates.diffs() {
        None => Updates::inserts(rows),
        Some(diffs) => Updates::new(rows, filter(diffs, mask)?.as_primitive::<Int64Type>().clone()),
    })
}

/// The updates at `places`, with `diffs`.
pub(crate) fn taken(
    rows: &RecordBatch,
    places: &UInt32Array,
    diffs: Option<Int64Array>,
) -> Result<Updates, FlowError> {
    let columns = take_arrays(rows.columns(), places, None)?;
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    let rows = RecordBatch::try_new_with_options(rows.schema(), columns, &options)?;
    Ok(match diffs {
        None => Updates::inserts(rows),
        Some(diffs) => Updates::new(rows, diffs),
    })
}
