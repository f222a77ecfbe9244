//! Rows of partitions in order, of which a step reads what its changes reach.
//!
//! ```text
//!   tree:   partition │ order, as bytes │ the rest of the row │ _multiplicity
//!   marks:  partition │ order, as bytes │ what is known of all rows up to there
//!
//!   seen are so many rows:   · · ○ ○ ● ◐ ◐ ○ · ·          ● changed, ◐ sees it, ○ is seen by those
//!                                └─ region ┘
//!   all before are seen:     · · ▲ ○ ○ ● ◐ ◐ ◐ ◐ ◐        ▲ the last mark before
//!                                  └─── region ───┘
//! ```
//!
//! A region begins where a function can begin to be evaluated for the first row that a change reaches: as many rows
//! before it as it sees, or behind a mark. Marks are behind the last of rows that tie, every [`MARK_ROWS`] rows and the
//! rows that tie with them. Those behind a change are set anew.
//!
//! What must hold: a region has all rows of the tree between its bounds, and no row outside of it sees a change.

use std::ops::{Bound, Range};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::row::Rows;
use yeoul_batch::{
    Combine, Expr, ExprError, ExprRef, KeyCodec, KeyRange, Known, PartitionFunction, Updates,
};

use super::touched::{Part, Touched};
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::{CacheBudget, TreeShape};
use crate::operator::Step;
use crate::operator::arranged::{Arrangement, Stored};

/// The tree of rows.
const ROWS: usize = 0;
/// The tree of marks.
const MARKS: usize = 1;
/// From one mark to the next: what is read more than is reached, and one state for so many rows.
pub(super) const MARK_ROWS: usize = 32;
/// Of so many changed rows of a partition it is looked first whether others are between them.
const RUN_ROWS: usize = 8;

/// The place of a row in the order of a function.
#[derive(Debug)]
struct Place(Arc<dyn PartitionFunction>);

