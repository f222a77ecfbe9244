//! The first rows of each partition in an order: top-N, `LIMIT`, the first or last row of a thing.
//!
//! ```text
//!   tree:  partition │ order, as bytes │ the rest of the row │ _multiplicity
//!          ──────────────── sorted ───────────────▶
//!   a step reads the first rows of each touched partition, puts its updates among them, and
//!   compares who had which number with who has
//! ```
//!
//! Rows that tie in the order are ordered by the rest of their columns, so that the answer follows from
//! the rows alone.
//!
//! Over rows that only come, a row that is ranked behind the last wanted never returns: the tree holds
//! just the wanted ones, and not their order (`kept.rs`). When the answer is just those, a view that ends
//! in it has no other tree. Else the tree holds all rows, and those that go are replaced from it.

mod kept;
mod spec;
mod sweep;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DynComparator, Int64Array, RecordBatch,
    RecordBatchOptions, UInt32Array, UInt64Array, make_comparator,
};
use arrow::compute::{
    SortOptions, concat_batches, filter_record_batch, take_arrays, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use yeoul_batch::{Combine, ExprRef, KeyCodec, KeyRange, Updates};

pub use spec::{RankFunction, RankedSpec};

use super::known::Known;
use super::{Operator, Step};
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::TreeShape;
use crate::group::{ByGroup, Groups};
use spec::Layout;
use sweep::{Changes, Item, Wanted};

/// Its only tree.
const TREE: usize = 0;

/// Top-N as an operator.
#[derive(Debug)]
pub(crate) struct Ranked {
    ranking: Arc<Ranking>,
    /// The stored rows of partitions, when only the wanted ones are stored.
    known: Option<Known>,
}

/// What is ranked and how.
#[derive(Debug)]
pub struct Ranking {
    spec: RankedSpec,
    wanted: Wanted,
    layout: Layout,
    input: SchemaRef,
    schema: SchemaRef,
    /// Stored rows by how often they are there.
    bag: Arc<Aggregate>,
}

/// Up to so many rows of a partition are numbered when they are read, because they are held together then.
const NUMBERED_MAX: u64 = 100_000;

/// Some rows of touched partitions before a step.
struct Before {
    rows: RecordBatch,
    /// The partition of each row, among those that were asked for.
    partitions: Vec<u32>,
    /// Whether a partition has more rows.
    more: Vec<bool>,
}

impl Ranked {
    /// Compiles `spec` over rows of `input`.
    pub(crate) fn new(
        spec: RankedSpec,
        input: &SchemaRef,
        append_only: bool,
        caches: &CacheBudget,
    ) -> Result<Self, FlowError> {
        let ranking = Ranking::new(spec, input, append_only)?;
        let known = append_only
            .then(|| Known::new(ranking.kept_schema(), ranking.layout.keys.len(), caches));
        Ok(Self { ranking: Arc::new(ranking), known })
    }
}

impl Ranking {
    fn new(spec: RankedSpec, input: &SchemaRef, append_only: bool) -> Result<Self, FlowError> {
        spec.check()?;
        let layout = Layout::new(&spec, input, !append_only);
        let bag = Arc::new(Aggregate::bag(&layout.schema)?);
        let wanted = Wanted {
            function: spec.function,
            first: i64::try_from(spec.first).unwrap_or(i64::MAX),
            last: i64::try_from(spec.last).unwrap_or(i64::MAX).min(i64::MAX - 1),
            numbered: spec.rank.is_some(),
        };
        let (input, schema) = (Arc::clone(input), spec.schema(input));
        Ok(Self { spec, wanted, layout, input, schema, bag })
    }

    /// Kept rows: a `combine` tree whose key is what tells partitions apart and the rest of the columns.
    #[must_use]
    pub fn kept(&self) -> &Arc<Aggregate> {
        &self.bag
    }

    /// Whether each kept row is shown whatever the others are.
    fn shows_all(&self) -> bool {
        self.spec.first <= 1 && self.spec.rank.is_none()
    }

    /// Whether rows can be read some partitions at a time.
    fn is_read_apart(&self) -> bool {
        let is_fixed = |key: &ExprRef| {
            let of = key.data_type();
            of.primitive_width().is_some()
                || matches!(of, DataType::Boolean | DataType::FixedSizeBinary(_))
        };
        self.shows_all()
            || (self.spec.last <= NUMBERED_MAX && self.layout.keys.iter().all(is_fixed))
    }

    /// How many leading columns tell apart what must be read together; `None`: rows have nothing to do with each
    /// other.
    #[must_use]
    pub fn together(&self) -> Option<usize> {
        (!self.shows_all()).then_some(self.layout.keys.len())
    }

    /// Where a column of the answer is in kept rows, when those of which it is not wanted may be left out
    /// before they are numbered.
    #[must_use]
    pub fn place(&self, column: usize) -> Option<usize> {
        let place = self.layout.places.get(column).copied();
        place.filter(|place| self.together().is_none_or(|keys| *place < keys))
    }

    /// The answer of kept rows of whole partitions.
    pub(crate) fn shown(&self, kept: &RecordBatch) -> Result<RecordBatch, FlowError> {
        if self.shows_all() {
            let counts = self.counts(kept);
            let rows = self.answer(kept, &[], counts.values().to_vec())?;
            return repeated(rows);
        }
        let rows = self.with_order(kept)?;
        let keys = &rows.columns()[..self.layout.keys.len()];
        let groups = Groups::of(keys, rows.num_rows())?;
        let more = vec![false; groups.count()];
        let none = RecordBatch::new_empty(rows.schema());
        let before = Before { rows: none, partitions: Vec::new(), more };
        let Compared { answer, .. } = self.compare(&before, &rows, groups.ids())?;
        match answer {
            Some(answer) => repeated(answer),
            None => Ok(RecordBatch::new_empty(Arc::clone(&self.schema))),
        }
    }

    /// The columns of kept rows in memory: those of the tree, and the order.
    fn kept_schema(&self) -> SchemaRef {
        let order = Arc::new(Field::new("_order", DataType::Binary, false));
        let stored = Combine::schema(&*self.bag).fields().iter().cloned();
        Arc::new(Schema::new(stored.chain([order]).collect::<Vec<_>>()))
    }

    /// Rows that come, once each, as they are kept in memory.
    fn kept_rows(&self, input: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let keys = self.layout.keys.iter().map(|key| key.evaluate(input));
        let mut columns: Vec<ArrayRef> = keys.collect::<Result<_, _>>()?;
        columns.extend(self.layout.rest.iter().map(|&column| Arc::clone(input.column(column))));
        columns.push(Arc::new(Int64Array::from(vec![1; input.num_rows()])));
        columns.push(self.order(input)?);
        Ok(RecordBatch::try_new(self.kept_schema(), columns)?)
    }

    /// Rows of the tree as they are kept in memory.
    fn with_order(&self, stored: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let own = self.layout.places.iter().map(|&place| Arc::clone(stored.column(place)));
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        let input = Arc::clone(&self.input);
        let input = RecordBatch::try_new_with_options(input, own.collect(), &options)?;
        let mut columns = stored.columns().to_vec();
        columns.push(self.order(&input)?);
        Ok(RecordBatch::try_new(self.kept_schema(), columns)?)
    }

    /// The step's updates as stored rows with how often each comes or goes.
    fn delta(&self, updates: &Updates) -> Result<RecordBatch, FlowError> {
        let input = updates.rows();
        let keys = self.layout.keys.iter().map(|key| key.evaluate(input));
        let mut columns: Vec<ArrayRef> = keys.collect::<Result<_, _>>()?;
        columns.push(self.order(input)?);
        columns.extend(self.layout.rest.iter().map(|&column| Arc::clone(input.column(column))));
        let stored = RecordBatch::try_new(Arc::clone(&self.layout.schema), columns)?;
        let delta = self.bag.partial(&updates.with_rows(stored))?;
        // A row that came and went again in one step has not been.
        Ok(self.bag.combine(&[delta], true)?)
    }

    /// What rows are ordered by, as bytes of that order.
    fn order(&self, input: &RecordBatch) -> Result<ArrayRef, FlowError> {
        if self.spec.order.is_empty() {
            let none = std::iter::repeat_n([0u8; 0], input.num_rows());
            return Ok(Arc::new(BinaryArray::from_iter_values(none)));
        }
        let mut fields = Vec::with_capacity(self.spec.order.len());
        let mut columns = Vec::with_capacity(self.spec.order.len());
        for order in &self.spec.order {
            let options =
                SortOptions { descending: order.descending, nulls_first: order.nulls_first };
            fields.push(SortField::new_with_options(order.expr.data_type().clone(), options));
            columns.push(order.expr.evaluate(input)?);
        }
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        Ok(Arc::new(rows.try_into_binary()?))
    }

    /// The first `rows_max` stored rows of partitions.
    fn read_first(
        &self,
        keys: &[ArrayRef],
        rows_max: usize,
        step: &Step<'_>,
    ) -> Result<Before, FlowError> {
        let columns: Vec<usize> = (0..keys.len()).collect();
        let encoded = KeyCodec::new(&self.layout.schema, &columns)?.encode_columns(keys)?;
        let ranges: Vec<KeyRange> =
            encoded.iter().map(|key| KeyRange::prefix(key.data())).collect();
        let read = step.read_ranges(TREE, &ranges, rows_max, false)?;
        Ok(Before { rows: read.rows, partitions: read.ranges, more: read.more })
    }

    /// How many rows of a partition are read at first: each that goes is replaced by one other at most.
    fn rows_first(&self, delta: &RecordBatch, partitions: &[u32], count: usize) -> usize {
        let mut gone = vec![0usize; count];
        for (&partition, &count) in partitions.iter().zip(self.counts(delta).values()) {
            if count < 0 {
                gone[partition as usize] += 1;
            }
        }
        let most = gone.into_iter().max().unwrap_or(0);
        let wanted = usize::try_from(self.spec.last).unwrap_or(usize::MAX);
        wanted.saturating_add(most).saturating_add(1)
    }

    fn counts(&self, stored: &RecordBatch) -> Int64Array {
        stored.column(self.layout.schema.fields().len()).as_primitive::<Int64Type>().clone()
    }

    /// Compares partitions as they were with how they are.
    fn compare(
        &self,
        before: &Before,
        delta: &RecordBatch,
        delta_partitions: &[u32],
    ) -> Result<Compared, FlowError> {
        let rows = concat_batches(&delta.schema(), [&before.rows, delta])?;
        let partitions = [before.partitions.as_slice(), delta_partitions].concat();
        let old_rows = before.rows.num_rows();
        let counts = self.counts(&rows);
        let in_order = InOrder::new(&rows, &self.layout)?;
        let mut changes = Changes::default();
        let mut lacking = Vec::new();
        let mut sorted = Vec::new();
        let mut items: Vec<Item> = Vec::new();
        let by_partition = ByGroup::new(&partitions, before.more.len());
        for ((number, of_partition), &more) in (0u32..).zip(by_partition.iter()).zip(&before.more) {
            sorted.clear();
            sorted.extend_from_slice(of_partition);
            sorted.sort_unstable_by(|&a, &b| in_order.compare(a, b).then(a.cmp(&b)));
            if more {
                // What is behind the rows that were read is not known to be next.
                let last = sorted.iter().rposition(|&row| (row as usize) < old_rows);
                sorted.truncate(last.map_or(0, |last| last + 1));
            }
            items.clear();
            for &row in &sorted {
                let (count, is_old) = (counts.value(row as usize), (row as usize) < old_rows);
                let before = if is_old { count } else { 0 };
                match items.last_mut() {
                    Some(item) if in_order.compare(item.row, row).is_eq() => {
                        item.before += before;
                        item.after += count;
                    }
                    last => {
                        let tied = last.is_some_and(|item| in_order.ties(item.row, row));
                        items.push(Item { row, before, after: count, tied });
                    }
                }
            }
            if !self.wanted.sweep(&items, more, &mut changes) {
                lacking.push(number);
            }
        }
        let answer = if changes.rows.is_empty() {
            None
        } else {
            let rows = take_record_batch(&rows, &UInt32Array::from(changes.rows))?;
            Some(self.answer(&rows, &changes.ranks, changes.diffs)?)
        };
        Ok(Compared { answer, lacking })
    }

    /// The answer's change from stored rows.
    fn answer(
        &self,
        rows: &RecordBatch,
        ranks: &[i64],
        diffs: Vec<i64>,
    ) -> Result<Updates, FlowError> {
        let own = self.layout.places.iter().map(|&place| Arc::clone(rows.column(place)));
        let mut columns: Vec<ArrayRef> = own.collect();
        if let Some(rank) = &self.spec.rank {
            let ranks = ranks.iter();
            columns.push(if rank.data_type() == &DataType::UInt64 {
                Arc::new(ranks.map(|rank| rank.cast_unsigned()).collect::<UInt64Array>())
            } else {
                Arc::new(ranks.copied().collect::<Int64Array>())
            });
        }
        let answer = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Updates::new(answer, Int64Array::from(diffs)))
    }

    /// Ranks rows that come and go.
    fn step_all(&self, updates: &Updates, step: &mut Step<'_>) -> Result<Vec<Updates>, FlowError> {
        let mut delta = self.delta(updates)?;
        if delta.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let key_len = self.layout.keys.len();
        let groups = Groups::of(&delta.columns()[..key_len], delta.num_rows())?;
        let mut keys = groups.take(&delta.columns()[..key_len])?;
        let mut partitions = groups.ids().to_vec();
        step.put(TREE, delta.clone());
        let mut answers = Vec::new();
        let mut rows_max = self.rows_first(&delta, &partitions, groups.count());
        loop {
            let before = self.read_first(&keys, rows_max, step)?;
            let Compared { answer, lacking } = self.compare(&before, &delta, &partitions)?;
            answers.extend(answer);
            if lacking.is_empty() {
                return Ok(answers);
            }
            // Once more for those of which more is needed.
            let mut number = vec![None; before.more.len()];
            for (next, &partition) in (0u32..).zip(&lacking) {
                number[partition as usize] = Some(next);
            }
            let of = |&partition: &u32| number[partition as usize];
            let stays: BooleanArray = partitions.iter().map(|p| Some(of(p).is_some())).collect();
            delta = filter_record_batch(&delta, &stays)?;
            partitions = partitions.iter().filter_map(of).collect();
            keys = take_arrays(&keys, &UInt32Array::from(lacking), None)?;
            rows_max = rows_max.saturating_mul(4);
        }
    }
}

/// Each row as often as it is there.
fn repeated(updates: Updates) -> Result<RecordBatch, FlowError> {
    let (rows, diffs) = updates.into_parts();
    let Some(counts) = diffs.filter(|counts| counts.values().iter().any(|count| *count != 1))
    else {
        return Ok(rows);
    };
    let times =
        |(row, count): (u32, &i64)| std::iter::repeat_n(row, usize::try_from(*count).unwrap_or(0));
    let places: UInt32Array = (0u32..).zip(counts.values()).flat_map(times).collect();
    Ok(take_record_batch(&rows, &places)?)
}

/// What a comparison gives.
struct Compared {
    /// The change of the answer.
    answer: Option<Updates>,
    /// The partitions of which more rows are needed.
    lacking: Vec<u32>,
}

/// The order of stored rows of one partition: that of the tree. What is behind the order is looked at
/// only where rows tie.
struct InOrder {
    order: BinaryArray,
    rest: Vec<DynComparator>,
}

impl InOrder {
    fn new(rows: &RecordBatch, layout: &Layout) -> Result<Self, FlowError> {
        let order = rows.column(layout.order).as_binary::<i32>().clone();
        let options = SortOptions { descending: false, nulls_first: false };
        let rest = rows.columns()[layout.behind.clone()]
            .iter()
            .map(|column| make_comparator(column, column, options));
        Ok(Self { order, rest: rest.collect::<Result<_, _>>()? })
    }