impl Expr for Place {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        match self.0.order(rows)? {
            Some(order) => Ok(Arc::new(order)),
            None => Err(ExprError { message: "rows without an order have no place".into() }),
        }
    }

    fn data_type(&self) -> &DataType {
        &DataType::Binary
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Near {
    rows: Arrangement,
    bag: Arc<Aggregate>,
    /// How many columns are what rows are divided by; the next is the order.
    key_len: usize,
    /// How many rows before and behind it a row sees, and whether also those that tie.
    seen: [usize; 2],
    peers: bool,
    /// Where rows see all before them: the columns of marks, and how often each is there.
    marks: Option<(SchemaRef, Arc<Aggregate>)>,
}

/// One end of a region.
struct End {
    /// The partition, as bytes.
    partition: Vec<u8>,
    /// Keys from here on are in it; `None`: all of the partition on that side.
    edge: Option<Edge>,
}

#[derive(Clone)]
struct Edge {
    /// The row, or all rows that tie with it.
    row: Vec<u8>,
    /// All rows that tie with it.
    ties: Vec<u8>,
}

/// A part of a partition.
struct Region {
    range: KeyRange,
    /// How many of the changed rows are in it.
    changed: usize,
}

/// Marks that regions begin behind.
struct Marks {
    rows: RecordBatch,
    /// Which of them each region begins behind.
    of: Vec<Option<u32>>,
}

impl Near {
    /// Of rows of `input` by `partition`, where `function` reaches so far that this is worth it.
    pub(super) fn new(
        partition: &[ExprRef],
        input: &SchemaRef,
        function: &Arc<dyn PartitionFunction>,
    ) -> Result<Option<Self>, FlowError> {
        let Some(reach) = function.reach().filter(|reach| reach.following.is_some()) else {
            return Ok(None);
        };
        let key_len = partition.len();
        let mut keys = partition.to_vec();
        keys.push(Arc::new(Place(Arc::clone(function))));
        let none = CacheBudget::new(0);
        let rows = Arrangement::new(ROWS, &keys, input, Stored::Rows, false, &none)?;
        let bag = Arc::new(Aggregate::bag(rows.schema())?);
        let following = reach.following.unwrap_or(0);
        let (seen, marks) = match (reach.preceding, function.known()) {
            (Some(preceding), _) => ([preceding, following], None),
            (None, None) => return Ok(None),
            (None, Some(Known { schema: state, preceding })) => {
                let place = &rows.schema().fields()[..=key_len];
                let fields = place.iter().chain(state.fields()).cloned();
                let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                let bag = Arc::new(Aggregate::bag(&schema)?);
                ([*preceding, following], Some((schema, bag)))
            }
        };
        Ok(Some(Self { rows, bag, key_len, seen, peers: reach.peers, marks }))
    }

    pub(super) fn trees(&self) -> Vec<TreeShape> {
        let marks = self.marks.as_ref().map(|(_, bag)| TreeShape::Bag(Arc::clone(bag)));
        std::iter::once(TreeShape::Bag(Arc::clone(&self.bag))).chain(marks).collect()
    }

    /// Where each column of the input is in a stored row.
    pub(super) fn places(&self) -> Vec<usize> {
        self.rows.places()
    }

    fn width(&self) -> usize {
        self.rows.schema().fields().len()
    }

    /// The first `columns` of stored rows as bytes of their order.
    fn bytes(&self, rows: &RecordBatch, columns: usize) -> Result<Rows, FlowError> {
        let all: Vec<usize> = (0..columns).collect();
        let codec = KeyCodec::new(self.rows.schema(), &all)?;
        Ok(codec.encode_columns(&rows.columns()[..columns])?)
    }

    /// Takes the step's updates into the tree; gives the rows that they reach, of a region one more than `rows_max`
    /// where there are more.
    pub(super) fn take(
        &self,
        updates: &Updates,
        rows_max: usize,
        step: &mut Step<'_>,
    ) -> Result<Touched, FlowError> {
        let new = self.bag.partial(&self.rows.arrange(updates)?)?;
        // A row that came and went again in one step has not been.
        let new = self.bag.combine(&[new], true)?;
        let bytes = self.bytes(&new, self.width())?;
        let mut order: Vec<u32> = (0u32..).take(new.num_rows()).collect();
        order.sort_unstable_by(|a, b| bytes.row(*a as usize).cmp(&bytes.row(*b as usize)));
        let new = take_record_batch(&new, &UInt32Array::from(order))?;
        let (regions, before) = match &self.marks {
            None => (self.around(&new, step)?, None),
            Some((schema, _)) => {
                let (regions, marks) = self.behind_marks(&new, schema, step)?;
                (regions, Some(marks))
            }
        };
        let ranges: Vec<KeyRange> = regions.iter().map(|region| region.range.clone()).collect();
        let old = step.read_ranges(ROWS, &ranges, rows_max.saturating_add(1), false)?;
        let mut part: Vec<u32> = old.ranges;
        for (number, region) in (0u32..).zip(&regions) {
            part.extend(std::iter::repeat_n(number, region.changed));
        }
        let rows = concat_batches(&new.schema(), [&old.rows, &new])?;
        let counts = rows.column(self.width()).as_primitive::<Int64Type>();
        let is_old = |row: usize| row < old.rows.num_rows();
        let parts = part.into_iter().enumerate().map(|(row, number)| {
            let count = counts.value(row);
            Part { number, before: if is_old(row) { count } else { 0 }, after: count }
        });
        let stored = rows.project(&(0..self.width()).collect::<Vec<_>>())?;
        let touched = Touched::new(stored, parts.collect(), |stored| {
            Ok(Some(stored.column(self.key_len).as_binary::<i32>().clone()))
        })?;
        step.put(ROWS, new);
        Ok(match before {
            Some(Marks { rows, of }) => touched.behind(self.states(&rows)?, of),
            None => touched,
        })
    }

    /// The ends that changed rows are.
    fn ends(&self, rows: &RecordBatch) -> Result<Vec<End>, FlowError> {
        let partitions = self.bytes(rows, self.key_len)?;
        let edges = self.edges(rows)?.into_iter().map(Some);
        let ends = partitions.iter().zip(edges);
        Ok(ends
            .map(|(partition, edge)| End { partition: partition.data().to_vec(), edge })
            .collect())
    }

    fn edges(&self, rows: &RecordBatch) -> Result<Vec<Edge>, FlowError> {
        let ties = self.bytes(rows, self.key_len + 1)?;
        let whole = if self.peers { None } else { Some(self.bytes(rows, self.width())?) };
        let edge = |(at, ties): (usize, arrow::row::Row<'_>)| {
            let ties = ties.data().to_vec();
            let row = whole.as_ref().map_or_else(|| ties.clone(), |w| w.row(at).data().to_vec());
            Edge { row, ties }
        };
        Ok(ties.iter().enumerate().map(edge).collect())
    }

    /// Moves ends by so many rows of the tree.
    fn walk(
        &self,
        ends: &mut [End],
        rows: usize,
        back: bool,
        step: &Step<'_>,
    ) -> Result<(), FlowError> {
        if rows == 0 {
            return Ok(());
        }
        let mut open: Vec<&mut End> = ends.iter_mut().filter(|end| end.edge.is_some()).collect();
        let ranges: Vec<KeyRange> = open.iter().map(|end| end.beyond(back)).collect();
        let read = step.read_ranges(ROWS, &ranges, rows, back)?;
        let mut found = vec![0; open.len()];
        let mut last = vec![None; open.len()];
        for (edge, &range) in self.edges(&read.rows)?.into_iter().zip(&read.ranges) {
            found[range as usize] += 1;
            last[range as usize] = Some(edge);
        }
        for ((end, last), found) in open.iter_mut().zip(last).zip(found) {
            end.edge = if found < rows { None } else { last };
        }
        Ok(())
    }

    /// The changed rows, which are in order, that regions begin and end at, and how many of them are between. Where
    /// many changed rows of a partition have few others between them, they are in one.
    fn runs(&self, new: &RecordBatch, step: &Step<'_>) -> Result<Vec<Range<usize>>, FlowError> {
        let ends = self.ends(new)?;
        let all: Vec<usize> = (0..ends.len()).collect();
        let same = |a: &usize, b: &usize| ends[*a].partition == ends[*b].partition;
        let partitions: Vec<Range<usize>> =
            all.chunk_by(same).map(|of| of[0]..of[0] + of.len()).collect();
        let many = partitions.iter().filter(|rows| rows.len() >= RUN_ROWS);
        let spans: Vec<KeyRange> =
            many.clone().map(|rows| ends[rows.start].to(&ends[rows.end - 1])).collect();
        let most = many.map(Range::len).max().unwrap_or(0);
        let mut more = match spans.is_empty() {
            true => Vec::new(),
            false => step.read_ranges(ROWS, &spans, most, false)?.more,
        }
        .into_iter();
        let mut runs = Vec::new();
        for rows in partitions {
            if rows.len() >= RUN_ROWS && more.next() == Some(false) {
                runs.push(rows);
            } else {
                runs.extend(rows.map(|row| row..row + 1));
            }
        }
        Ok(runs)
    }

    /// The regions around changed rows, which are in order.
    fn around(&self, new: &RecordBatch, step: &Step<'_>) -> Result<Vec<Region>, FlowError> {
        let [preceding, following] = self.seen;
        let runs = self.runs(new, step)?;
        let picked = |row: &dyn Fn(&Range<usize>) -> usize| {
            let rows = runs.iter().map(|run| u32::try_from(row(run)).expect("rows of a batch"));
            let rows = take_record_batch(new, &UInt32Array::from_iter_values(rows))?;
            self.ends(&rows)
        };
        let (mut from, mut to) = (picked(&|run| run.start)?, picked(&|run| run.end - 1)?);
        // Those that see a changed row, and what these see.
        self.walk(&mut from, following, true, step)?;
        self.walk(&mut from, preceding, true, step)?;
        self.walk(&mut to, preceding, false, step)?;
        self.walk(&mut to, following, false, step)?;
        let mut regions: Vec<Region> = Vec::new();
        for ((from, to), run) in from.into_iter().zip(to).zip(&runs) {
            let (from, to) = (from.inner(), to.inner());
            match regions.last_mut() {
                Some(region) if reaches(&region.range.to, &from) => {
                    region.range.to = Bound::Included(to);
                    region.changed += run.len();
                }
                _ => {
                    let range = KeyRange { from: Bound::Included(from), to: Bound::Included(to) };
                    regions.push(Region { range, changed: run.len() });
                }
            }
        }
        Ok(regions)
    }

    /// The regions from the last mark before the first row that is reached to the end of each partition. The marks that
    /// are in regions are taken out.
    fn behind_marks(
        &self,
        new: &RecordBatch,
        schema: &SchemaRef,
        step: &mut Step<'_>,
    ) -> Result<(Vec<Region>, Marks), FlowError> {
        let mut regions: Vec<(End, usize)> = Vec::new();
        for end in self.ends(new)? {
            match regions.last_mut() {
                Some((first, changed)) if first.partition == end.partition => *changed += 1,
                _ => regions.push((end, 1)),
            }
        }
        let (mut ends, changed): (Vec<End>, Vec<usize>) = regions.into_iter().unzip();
        let [preceding, following] = self.seen;
        self.walk(&mut ends, following, true, step)?;
        self.walk(&mut ends, preceding, true, step)?;
        let ranges: Vec<KeyRange> = ends.iter().map(End::marks_before).collect();
        let marks = step.read_ranges(MARKS, &ranges, 1, true)?;
        let mut of = vec![None; ends.len()];
        for (row, &range) in (0u32..).zip(&marks.ranges) {
            of[range as usize] = Some(row);
        }
        let codec = KeyCodec::new(schema, &(0..=self.key_len).collect::<Vec<_>>())?;
        let places = codec.encode_columns(&marks.rows.columns()[..=self.key_len])?;
        let range = |(end, of): (&End, &Option<u32>)| KeyRange {
            from: match of {
                Some(row) => Bound::Excluded(places.row(*row as usize).data().to_vec()),
                None => Bound::Included(end.partition.clone()),
            },
            to: Bound::Included(end.partition.clone()),
        };
        let ranges: Vec<KeyRange> = ends.iter().zip(&of).map(range).collect();
        let passed = step.read_ranges(MARKS, &ranges, usize::MAX, false)?.rows;
        self.put_marks(&passed, -1, step)?;
        let regions = ranges.into_iter().zip(changed);
        let regions = regions.map(|(range, changed)| Region { range, changed }).collect();
        Ok((regions, Marks { rows: marks.rows, of }))
    }

    /// The states of marks.
    fn states(&self, marks: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let width = self.marks.as_ref().map_or(0, |(schema, _)| schema.fields().len());
        Ok(marks.project(&(self.key_len + 1..width).collect::<Vec<_>>())?)
    }

    /// Sets marks behind stored rows, of which these are the states.
    pub(super) fn mark(
        &self,
        stored: &RecordBatch,
        states: &RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let Some((schema, _)) = &self.marks else { return Ok(()) };
        let place = stored.columns()[..=self.key_len].iter();
        let columns = place.chain(states.columns()).cloned().collect();
        let marks = RecordBatch::try_new(Arc::clone(schema), columns)?;
        self.put_marks(&marks, 1, step)
    }

    /// Whether rows see all before them.
    pub(super) fn has_marks(&self) -> bool {
        self.marks.is_some()
    }

    fn put_marks(
        &self,
        marks: &RecordBatch,
        count: i64,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let Some((schema, bag)) = self.marks.as_ref().filter(|_| marks.num_rows() > 0) else {
            return Ok(());
        };
        let width = schema.fields().len();
        let rows = RecordBatch::try_new(Arc::clone(schema), marks.columns()[..width].to_vec())?;
        let counts = Int64Array::from(vec![count; rows.num_rows()]);
        step.put(MARKS, bag.partial(&Updates::new(rows, counts))?);
        Ok(())
    }
}

impl End {
    /// The keys between two rows, and they.
    fn to(&self, last: &Self) -> KeyRange {
        let bound = |end: &Self| {
            let edge = end.edge.as_ref();
            Bound::Included(edge.map_or_else(|| end.partition.clone(), |edge| edge.row.clone()))
        };
        KeyRange { from: bound(self), to: bound(last) }
    }

    /// The keys of the partition that are further on.
    fn beyond(&self, back: bool) -> KeyRange {
        let whole = Bound::Included(self.partition.clone());
        match &self.edge {
            Some(edge) if back => KeyRange { from: whole, to: Bound::Excluded(edge.row.clone()) },
            Some(edge) => KeyRange { from: Bound::Excluded(edge.row.clone()), to: whole },
            None => KeyRange { from: whole.clone(), to: whole },
        }
    }

    /// The marks that all rows from here on are behind.
    fn marks_before(&self) -> KeyRange {
        let from = Bound::Included(self.partition.clone());
        let first = self.edge.as_ref().map(|edge| edge.ties.clone());
        // Before the first row of a partition there are none.
        let to = Bound::Excluded(first.unwrap_or_else(|| self.partition.clone()));
        KeyRange { from, to }
    }

    /// The bound of the keys that it is an end of.
    fn inner(self) -> Vec<u8> {
        self.edge.map_or(self.partition, |edge| edge.row)
    }
}

/// Whether a range that ends at `to` has keys that begin with `from`, or all keys up to there.
fn reaches(to: &Bound<Vec<u8>>, from: &[u8]) -> bool {
    match to {
        Bound::Included(to) => from <= to.as_slice() || from.starts_with(to),
        _ => false,
    }
}