    fn ties(&self, a: u32, b: u32) -> bool {
        self.order.value(a as usize) == self.order.value(b as usize)
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let (a, b) = (a as usize, b as usize);
        let rest = || self.rest.iter().map(|rest| rest(a, b)).find(|order| order.is_ne());
        let order = self.order.value(a).cmp(self.order.value(b));
        order.then_with(|| rest().unwrap_or(Ordering::Equal))
    }
}

impl Operator for Ranked {
    fn schema(&self) -> &SchemaRef {
        &self.ranking.schema
    }

    fn append_only(&self) -> bool {
        false
    }

    fn trees(&self) -> Vec<TreeShape> {
        vec![TreeShape::Bag(Arc::clone(&self.ranking.bag))]
    }

    fn answering(&self) -> Option<TreeShape> {
        let answers = self.known.is_some() && self.ranking.is_read_apart();
        answers.then(|| TreeShape::Ranked(Arc::clone(&self.ranking)))
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let Some(updates) = Updates::concat(&ports[0])? else { return Ok(Vec::new()) };
        match &mut self.known {
            Some(known) => {
                let answer = kept::step(&self.ranking, known, &updates, step)?;
                Ok(answer.into_iter().collect())
            }
            None => self.ranking.step_all(&updates, step),
        }
    }
}

/// Which of the distinct `keys` each row's key is.
pub(super) fn partitions_of(keys: &[ArrayRef], rows: &[ArrayRef]) -> Result<Vec<u32>, FlowError> {
    let count = keys[0].len();
    let both = keys
        .iter()
        .zip(rows)
        .map(|(keys, rows)| arrow::compute::concat(&[keys, rows]))
        .collect::<Result<Vec<_>, _>>()?;
    // The keys come first and are distinct, so their groups have their numbers.
    let groups = Groups::of(&both, count + rows[0].len())?;
    Ok(groups.ids()[count..].to_vec())
}
